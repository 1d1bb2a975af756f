"""What is installed from a wheel works on its own: no checkout, no editable install, an empty working directory."""

import json
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SHIPPED = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "htunet", "dataset_conversion", "results_template")
WHERE = """
import dataset_conversion, htunet, results_template
for package in (htunet, dataset_conversion, results_template):
    print(package.__file__)
"""
pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    """Standard output of a command that has to succeed; only the environment that any shell has."""
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
    words = [str(word) for word in command]
    result = subprocess.run(words, cwd=cwd, env=plain, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel, and sees the libraries of this one but not its htunet.

    The libraries come in by a .pth file. Python does not follow the .pth files of a folder that is added this way, so
    the editable install of the checkout, which is one of them, has no say.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source, cwd=folder)
    wheel = next(folder.glob("htunet-*.whl"))
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    python = folder / "env" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    libraries = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()])
    (own / "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
    return python.parent


def busi_folder(folder: Path) -> Path:
    """Six images in BUSI's layout, three a class, each with a bright square as lesion."""
    for name in ("benign", "malignant"):
        (folder / name).mkdir(parents=True)
        for number in (1, 2, 3):
            noise = np.random.default_rng([len(name), number]).integers(0, 90, (48, 64), dtype=np.uint8)
            mask = np.zeros_like(noise)
            mask[8 * number : 8 * number + 12, 10:30] = 255
            Image.fromarray(np.maximum(noise, mask // 2)).save(folder / name / f"{name} ({number}).png")
            Image.fromarray(mask).save(folder / name / f"{name} ({number})_mask.png")
    return folder


def folders(predictions: Path, references: Path, output: Path) -> list[object]:
    """The options with which ``htunet_evaluate`` compares two folders of masks."""
    return ["--prediction-folder", predictions, "--reference-folder", references, "--output", output]


def test_the_packages_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    for place in run(installed / "python", "-c", WHERE, cwd=tmp_path).splitlines():
        assert place.startswith(str(installed.parent)), f"{place} is not the installed one"


def test_the_data_files_are_in_the_wheel(installed: Path) -> None:
    own = next((installed.parent / "lib").glob("python*/site-packages"))
    shipped = {path.name for path in (own / "results_template").glob("*.csv")}
    assert shipped == {path.name for path in (ROOT / "results_template").glob("*.csv")}
    assert (own / "htunet" / "py.typed").exists()
    page = Path("htunet") / "reporting" / "report"
    names = {path.name for path in (ROOT / page).iterdir() if path.suffix in (".html", ".css", ".js")}
    assert names == {path.name for path in (own / page).iterdir() if path.suffix in (".html", ".css", ".js")}
    for package in ("htunet", "dataset_conversion"):
        modules = {path.relative_to(own) for path in (own / package).rglob("*.py")}
        assert modules == {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")}


def test_it_converts_and_evaluates_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    source = busi_folder(tmp_path / "Dataset_BUSI_with_GT")
    home = tmp_path / "empty"
    home.mkdir()
    run(installed / "htunet_convert", "BUSI", source, cwd=home)
    labels = home / "htunet_data" / "raw" / "Dataset503_BUSI" / "labelsTr"
    assert len(list(labels.glob("*.png"))) == 6
    predictions = home / "predictions"
    shutil.copytree(labels, predictions)
    run(installed / "htunet_evaluate", *folders(predictions, labels, home / "scores"), cwd=home)
    found = json.loads((home / "scores" / "summary.json").read_text(encoding="utf-8"))
    assert found["foreground_mean"]["Dice"] == 1.0
    assert len(found["metric_per_case"]) == 6
