"""Rows beside MONAI and nnU-Net: both sides take turns, and an environment that is not here is said, never made up."""

import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import alternatives, many_images, side, side_htunet
from benchmarks.__main__ import cells
from htunet.paths import DatasetPaths

STUB = """
import sys
from benchmarks.side import serve
print("a word of a library")
serve({"version": "1.2", "network": "small"}, {"step": lambda: print("more"), "predict": lambda: sum(range(10**6))})
"""
FAST = {"images": 20, "predicted": 1, "batch": 2, "precisions": ("fp32",)}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch, log_handlers: None) -> list[list[str]]:
    """Commands run here, which starts no Python; what takes 2 s and 0.5 GB. Those of other environments do nothing."""
    typed = list[list[str]]()

    def run(arguments: list[str], variables: dict[str, str], **_: Any) -> tuple[float, float]:
        typed.append(arguments)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        if arguments[0] != "-c":
            assert importlib.import_module(f"htunet.cli.{arguments[0]}").main(arguments[1:]) == 0
        return 2.0, 0.5

    for module in (alternatives, many_images):
        monkeypatch.setattr(module, "run_command", run)
    for name in side.VARIABLES.values():
        monkeypatch.delenv(name, raising=False)
    return typed


class Made:
    """A side that needs 1 s for an order where it is htunet's, else 3."""

    orders: list[tuple[str, str]]

    def __init__(self, python: str, module: str, spec: dict[str, Any]) -> None:
        self.module, self.spec = module, spec
        self.about = {"network": "a network", "version": "1.2"}

    def seconds(self, order: str) -> float:
        Made.orders.append((self.module, order))
        return 1.0 if self.module.endswith("htunet") else 3.0

    def end(self) -> float:
        return 1.0 if self.module.endswith("htunet") else 4.0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type[Made]:
    Made.orders = []
    monkeypatch.setattr(alternatives, "Side", Made)
    monkeypatch.setattr(alternatives, "installed_version", lambda *_: "1.2")
    return Made


def test_without_their_environments_the_rows_have_our_figures_and_say_why(made: type[Made]) -> None:
    rows = list(alternatives.alternatives(1, **FAST))
    assert len(rows) == 4
    assert [row.other for row in rows] == [row.ratios for row in rows] == [None] * 4
    assert rows[0].ours == 20 / 2.0
    assert rows[0].alternative == "nnU-Net: not measured: no environment with nnU-Net is named (--nnunet PYTHON)"
    monai = "MONAI: not measured: no environment with MONAI is named (--monai PYTHON)"
    assert [row.alternative for row in rows[1:]] == [monai, monai, rows[0].alternative]
    assert cells(vars(rows[1]))[2:] == [monai, "", "", "1.00 GB"]


def test_with_them_both_take_turns_and_each_network_has_its_row(
    made: type[Made], monkeypatch: pytest.MonkeyPatch, in_this_process: list[list[str]]
) -> None:
    for name in side.VARIABLES.values():
        monkeypatch.setenv(name, "python")
    planned, *steps, last = alternatives.alternatives(2, **FAST)
    assert planned.ratios == (1.0, 1.0, 1.0)
    assert planned.alternative.startswith("nnU-Net 1.2, 2d configuration")
    ours_and_theirs = [typed[0] for typed in in_this_process if typed[0] != "convert"]
    assert ours_and_theirs == ["plan_and_preprocess", "-c"] * 2
    assert len(steps) == 4  # two orders, two networks of MONAI
    assert "MONAI 1.2, UNet in a plain PyTorch loop, fp32 (a network)" in {row.alternative for row in steps}
    assert last.alternative == "nnU-Net 1.2, 2d, without mirroring, fp32 (a network)"
    for row in (*steps, last):
        assert row.ratios == (3.0, 3.0, 3.0)
        assert (row.memory_gb, row.other_memory_gb) == (1.0, 4.0)
    turn = [(f"benchmarks.side_{name}", "step") for name in ("htunet", "monai", "monai")]
    assert made.orders[:9] == turn * 3  # the first is not timed


def test_a_failure_of_the_other_planner_is_said(made: type[Made], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(side.VARIABLES["nnU-Net"], "python")
    inner: Callable[..., tuple[float, float]] = alternatives.run_command

    def broken(arguments: list[str], variables: dict[str, str], **more: Any) -> tuple[float, float]:
        if arguments[0] == "-c":
            raise RuntimeError("-c ended with 1")
        return inner(arguments, variables, **more)

    monkeypatch.setattr(alternatives, "run_command", broken)
    row = next(alternatives.alternatives(1, **FAST))
    assert (row.alternative, row.other) == ("nnU-Net: -c ended with 1", None)


def test_a_side_answers_orders_and_libraries_may_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stub_side.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    one = side.Side(sys.executable, "stub_side", {})
    assert one.about == {"version": "1.2", "network": "small"}
    assert one.seconds("predict") > one.seconds("step") >= 0
    assert 0 < one.end() < 1
    assert one.process.returncode == 0


@pytest.mark.parametrize(
    ("python", "reason"), [(sys.executable, "No module named 'monai'"), ("/no/such/python", "No such file")]
)
def test_an_environment_that_lacks_it_is_named(python: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("monai") and python == sys.executable:
        pytest.skip("MONAI is installed here")
    with pytest.raises(side.AbsentError, match=reason):
        side.Side(python, "benchmarks.side_monai", {})
    with pytest.raises(side.AbsentError, match="has no nothing-like-it"):
        side.installed_version(python, "nothing-like-it")
    assert side.installed_version(sys.executable, "torch") == importlib.metadata.version("torch")


def test_our_side_trains_and_predicts(tiny: DatasetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict[str, Callable[[], object]]()
    monkeypatch.setattr(side_htunet, "serve", lambda about, actions: found.update(actions))
    files = alternatives.write_pictures(tmp_path, 1)
    spec = {"dataset": str(tiny.preprocessed), "plan": "tiny", "precision": "fp32", "batch": 2}
    side_htunet.main(json.loads(json.dumps(spec | {"files": files, "output": str(tmp_path / "out")})))
    (tmp_path / "out").mkdir()
    assert found["step"]() != found["step"]()  # losses: other augmentation, other weights
    found["predict"]()
    with Image.open(tmp_path / "out" / "0.png") as mask:
        assert mask.size == alternatives.SIZES[0][::-1]
        assert set(np.unique(mask)) <= {0, 1}


def test_rows_of_many_images_are_compared_for_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*many_images.numbers(1, few=10, many=20), *many_images.evaluations(1, few=10, many=20)]
    assert [row.what.split(",")[0] for row in rows] == [
        "conversion of BUSI's layout",
        "checks alone",
        "checks",
        "evaluation of two folders of masks",
    ]
    assert all(row.ratios == (2.0, 2.0, 2.0) for row in rows)  # twice the images in the same 2 s
    assert cells(vars(rows[0]))[1:] == ["10 images/s", "5 images/s: 10 of them", "2.00", "", "0.50 GB, 1.00 times"]
