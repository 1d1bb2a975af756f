from pathlib import Path

import pytest
from builders.curd import build_curd
from builders.medpix import build_medpix
from builders.pmc_oa import build_pmc_oa

from htunet.cli.convert import main
from htunet.paths import root


def test_it_prints_the_counts_the_drops_and_the_split(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = build_pmc_oa(home / "download")
    assert main(["PMC-OA", str(built.folder), "--min-side", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Found in {built.folder}: {built.captions} captions, ")
    assert lines[1].startswith("Excluded 16 (11 of them in ")
    assert "  5 x caption is not about ultrasound" in lines
    assert any(line.startswith("  6 x malformed line: pmc_oa.jsonl, line 27; ") for line in lines)
    assert lines[-2] == f"Wrote {built.pairs} pairs ({built.pairs} en) in {root('htunet_raw') / 'Dataset507_PMC-OA'}"
    assert lines[-1] == "Split 9:1: 13 for fine-tuning, 2 for validation."


def test_it_says_what_is_still_chinese_and_what_repeats(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = build_curd(home / "download", quirks=False)
    assert main(["CURD", str(built.folder)]) == 0
    text = capsys.readouterr().out
    assert f"Marked as Chinese: {built.pairs} captions; --translations or --translate gives English." in text
    assert "with the caption of another one" in text
    assert "differs from the whole data set: liver: 2 found, 1395" in text


def test_running_again_says_that_it_replaced(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = build_medpix(home / "download")
    main(["MedPix", str(built.folder)])
    assert main(["MedPix", str(built.folder), "--name", "Dataset510_MedPix", "--workers", "1"]) == 0
    text = capsys.readouterr().out
    assert f"Replaced the earlier conversion: {built.pairs} pairs" in text
    assert "Note: MedPix holds CT and MR images, no ultrasound" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["MedPix", ".", "--fit-masks"], 2, "--fit-masks does nothing for MedPix"),
        (["MedPix", ".", "--translate", "m"], 2, "--translate does nothing for MedPix; it is for CURD."),
        (["BUSI", ".", "--min-side", "9"], 2, "--min-side does nothing for BUSI"),
        (["PMC-OA", "."], 1, "Looked for: a folder with pmc_oa.jsonl"),
        (["CURD", "."], 1, "Looked for: a folder with new_Mammary2.json"),
    ],
)
def test_wrong_usage_says_the_way_out(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    (home / "empty").mkdir()
    monkeypatch.chdir(home / "empty")
    assert main(arguments) == code
    assert words in capsys.readouterr().err


def test_the_list_shows_the_caption_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    text = capsys.readouterr().out
    for words in ("PMC-OA (Dataset507_PMC-OA)", "3521 mammary, 2474 thyroid, 1395 liver", "1062 CT, 988 MR"):
        assert words in text
