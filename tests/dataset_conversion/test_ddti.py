import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from builders.ddti import (
    BILLION_LAUGHS,
    BuiltDdti,
    box,
    build_ddti_png,
    build_ddti_xml,
    write_xml_case,
)
from builders.tn3k import build_tn3k

from dataset_conversion import convert
from dataset_conversion.common import ConversionReport, Options
from dataset_conversion.ddti import MAX_BYTES, draw_outlines, read_case
from htunet.data.image_io import read_labels
from htunet.data.raw import read_excluded, read_raw
from htunet.data.verification import WARNING, verify
from htunet.errors import HtunetError
from htunet.paths import DatasetPaths

DDTI = DatasetPaths("Dataset504_DDTI")


def converted(source: Path, **options: object) -> ConversionReport:
    return convert("DDTI", source, Options(**options))  # type: ignore[arg-type]


def check_reasons(built: BuiltDdti) -> None:
    found = {one.source: one.reason for one in read_excluded(DDTI)}
    assert sorted(found) == sorted(built.reasons)
    for source, words in built.reasons.items():
        assert words in found[source], source


def label_of(case: str) -> np.ndarray:
    return read_labels(DDTI.raw / "labelsTr" / f"{case}.png")


@pytest.fixture
def xml(home: Path) -> BuiltDdti:
    return build_ddti_xml(home / "download" / "original")


def test_the_png_form_is_converted_in_the_order_of_its_numbers(home: Path) -> None:
    built = build_ddti_png(home / "download" / "DDTI")
    report = converted(home / "download")
    assert report.found == {"images in the PNG form": built.images}
    assert report.differences == (f"images in the PNG form: {built.images} found, 637 in the whole data set",)
    assert report.converted == {"train": built.cases}
    check_reasons(built)
    raw = read_raw(DDTI)
    assert [case.id for case in raw.cases] == [f"image_{number:04d}" for number in range(built.cases)]
    assert raw.cases[0].source == "image/0000.PNG"
    assert (raw.info.split_rule, raw.info.classes) == ("8:1:1", {})
    assert {problem.severity for problem in verify(raw)} <= {WARNING}


def test_the_forged_categories_are_not_used_and_that_is_said(home: Path) -> None:
    report = converted(build_ddti_png(home / "DDTI", quirks=False).folder.parent)
    assert any(note.startswith("category.csv was not read") for note in report.notes)
    assert {case.class_name for case in read_raw(DDTI).cases} == {""}


def test_other_masks_sizes_can_be_fitted(home: Path) -> None:
    built = build_ddti_png(home / "DDTI")
    assert sum(converted(built.folder, fit_masks=True).converted.values()) == built.cases + 1


def test_the_zip_inside_the_zip_is_found_beside_another_data_set(home: Path) -> None:
    built = build_ddti_png(home / "unpacked" / "DDTI", quirks=False)
    build_tn3k(home / "thyroid" / "tn3k", nested=True, quirks=False)
    inner, outer = home / "DDTI.zip", home / "Thyroid Dataset.zip"
    for archive, folder, prefix in ((inner, home / "unpacked", ""), (outer, home / "thyroid", "Thyroid Dataset/")):
        with zipfile.ZipFile(archive, "w") as target:
            for path in sorted(folder.rglob("*")):
                target.write(path, prefix + path.relative_to(folder).as_posix())
    with zipfile.ZipFile(outer, "a") as target:
        target.write(inner, "Thyroid Dataset/DDTI dataset/DDTI.zip")
    assert converted(outer).converted == {"train": built.cases}


def test_every_image_and_mark_of_the_xml_form_is_accounted_for(xml: BuiltDdti) -> None:
    report = converted(xml.folder.parent)
    assert report.found == {"images in the XML form": xml.images}
    assert report.differences == (f"images in the XML form: {xml.images} found, 480 in the whole data set",)
    assert sum(report.converted.values()) == xml.cases
    check_reasons(xml)
    assert {problem.kind for problem in verify(read_raw(DDTI))} == {"no_class", "boxes"}  # the built outlines are boxes


def test_the_tirads_category_gives_the_class_and_the_case_the_group(xml: BuiltDdti) -> None:
    converted(xml.folder)
    raw = read_raw(DDTI)
    cases = {case.id: case for case in raw.cases}
    classes = [cases[f"case_{number:04d}_1"].class_name for number in range(1, 7)]
    assert classes == ["benign"] * 2 + ["malignant"] * 4
    assert {cases[f"case_0003_{view}"].group for view in (1, 2)} == {"case_0003"}
    assert raw.info.classes == {"benign": 0, "malignant": 1}


def test_a_missing_or_unknown_category_is_no_class_and_said(xml: BuiltDdti) -> None:
    report = converted(xml.folder)
    assert "no class, since its TI-RADS category is missing: 1 case, case_0102_1" in report.notes
    assert "no class, since its TI-RADS category is 4: 1 case, case_0106_1" in report.notes
    assert report.converted == {"benign": 4, "malignant": 11, "train": 2}


def test_the_shapes_and_marks_of_an_image_are_joined(xml: BuiltDdti) -> None:
    converted(xml.folder)
    label = label_of("case_0101_1")
    expected = np.zeros((48, 72), np.uint8)
    expected[5:15, 5:15] = expected[10:20, 30:40] = expected[30:40, 50:60] = 1
    assert (label == expected).all()


def test_points_outside_the_image_move_to_its_edge_and_fractions_are_rounded(xml: BuiltDdti) -> None:
    report = converted(xml.folder)
    expected = np.zeros((48, 72), np.uint8)
    expected[:11, :10] = 1
    assert (label_of("case_0102_1") == expected).all()
    assert "points outside the image were moved to its edge: 1 case, case_0102_1" in report.notes


def test_an_outline_wholly_outside_is_not_drawn_on_the_edge() -> None:
    inside, outside = ((2.0, 2.0), (5.0, 2.0), (5.0, 5.0), (2.0, 5.0)), ((90.0, 1.0), (95.0, 1.0), (95.0, 9.0))
    mask, moved, excluded = draw_outlines([inside, outside], (10, 12))
    assert (mask.sum(), moved, excluded) == (16, 0, 1)


def test_huge_points_are_clipped() -> None:
    mask, moved, _ = draw_outlines([((1.0, 1.0), (1e300, 1.0), (1e300, 1e300), (1.0, 1e300))], (4, 5))
    assert mask.tolist() == [[0] * 5, *([[0, 1, 1, 1, 1]] * 3)]
    assert moved == 1


def test_entities_are_refused_and_never_expanded(tmp_path: Path) -> None:
    path = tmp_path / "1.xml"
    path.write_text(BILLION_LAUGHS, encoding="utf-8")
    with pytest.raises(HtunetError, match="it defines entities"):
        read_case(path)
    path.write_text('<!DOCTYPE case [<!ENTITY x SYSTEM "file:///etc/passwd">]><case>&x;</case>', encoding="utf-8")
    with pytest.raises(HtunetError, match="it defines entities"):
        read_case(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"<case>", b'<?xml version="1.0" encoding="none"?><case/>', b"\xff\xfe<", b"<a></b>"]
)
def test_what_is_no_xml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "1.xml"
    path.write_bytes(content)
    with pytest.raises(HtunetError, match=r"1\.xml is not valid XML"):
        read_case(path)


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "1.xml"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(HtunetError, match="is larger than 8 MiB"):
        read_case(path)


@pytest.mark.parametrize(
    ("svg", "problem"),
    [
        ("[" * 100_000, "not valid JSON"),
        ("{}", "it has no outline"),
        ("[]", "it has no outline"),
        ('{"points": []}', "not a list of shapes"),
        ("7", "not a list of shapes"),
        ("[7, null]", "shape 1 has no 3 points with numbers x and y"),
        (json.dumps([box(1, 1, 5, float("inf"))]), "not valid JSON"),
        (json.dumps([box(1, 1, 5, 10**400)]), "not valid JSON"),
        (f'[{{"points": [{{"x": {"9" * 5000}, "y": 1}}]}}]', "not valid JSON"),
    ],
)
def test_outlines_that_cannot_be_meant_are_problems(tmp_path: Path, svg: str, problem: str) -> None:
    write_xml_case(tmp_path, 1, (), [(1, svg)])
    (mark,) = read_case(tmp_path / "1.xml").marks
    assert mark.outlines == ()
    assert problem in mark.problems[0]


def test_both_forms_in_one_source_ask_for_a_choice(home: Path) -> None:
    build_ddti_png(home / "download" / "DDTI", quirks=False)
    build_ddti_xml(home / "download" / "original", quirks=False)
    with pytest.raises(HtunetError, match="holds the data set 2 times"):
        converted(home / "download")


def test_processes_write_the_same_files(xml: BuiltDdti) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    one = files(converted(xml.folder, workers=1).folder)
    assert files(converted(xml.folder, workers=2).folder) == one
