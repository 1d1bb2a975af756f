"""The Makefile sets up .venv when it is needed and only then. A stand-in for Python notes what is asked of it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """#!/bin/sh
echo "$*" >> asked.txt
case "$*" in
  --version) echo "Python $VERSION" ;;
  *print*) echo "$VERSION" ;;
  *sys.exit*) [ "$VERSION" = 3.12.0 ] || [ "$VERSION" = 3.13.0 ] ;;
  "-m venv --clear .venv")
    mkdir -p .venv/bin
    sed "s/[$]VERSION/$VERSION/g" "$0" > .venv/bin/python
    chmod +x .venv/bin/python ;;
  *install*) exit "$PIP_EXITS" ;;
  *pytest*) echo "tests ran" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, a setup.py and the stand-in."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "setup.py").write_text("first = 1\n")
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make_test(
    checkout: Path, version: str = "3.12.0", pip_exits: int = 0
) -> tuple[subprocess.CompletedProcess[str], int]:
    """The finished ``make test``, and how many installations it did."""
    (checkout / "asked.txt").write_text("")
    environment = os.environ | {"VERSION": version, "PIP_EXITS": str(pip_exits)}
    environment = {key: value for key, value in environment.items() if not key.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "test", f"PYTHON={checkout / 'python'}"]
    result = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    return result, sum("install" in line for line in (checkout / "asked.txt").read_text().splitlines())


def test_the_first_run_installs_and_the_second_does_not(checkout: Path) -> None:
    results = [make_test(checkout) for _ in range(2)]
    assert [(result.returncode, installs) for result, installs in results] == [(0, 1), (0, 0)]
    assert all("tests ran" in result.stdout for result, _ in results)
    assert "venv" not in (checkout / "asked.txt").read_text()


def test_a_changed_setup_installs_again_into_the_same_environment(checkout: Path) -> None:
    make_test(checkout)
    (checkout / "setup.py").write_text("second = 2\n")
    assert make_test(checkout)[1] == 1
    assert "-m venv" not in (checkout / "asked.txt").read_text()


def test_another_python_makes_the_environment_anew(checkout: Path) -> None:
    make_test(checkout)
    assert make_test(checkout, version="3.13.0")[1] == 1
    assert "-m venv --clear .venv" in (checkout / "asked.txt").read_text()


def test_an_installation_that_failed_is_repeated(checkout: Path) -> None:
    failed, _ = make_test(checkout, pip_exits=1)
    assert failed.returncode != 0
    assert "The installation failed" in failed.stderr
    assert make_test(checkout)[1] == 1


def test_the_small_build_of_torch_is_taken_from_its_own_index(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    make_test(checkout)
    assert index not in (checkout / "asked.txt").read_text()
    shutil.rmtree(checkout / ".venv")
    monkeypatch.setenv("TORCH", "cpu")
    assert make_test(checkout)[1] == 1
    assert index in (checkout / "asked.txt").read_text()


def test_an_old_python_is_refused_with_the_way_out(checkout: Path) -> None:
    result, installs = make_test(checkout, version="3.10.1")
    assert result.returncode != 0
    assert "needs Python 3.11 or newer" in result.stderr
    assert "Python 3.10.1" in result.stderr
    assert "PYTHON=python3.12" in result.stderr
    assert installs == 0
    assert not (checkout / ".venv").exists()
