"""What the converters write is what nnU-Net v2 asks for, by nnU-Net's own verification.

nnU-Net is no dependency: without it these tests are skipped. ``HTUNET_NNUNET`` may name the Python of an environment
that has it.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.busi import build_busi
from builders.ddti import build_ddti_png, build_ddti_xml
from builders.fuzz.subjects import build_stacks
from builders.lymph_node import build_lymph_node
from builders.own import build_own
from builders.prostate import build_prostate
from builders.tn3k import build_tn3k
from PIL import Image

from htunet.cli.convert import main
from htunet.data.image_io import read_labels
from htunet.data.raw import read_raw
from htunet.paths import DatasetPaths

OWN = ("--images", "SOURCE/images", "--masks", "SOURCE/masks", "--name", "Dataset700_Mine")
THREE = ("case 1", "case 2", "case 3")
SETS: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {
    "BUSI": (build_busi, ("BUSI", "SOURCE"), "Dataset503_BUSI"),
    "DDTI, PNG": (build_ddti_png, ("DDTI", "SOURCE"), "Dataset504_DDTI"),
    "DDTI, XML": (build_ddti_xml, ("DDTI", "SOURCE"), "Dataset504_DDTI"),
    "TN3K": (build_tn3k, ("TN3K", "SOURCE"), "Dataset505_TN3K"),
    "Prostate": (build_prostate, ("Prostate", "SOURCE"), "Dataset506_Prostate"),
    "LN-INT": (build_lymph_node, ("LN-INT", "SOURCE"), "Dataset501_LN-INT"),
    "LN-EXT": (build_lymph_node, ("LN-EXT", "SOURCE", "--crop-overlays"), "Dataset502_LN-EXT"),
    "three labels": (lambda folder: build_own(folder, THREE, labels=3, values=(80, 160, 240)), OWN, "Dataset700_Mine"),
    "volumes and cine loops": (build_stacks, OWN, "Dataset700_Mine"),
}
"""Builder, command, and the name of the raw folder."""
VERIFY = "import sys; from nnunetv2.experiment_planning import verify_dataset_integrity as it; "
VERIFY += "it.verify_dataset_integrity(sys.argv[1], 1)"
VERIFIED = "verify_dataset_integrity Done."


@pytest.fixture(scope="module")
def python_of_nnunet() -> str:
    if os.environ.get("CI"):
        pytest.skip("nnU-Net is no dependency and its start takes long")
    if named := os.environ.get("HTUNET_NNUNET"):
        return named
    if importlib.util.find_spec("nnunetv2") is None:
        pytest.skip("nnunetv2 is not installed; HTUNET_NNUNET may name the Python of an environment that has it")
    return sys.executable


def verify(python: str, dataset: DatasetPaths) -> subprocess.CompletedProcess[str]:
    """What ``nnUNetv2_plan_and_preprocess --verify_dataset_integrity`` does before all else."""
    folders = {f"nnUNet_{name}": str(dataset.raw.parent) for name in ("raw", "preprocessed", "results")}
    command = [python, "-c", VERIFY, str(dataset.raw)]
    return subprocess.run(command, env=os.environ | folders, capture_output=True, text=True, check=False)


def convert(home: Path, name: str) -> DatasetPaths:
    build, words, dataset = SETS[name]
    (home / "download").mkdir()
    build(home / "download")
    command = [word.replace("SOURCE", str(home / "download")) for word in words]
    assert main([*command, "--workers", "1"]) == 0
    return DatasetPaths(dataset)


@pytest.mark.parametrize("name", SETS)
def test_nnunet_verifies_a_converted_data_set(home: Path, python_of_nnunet: str, name: str) -> None:
    dataset = convert(home, name)
    result = verify(python_of_nnunet, dataset)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert VERIFIED in result.stdout
    assert "Error" not in result.stdout + result.stderr
    assert "Warning" not in result.stdout


def test_nnunet_refuses_a_converted_data_set_with_a_wrong_label(home: Path, python_of_nnunet: str) -> None:
    """Else a verification that checks nothing would go unnoticed."""
    dataset = convert(home, "three labels")
    raw = read_raw(dataset)
    path = raw.label_path(raw.cases[0])
    labels = read_labels(path).copy()
    labels[labels == 3] = 9
    Image.fromarray(labels).save(path)
    result = verify(python_of_nnunet, dataset)
    assert result.returncode != 0
    assert VERIFIED not in result.stdout
