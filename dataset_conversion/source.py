"""Find a data set in a download: in a folder at some depth, in a zip, in a zip inside a folder."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from htunet.archives import open_zip, unpack
from htunet.data.folders import walk
from htunet.data.names import listed
from htunet.errors import HtunetError, UsageError
from htunet.files import scratch_folder
from htunet.paths import root

NESTED_ZIPS = 2


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a data set is recognised on disk."""

    looked_for: str
    """For the message when it is not there."""
    is_here: Callable[[Path], bool]
    """Does this very folder hold the data set?"""
    member: re.Pattern[str] | None = None
    """Found (``search``) in at least one file name of a zip that holds the data set; None: every zip is looked into."""


@contextmanager
def open_source(source: Path, layout: Layout) -> Iterator[Path]:
    """Yield the folder that holds the data set, at any depth of ``source``; unpacked zips vanish afterwards.

    Raises UsageError when ``source`` does not exist or is no folder or zip, HtunetError when it holds no such data
    set, or several, or a zip that is broken or not safe to unpack.
    """
    if not source.exists():
        raise UsageError(f"SOURCE {source} does not exist. Name the folder or the zip that you downloaded.")
    if source.is_file() and _is_broken(source):
        raise UsageError(
            f"SOURCE {source} is neither a folder nor a readable zip. Unpack a tar, 7z or rar yourself and name the "
            "folder; download a zip again if it is cut off."
        )
    with ExitStack() as stack:
        yield _locate(source, layout, stack)


def _locate(source: Path, layout: Layout, stack: ExitStack) -> Path:
    """The one folder with the data set; folders come before the zips beside them, and outer zips before inner ones."""
    broken: list[Path] = []
    places = [source]
    for _ in range(NESTED_ZIPS + 1):
        folders = [place for place in places if place.is_dir()]
        found: list[Path] = []
        for place in folders:
            for folder, children, _ in walk(place):
                if layout.is_here(folder):
                    children.clear()
                    found += [folder] if folder.resolve() not in [one.resolve() for one in found] else []
        if len(found) > 1:
            raise HtunetError(
                f"{source} holds the data set {len(found)} times: {listed([*map(str, found)])}. Name one of them."
            )
        if found:
            return found[0]
        zips = [place for place in places if place.is_file()] + [path for folder in folders for path in zips_in(folder)]
        broken += [path for path in zips if _is_broken(path)]
        places = []
        for path in zips:
            if path not in broken and _may_hold(path, layout):
                places.append(stack.enter_context(scratch_folder(root("htunet_raw"))))
                unpack(path, places[-1])
    hint = f" These zips cannot be read, download them again: {listed([*map(str, broken)])}." if broken else ""
    raise HtunetError(f"{source} does not hold the data set. Looked for: {layout.looked_for}.{hint}")


def zips_in(folder: Path) -> list[Path]:
    """The zips in ``folder``, at any depth."""
    return [
        place / name
        for place, _, files in walk(folder)
        for name in files
        if name.lower().endswith(".zip") and not name.startswith(".")
    ]


def _is_broken(path: Path) -> bool:
    try:
        with open_zip(path):
            return False
    except HtunetError:
        return True


def _may_hold(path: Path, layout: Layout) -> bool:
    """Does the zip name files of the data set, or hold zips that may? Foreign zips are not unpacked."""
    with open_zip(path) as archive:
        if layout.member is None:
            return True
        return any(layout.member.search(name) or name.lower().endswith(".zip") for name in archive.namelist())
