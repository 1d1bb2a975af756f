"""Every command answers --help and --version at once, because it loads its libraries only when it acts."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import htunet

SETUP = Path(__file__).parents[2] / "setup.py"
FORBIDDEN = ("torch", "pandas", "scipy", "matplotlib", "sklearn", "numpy")
ASK = """
import sys
from htunet.cli.{name} import main
try:
    code = main(["{option}"])
except SystemExit as end:
    code = end.code or 0
loaded = [name for name in {forbidden} if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else code)
"""


def commands() -> tuple[str, ...]:
    """The console scripts without their prefix, as setup.py lists them."""
    for node in ast.parse(SETUP.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMANDS":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no COMMANDS")


def ask(name: str, option: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    code = ASK.format(name=name, option=option, forbidden=FORBIDDEN)
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return time.perf_counter() - start, result


@pytest.mark.parametrize("name", commands())
def test_help_answers_within_a_second_and_loads_nothing_heavy(name: str) -> None:
    seconds, answers = zip(*(ask(name, "--help") for _ in range(3)), strict=True)
    assert [answer.returncode for answer in answers] == [0, 0, 0], answers[0].stderr
    assert f"htunet_{name.rstrip('_')}" in answers[0].stdout
    assert min(seconds) < 1.0


@pytest.mark.parametrize("name", commands())
def test_version_is_the_version_of_the_package(name: str) -> None:
    _, answer = ask(name, "--version")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == f"htunet {htunet.__version__}"


@pytest.mark.parametrize("name", commands())
def test_an_unknown_option_is_a_usage_error(name: str) -> None:
    _, answer = ask(name, "--no-such-option")
    assert answer.returncode == 2
    assert "--no-such-option" in answer.stderr or "required" in answer.stderr


@pytest.mark.parametrize("name", commands())
def test_every_command_can_be_started_as_a_module(name: str) -> None:
    command = [sys.executable, "-m", f"htunet.cli.{name}", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("htunet ")
