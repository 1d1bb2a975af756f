"""The shape of the code itself: imports go one way, heavy libraries stay where they belong, everything stays small."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOUNDATION = {
    *("archives", "errors", "files", "paths", "registry", "settings", "records", "schemas"),
    *("reproducibility", "parallel"),
}
MAY_IMPORT = {
    "data": {"data"},
    "simulation": {"simulation"},
    "models": {"models"},
    "planning": {"data", "models", "planning"},
    "preprocessing": {"data", "models", "planning", "preprocessing"},
    "training": {"data", "simulation", "models", "planning", "preprocessing", "training"},
    "pretraining": {"models", "training", "simulation", "pretraining"},
    "inference": {"data", "models", "planning", "preprocessing", "inference"},
    "evaluation": {"data", "planning", "evaluation"},
    "reporting": {"data", "evaluation", "reporting"},
    "experiments": {
        *("data", "simulation", "models", "planning", "preprocessing", "training", "inference", "evaluation"),
        *("reporting", "experiments"),
    },
    "dataset_conversion": {"data", "simulation", "dataset_conversion"},
}
MAY_IMPORT["api"] = {*MAY_IMPORT["experiments"], "api"}
MAY_IMPORT["cli"] = {*MAY_IMPORT["api"], "pretraining", "dataset_conversion", "cli"}
WITHOUT_TORCH = (
    *("data", "simulation", "planning", "preprocessing", "evaluation", "reporting"),
    *("dataset_conversion", "cli"),
)
HEAVY = {"torch", "open_clip", "pandas", "scipy", "matplotlib", "sklearn", "numpy", "PIL"}
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 600, 100, 8
SHARED_NAMES = {
    "base": "the contract of the entries beside it, in each package of a registry",
    "common": "what converters of images, and those of captions, share",
    "classification": "a task: its losses, its head and its evaluation",
    "segmentation": "a task: its losses and its head",
    "clip": "a model: its image encoder and its text encoder",
    "phantom": "the same of our own model",
    "settings": "the base of all settings, and those of training and of the simulation",
}
"""Modules whose name more than one package has, and why; commands may also be called as what they run."""

PACKAGES = ("htunet", "dataset_conversion", "results_template")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_FILES = [ROOT / "setup.py", *SOURCES]
for folder in ("benchmarks", "documentation", "tests"):
    ALL_FILES += sorted((ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module: ``htunet.data.raw``; a package has the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SOURCES}


def layer_of(module: str) -> str:
    """``data`` for htunet.data.raw, ``foundation`` for htunet and its own modules, else the top-level package."""
    parts = module.split(".")
    if parts[0] != "htunet":
        return parts[0]
    return "foundation" if len(parts) == 1 or parts[1] in FOUNDATION else parts[1]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import below ``tree``; ``from a import b`` is a.b where that is a module of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                yield node.lineno, longer if longer in MODULES else str(node.module)


def at_module_level(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The imports that run when the module is imported, so not those below ``if TYPE_CHECKING``."""
    for node in tree.body:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom | ast.If | ast.Try | ast.With):
            yield from imports(node)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def name_within(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(module: str) -> Iterator[tuple[int, str]]:
    """All of a module's imports; of ``htunet`` itself, which hands out what ``htunet.api`` has, those that run."""
    return (at_module_level if module == "htunet" else imports)(parse(MODULES[module]))


def test_imports_go_one_way() -> None:
    wrong = []
    for module, path in MODULES.items():
        own = layer_of(module)
        allowed = {"foundation"} | (MAY_IMPORT[own] if own not in ("foundation", "results_template") else set())
        for line, target in imports_of(module):
            ours = target.split(".")[0] in PACKAGES and target != "results_template"
            if ours and layer_of(target) not in allowed:
                wrong.append(f"{name_within(path)}:{line}: {own} must not import {target}")
    assert not wrong, "\n".join(wrong)


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {path.parent.name for path in (ROOT / "htunet").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "htunet").glob("*.py")} - {"__init__"}
    assert packages <= set(MAY_IMPORT)
    assert modules <= {*FOUNDATION, "api"}


def test_no_two_modules_import_each_other() -> None:
    graph = {module: {name for _, name in imports_of(module) if name in MODULES} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these modules import each other in a circle: {' -> '.join(error.args[1])}")


def test_imports_are_absolute_and_name_what_they_take() -> None:
    wrong = [
        f"{name_within(path)}:{node.lineno}: relative or star import"
        for path in SOURCES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and (node.level or any(alias.name == "*" for alias in node.names))
    ]
    assert not wrong, "\n".join(wrong)


def test_stages_without_a_network_never_import_torch() -> None:
    wrong = [
        f"{name_within(path)}:{line}: {target}"
        for module, path in MODULES.items()
        if layer_of(module) in WITHOUT_TORCH and "cli" not in module
        for line, target in imports(parse(path))
        if target.split(".")[0] in ("torch", "torchvision", "open_clip")
    ]
    assert not wrong, "\n".join(wrong)


def test_importing_a_stage_without_a_network_does_not_load_torch() -> None:
    light = [name for name in MODULES if layer_of(name) in (*WITHOUT_TORCH, "foundation")]
    check = "sys.exit('torch was loaded' if 'torch' in sys.modules else 0)"
    command = [sys.executable, "-c", "\n".join(["import sys", *(f"import {name}" for name in light), check])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_commands_import_heavy_libraries_only_when_they_act() -> None:
    wrong = [
        f"{name_within(path)}:{line}: {target}"
        for module, path in MODULES.items()
        if layer_of(module) == "cli"
        for line, target in at_module_level(parse(path))
        if target.split(".")[0] in HEAVY
    ]
    assert not wrong, "\n".join(wrong)


def test_training_never_asks_for_the_test_split() -> None:
    wrong = []
    for module, path in MODULES.items():
        if layer_of(module) != "training":
            continue
        for node in ast.walk(parse(path)):
            key = node.slice if isinstance(node, ast.Subscript) else None
            asks = isinstance(key, ast.Constant) and key.value == "test"
            if asks or (isinstance(node, ast.Attribute) and node.attr == "test"):
                wrong.append(
                    f"{name_within(path)}:{getattr(node, 'lineno', '?')}: training must not see the test split"
                )
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_stay_small() -> None:
    wrong = []
    for path in ALL_FILES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_FILE:
            wrong.append(f"{name_within(path)} has {lines} lines")
        for function in functions(parse(path)):
            where = f"{name_within(path)}:{function.lineno} {function.name}"
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            if length > LONGEST_FUNCTION:
                wrong.append(f"{where} has {length} lines")
            arguments = function.args
            names = [item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > MOST_PARAMETERS:
                wrong.append(f"{where} has {count} parameters")
    assert not wrong, "\n".join(wrong)


def test_only_commands_print() -> None:
    wrong = [
        f"{name_within(path)}:{node.lineno}: library code returns values or logs"
        for path in SOURCES
        if layer_of(name_of(path)) != "cli"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_public_is_explained() -> None:
    wrong = []
    for path in SOURCES:
        tree = parse(path)
        if tree.body and not ast.get_docstring(tree):
            wrong.append(f"{name_within(path)} does not say what it is")
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                wrong.append(f"{name_within(path)}:{node.lineno}: {node.name} has no docstring")
    assert not wrong, "\n".join(wrong)


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "misc", "helpers", "tools"}
    assert not [name for name in MODULES if set(name.split(".")) & drawers]


def test_a_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for node in parse(path).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name_within(path))
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_a_module_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        if path.stem != "__init__" and layer_of(name_of(path)) != "cli":
            places[path.stem].append(name_within(path))
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert not {name: found for name, found in shared.items() if name not in SHARED_NAMES}
    assert set(SHARED_NAMES) == set(shared), "SHARED_NAMES names what is no longer shared"


def test_no_script_hides_a_module_of_python() -> None:
    """A script that is started by its path finds its neighbours before Python's own modules of the same name."""
    scripts = [path.stem for folder in ("benchmarks", "documentation") for path in (ROOT / folder).glob("*.py")]
    assert len(scripts) > 30
    assert not set(scripts) & sys.stdlib_module_names
