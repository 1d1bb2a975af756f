import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from builders.curd import FULL, FULL_WITH_ONE_VIEW, build_curd

from dataset_conversion import convert
from dataset_conversion.captions import curd
from dataset_conversion.captions.curd import without_placeholders
from dataset_conversion.common import ConversionReport, Options
from htunet.data.captions import CaptionPair, read_captions
from htunet.data.raw import read_excluded
from htunet.errors import HtunetError, UsageError
from htunet.paths import DatasetPaths

CURD = DatasetPaths("Dataset508_CURD")


class Echo:
    """Stands for a language model."""

    calls: Sequence[str] = ()

    def __init__(self, model: str) -> None:
        self.model = model

    def translate(self, texts: Sequence[str]) -> list[str]:
        Echo.calls = [*Echo.calls, *texts]
        return [f"An English text of {len(text)} signs, with _2DS_ in it." for text in texts]


def converted(folder: Path, **options: object) -> ConversionReport:
    return convert("CURD", folder, Options(**options))  # type: ignore[arg-type]


def pairs() -> dict[str, CaptionPair]:
    return {pair.id: pair for pair in read_captions(CURD).pairs}


def test_every_view_is_a_pair_or_counted_with_its_reason(home: Path) -> None:
    built = build_curd(home / "download")
    report = converted(built.folder)
    info = read_captions(CURD).info
    assert info.pairs == built.pairs
    assert info.drops == built.drops
    assert info.found == built.patients
    assert report.differences[0] == f"mammary: {built.patients['mammary']} found, 3521 in the whole data set"
    named = {one.source for one in read_excluded(CURD) if one.reason.startswith("malformed")}
    assert len(named) == 4
    assert all(source.startswith("new_Mammary2.json, ") for source in named)


def test_the_builders_full_counts_are_the_papers_pairs() -> None:
    assert sum(FULL.values()) == 7390
    assert 2 * 7390 - FULL_WITH_ONE_VIEW == 13228 + 1500


def test_the_same_file_name_in_two_organs_is_two_images(home: Path) -> None:
    converted(build_curd(home / "download").folder)
    assert pairs()["mammary_101_1"].source == "Mammary_report/101_1.jpeg"
    assert pairs()["liver_101_1"].source == "Liver_report/101_1.jpeg"
    assert pairs()["mammary_101_2"].group == pairs()["liver_101_1"].group == "101"


def test_three_views_share_their_text_and_their_patient(home: Path) -> None:
    converted(build_curd(home / "download").folder)
    views = [pairs()[f"mammary_900_{view}"] for view in (1, 2, 3)]
    assert len({view.caption for view in views}) == 1
    assert {view.group for view in views} == {"900"}


def test_untranslated_texts_are_marked_and_hold_no_placeholder(home: Path) -> None:
    report = converted(build_curd(home / "download").folder)
    assert set(report.converted) == {"en", "zh"}
    assert report.converted["en"] == 1
    assert not any("_" in pair.caption for pair in pairs().values())
    assert pairs()["liver_101_1"].caption == (
        "双侧乳腺体表面光滑,层次清晰,于可见第101个低回声结节,边界清,形态规则。未见明显异常。"
    )
    assert report.notes == ("placeholders of unknown meaning were taken out as the others: _XYZ_ (1)",)


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        ("大小约为_2DS_,边界清", ",边界清"),
        ("见一_2DS_的无回声区。", "见一无回声区。"),
        ("厚_SMM_,形态_r_正常,_LocR_。", "厚,形态正常。"),
        ("肿块_3DS_cm\u00d7_2DS_,_Loc_,边界清", "肿块,边界清"),
        ("没有标记", "没有标记"),
        ("变量a_b_不变", "变量a不变"),
    ],
)
def test_placeholders_go_with_the_words_that_led_to_them(finding: str, text: str) -> None:
    assert without_placeholders(finding) == text


def write_table(path: Path, column: str, rows: dict[str, str], mark: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=mark) as stream:
        writer = csv.writer(stream)
        writer.writerow([column, "english"])
        writer.writerows(rows.items())
    return path


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig"])
def test_a_table_of_texts_translates_and_what_it_lacks_is_left_out(home: Path, mark: str) -> None:
    built = build_curd(home / "download", quirks=False)
    english = {text: f"Nodule number {uid}, clear margin." for uid, text in built.findings.items() if uid != "103"}
    report = converted(built.folder, translations=write_table(home / "t.csv", "source", english, mark))
    assert set(report.converted) == {"en"}
    assert pairs()["thyroid_102_1"].caption == "Nodule number 102, clear margin."
    assert [one.reason for one in report.excluded] == ["no translation in the table"]
    assert report.excluded[0].source.endswith(": 103")


def test_a_table_of_uids_translates_too(home: Path) -> None:
    built = build_curd(home / "download", quirks=False)
    english = {uid: f"The patient {uid} has a nodule." for uid in built.findings}
    converted(built.folder, translations=write_table(home / "t.csv", "uid", english))
    assert pairs()["mammary_101_2"].caption == "The patient 101 has a nodule."


def test_a_table_of_uids_that_stand_for_several_texts_translates_none_of_them(home: Path) -> None:
    """Each organ numbers its patients: the text of a breast was given to a liver."""
    folder = build_curd(home / "download", quirks=False).folder
    path = folder / "new_Liver2.json"
    content = path.read_text(encoding="utf-8-sig").replace("双侧乳腺体表面光滑", "肝脏表面光滑而且形态正常")
    path.write_text(content, encoding="utf-8")
    english = {f"{uid}.0": f"The patient {uid} has a nodule." for uid in range(100, 104)}
    report = converted(folder, translations=write_table(home / "t.csv", "uid", english))
    assert {one.reason.split(":")[0] for one in report.excluded} == {"reports with several texts have this uid"}
    assert {pair.split("_")[1] for pair in pairs()} == {"102", "103"}


def test_a_table_of_texts_as_excel_on_windows_saves_it(home: Path) -> None:
    built = build_curd(home / "download", quirks=False)
    table = write_table(
        home / "t.csv", "Source ", dict.fromkeys(built.findings.values(), "A nodule with a clear margin.")
    )
    text = table.read_text(encoding="utf-8").replace("english", "English").replace("\n", "\r\n")
    table.write_bytes(text.encode("utf-16"))
    assert set(converted(built.folder, translations=table).converted) == {"en"}


def test_tables_that_cannot_be_used_are_told(home: Path) -> None:
    folder = build_curd(home / "download", quirks=False).folder
    with pytest.raises(UsageError, match="does not exist"):
        converted(folder, translations=home / "nowhere.csv")
    with pytest.raises(HtunetError, match="needs rows, and a column source"):
        converted(folder, translations=write_table(home / "t.csv", "text", {"a": "b"}))
    (home / "u.csv").write_text("uid,deutsch\n1,x\n", encoding="utf-8")
    with pytest.raises(HtunetError, match="beside english"):
        converted(folder, translations=home / "u.csv")
    (home / "v.csv").write_text("uid,english\n1,x\n1,y\n", encoding="utf-8")
    with pytest.raises(HtunetError, match="'1' has another translation above it"):
        converted(folder, translations=home / "v.csv")
    with pytest.raises(UsageError, match="exclude each other"):
        converted(folder, translations=home / "v.csv", translate="model")


def test_a_language_model_translates_each_text_once_and_is_not_asked_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curd, "LanguageModel", Echo)
    monkeypatch.setattr(Echo, "calls", ())
    built = build_curd(home / "download", patients={"mammary": 3, "liver": 2}, quirks=False)
    report = converted(built.folder, translate="tiny")
    assert report.converted == {"en": built.pairs}
    assert len(Echo.calls) == 3  # uids 100 and 101 have the same text in both organs
    assert not any("_2DS_" in text for text in Echo.calls)
    assert "_" not in pairs()["liver_101_1"].caption
    converted(built.folder, translate="tiny")
    assert len(Echo.calls) == 3
    converted(built.folder, translate="another")
    assert len(Echo.calls) == 6


def test_what_the_model_does_not_answer_stays_chinese_and_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(Echo):
        def translate(self, texts: Sequence[str]) -> list[str]:
            return ["" if "100" in text else found for text, found in zip(texts, super().translate(texts), strict=True)]

    monkeypatch.setattr(curd, "LanguageModel", Cut)
    report = converted(build_curd(home / "download", quirks=False).folder, translate="tiny")
    assert "1 text without a whole translation by tiny: left in Chinese" in report.notes
    assert pairs()["liver_100_1"].language == "zh"
    monkeypatch.setattr(curd, "LanguageModel", Echo)
    assert set(converted(home / "download", translate="tiny").converted) == {"en"}  # it is asked again


@pytest.mark.parametrize(
    "content", ["[1]", '{"train": 3}', "{", "[" * 100_000, '{"train": [1], "val": [{"uid": true}]}', ""]
)
def test_files_of_something_else_are_errors(home: Path, content: str) -> None:
    built = build_curd(home / "download", patients={"liver": 2}, quirks=False)
    (built.folder / "new_Liver2.json").write_text(content, encoding="utf-8")
    with pytest.raises(HtunetError):
        converted(built.folder)
    assert not CURD.raw.exists()


def test_one_organ_alone_is_converted_and_the_others_are_named(home: Path) -> None:
    built = build_curd(home / "download", patients={"liver": 2}, quirks=False)
    report = converted(built.folder)
    assert report.found == {"liver": 2}
    assert report.notes == ("no reports of mammary, thyroid: new_Mammary2.json, new_Thyroid2.json not found",)


def test_one_image_may_stand_as_a_text(home: Path) -> None:
    built = build_curd(home / "download", patients={"liver": 1}, quirks=False)
    path = built.folder / "new_Liver2.json"
    splits = json.loads(path.read_text(encoding="utf-8-sig"))
    splits["test"][0]["image_path"] = "Liver_report/100_1.jpeg"
    path.write_text(json.dumps(splits), encoding="utf-8")
    assert converted(built.folder).converted == {"zh": 1}
