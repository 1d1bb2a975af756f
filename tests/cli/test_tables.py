"""htunet_tables where nothing may be written."""

from pathlib import Path

import pytest

from htunet.cli import tables


def test_results_that_are_read_only_are_printed_and_left_as_they_are(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "is_writable", lambda _: False)
    assert tables.main(["table2"]) == 0
    shown = capsys.readouterr().out
    assert "BUSI" in shown
    assert "Nothing was written: the results are read-only." in shown
    assert not list(home.rglob("*.csv"))
