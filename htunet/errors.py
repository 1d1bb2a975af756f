"""Errors that a user can act on. A message says the rule, the value that broke it, and the way out.

Everything else (a bug, a broken invariant) raises Python's own exceptions and is shown with its traceback.
"""

import errno
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

OUT_OF_MEMORY = (
    "The memory ran out. End other programs, use fewer processes (--workers) or devices, or a plan with smaller images "
    "or batches; on a GPU, see with nvidia-smi who else uses it."
)


class HtunetError(Exception):
    """Something outside the code stops the command: a file, a folder, a run. The command exits with code 1."""

    exit_code = 1


class UsageError(HtunetError, ValueError):
    """What the user typed cannot be meant. The command exits with code 2."""

    exit_code = 2


class StoppedBySignalError(Exception):
    """A signal asked the command to stop, and it has saved what it had. The exit code is a shell's: 128 + the number.

    No HtunetError: whoever catches those must not go on with the next step.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.exit_code = 128 + number


def some(names: Sequence[object], number: int = 5) -> str:
    """The first of many names for a message.

    >>> some("abcdefg"), some([1, 2])
    ('a, b, c, d, e and 2 more', '1, 2')
    """
    more = f" and {len(names) - number} more" if len(names) > number else ""
    return ", ".join(map(str, names[:number])) + more


def shortened(text: str) -> str:
    """At most 60 characters, for a message."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "epoch"), counted(2, "epoch"), counted(0, "class")
    ('1 epoch', '2 epochs', '0 classes')
    """
    return f"{number} {noun}{'' if number == 1 else 'es' if noun.endswith('ss') else 's'}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(42), duration(600), duration(9000), duration(3e6)
    ('42 s', '10.0 min', '2.5 h', '34.7 days')
    """
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.{0 if unit == 1 else 1}f} {name}"
    return f"{seconds / 86400:.1f} days"


def option(name: str) -> str:
    """How a setting is typed.

    >>> option("num_epochs")
    '--num-epochs'
    """
    return f"--{name.replace('_', '-')}"


def check_least(name: str, value: float | None, least: int) -> None:
    """Raise UsageError for a value of a setting below ``least``, and for NaN; None was not chosen."""
    if value is not None and not value >= least:
        raise UsageError(f"{option(name)} must be {f'at least {least}' if least else '0 or larger'}, got {value}.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error message: ``" Did you mean 'BUSI'?"``, or nothing when no name is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Python's and NumPy's MemoryError, and those of torch, which is not imported to know them."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, ImportError) and ("failed to map" in text or "annot allocate memory" in text))
        or (isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text))
    )
