"""Two in-house sets in one simple layout: every file becomes a case or is named, and patients stay together."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.busi import write_mask
from builders.lymph_node import FULL_COUNTS, BuiltLymphNode, blocks_with_node, build_lymph_node, write_pair
from PIL import Image, ImageFilter

from dataset_conversion import CONVERTERS, convert
from dataset_conversion.common import ConversionReport, Options
from dataset_conversion.lymph_node import collect
from htunet.cli.convert import main
from htunet.data.image_io import read_labels
from htunet.data.raw import Case, read_raw
from htunet.data.splits import TEST_ONLY, make_splits, split_sizes
from htunet.data.verification import verify
from htunet.errors import HtunetError
from htunet.files import read_csv
from htunet.paths import DatasetPaths

LN_INT, LN_EXT = DatasetPaths("Dataset501_LN-INT"), DatasetPaths("Dataset502_LN-EXT")
STRANGE = "淋巴结 7 (左)\nb"


@pytest.fixture
def built(home: Path) -> BuiltLymphNode:
    return build_lymph_node(home / "download" / "nodes")


def converted(folder: Path, name: str = "LN-INT", **options: Any) -> ConversionReport:
    return convert(name, folder, Options(**options))


def cases(paths: DatasetPaths = LN_INT) -> dict[str, Case]:
    return {case.id: case for case in read_raw(paths).cases}


def test_the_counts_add_up_and_the_raw_folder_verifies(built: BuiltLymphNode) -> None:
    report = converted(built.folder.parent)
    assert (report.found, report.converted) == (built.found, built.cases)
    assert report.differences[1] == f"malignant: {built.found['malignant']} found, 488 in the whole data set"
    raw = read_raw(LN_INT)
    assert raw.info.classes == {"benign": 0, "malignant": 1}
    assert verify(raw) == []


def test_every_file_is_a_case_or_is_left_out_with_its_reason(built: BuiltLymphNode) -> None:
    report = converted(built.folder)
    reasons = {one.source: one.reason for one in report.excluded}
    assert sorted(reasons) == sorted(built.excluded)
    for source, words in built.excluded.items():
        assert words in reasons[source]
    images = {path.relative_to(built.folder).as_posix() for path in built.folder.glob("*/images/*")}
    assert images <= {case.source for case in cases().values()} | set(reasons)


def test_masks_of_every_mode_pair_with_images_of_every_ending(home: Path) -> None:
    build_lymph_node(home / "in", quirks=False)
    converted(home / "in")
    for number in range(1, 6):
        case = cases()[f"malignant_{number:04d}"]
        assert (
            read_labels(read_raw(LN_INT).label_path(case)) == blocks_with_node((40, 48), 0, "malignant", number)[1]
        ).all()
    assert {Path(case.source).suffix for case in cases().values()} == {".png", ".jpg", ".BMP", ".tif"}


def test_a_jpeg_mask_is_cut_between_its_two_values(home: Path) -> None:
    image, mask = blocks_with_node((80, 96), "jpeg")
    write_pair(home / "in", "benign", "a", image, mask)
    (home / "in" / "benign" / "masks" / "a.png").unlink()
    Image.fromarray(mask * np.uint8(255)).save(home / "in" / "benign" / "masks" / "a.JPG", quality=75)
    converted(home / "in")
    label = read_labels(LN_INT.raw / "labelsTr" / "benign_0001.png")
    assert (label != mask).mean() < 0.003
    assert (np.asarray(Image.open(home / "in" / "benign" / "masks" / "a.JPG")) > 0).mean() > 1.1 * mask.mean()


def test_soft_edges_of_a_mask_do_not_make_it_larger(home: Path) -> None:
    image, mask = blocks_with_node((80, 96), "jpeg")
    write_pair(home / "in", "benign", "a", image, mask)
    soft = Image.fromarray(mask * np.uint8(255)).filter(ImageFilter.GaussianBlur(4))
    soft.save(home / "in" / "benign" / "masks" / "a.png")
    converted(home / "in")
    label = read_labels(LN_INT.raw / "labelsTr" / "benign_0001.png")
    assert label.sum() == (np.asarray(soft) > 127).sum()
    assert (np.asarray(soft) > 0).sum() > 1.5 * mask.sum()
    assert label.sum() == pytest.approx(mask.sum(), rel=0.1)


def test_names_need_not_be_plain_and_numbers_sort_as_numbers(home: Path) -> None:
    image, mask = blocks_with_node((20, 24), "name")
    for name in ("10", "2", "001", STRANGE, "é"):
        write_pair(home / "in", "benign", name, image, mask, ending=".png")
    mask_path = home / "in" / "benign" / "masks" / "é.png"
    mask_path.rename(mask_path.with_name("e\u0301.png"))  # the same letter as another system writes it
    converted(home / "in")
    assert [Path(case.source).stem for case in cases().values()] == ["001", "2", "10", "é", STRANGE]
    assert list(cases()) == [f"benign_{number:04d}" for number in range(1, 6)]


def test_the_patient_is_the_group_and_stays_on_one_side_of_a_split(home: Path) -> None:
    build_lymph_node(home / "in", benign=48, malignant=32, quirks=False)
    converted(home / "in")
    groups = {case.group for case in cases().values()}
    assert len(groups) == 12 + 8
    fold = make_splits(read_raw(LN_INT).cases, "8:1:1", "group").folds[0]
    seen = [{cases()[case].group for case in fold[split]} for split in ("train", "val", "test")]
    assert sum(map(len, seen)) == len(groups)


def test_without_a_table_no_patient_is_invented(home: Path) -> None:
    build_lymph_node(home / "in", patients=False, quirks=False)
    converted(home / "in")
    assert {case.group for case in cases().values()} == {""}


def test_a_table_of_patients_that_lacks_an_image_is_an_error_that_names_it(built: BuiltLymphNode) -> None:
    table = built.folder / "patients.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("benign/images/0003.tif", "benign/images/0003.png"))
    with pytest.raises(HtunetError, match=r"patients\.csv names no patient for 1 image: benign/images/0003\.tif"):
        converted(built.folder)


def test_a_table_of_patients_as_a_spreadsheet_saves_it_is_read(home: Path) -> None:
    built = build_lymph_node(home / "in", quirks=False)
    converted(built.folder)
    groups = {name: case.group for name, case in cases().items()}
    table = built.folder / "patients.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("/", "\\").replace(",", ";"), encoding="utf-16")
    converted(built.folder)
    assert {name: case.group for name, case in cases().items()} == groups


@pytest.mark.parametrize("nothing", ["nan", "NA", " ", "#NV"])
def test_a_patient_who_is_not_known_is_no_patient(built: BuiltLymphNode, nothing: str) -> None:
    """One patient "nan" would have all such images."""
    table = built.folder / "patients.csv"
    first, line, *rest = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([first, f"{line.rpartition(',')[0]},{nothing}", *rest]), encoding="utf-8")
    with pytest.raises(HtunetError, match="names no patient for 1 image"):
        converted(built.folder)


def test_the_external_set_is_for_the_test_alone(home: Path) -> None:
    build_lymph_node(home / "in", quirks=False)
    converted(home / "in", "LN-EXT")
    raw = read_raw(LN_EXT)
    assert raw.info.split_rule == TEST_ONLY
    (fold,) = make_splits(raw.cases, raw.info.split_rule).folds
    assert (fold["train"], fold["val"], len(fold["test"])) == ([], [], 11)


@pytest.mark.parametrize(("name", "sizes"), [("LN-INT", (1019, 127, 127)), ("LN-EXT", None)])
def test_the_expected_counts_are_the_papers(name: str, sizes: tuple[int, int, int] | None) -> None:
    facts = CONVERTERS[name].facts
    assert facts.expected == FULL_COUNTS[name]
    total = sum(facts.expected.values())
    assert total == 374 if sizes is None else split_sizes(total, facts.split_rule) == sizes


def test_the_zip_gives_the_same_files_as_the_folder(built: BuiltLymphNode) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in LN_INT.raw.rglob("*") if path.is_file()}

    converted(built.folder)
    expected = files()
    archive_path = built.folder.parent.parent / "nodes.zip"
    with zipfile.ZipFile(archive_path, "w") as archive:
        for path in built.folder.rglob("*"):
            archive.write(path, path.relative_to(built.folder.parent))
    converted(archive_path)
    assert files() == expected


def test_one_class_alone_is_found(home: Path) -> None:
    image, mask = blocks_with_node((20, 24), "one")
    write_pair(home / "in", "malignant", "a", image, mask, ending=".png")
    assert converted(home / "in").converted == {"malignant": 1}


def test_a_mask_of_another_size_is_taken_when_asked_for(built: BuiltLymphNode) -> None:
    report = converted(built.folder, fit_masks=True)
    assert report.fitted == ("malignant_0007",)
    assert cases()["malignant_0007"].source == "malignant/images/misfit.png"


def test_a_mask_alone_never_numbers_a_case(home: Path) -> None:
    image, mask = blocks_with_node((20, 24), "one")
    write_pair(home / "in", "benign", "b", image, mask, ending=".png")
    write_mask(home / "in" / "benign" / "masks" / "a.png", mask, "L")
    found = collect(home / "in")
    assert [job.case.id for job in found.jobs] == ["benign_0001"]
    assert [one.source for one in found.excluded] == ["benign/masks/a.png"]


def test_the_command_lists_both_and_converts_with_the_option(
    built: BuiltLymphNode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["LN-EXT", str(built.folder), "--crop-overlays"]) == 0
    text = capsys.readouterr().out
    assert "Note: cropped 0 of 13 images to their field; look at crop_overlays.png" in text
    assert len(read_csv(LN_EXT.raw / "crops.csv", ["id"])) == 13
    assert main(["--list"]) == 0
    assert "LN-EXT (Dataset502_LN-EXT)" in capsys.readouterr().out
