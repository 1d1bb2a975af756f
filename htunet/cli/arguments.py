"""Turn a settings dataclass into command line options, and the options back into the dataclass."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from htunet.errors import UsageError, option
from htunet.paths import PAPER_FOLD
from htunet.settings import DEVICES

ALL_FOLDS = "all-folds"
SHORT = {"plan": "-p"}
"""One-letter options, as nnU-Net has them."""


def add_settings(parser: ArgumentParser, settings_class: type) -> None:
    """One ``--option`` per field; its name, type, default, choices and help have no other home."""
    hints = get_type_hints(settings_class)
    for field in fields(settings_class):
        hint = hints[field.name]
        if hint is bool:
            parser.add_argument(option(field.name), action="store_true", help=field.metadata["help"])
            continue
        default = "" if field.default is None or "(default: " in field.metadata["help"] else " (default: %(default)s)"
        short = [SHORT[field.name]] if field.name in SHORT else []
        parser.add_argument(
            *short,
            option(field.name),
            default=field.default,
            type=next(kind for kind in (*get_args(hint), hint) if kind is not type(None)),  # None is the default alone
            choices=field.metadata["choices"],
            help=field.metadata["help"] + default,
        )


def settings_from(settings_class: type, options: Namespace) -> Any:  # noqa: ANN401
    """Build the dataclass; its ``__post_init__`` checks the values."""
    return settings_class(**{field.name: getattr(options, field.name) for field in fields(settings_class)})


def add_run_options(parser: ArgumentParser, *, several_seeds: bool = False) -> None:
    """The options that distinguish trained runs of one data set and method; ``several_seeds`` may predict together."""
    task = "task of the run: seg, cls or seg+cls; needed only if there are runs of several tasks"
    parser.add_argument("--task", help=task)
    parser.add_argument("-p", "--plan", help="plan of the run; needed only if there are runs of several plans")
    ratio = "the few-shot run with this fraction of the training images (default: a run with all training images)"
    parser.add_argument("--ratio", type=float, help=ratio)
    adapter = "what the run started from, such as phantom or none; needed only if there are several such runs"
    parser.add_argument("--adapter", help=adapter)
    seed = "seed of the run (default: the smallest that was trained)"
    if several_seeds:
        several = f"{seed}; the runs of several seeds predict together"
        parser.add_argument("--seed", type=int, nargs="+", help=several)
    else:
        parser.add_argument("--seed", type=int, help=seed)


def add_device(parser: ArgumentParser) -> None:
    """Where to compute."""
    device = "device to compute on; auto: cuda if there is one, otherwise cpu (default: %(default)s)"
    parser.add_argument("--device", default="auto", choices=DEVICES, help=device)


def fold_number(text: str) -> int | str:
    """``fold0`` or ``0`` -> 0, and ``paper`` as it is, for argparse's ``type``; ArgumentTypeError for other texts."""
    if text == PAPER_FOLD:
        return text
    number = text.removeprefix("fold")
    if not (number.isascii() and number.isdigit()):
        raise ArgumentTypeError(
            f"{text!r} is not a fold; write fold0 or 0, or {PAPER_FOLD} for the split of the paper's authors"
        )
    return int(number)


def fold_or_all(text: str) -> int | str:
    """As ``fold_number``, or ``all-folds``."""
    return ALL_FOLDS if text in (ALL_FOLDS, "all_folds") else fold_number(text)


def chosen_folds(folds: Sequence[int | str]) -> list[int | str]:
    """``--fold`` with several values as ``api.load`` takes it: empty for all; UsageError for numbers and all."""
    if ALL_FOLDS in folds and len(folds) > 1:
        raise UsageError(f"--fold takes either numbers or {ALL_FOLDS}, got both.")
    return [] if ALL_FOLDS in folds else list(folds)
