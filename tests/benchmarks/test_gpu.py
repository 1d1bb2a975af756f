"""The GPU kit runs on a CPU, small: every section gives its figures, and a file remains whatever happens."""

import json
from pathlib import Path
from typing import Any

import pytest
from builders.contrastive import tiny_contrastive

from benchmarks import gpu
from htunet.paths import DatasetPaths

SMALL = ["--device", "cpu", "--batch", "2", "--side", "32", "--seconds", "0", "--methods", "UNet", "TINY_HT"]


def found(folder: Path, *more: str) -> dict[str, Any]:
    gpu.main([*SMALL, "--out", str(folder), *more])
    return json.loads((folder / "gpu.json").read_text())


def test_each_section_gives_its_figures(tiny: DatasetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WARM_UP", 1)
    monkeypatch.setattr(gpu, "FEWEST", 1)
    with tiny_contrastive():
        kit = found(tmp_path / "new", "--minutes", "10")
    rows = kit["rows"]
    assert [row for row in rows if "error" in row] == []
    assert kit["not_measured"] == []
    assert {row["section"] for row in rows} == set(gpu.SECTIONS) - {"compiled"}  # which a GPU alone is worth
    by_name = {(row["section"], row["name"]): row for row in rows}
    step = by_name["step", "UNet fp32"]
    assert step["images_per_s"] == pytest.approx(2 / step["step_s"])
    assert by_name["step", "UNet bf16 contiguous"]["tflop_per_s"] > 0
    (epoch,) = (row for row in rows if row["section"] == "epoch")
    assert 0 <= epoch["waiting_for_data"] <= 1
    assert by_name["stage1", "16 pairs in 4 parts"]["pairs_per_s"] > 0
    assert next(iter(next(row for row in rows if row["section"] == "profile")["kernels"].values())) > 0


def test_without_time_the_file_says_what_was_not_measured(tmp_path: Path) -> None:
    kit = found(tmp_path, "--minutes", "0")
    assert kit["rows"] == []
    assert kit["not_measured"][0] == {"section": "step", "name": "UNet bf16", "reason": "no time left"}


def test_an_error_stands_in_its_row_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "FEWEST", 1)
    kit = found(tmp_path, "--minutes", "10", "--sections", "stage1", "loader", "--stage1", "NOTHING_HT")
    assert "NOTHING" in next(row for row in kit["rows"] if row["section"] == "stage1")["error"]
    assert all(row["images_per_s"] > 0 for row in kit["rows"] if row["section"] == "loader")


@pytest.mark.parametrize(("device", "share"), [("NVIDIA H200", 0.5), ("another", None)])
def test_the_share_is_that_of_the_devices_own_peak(device: str, share: float | None, tmp_path: Path) -> None:
    options = gpu.argparse.Namespace(device="cpu", minutes=1, out=str(tmp_path), batch=1)
    kit = gpu.Kit(options)
    kit.found["machine"]["device"] = device
    assert kit.share(989e12, 2.0).get("share_of_bf16_peak") == share
