"""Write reference/commands.md from the parsers of the commands. Run it by hand, without arguments."""

import argparse
import ast
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from htunet.cli.command import CommandParser

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "documentation" / "reference" / "commands.md"
HEAD = """# Commands

Made by `documentation/make_reference.py` from the parsers; do not edit by hand.

Every command takes `--help`, `--version` and `--debug` (show the traceback of an error). An argument that is written
"`DATASET` or `-d, --dataset DATASET`" may be given by its position or by its name; square brackets: it may be omitted.
Options are written with dashes; the underscores of earlier versions (`--num_epochs`) still work.
Exit codes: 0 done, 1 a problem with files, data or the machine, 2 wrong usage, 128 + its number after
a signal (130: Ctrl-C).
"""
COMMON = {"help", "version", "debug"}


class _ParserReadyError(Exception):
    """Carries a command's parser out of its ``main``."""


def command_names() -> tuple[str, ...]:
    """The console scripts without their prefix, as setup.py lists them."""
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMANDS":
            return tuple(ast.literal_eval(node.value))
    raise AssertionError("setup.py has no COMMANDS")


def parser_of(name: str) -> CommandParser:
    """The parser of ``htunet_NAME``, taken at the moment when its ``main`` wants to parse."""
    module = {each.rstrip("_"): each for each in command_names()}[name.rstrip("_")]  # import is a keyword

    def stop(self: CommandParser, *_: object, **__: object) -> argparse.Namespace:
        raise _ParserReadyError(self)

    with patch.object(CommandParser, "parse_args", stop):
        try:
            import_module(f"htunet.cli.{module}").main([])
        except _ParserReadyError as ready:
            return ready.args[0]
    raise AssertionError(f"htunet_{name} did not parse its arguments")


def section(parser: CommandParser) -> str:
    """One command as Markdown: its sentence, then a table of its arguments."""
    rows = [_row(parser, action) for action in parser._actions if action.dest not in COMMON]
    table = ["| argument | meaning |", "|---|---|", *rows] if rows else ["No arguments of its own."]
    return "\n".join(
        [
            f"## {parser.prog}",
            "",
            " ".join((parser.description or "").split()),
            "",
            f"Example: `{parser.example}`",
            "",
            *table,
            "",
        ]
    )


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(parser_of(name)) for name in command_names())])


def _row(parser: CommandParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    if _worth_saying(action) and "default" not in text:
        text += f" (default: {_spell(action.default)})"
    if action.option_strings and action.required:
        text += " (required)"
    signature = f"`{_signature(action)}`"
    if action in parser.positionals:
        value = _value(action)
        value = value if parser.positionals[action] or value.startswith("[") else f"[{value}]"
        signature = f"`{value}` or {signature}"
    return f"| {_cell(signature)} | {_cell(' '.join(text.split()))} |"


def _cell(text: str) -> str:
    """Of a table: a bar in it, even in a code span, would end the cell."""
    return text.replace("|", "\\|")


def _worth_saying(action: argparse.Action) -> bool:
    return action.default not in (None, False, "", argparse.SUPPRESS, [], ()) and bool(action.option_strings)


def _spell(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _signature(action: argparse.Action) -> str:
    """``-d, --dataset DATASET [DATASET ...]``, spelled the same by every Python version."""
    value = "" if action.nargs == 0 else _value(action)
    return f"{', '.join(action.option_strings)} {value}".strip()


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, tuple):
        value = " ".join(action.metavar)
    elif action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = str(action.metavar or (action.dest.upper() if action.option_strings else action.dest))
    return {"?": f"[{value}]", "*": f"[{value} ...]", "+": f"{value} [{value} ...]"}.get(str(action.nargs), value)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
