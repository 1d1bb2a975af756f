"""Names and what stands behind them: htunet's own, and those of installed packages."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from htunet.errors import HtunetError, UsageError
from htunet.registry import Registry

GROUP = "htunet.tests"


def install(folder: Path, package: str, *, entries: dict[str, str], code: str = "THING = 'thing'") -> None:
    """Make ``package`` look installed in ``folder``, with a module of the same name and entry points."""
    (folder / f"{package}.py").write_text(code, encoding="utf-8")
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{GROUP}]", *(f"{name} = {target}" for name, target in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for packages that Python looks in."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def registry() -> Registry[object]:
    return Registry("thing", {"root": "math:sqrt", "join": "os:path.join"}, group=GROUP)


def test_an_entry_is_found_by_its_place() -> None:
    import math
    import os

    assert registry()["root"] is math.sqrt
    assert registry()["join"] is os.path.join


def test_names_are_listed_without_an_import() -> None:
    code = (
        "import sys; from htunet.registry import Registry\n"
        "r = Registry('thing', {'a': 'xml.dom.minidom:parse'}); assert r.names() == ['a'] and 'a' in r\n"
        "assert 'xml.dom.minidom' not in sys.modules; r['a']; assert 'xml.dom.minidom' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_object_can_be_added_with_a_decorator_or_a_call() -> None:
    things = registry()

    @things.register("mine")
    def mine() -> int:
        return 1

    things.add("other", "math:pi")
    assert things["mine"] is mine
    assert things["other"] == pytest.approx(3.14159265)
    with pytest.raises(ValueError, match="Two things are called 'mine'"):
        things.add("mine", "math:pi")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"No thing is called 'rot'; known: join, root\. Did you mean 'root'\?"):
        registry()["rot"]


def test_an_installed_package_adds_an_entry(site: Path) -> None:
    things = registry()
    assert "theirs" not in things
    install(site, "their_package", entries={"theirs": "their_package:THING"})
    sys.path.append(str(site / "elsewhere"))  # a changed search path is read anew
    try:
        assert list(things) == ["root", "join", "theirs"]
        assert "their_package" not in sys.modules
        assert things["theirs"] == "thing"
        assert things["theirs"] is things["theirs"]
    finally:
        sys.path.remove(str(site / "elsewhere"))


@pytest.mark.parametrize(
    ("code", "found"),
    [("raise OSError('no disk')", "OSError: no disk"), ("", "AttributeError"), ("import not_there", "not_there")],
)
def test_a_broken_package_is_named_and_stops_nothing_else(site: Path, code: str, found: str) -> None:
    install(site, "broken_package", entries={"theirs": "broken_package:THING"}, code=code)
    sys.modules.pop("broken_package", None)
    things = registry()
    assert things["root"](4) == 2
    with pytest.raises(HtunetError, match=rf"(?s)thing 'theirs' of the package broken_package.*{found}.*pip uninstall"):
        things["theirs"]


def test_two_packages_with_one_name_are_both_named(site: Path) -> None:
    install(site, "first_package", entries={"theirs": "first_package:THING", "root": "first_package:THING"})
    install(site, "second_package", entries={"theirs": "second_package:THING"})
    things = registry()
    assert things.names() == ["join", "root", "theirs"]
    assert things["join"]("a", "b") == "a/b"
    with pytest.raises(HtunetError, match=r"first_package and second_package each have a thing called 'theirs'"):
        things["theirs"]
    with pytest.raises(HtunetError, match=r"htunet and first_package each have a thing .*pip uninstall first_package"):
        things["root"]


def test_an_object_of_ours_clashes_with_a_package_too(site: Path) -> None:
    install(site, "clashing_package", entries={"mine": "clashing_package:THING"})
    things = registry()
    with pytest.raises(ValueError, match="Two things are called 'mine'"):
        things.add("mine", SimpleNamespace())


def test_the_entries_that_can_be_had_are_listed_beside_the_message_of_a_broken_one(site: Path) -> None:
    install(site, "half_package", entries={"theirs": "half_package:THING", "worse": "half_package:NOTHING"})
    messages: list[str] = []
    assert [name for name, _ in registry().items(broken=messages.append)] == ["join", "root", "theirs"]
    assert len(messages) == 1
    assert "'worse' of the package half_package cannot be loaded" in messages[0]


def test_a_group_without_a_name_reads_no_packages(site: Path) -> None:
    install(site, "unread_package", entries={"theirs": "unread_package:THING"})
    assert Registry("thing", {"root": "math:sqrt"}).names() == ["root"]
