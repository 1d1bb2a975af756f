"""What all commands have in common: the parser, one clear line for an error, the exit code, the default folders."""

import argparse
import errno
import io
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from htunet import __version__
from htunet.data.names import printable
from htunet.errors import OUT_OF_MEMORY, HtunetError, StoppedBySignalError, is_out_of_memory
from htunet.paths import DEFAULT_HOME, RunPaths, unset_roots

ELSEWHERE = "write to another one: an option of the command or the htunet_* variables say where."
SYSTEM_ERRORS = {
    errno.ENOSPC: f"The disk is full. Free space, or {ELSEWHERE}",
    errno.EDQUOT: f"The disk quota is used up. Free space, or {ELSEWHERE}",
    errno.EROFS: f"The folder is read-only. Make it writable, or {ELSEWHERE}",
    errno.EACCES: f"The permission is missing. Allow it for this file or folder, or {ELSEWHERE}",
    errno.EPERM: f"The permission is missing. Allow it for this file or folder, or {ELSEWHERE}",
    errno.EEXIST: "There is a file where a folder is needed. Name another folder, or move the file.",
    errno.ENOTDIR: "There is a file where a folder is needed. Name another folder, or move the file.",
}
SIGNALLED, INTERRUPTED, OUTPUT_CLOSED = 128, 130, 141
"""Exit codes of a shell: of a signal this and its number, for SIGINT, for SIGPIPE."""
SPINS = "1000"
"""How often a thread of libgomp looks for work before it sleeps: libgomp's own number where threads outnumber cores."""
FORMER_NAMES = {"--part": "--split"}
"""Options that had another name before, accepted by the commands that have the present one."""
EXAMPLES = {
    "htunet_convert": "BUSI path/to/Dataset_BUSI_with_GT",
    "htunet_demo": "--folder demo",
    "htunet_evaluate": "BUSI CLIP_HT",
    "htunet_export": "BUSI CLIP_HT fold0 -o busi.zip",
    "htunet_figures": "figure4 roc --datasets BUSI",
    "htunet_finetune": "CLIP_HT -d PMC-OA CURD MedPix",
    "htunet_import": "busi.zip",
    "htunet_plan_and_preprocess": "-d BUSI",
    "htunet_predict": "-i IMAGES -o MASKS -d BUSI -m CLIP_HT",
    "htunet_pretrain": "UNet PhantomCLIP --hours 3",
    "htunet_report": "BUSI",
    "htunet_reproduce": "table2 --datasets BUSI --methods UNet --dry-run",
    "htunet_retrieval": "CLIP_HT -d MedPix",
    "htunet_review": "-d MINE -o FOLDER",
    "htunet_robustness": "BUSI UNet CLIP_HT",
    "htunet_run": "--images IMAGES --masks MASKS --name MINE --hours 6",
    "htunet_table1": "",
    "htunet_tables": "table2 --datasets BUSI",
    "htunet_train": "BUSI CLIP_HT fold0",
    "htunet_weights": "download CLIP",
    "htunet_zero_shot": "BUSI CLIP",
}
"""A call of each command, which ``--help`` ends with."""


class CommandParser(argparse.ArgumentParser):
    """A parser whose main arguments are given by position or by name, and whose options have one spelling.

    Options are written with dashes (``--num-epochs``); the underscores of earlier versions (``--num_epochs``) are
    accepted too, and so are ``FORMER_NAMES``.
    """

    def __init__(self, **keywords: Any) -> None:  # noqa: ANN401
        super().__init__(**keywords)
        self.register("type", Path, _named_path)
        self.positionals: dict[argparse.Action, bool] = {}
        """The actions of ``add_positional`` in their order, and whether each is required."""
        self.lists: dict[str, Iterable[str]] = {}
        """Names that ``--help`` lists at its end, such as a ``Registry``, by what they are."""
        self.example = ""

    def format_help(self) -> str:
        """As argparse, then the ``lists`` and the example; installed packages are asked for their names only now."""
        self.epilog = (
            " ".join(f"{title}: {', '.join(sorted(names))}." for title, names in self.lists.items() if [*names]) or None
        )
        return super().format_help() + f"\nExample: {self.example}\n"

    def add_positional(self, name: str, *flags: str, required: bool = True, **keywords: Any) -> None:  # noqa: ANN401
        """An argument that may be given by its position, in the order of these calls, or as ``--NAME`` or a flag.

        ``nargs="+"`` or ``"*"`` is for the last one, which then takes all words that are left.
        """
        action = self.add_argument(*flags, f"--{name}", **keywords)
        self.positionals[action] = required

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Read the options, then give the remaining words to the positional arguments that were not named."""
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        words[:end] = [self._present_name(word) for word in words[:end]]
        if not self.positionals:
            if all(action.option_strings for action in self._actions):
                needed = (f"{action.option_strings[0]} {action.metavar or action.dest.upper()}"
                          for action in self._actions if action.required)  # fmt: skip
                self.usage = " ".join(["%(prog)s", *needed, "[options]"])
            return super().parse_args(words, namespace)
        titles = {action: str(action.metavar or action.dest.upper()) for action in self.positionals}
        shown = [titles[action] if needed else f"[{titles[action]}]" for action, needed in self.positionals.items()]
        self.usage = f"%(prog)s {' '.join(shown)} [options]"
        options, rest = self.parse_known_args(words[:end], namespace)
        if unknown := [word for word in rest if word.startswith("-")]:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        rest += words[end + 1 :]
        for action in self.positionals:
            if getattr(options, action.dest) is not None or not rest:
                continue
            taken, rest = (rest, []) if action.nargs in ("+", "*") else (rest[:1], rest[1:])
            try:
                values = [self._get_value(action, word) for word in taken]
            except argparse.ArgumentError as error:
                self.error(f"argument {titles[action]}: {error.message}")
            setattr(options, action.dest, values if action.nargs else values[0])
        if rest:
            option = words[max(0, words.index(rest[0]) - 2)]
            takes_one = option in self._option_string_actions and self._option_string_actions[option].nargs is None
            hint = f"; {option} takes one value, so repeat the command for each" if takes_one else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        absent = [action for action in self.positionals if getattr(options, action.dest) is None]
        if missing := [titles[action] for action in absent if self.positionals[action]]:
            self.error(f"the following arguments are required: {', '.join(missing)}")
        for action in absent:
            setattr(options, action.dest, [] if action.nargs == "*" else None)
        return options

    def _present_name(self, word: str) -> str:
        """``--num_epochs=3`` as ``--num-epochs=3``; what is not the name of an option stays."""
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            return word
        name = name.replace("_", "-")
        if (present := FORMER_NAMES.get(name)) in self._option_string_actions:
            name = str(present)
        return f"{name}{equals}{value}"


def _is_new(record: logging.LogRecord) -> bool:
    """Whether no step has printed the line before."""
    text = record.getMessage()
    is_new = len(text) < SHORTEST_REMARK or text not in _logged
    _logged.add(text)
    return is_new


@contextmanager
def log_on_terminal(name: str) -> Iterator[None]:
    """Inside the block, the lines of a part of htunet's log go to standard output."""
    handler, logger = logging.StreamHandler(sys.stdout), logging.getLogger(name)
    if _steps:
        handler.addFilter(_is_new)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


_steps: list[str] = []
"""The commands that run as steps of another one at this moment."""
_logged: set[str] = set()
"""Lines of the log that earlier steps have printed, such as a remark on each fold."""
SHORTEST_REMARK = 40
"""Characters; shorter lines are printed as often as they come."""


def run_step(name: str, *arguments: str) -> None:
    """Run another command as a user would, and print it before; raises HtunetError when it fails, after its message.

    Raises StoppedBySignalError or KeyboardInterrupt where a signal stopped it.
    """
    print(f"\n$ htunet_{name} {shlex.join(arguments)}", flush=True)
    command: Callable[[Sequence[str]], int] = import_module(f"htunet.cli.{name}").main
    _steps.append(name)
    try:
        code = command(arguments)
    finally:
        _steps.pop()
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code > SIGNALLED:
        raise StoppedBySignalError(code - SIGNALLED)
    if code:
        raise HtunetError(f"the step htunet_{name} failed; its message is above.")
    sys.stdout.flush()


def train_step(run: RunPaths, *arguments: str) -> None:
    """Train as a step of another command; raises HtunetError where it was stopped before it was finished."""
    run_step("train", *arguments)
    if not run.finished_json.exists():
        raise HtunetError("the training was stopped. The same command continues it.")


def print_next(line: str) -> None:
    """What to type next, unless the command is a step of another one, which does that itself."""
    if not _steps:
        print(line)


def _named_path(text: str) -> Path:
    """An empty text, as of a shell's variable without a value, would be the folder in which the command is called."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def make_parser(name: str, description: str | None) -> CommandParser:
    """A parser with the options that every command has."""
    if not _steps:
        _logged.clear()
    parser = CommandParser(prog=name, description=description)
    parser.example = f"{name} {EXAMPLES.get(name, '')}".strip()
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"htunet {__version__}")
    return parser


def run_command(
    parser: argparse.ArgumentParser,
    action: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None,
    *,
    announce: bool = True,
) -> int:
    """Parse, run ``action``, and return the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    After a signal it is 128 and its number, as in a shell; 141 where the reader of the output has gone (``| head``).

    ``argv`` is a parameter, so that a test calls a command without a subprocess; None reads the command line.
    ``announce`` says where files go by default; a command that chooses the folders itself does not.
    """
    options = parser.parse_args(argv)
    options.typed = printable(shlex.join([parser.prog, *(sys.argv[1:] if argv is None else argv)]))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the name of a file may be text in no encoding
            stream.reconfigure(errors="backslashreplace")
    if announce and (unset := unset_roots()):
        tell(f"{', '.join(unset)} not set: using ./{DEFAULT_HOME}/")
    # Threads that wait for each other in a loop take the core that the others need as soon as the machine does anything
    # else: convolutions trained on two busy cores took 3.6 times as long and three times the processor time, and on
    # quiet ones as long as this.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read by torch's libgomp when torch is loaded, later
    logging.raiseExceptions = False  # a log that cannot be written is no reason to stop, nor for a traceback
    try:
        action(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        message, code = "interrupted.", INTERRUPTED
    except StoppedBySignalError as stopped:
        return stopped.exit_code
    except BrokenPipeError:
        _give_up_output()
        return OUTPUT_CLOSED
    except Exception as error:
        if options.debug:
            raise
        message, code = (
            f"unexpected {type(error).__name__}: {error}. This is a bug; --debug shows where it happened.",
            1,
        )
        if isinstance(error, HtunetError):
            message, code = str(error), error.exit_code
        elif is_out_of_memory(error):
            message = OUT_OF_MEMORY
        elif isinstance(error, OSError):
            advice = SYSTEM_ERRORS.get(error.errno or 0, "Check the path and the disk.")
            message = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}. {advice}"
    else:
        return 0
    tell(f"{parser.prog}: error: " + "\n".join(map(printable, message.split("\n"))))
    try:
        sys.stdout.flush()
    except OSError:  # what could not be written has been reported; Python must not try it again when it ends
        _give_up_output()
    return code


def _give_up_output() -> None:
    """Let standard output lead nowhere, so that what is left in its buffer is no error when the process ends."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """Print to standard error what is not a command's result, so that a file or a pipe does not get it."""
    print(text, file=sys.stderr)


def written_text(paths: Iterable[Path]) -> str:
    """``Written to FOLDER: means.csv, table2.csv, .md, .tex``: a line for each folder, each name once."""
    folders: dict[Path, dict[str, list[str]]] = {}
    for path in paths:
        folders.setdefault(path.parent, {}).setdefault(path.stem, []).append(path.suffix)
    return "\n".join(
        f"Written to {folder}: " + ", ".join(stem + ", ".join(endings) for stem, endings in names.items())
        for folder, names in folders.items()
    )
