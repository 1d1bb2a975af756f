"""The GPU kit runs on a CPU, small: every section gives its figures, and a file remains whatever happens."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.contrastive import tiny_contrastive
from builders.training import build_training, tiny_plan

from benchmarks import gpu, gpu_pack
from htunet.paths import DatasetPaths
from htunet.training import record

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
    assert {row["section"] for row in rows} == set(gpu.SECTIONS) - {"compiled", "train"}  # which a GPU alone is worth
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


def test_packed_data_sets_come_back_to_the_bit_and_are_trained_on(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path = tmp_path_factory.mktemp("kit")
    paths = build_training(more_plans=tuple(replace(tiny_plan(), name=name) for name in gpu_pack.PLANS))
    arrays = {
        name: np.load(paths.preprocessed / name) for name in (f"{plan}/{kind}.npy" for plan in gpu_pack.PLANS
                                                               for kind in ("images", "masks"))}  # fmt: skip
    arrays["public/images.npy"] = arrays["paper/images.npy"] ^ 3
    np.save(paths.preprocessed / "public/images.npy", arrays["public/images.npy"])
    assert gpu_pack.pack(home / "preprocessed", tmp_path / "pack.zip") < 1_000_000
    shutil.rmtree(home)
    monkeypatch.setitem(gpu.GUESS, "train", 0.0)
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    more = ("--sections", "train", "--pack", str(tmp_path / "pack.zip"), "--epochs", "1", "--more-seeds", "1")
    for variable in ("htunet_preprocessed", "htunet_results"):
        monkeypatch.setenv(variable, "")  # so that it is restored
    rows = found(tmp_path / "out", "--minutes", "10", *more)["rows"]
    for name, array in arrays.items():
        assert np.array_equal(np.load(tmp_path / "out/preprocessed" / paths.name / name), array)
    unets = [row for row in rows if row.get("method") == "UNet"]
    assert [(row["plan"], row["seed"]) for row in unets] == [("public", 1), ("paper", 1), ("public", 2), ("paper", 2)]
    assert all(row["train_s"] > 0 for row in unets)
    assert (tmp_path / "out/results" / paths.name).is_dir()
