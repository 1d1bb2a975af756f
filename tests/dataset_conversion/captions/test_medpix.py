import json
import shutil
from pathlib import Path

import pytest
from builders.medpix import build_medpix, build_medpix_table

from dataset_conversion import convert
from dataset_conversion.common import Options
from htunet.data.caption_splits import groups_in_both, settle_caption_split
from htunet.data.captions import read_captions
from htunet.data.raw import read_excluded
from htunet.errors import HtunetError
from htunet.paths import DatasetPaths

MEDPIX = DatasetPaths("Dataset510_MedPix")


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_every_record_is_a_pair_or_counted_with_its_reason(home: Path, form: str) -> None:
    built = build_medpix(home / "download", form=form)
    report = convert("MedPix", home / "download", Options())
    dataset = read_captions(MEDPIX)
    assert len(dataset.pairs) == built.pairs
    assert dataset.info.found == built.found
    assert dataset.info.drops == built.drops
    assert dataset.info.repeated_captions == built.repeated_captions
    assert len({pair.group for pair in dataset.pairs}) == built.cases
    assert report.notes[0].startswith("MedPix holds CT and MR images, no ultrasound")
    assert report.differences[0] == f"CT: {built.found['CT']} found, 1062 in the whole data set"


def test_captions_come_out_clean_with_case_and_source(home: Path) -> None:
    convert("MedPix", build_medpix(home / "download").folder, Options())
    pairs = {pair.id: pair for pair in read_captions(MEDPIX).pairs}
    assert pairs["MPX1000_synpic40000"].source == "images/MPX1000_synpic40000.png"
    assert pairs["MPX1000_synpic40000"].group == "MPX1000"
    captions = [pair.caption for pair in pairs.values()]
    assert 'Fluid collection air pocket ("5.8 cm")' in captions
    assert "Well circumscribed, high signal mass" in captions


def test_cases_that_name_other_images_are_noted(home: Path) -> None:
    built = build_medpix(home / "download", quirks=False)
    path = built.folder / "Case_topic.json"
    cases = json.loads(path.read_text(encoding="utf-8"))
    cases[0]["TAC"] = [*cases[0]["TAC"][1:], "MPX1_new"]
    path.write_text(json.dumps(cases), encoding="utf-8")
    notes = convert("MedPix", built.folder, Options()).notes
    assert "Case_topic.json names another case, or none, for 1 image: MPX1000_synpic40000" in notes
    assert "Case_topic.json names 1 image without a description" in notes
    path.unlink()
    assert "Case_topic.json is not there" in convert("MedPix", built.folder, Options()).notes[1]


def test_malformed_records_are_named_by_their_entry(home: Path) -> None:
    built = build_medpix(home / "download", quirks=False)
    path = built.folder / "Descriptions.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    records[0] = "text"
    records[1]["Description"] = None
    records[2]["Description"]["Caption"] = None
    records[3]["image"] = ["a"]
    records[4]["U_id"] = {"a": "b"}
    records[6]["image"] = "lost"
    path.write_text(json.dumps(records), encoding="utf-8")
    notes = convert("MedPix", built.folder, Options()).notes
    assert any("or none, for 3 images: " in note for note in notes)
    assert {one.source: one.reason.split(":")[0] for one in read_excluded(MEDPIX)} == {
        "Descriptions.json, entry 0": "malformed record",
        "Descriptions.json, entry 1": "malformed record",
        "Descriptions.json, entry 2: MPX1000_synpic40002": "no caption",
        "Descriptions.json, entry 3": "malformed record",
        "Descriptions.json, entry 6: lost.png": "no image file",
    }
    assert read_captions(MEDPIX).pairs[0].group == ""


def test_half_a_character_is_refused_with_the_files_name(home: Path) -> None:
    built = build_medpix(home / "download", quirks=False)
    path = built.folder / "Descriptions.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    records[5]["U_id"] = "\ud800"
    path.write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(HtunetError, match=r"Descriptions\.json is not valid JSON .*surrogates"):
        convert("MedPix", built.folder, Options())
    assert not MEDPIX.raw.exists()


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[" * 100_000, "[]", ""])
def test_a_file_of_something_else_is_an_error(home: Path, content: str) -> None:
    built = build_medpix(home / "download", quirks=False)
    (built.folder / "Descriptions.json").write_text(content, encoding="utf-8")
    with pytest.raises(HtunetError):
        convert("MedPix", built.folder, Options())
    assert not MEDPIX.raw.exists()


def test_the_table_form_gives_one_pair_a_row(home: Path) -> None:
    built = build_medpix_table(home / "download", repeated=3)
    report = convert("MedPix", built.folder, Options())
    dataset = read_captions(MEDPIX)
    assert (len(dataset.pairs), dataset.info.found, dataset.info.drops) == (built.pairs, built.found, built.drops)
    assert dataset.info.repeated_captions == built.repeated_captions
    assert len({pair.group for pair in dataset.pairs}) == built.cases
    assert report.differences == ()
    lines = {one.source for one in read_excluded(MEDPIX)}
    assert "medpix_dataset.csv, line 22: MPX1006_synpic20.png" in lines


def test_a_table_without_its_columns_or_values_is_told(home: Path) -> None:
    built = build_medpix_table(home / "download")
    path = built.folder / "medpix_dataset.csv"
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(text + ",no_caption.png\nonly a caption without a file name\n", encoding="utf-8")
    report = convert("MedPix", built.folder, Options())
    assert report.captions is not None
    assert report.captions.drops["malformed row"] == 1
    path.write_text(text.replace("filename", "file"), encoding="utf-8")
    with pytest.raises(HtunetError, match="lacks the columns Caption and filename"):
        convert("MedPix", built.folder, Options())
    path.write_bytes(b"Caption,filename\n\xff\xfe,x.png\n")
    with pytest.raises(HtunetError, match="is not text in UTF-8"):
        convert("MedPix", built.folder, Options())


def test_the_real_files_give_their_known_counts(home: Path, samples: Path) -> None:
    report = convert("MedPix", samples / "medpix_sample", Options())
    info = read_captions(MEDPIX).info
    assert report.differences == ()
    assert info.found == {"CT": 1062, "MR": 988}
    assert info.drops == {"no image file": 1897, "caption too short": 96}
    assert info.pairs == 57  # 60 images, three of them with a short caption
    assert report.notes == (report.notes[0],)


def test_all_real_captions_with_stand_in_images_can_be_split_by_case(home: Path, samples: Path) -> None:
    source = samples / "medpix_sample" / "MedPix-2-0"
    folder = home / "download"
    (folder / "images").mkdir(parents=True)
    shutil.copy(source / "Descriptions.json", folder)
    picture = min((source / "images").iterdir(), key=lambda path: path.stat().st_size)
    names = [one["image"] for one in json.loads((source / "Descriptions.json").read_text(encoding="utf-8"))]
    for name in names[:150]:
        shutil.copy(picture, folder / "images" / f"{name}.png")
    convert("MedPix", folder, Options(workers=1))
    dataset = read_captions(MEDPIX)
    split = settle_caption_split(dataset)
    assert len(split.train) == len(dataset.pairs) * 9 // 10
    assert groups_in_both(dataset.pairs, split)
    assert groups_in_both(dataset.pairs, settle_caption_split(dataset, "group")) == []


def test_captions_of_one_image_and_images_of_one_article_are_groups(home: Path) -> None:
    """No image must train with one of its captions and validate with another."""
    built = build_medpix_table(home / "download", pairs=6, short=0, missing=0)
    names = ["a.png", "b.png", "c.png", "PMC12_Fig1.png", "PMC12_Fig2.png", "MPX7_synpic.png"]
    for before, name in zip(sorted((built.folder / "images").iterdir()), names, strict=True):
        before.rename(before.with_name(name))
    rows = [f"A caption of the image {name} in words\t{name}" for name in (*names, r"x\c.png")]
    table = "\n".join('"{}","{}"'.format(*row.split("\t")) for row in ("Caption\tfilename", *rows))
    (built.folder / "medpix_dataset.csv").write_text(table, encoding="utf-8")
    convert("MedPix", built.folder, Options())
    groups = {pair.id: pair.group for pair in read_captions(MEDPIX).pairs}
    alone, of_image = dict.fromkeys("ab", ""), dict.fromkeys(("c", "x_c"), "images/c.png")
    of_article = dict.fromkeys(("PMC12_Fig1", "PMC12_Fig2"), "PMC12")
    assert groups == alone | of_image | of_article | {"MPX7_synpic": "MPX7"}
