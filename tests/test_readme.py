"""The file tree at the end of the README is the project's."""

import re
import subprocess
from pathlib import Path

import pytest

from dataset_conversion import CONVERTERS
from htunet.models.build import method_names

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def tree() -> dict[str, list[str]]:
    """Folder to the names that the tree lists in it; the top level is ''. Two blanks of indentation a level."""
    block = re.findall(r"^```text\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[-1]
    listing: dict[str, list[str]] = {"": []}
    folder = ""
    for line in block.splitlines():
        name = line.split()[0]
        if line.startswith(" "):
            listing[folder].append(name)
            continue
        listing[""].append(name)
        folder = name.rstrip("/")
        listing[folder] = []
    return listing


def present(folder: str) -> set[str]:
    """What git keeps, or would keep, directly in ``folder``; folders end in a slash."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", folder or "."]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("this is not a git checkout")
    paths = [Path(name).relative_to(folder) for name in result.stdout.split("\0") if name and (ROOT / name).exists()]
    return {f"{path.parts[0]}/" if len(path.parts) > 1 else path.name for path in paths}


def test_the_tree_lists_the_top_level() -> None:
    assert sorted(tree()[""]) == sorted(present(""))


def test_the_tree_lists_the_packages_of_htunet() -> None:
    assert sorted(tree()["htunet"]) == sorted(present("htunet") - {"__init__.py", "py.typed"})


def test_every_line_of_the_tree_says_what_it_is_for() -> None:
    block = re.findall(r"^```text\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[-1]
    assert not [line for line in block.splitlines() if len(line.split()) < 2]


def offered(row: str) -> set[str]:
    """The names in one row of the README's table of what there is."""
    found = re.search(rf"^\| {row} \|([^|]+)\|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return set(re.findall(r"`([\w-]+)`", found[1]))


def test_the_methods_that_the_readme_offers_are_the_ones_that_can_be_built() -> None:
    encoders, adapters = offered("encoders"), offered("adapters")
    adapted = {f"{encoder}_{adapter}" for encoder in encoders for adapter in adapters}
    assert encoders | adapted | offered("compared with") <= set(method_names())


def test_the_data_sets_that_the_readme_offers_can_be_converted() -> None:
    assert offered("data sets") <= set(CONVERTERS.names())
