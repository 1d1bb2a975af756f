"""htunet_report from the outside."""

import json
import re
from pathlib import Path

import pytest
from builders.report import AWKWARD_CASE, build_study
from builders.run import build_dataset, build_run

from htunet.cli.report import main
from htunet.data.raw import read_raw
from htunet.paths import DatasetPaths

DATA = re.compile(r'<script type="application/json" id="gallery-data">(.*?)</script>', re.DOTALL)


def test_one_page_for_everything_and_one_for_a_data_set(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_study()
    assert main([]) == 0
    everything = (home / "results" / "report.html").read_text("utf-8")
    assert "Results on 2 data sets" in everything
    assert str(home / "results" / "report.html") in capsys.readouterr().out
    assert main(["Tiny"]) == 0
    own = (home / "results" / "Dataset903_Tiny" / "report.html").read_text("utf-8")
    assert "Tiny: results" in own
    assert "BUSI" not in DATA.sub("", own)


def test_the_page_names_no_other_file_and_no_address_but_in_words(home: Path) -> None:
    build_study()
    main(["-o", str(home / "page.html")])
    text = (home / "page.html").read_text("utf-8")
    links = re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    assert links == []
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", text)
    found = json.loads(DATA.search(text)[1])  # type: ignore[index]
    assert AWKWARD_CASE in {item["case"] for item in found["items"]}
    sources = {case.id: case.source for case in read_raw(DatasetPaths("Dataset903_Tiny")).cases}
    tiny = [item for item in found["items"] if item["dataset"] == "Tiny"]
    assert tiny
    assert all(item["source"] == sources[item["case"]] for item in tiny)


def test_nothing_evaluated_says_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_run(build_dataset())
    assert main([]) == 1
    assert "htunet_evaluate" in capsys.readouterr().err
    assert not (home / "results" / "report.html").exists()


@pytest.mark.parametrize("wrong", [["--cases", "0"], ["-o", "."], ["Nowhere"]])
def test_wrong_usage_is_told(home: Path, wrong: list[str]) -> None:
    build_study()
    assert main(wrong) == 2
