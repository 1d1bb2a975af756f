import json
import tracemalloc
from pathlib import Path

import pytest
from builders.pmc_oa import FOLDER, build_pmc_oa
from PIL import Image

from dataset_conversion import convert
from dataset_conversion.captions.common import Reading, unique_id
from dataset_conversion.captions.pmc_oa import read_texts
from dataset_conversion.common import ConversionReport, Options
from htunet.data.caption_splits import settle_caption_split
from htunet.data.captions import read_captions
from htunet.data.raw import read_excluded
from htunet.errors import HtunetError, UsageError
from htunet.files import PART
from htunet.paths import DatasetPaths, root

PMC_OA = DatasetPaths("Dataset507_PMC-OA")


def converted(folder: Path, **options: object) -> ConversionReport:
    return convert("PMC-OA", folder, Options(**{"min_side": 8, **options}))  # type: ignore[arg-type]


def excluded() -> dict[str, str]:
    return {one.source: one.reason for one in read_excluded(PMC_OA)}


def test_every_line_is_a_pair_or_counted_with_its_reason(home: Path) -> None:
    built = build_pmc_oa(home / "download")
    report = converted(built.folder)
    dataset = read_captions(PMC_OA)
    assert report.captions == dataset.info
    assert len(dataset.pairs) == dataset.info.pairs == built.pairs
    assert dataset.info.drops == built.drops
    assert dataset.info.found["captions"] == built.captions
    blamed = built.drops["malformed line"]
    assert built.captions + blamed == built.pairs + sum(built.drops.values())


def test_malformed_lines_are_named_by_number(home: Path) -> None:
    built = build_pmc_oa(home / "download")
    converted(built.folder)
    malformed = [source for source, reason in excluded().items() if reason.startswith("malformed line")]
    assert malformed == [f"pmc_oa.jsonl, line {number}" for number in built.malformed]


def test_captions_are_clean_articles_are_groups_and_colour_stays(home: Path) -> None:
    built = build_pmc_oa(home / "download")
    converted(built.folder)
    pairs = {pair.id: pair for pair in read_captions(PMC_OA).pairs}
    doppler = pairs["PMC9005_Fig1_1"]
    assert doppler.caption == "Doppler image: Transverse ultrasound of the neck shows a node."
    assert (doppler.group, doppler.language) == ("PMC9005", "en")
    assert Image.open(PMC_OA.raw / doppler.image).mode == "RGB"
    first = pairs["PMC2000_Fig1_0"]
    assert first.source == f"images.zip/{FOLDER}/PMC2000_Fig1_0.jpg"
    assert Image.open(PMC_OA.raw / first.image).mode == "L"
    assert {pair.group for pair in pairs.values()} >= {"PMC2000", "PMC2001", "PMC2002"}
    assert [pair.id for pair in pairs.values() if pair.source.endswith("PMC9000_Fig1_1.jpg")] == [
        "PMC9000_Fig1_1",
        "PMC9000_Fig1_1_2",
    ]


def test_an_unpacked_folder_gives_the_same_as_the_zip(home: Path) -> None:
    def captions() -> list[tuple[str, str]]:
        return [(pair.id, pair.caption) for pair in read_captions(PMC_OA).pairs]

    converted(build_pmc_oa(home / "zipped").folder)
    expected = captions()
    report = converted(build_pmc_oa(home / "unpacked", zipped=False).folder)
    assert report.replaced
    assert captions() == expected
    assert read_captions(PMC_OA).pairs[0].source.startswith(FOLDER)


def test_low_resolution_is_below_the_networks_input_unless_asked_otherwise(home: Path) -> None:
    built = build_pmc_oa(home / "download", ultrasound=4, others=0, quirks=False, min_side=223)
    with pytest.raises(HtunetError, match=r"Not one pair .*image too small: .* 223 pixels, not 224"):
        convert("PMC-OA", built.folder, Options())
    assert not PMC_OA.raw.exists()
    assert convert("PMC-OA", built.folder, Options(min_side=223)).converted == {"en": 4}
    with pytest.raises(UsageError, match="--min-side must be at least 0"):
        convert("PMC-OA", built.folder, Options(min_side=-1))


def test_the_first_form_is_read_where_several_are_there(home: Path) -> None:
    built = build_pmc_oa(home / "download", quirks=False)
    (built.folder / "pmc_oa_beta.jsonl").write_text("not read", encoding="utf-8")
    assert "read pmc_oa.jsonl, not pmc_oa_beta.jsonl" in converted(built.folder).notes[0]


def test_the_old_split_form_names_its_articles(home: Path) -> None:
    built = build_pmc_oa(home / "download", quirks=False, name="train.jsonl", ultrasound=4, others=0)
    lines = (built.folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    renamed = {"image": "PMC2000_Fig1_0.jpg", "caption": "Another ultrasound caption of it", "pmcid": "PMC77"}
    for name, content in (("train", lines[:2]), ("valid", lines[2:]), ("test", [json.dumps(renamed)])):
        (built.folder / f"{name}.jsonl").write_text("\n".join(content), encoding="utf-8")
    assert converted(built.folder).converted == {"en": 5}


def test_captions_that_name_another_modality_are_kept_and_counted(home: Path) -> None:
    report = converted(build_pmc_oa(home / "download").folder)
    assert report.notes == ("1 of the chosen captions also name another modality, which their image may show",)


def test_memory_does_not_grow_with_the_captions_that_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "pmc_oa.jsonl"
    line = json.dumps({"image": "PMC1_Fig1_1.jpg", "caption": "A CT scan of the chest. " * 20}) + "\n"

    sizes = []
    for lines in (500, 5000, 5000):  # twice: Python's table of interned strings may grow by megabytes in between
        tracemalloc.start()
        path.write_text(line * lines, encoding="utf-8")
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert list(read_texts(tmp_path, Reading())) == []
        sizes.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    assert min(sizes[1:]) < sizes[0] + 200_000


def test_a_file_of_something_else_is_given_up_early(home: Path) -> None:
    built = build_pmc_oa(home / "download", quirks=False)
    (built.folder / "pmc_oa.jsonl").write_text("name;text\n" * 5000, encoding="utf-8")
    with pytest.raises(HtunetError, match=r"is not a JSON Lines file: pmc_oa\.jsonl, line 1000: malformed line"):
        converted(built.folder)


def test_an_overlong_line_is_one_malformed_line(home: Path) -> None:
    built = build_pmc_oa(home / "download", quirks=False)
    path = built.folder / "pmc_oa.jsonl"
    path.write_bytes(b'{"image": "x.jpg", "caption": "' + b"ultrasound " * 300_000 + b'"}\n' + path.read_bytes())
    report = converted(built.folder)
    assert report.captions is not None
    assert report.captions.drops["malformed line"] == 1
    assert report.captions.pairs == built.pairs
    assert next(iter(excluded())) == "pmc_oa.jsonl, line 1"


def test_an_interrupted_conversion_leaves_the_old_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build_pmc_oa(home / "download")
    converted(built.folder)
    before = {path: path.read_bytes() for path in PMC_OA.raw.rglob("*") if path.is_file()}

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dataset_conversion.captions.common.write_captions", killed)
    with pytest.raises(KeyboardInterrupt):
        converted(built.folder)
    assert {path: path.read_bytes() for path in PMC_OA.raw.rglob("*") if path.is_file()} == before
    assert not list(root("htunet_raw").glob(f"{PART}*"))


def test_processes_write_the_same_files(home: Path) -> None:
    built = build_pmc_oa(home / "download")

    def files(workers: int) -> dict[str, bytes]:
        folder = converted(built.folder, workers=workers).folder
        return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert files(1) == files(2)


def test_options_of_images_with_masks_are_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="--fit-masks does nothing for PMC-OA; it is for BUSI"):
        converted(home, fit_masks=True)
    with pytest.raises(UsageError, match="--translate does nothing for PMC-OA; it is for CURD"):
        converted(home, translate="model")
    with pytest.raises(UsageError, match="--min-side does nothing for BUSI; it is for CURD, MedPix, PMC-OA"):
        convert("BUSI", home, Options(min_side=3))


def test_a_split_by_article_keeps_an_articles_figures_together(home: Path) -> None:
    converted(build_pmc_oa(home / "download", ultrasound=40, quirks=False).folder)
    dataset = read_captions(PMC_OA)
    split = settle_caption_split(dataset, "group")
    groups = {pair.id: pair.group for pair in dataset.pairs}
    assert len(split.val) == 4
    assert not {groups[one] for one in split.train} & {groups[one] for one in split.val}


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ("a b/c.d", "a_b_c_d"),
        ("\u4e2d\u6587", "image"),
        ("..", "image"),
        ("x" * 300, "x" * 80),
        ("new\nline", "new_line"),
    ],
)
def test_ids_are_fit_for_file_names(requested: str, expected: str) -> None:
    assert unique_id(requested, {}) == expected


def test_ids_are_unique_whatever_their_case() -> None:
    taken: dict[str, int] = {}
    assert [unique_id(name, taken) for name in ("a", "A", "a_2", "a", "b")] == ["a", "A_2", "a_2_2", "a_3", "b"]
