import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from htunet.data import caption_splits
from htunet.data.caption_splits import (
    caption_split_sizes,
    groups_in_both,
    images_digest,
    load_caption_split,
    make_caption_split,
    save_caption_split,
    settle_caption_split,
)
from htunet.data.captions import CaptionDataset, CaptionInfo, CaptionPair
from htunet.data.image_io import write_png
from htunet.errors import HtunetError, UsageError
from htunet.files import read_object, write_json
from htunet.paths import DatasetPaths

PATHS = DatasetPaths("Dataset910_Texts")
TABLE_I = {"PMC-OA": (4942, 534), "CURD": (13228, 1500), "MedPix": (21512, 2391)}


def pairs_of(groups: Sequence[str]) -> list[CaptionPair]:
    return [
        CaptionPair(image=f"images/p{i:05d}.png", caption="text", source="", id=f"p{i:05d}", language="en", group=group)
        for i, group in enumerate(groups)
    ]


def dataset_of(pairs: Sequence[CaptionPair]) -> CaptionDataset:
    info = CaptionInfo(name="Texts", licence="", reference="", description="")
    return CaptionDataset(PATHS, info, tuple(pairs))


@pytest.mark.parametrize(
    ("n", "sizes"), [(10, (9, 1)), (19, (17, 2)), (20, (18, 2)), (2, (1, 1)), (23903, (21512, 2391))]
)
def test_nine_tenths_are_rounded_down(n: int, sizes: tuple[int, int]) -> None:
    assert caption_split_sizes(n) == sizes


@pytest.mark.parametrize("name", TABLE_I)
def test_table_one_comes_out_at_its_number_of_pairs_and_at_no_other(name: str) -> None:
    published = TABLE_I[name]
    n = sum(published)
    assert caption_split_sizes(n, published) == published
    assert caption_split_sizes(n - 1, published) == caption_split_sizes(n - 1)
    split = make_caption_split(pairs_of([""] * n), published)
    assert (len(split.train), len(split.val)) == published


def test_a_split_says_whether_its_sizes_are_the_published_ones() -> None:
    pairs = pairs_of([""] * 20)
    assert make_caption_split(pairs, (16, 4)).rule == "published"
    assert make_caption_split(pairs, (18, 2)).rule == "9:1"  # published and by the rule
    assert make_caption_split(pairs, (16, 5)).rule == "9:1"


def test_only_medpix_follows_from_nine_to_one() -> None:
    """No rounding of 0.9 n gives the other two rows, nor their sum."""
    deviations = {name: abs(train - 0.9 * (train + val)) for name, (train, val) in TABLE_I.items()}
    assert [name for name, deviation in deviations.items() if deviation < 1] == ["MedPix"]
    assert abs(4942 + 13228 - 0.9 * (5476 + 14728)) > 1


def test_every_pair_is_in_one_split_whatever_the_order() -> None:
    pairs = pairs_of([""] * 57)
    split = make_caption_split(pairs)
    assert sorted([*split.train, *split.val]) == [pair.id for pair in pairs]
    assert (len(split.train), len(split.val), split.rule) == (51, 6, "9:1")
    assert make_caption_split(pairs[::-1]) == split
    assert make_caption_split(pairs, seed=2).val != split.val


def test_the_split_is_a_shuffle() -> None:
    val = [int(name[1:]) for name in make_caption_split(pairs_of([""] * 1000)).val]
    assert np.mean(val) == pytest.approx(500, abs=90)
    assert len({number // 100 for number in val}) >= 8


def test_by_group_no_group_is_in_both_splits_and_by_image_some_are() -> None:
    pairs = pairs_of([f"case {i // 3}" for i in range(300)] + [""] * 10)
    assert groups_in_both(pairs, make_caption_split(pairs)) != []
    split = make_caption_split(pairs, split_by="group")
    assert groups_in_both(pairs, split) == []
    assert (len(split.train), len(split.val)) == (279, 31)


def test_groups_that_do_not_fit_leave_the_validation_split_smaller() -> None:
    split = make_caption_split(pairs_of([f"case {i // 4}" for i in range(100)]), split_by="group")
    assert (len(split.train), len(split.val)) == (92, 8)


def test_too_few_pairs_or_groups_and_an_unknown_way_are_errors() -> None:
    with pytest.raises(HtunetError, match="1 pair cannot be divided"):
        make_caption_split(pairs_of([""]))
    with pytest.raises(HtunetError, match="too few groups; --split-by image"):
        make_caption_split(pairs_of(["one case"] * 30), split_by="group")
    with pytest.raises(UsageError, match="--split-by is one of image, group"):
        make_caption_split(pairs_of([""] * 30), split_by="patient")


def test_the_split_on_disk_holds_until_the_pairs_or_the_way_change(home: Path) -> None:
    pairs = pairs_of([f"case {i // 3}" for i in range(60)])
    first = settle_caption_split(dataset_of(pairs))
    assert not PATHS.caption_split_json.exists()  # whoever settles a split may still be refused
    save_caption_split(PATHS, first)
    assert load_caption_split(PATHS) == first
    by_group = settle_caption_split(dataset_of(pairs), "group")
    assert by_group.split_by == "group"
    save_caption_split(PATHS, by_group)
    assert not PATHS.caption_split_json.with_name("caption_split.before.json").exists()  # --split-by image makes it
    assert settle_caption_split(dataset_of(pairs)) == by_group
    assert settle_caption_split(dataset_of(pairs), "image") == first
    fewer = settle_caption_split(dataset_of(pairs[:-3]))
    assert fewer.split_by == "group"
    assert len(fewer.train) + len(fewer.val) == 57


def test_a_split_that_was_edited_by_hand_is_not_lost(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = pairs_of([f"case {i // 3}" for i in range(60)])
    first = settle_caption_split(dataset_of(pairs))
    content = (
        {"format": 1}
        | vars(first)
        | {"train": [*first.train[1:], first.val[0]], "val": [first.train[0], *first.val[1:]]}
    )
    write_json(PATHS.caption_split_json, content)
    edited = settle_caption_split(dataset_of(pairs))
    assert edited.val == content["val"]
    with pytest.raises(HtunetError, match=r"--split-by group would replace .*, which was edited"):
        settle_caption_split(dataset_of(pairs), "group")
    fewer = settle_caption_split(dataset_of(pairs[:-3]))
    assert load_caption_split(PATHS) == edited
    save_caption_split(PATHS, fewer)
    assert load_caption_split(PATHS) == fewer
    kept = PATHS.caption_split_json.with_name("caption_split.before.json")
    assert read_object(kept) == content
    assert "has other pairs than before" in caplog.text
    assert str(kept) in caplog.text


def test_images_are_hashed_again_only_where_a_file_has_changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, read = dataset_of(pairs_of(["", ""])), []
    first, second = (dataset.image_path(pair) for pair in dataset.pairs)
    for path, value in ((first, 1), (second, 2)):
        write_png(path, np.full((2, 2), value, np.uint8))
    monkeypatch.setattr(caption_splits, "file_hash", lambda path: read.append(path) or path.read_bytes().hex())
    before = images_digest(dataset)
    assert (images_digest(dataset), sorted(read)) == (before, [first, second])
    write_png(second, np.full((2, 2), 3, np.uint8))
    os.utime(second, ns=(0, 0))
    assert images_digest(dataset) != before
    write_png(second, np.full((2, 2), 2, np.uint8))
    assert images_digest(dataset) == before


def test_other_groups_of_the_same_pairs_need_another_split(home: Path) -> None:
    save_caption_split(
        PATHS, settle_caption_split(dataset_of(pairs_of([f"case {i // 3}" for i in range(60)])), "group")
    )
    regrouped = pairs_of([f"case {i // 5}" for i in range(60)])
    assert groups_in_both(regrouped, settle_caption_split(dataset_of(regrouped))) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"val": ["nobody"]}, "names pairs that do not exist: nobody"),
        ({"val": []}, "has an id twice or no id"),
        ({"train": ["p00001"], "val": ["p00001"]}, "has an id twice or no id"),
        ({"format": 2}, "has format 2, this version reads 1: delete it"),
        ({"train": "all"}, "train must be a list"),
    ],
)
def test_a_broken_split_file_is_named(home: Path, change: dict[str, object], words: str) -> None:
    pairs = pairs_of([""] * 20)
    split = settle_caption_split(dataset_of(pairs))
    write_json(PATHS.caption_split_json, {"format": 1} | vars(split) | change)
    with pytest.raises(HtunetError, match=words):
        settle_caption_split(dataset_of(pairs))


def test_an_image_is_only_looked_for_by_its_reader(home: Path) -> None:
    write_png(PATHS.raw / "images" / "p00000.png", np.zeros((2, 2), np.uint8))
    assert settle_caption_split(dataset_of(pairs_of([""] * 10))).val
