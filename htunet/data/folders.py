"""Find the files of a folder at any depth, among hidden files and linked folders."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from htunet.errors import HtunetError, UsageError

JUNK_FOLDERS = {"__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found"}
"""Copies of pictures, and deleted ones, that systems and network drives keep beside the files; in lower case."""

HEADERS, VALUES = (".mhd", ".nhdr"), (".raw", ".zraw", ".raw.gz", ".zdata")
"""Endings of images that are a header, and of the file of their values beside it."""


def files_in(
    folder: Path, accept: Callable[[Path], bool], *, without: Iterable[Path] = ()
) -> tuple[list[str], list[str]]:
    """The names of the files of a folder at any depth that ``accept`` takes, and of the others; ``/`` between folders.

    Hidden files and folders, the trees ``without`` below it, and values beside their header, are passed over; linked
    folders are followed. Raises UsageError when there is no such folder, HtunetError as ``walk``.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Name the folder that holds the files; unpack archives.")
    chosen, others = list[str](), list[str]()
    trees = [tree for tree in map(Path.resolve, without) if not folder.resolve().is_relative_to(tree)]
    for here, folders, names in walk(folder):
        if any(map((here.resolve() if trees else here).is_relative_to, trees)):
            folders.clear()
            continue
        for name in (name for name in names if not name.startswith(".")):
            path = here / name
            (chosen if path.is_file() and accept(path) else others).append(path.relative_to(folder).as_posix())
    headers = {name.rpartition(".")[0] for name in chosen if name.lower().endswith(HEADERS)}
    values = {f"{header}{ending}" for header in headers for ending in VALUES}
    return chosen, [name for name in others if name not in values]


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Like os.walk, but sorted; follows linked folders without loops, and skips hidden and system folders.

    Raises HtunetError for a folder that cannot be read, where os.walk would pass it over.
    """
    waiting = [(folder, frozenset(_identity(parent) for parent in folder.absolute().parents))]
    while waiting:
        here, above = waiting.pop()
        try:
            inside = above | {_identity(here)}
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except FileNotFoundError:  # removed in the meantime
            continue
        except OSError as error:
            raise HtunetError(
                f"The folder {here} cannot be read ({error.strerror}), and what it holds would be missing. Change its "
                "permissions, or move it elsewhere."
            ) from None
        if inside == above:
            continue
        kinds: tuple[list[str], list[str]] = ([], [])
        for entry in entries:
            kinds[not _is_folder(entry)].append(entry.name)
        folders = [child for child in kinds[0] if child.lower() not in JUNK_FOLDERS and not child.startswith(".")]
        yield here, folders, kinds[1]
        waiting += [(here / child, inside) for child in reversed(folders)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
