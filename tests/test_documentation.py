"""What the documentation says is so: links lead somewhere, commands and options exist, the reference is current."""

import argparse
import re
import shlex
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from builders.results import masks

from htunet.reporting.tables.study_files import write_statistics

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "dataset_conversion", "documentation", "htunet", "results_template")
PAGES = [*sorted(ROOT.glob("*.md")), *(page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("*.md")))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def load(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE_REFERENCE = load(ROOT / "documentation" / "make_reference.py")
COMMANDS = {f"htunet_{name.rstrip('_')}" for name in MAKE_REFERENCE.command_names()}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings get: lower case, punctuation gone, blanks to hyphens."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        goal = page.parent / file if file else page
        assert goal.exists(), f"{relative(page)} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(goal.read_text(encoding="utf-8")), f"{relative(page)}: no #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_no_page_has_a_gap_that_was_to_be_filled(page: Path) -> None:
    assert not re.findall(r"^[A-Z]+_[A-Z_]+$|TODO|FIXME", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_command_named_in_the_documentation_exists(page: Path) -> None:
    roots = {"htunet_raw", "htunet_preprocessed", "htunet_results", "htunet_weights", "htunet_data"}
    planned = set(re.findall(r"`(htunet_\w+)`[^|\n]*\|[^|\n]*\bplanned\b", page.read_text(encoding="utf-8")))
    named = set(re.findall(r"\bhtunet_[a-z_]+\b", page.read_text(encoding="utf-8")))
    assert named - roots - planned <= COMMANDS


def exit_code(parser: argparse.ArgumentParser, words: list[str]) -> int | str | None:
    """0 where the words can be parsed, or ask for help."""
    try:
        parser.parse_args(words)
    except SystemExit as end:
        return end.code
    return 0


def shell_lines() -> list[tuple[str, str]]:
    """(page, line) of every line in a shell block that starts with one of our commands."""
    found = []
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            lines = block.replace("\\\n", " ").splitlines() if language in ("bash", "sh", "console") else []
            found += [(relative(page), line.strip()) for line in lines if line.strip().startswith("htunet_")]
    return found


@pytest.mark.parametrize(("page", "line"), shell_lines())
def test_every_example_can_be_parsed(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    parser = MAKE_REFERENCE.parser_of(words[0].removeprefix("htunet_"))
    assert exit_code(parser, words[1:]) == 0, f"{page}: {words[0]} does not understand: {line}"


def test_the_example_of_each_command_is_one_that_it_accepts() -> None:
    for name in MAKE_REFERENCE.command_names():
        parser = MAKE_REFERENCE.parser_of(name)
        prog, *words = shlex.split(parser.example)
        assert (prog, exit_code(parser, words)) == (parser.prog, 0)


def test_the_reference_of_the_commands_is_current() -> None:
    written = MAKE_REFERENCE.TARGET.read_text(encoding="utf-8")
    assert written == MAKE_REFERENCE.reference(), "run .venv/bin/python documentation/make_reference.py"


INLINE = re.compile(r"`([^`\n]+)`")
BENCHMARKS = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "benchmarks").glob("*.py")))
FOLDERS_OF_THE_CODE = "|".join((*FOLDERS, "tests"))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_option_named_beside_its_command_exists(page: Path) -> None:
    for line in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        command, *words = line.split()
        if command in COMMANDS:
            known = MAKE_REFERENCE.parser_of(command.removeprefix("htunet_"))._option_string_actions
            named = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            assert named <= set(known), f"{relative(page)}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_target_and_benchmark_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`) *(?:OMP_NUM_THREADS=1 )?make (\w+)", text, re.MULTILINE)) <= targets
    lines = re.findall(r"python -m benchmarks\.?(\w*)([^`\n]*)|make bench ARGS=(.*)", text)
    for module, line in [(module, line or args) for module, line, args in lines]:
        assert (ROOT / "benchmarks" / f"{module or '__main__'}.py").is_file(), f"{relative(page)}: {module}"
        options = re.findall(r"(?<![\w-])--[a-z][\w-]*", line)
        assert not [option for option in options if not re.search(rf"{option}\b", BENCHMARKS)], relative(page)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_file_named_is_there(page: Path) -> None:
    """Except those that a page on adding something says to write, and files of earlier versions in the changelog."""
    text = "" if page.name == "CHANGELOG.md" else page.read_text(encoding="utf-8")
    text = re.sub(r"^.*\bWrite `.*$", "", FENCE.sub("", text), flags=re.MULTILINE)
    named = re.findall(rf"`((?:{FOLDERS_OF_THE_CODE})/[\w./-]+)`", text)
    assert not [name for name in named if "NAME" not in name and not (ROOT / name).exists()]


def test_what_is_said_to_be_in_a_file_is_in_it() -> None:
    page = (ROOT / "documentation" / "explanation" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| Wh[^|]*\|([^|]+)\|", page, re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        place = ROOT
        for name in re.findall(r"`([^`]+)`", row):
            if (ROOT / name).exists() or (place.parent / name).is_file():
                place = ROOT / name if (ROOT / name).exists() else place.parent / name
            elif place.is_file():
                assert re.search(rf"\b{name}\b", place.read_text(encoding="utf-8")), f"{name} is not in {place}"


def test_the_index_names_every_page_and_each_picture_is_shown() -> None:
    home = ROOT / "documentation"
    linked = {target.partition("#")[0] for target in LINK.findall((home / "README.md").read_text(encoding="utf-8"))}
    pages = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.suffix in (".md", ".ipynb")}
    assert pages - {"README.md"} <= linked
    shown = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [path.name for path in (home / "images").iterdir() if f"images/{path.name})" not in shown]


def test_the_example_of_the_results_keeps_different_runs_of_a_method_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One on all images has a Dice of 0.75, one on a twentieth of them 0.25; no row has 0.5."""
    folder = tmp_path / "htunet_data" / "results" / "tables"
    folder.mkdir(parents=True)
    write_statistics(folder, [masks("UNet", [0.75] * 4), masks("UNet", [0.25] * 4, ratio=0.05)])
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "documentation" / "how_to" / "read_the_results.md").read_text(encoding="utf-8")
    exec(dict(FENCE.findall(page))["python"], {})
    found = re.findall(r" (0\.\d+) +0\.0$", capsys.readouterr().out, re.MULTILINE)
    assert sorted(set(map(float, found))) == [0.25, 0.75]
