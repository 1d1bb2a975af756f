"""The files of a folder at any depth, as people leave them: hidden files and linked folders among them."""

import os
from collections.abc import Callable
from pathlib import Path

from htunet.errors import UsageError

JUNK_FOLDER = "__MACOSX"


def files_in(
    folder: Path, wanted: Callable[[Path], bool], *, without: Path | None = None
) -> tuple[list[str], list[str]]:
    """The names of the files of a folder at any depth that are ``wanted``, and of the others; ``/`` between folders.

    Hidden files and folders, and the tree ``without``, are passed over; linked folders are followed. Raises UsageError
    when there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Name the folder that holds the files.")
    chosen, others = list[str](), list[str]()
    left = without.resolve() if without else None
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        real = here.resolve()
        in_a_circle = real in [parent.resolve() for parent in here.parents]
        if in_a_circle or (real == left and here != folder):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != JUNK_FOLDER)
        for name in sorted(name for name in names if not name.startswith(".")):
            path = here / name
            (chosen if path.is_file() and wanted(path) else others).append(path.relative_to(folder).as_posix())
    return chosen, others
