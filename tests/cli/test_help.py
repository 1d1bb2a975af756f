"""Every command answers --help and --version at once, because it loads its libraries only when it acts.

One fresh interpreter is each command in turn. What it loads for one of them is loaded for the next, so that a heavy
library is seen whichever command brings it; a command on its own loads no more than all of them together.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import htunet

SETUP = Path(__file__).parents[2] / "setup.py"
HEAVY = ("torch", "pandas", "scipy", "matplotlib", "sklearn", "numpy", "PIL", "open_clip", "timm", "transformers")
MODULES = 450
"""Of all commands together, Python's own among them; torch alone brings more than 1,000."""
ASK = """
import contextlib, io, json, runpy, sys, warnings
warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
answers, heavy = {}, %r
for name in %r:
    for option in ("--help", "--version", "--no-such-option"):
        output, errors = io.StringIO(), io.StringIO()
        sys.argv = [name, option]
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                runpy.run_module(f"htunet.cli.{name}", run_name="__main__", alter_sys=True)
                code = None
            except SystemExit as end:
                code = end.code or 0
        loaded = [module for module in heavy if module in sys.modules]
        answers[f"{name} {option}"] = [code, output.getvalue(), errors.getvalue(), loaded]
print(json.dumps({"answers": answers, "modules": len(sys.modules)}))
"""


def commands() -> tuple[str, ...]:
    """The console scripts without their prefix, as setup.py lists them."""
    for node in ast.parse(SETUP.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMANDS":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no COMMANDS")


@pytest.fixture(scope="module")
def asked() -> dict[str, Any]:
    """What the commands answer, each started as ``python -m htunet.cli.NAME``, and how many modules they load."""
    command = [sys.executable, "-c", ASK % (HEAVY, commands())]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def test_help_says_the_commands_name_and_loads_nothing_heavy(asked: dict[str, Any]) -> None:
    for name in commands():
        code, output, errors, heavy = asked["answers"][f"{name} --help"]
        assert (code, errors, heavy) == (0, "", []), name
        assert output.splitlines()[-1].startswith(f"Example: htunet_{name.rstrip('_')}")
    assert asked["modules"] < MODULES


def test_version_is_the_version_of_the_package(asked: dict[str, Any]) -> None:
    for name in commands():
        code, output, _, _ = asked["answers"][f"{name} --version"]
        assert (code, output.strip()) == (0, f"htunet {htunet.__version__}"), name


def test_an_unknown_option_is_a_usage_error(asked: dict[str, Any]) -> None:
    for name in commands():
        code, _, errors, _ = asked["answers"][f"{name} --no-such-option"]
        assert code == 2, name
        assert "--no-such-option" in errors or "required" in errors, name
