"""What a process imports before it does its work: the lists decide how long a command takes to start."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders.training import build_training
from PIL import Image

from htunet.cli.train import main as train
from htunet.training import record

BACKBONES = {"open_clip", "timm", "transformers", "torchvision", "peft", "tokenizers", "huggingface_hub"}
TABLES = {"pandas", "sklearn", "matplotlib", "tensorboard", "skimage", "batchgenerators"}
TRAINING = {"lightning_fabric", "sympy", "triton", "torch._dynamo"}
WITHOUT_ANYTHING = {*BACKBONES, *TABLES, *TRAINING, "torch", "numpy", "scipy", "PIL"}
RUN = """
import sys
from importlib import import_module
sys.argv = sys.argv[1:]
{prepare}
code = import_module("htunet.cli." + sys.argv[0]).main(sys.argv[1:])
print("LOADED " + " ".join(sys.modules))
sys.exit(code)
"""
STOP_AT_THE_FIRST_STEP = """
import htunet.training.loop
def stop(*_, **__):
    print("LOADED " + " ".join(sys.modules), flush=True)
    raise SystemExit(0)
htunet.training.loop.train_step = stop
"""
pytestmark = pytest.mark.usefixtures("home")


def loaded(*command: str, prepare: str = "") -> set[str]:
    """The modules that a new process has imported at the end of a command, or where ``prepare`` ends it."""
    result = subprocess.run(
        [sys.executable, "-c", RUN.format(prepare=prepare), *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    lines = [line for line in result.stdout.splitlines() if line.startswith("LOADED ")]
    assert result.returncode == 0, result.stderr
    assert lines, result.stderr
    return set(lines[0].split()[1:])


def test_import_htunet_imports_only_itself() -> None:
    code = "import sys; before = set(sys.modules); import htunet; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in result.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names} == {"htunet"}


def test_the_door_is_opened_without_torch() -> None:
    code = "import sys, htunet; htunet.load; htunet.train; htunet.plan; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (WITHOUT_ANYTHING - {"numpy", "PIL"}) & set(result.stdout.split())


@pytest.mark.parametrize("method", ["UNet", "CLIP_HT"])
def test_predicting_imports_the_network_alone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    build_training()
    options = ["--plan", "tiny", "--weights", "random", "--device", "cpu", "--num-epochs", "1", "--precision", "fp32"]
    assert train(["Tiny", method, "fold0", *options]) == 0
    image = tmp_path / "one.png"
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(image)
    found = loaded("predict", "-i", str(image), "-o", str(tmp_path / "out"), "-d", "Tiny", "-m", method)
    assert "torch" in found
    assert not (BACKBONES | TABLES | TRAINING | {"scipy"}) & found


@pytest.mark.parametrize(("method", "task"), [("UNet", "seg"), ("ResNet18", "cls"), ("CLIP_HT", "seg")])
def test_training_reaches_its_first_step_without_what_other_methods_need(home: Path, method: str, task: str) -> None:
    build_training(classes={"benign": 0, "malignant": 1})
    options = ["--plan", "tiny", "--weights", "random", "--device", "cpu", "--num-epochs", "1", "--precision", "fp32"]
    found = loaded("train", "Tiny", method, "fold0", "--task", task, *options, prepare=STOP_AT_THE_FIRST_STEP)
    assert "lightning_fabric" in found
    own = {"torchvision"} if method == "ResNet18" else set()
    assert not ((BACKBONES - own) | {"sklearn", "matplotlib", "tensorboard"}) & found
