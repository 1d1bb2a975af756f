import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from htunet.data.captions import CaptionInfo, CaptionPair, read_captions, write_captions
from htunet.data.image_io import write_png
from htunet.data.raw import Excluded, read_excluded, read_raw
from htunet.errors import HtunetError
from htunet.paths import DatasetPaths

PATHS = DatasetPaths("Dataset910_Texts")
INFO = CaptionInfo(name="Texts", licence="free", reference="nobody", description="made up", published=(3, 1))


def pair(number: int, caption: str = "") -> CaptionPair:
    return CaptionPair(
        image=f"images/p{number}.png",
        caption=caption or f"A lesion with the number {number}",
        source=f"{number}.jpg",
        id=f"p{number}",
        language="en",
        group=f"g{number // 2}",
    )


@pytest.fixture
def folder(home: Path) -> Path:
    for number in range(3):
        write_png(PATHS.raw / "images" / f"p{number}.png", np.full((4, 5), number, np.uint8))
    write_captions(
        PATHS.raw, INFO, [pair(2), pair(0), pair(1)], [Excluded(source="x", class_name="", reason="no image")]
    )
    return PATHS.raw


def write_lines(folder: Path, *lines: str) -> None:
    (folder / "captions.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def line(**changes: object) -> str:
    return json.dumps(asdict(pair(0)) | changes)


def test_what_is_written_is_read_again_in_the_order_of_ids(folder: Path) -> None:
    dataset = read_captions(PATHS)
    assert dataset.pairs == (pair(0), pair(1), pair(2))
    assert dataset.image_path(dataset.pairs[1]) == folder / "images" / "p1.png"
    assert dataset.info == replace(INFO, pairs=3, languages={"en": 3})
    assert read_excluded(PATHS)[0].reason == "no image"


def test_repeated_captions_and_languages_are_counted(home: Path) -> None:
    pairs = [pair(0, "the same sentence"), pair(1, "the same sentence"), replace(pair(2), language="zh")]
    info = write_captions(PATHS.raw, INFO, pairs, [])
    assert (info.pairs, info.repeated_captions, info.languages) == (3, 1, {"en": 2, "zh": 1})


def test_chinese_is_stored_as_it_reads(folder: Path) -> None:
    write_captions(folder, INFO, [pair(0, "低回声结节")], [])
    assert "低回声结节" in (folder / "captions.jsonl").read_text(encoding="utf-8")
    assert read_captions(PATHS).pairs[0].caption == "低回声结节"


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("{", r"line 2 is not valid JSON"),
        ("[1]", r"line 2 must be a JSON object"),
        ("[" * 100_000, r"line 2 is not valid JSON"),
        ('{"image": NaN}', r"line 2 is not valid JSON \(NaN is not a JSON number"),
        (line(caption=7), r"line 2: caption must be a text, got 7"),
        (line(capton="x"), r"line 2: the key 'capton' is not known. Did you mean 'caption'"),
        ('{"image": "images/p0.png"}', r"line 2: the keys \['caption'"),
        (line(id="other", caption="  "), r"line 2: id and caption must not be empty"),
        (line(id="other", image="../secret.png"), r"line 2: image must read images/ID.png"),
        (line(id="other", image="images/../../secret.png"), r"line 2: image must read images/ID.png"),
        (line(), r"line 2: the id 'p0' is in line 1 too"),
    ],
)
def test_a_faulty_line_is_named_with_what_is_wrong(folder: Path, second: str, words: str) -> None:
    write_lines(folder, line(), second)
    with pytest.raises(HtunetError, match=words):
        read_captions(PATHS)


def test_bytes_that_are_no_text_are_an_error(folder: Path) -> None:
    (folder / "captions.jsonl").write_bytes(b'{"image": "\xff"}\n')
    with pytest.raises(HtunetError, match="can't decode byte"):
        read_captions(PATHS)


def test_a_missing_image_is_named(folder: Path) -> None:
    (folder / "images" / "p1.png").unlink()
    with pytest.raises(HtunetError, match=r"lacks the image of 1 pair: images/p1\.png"):
        read_captions(PATHS)


def test_an_empty_set_another_format_and_a_set_with_masks_are_errors(folder: Path) -> None:
    write_lines(folder)
    with pytest.raises(HtunetError, match="holds no pair"):
        read_captions(PATHS)
    with pytest.raises(HtunetError, match="holds images with captions, no masks or classes"):
        read_raw(PATHS)
    (folder / "captions.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(HtunetError, match="has format 99, this version reads 1"):
        read_captions(PATHS)
    (folder / "captions.json").rename(folder / "dataset.json")
    with pytest.raises(HtunetError, match="holds images with masks, no captions"):
        read_captions(PATHS)
