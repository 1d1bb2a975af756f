"""Zips and tars from elsewhere, read only when they are safe, and zips of ours."""

import errno
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from htunet.errors import HtunetError, some
from htunet.files import open_file

MAX_BYTES = 64 * 2**30
"""Unpacked; the largest of the data sets and models that htunet knows is far below it."""
MAX_RATIO = 100
"""Unpacked to packed. Images hardly shrink in a zip, tables and texts by about 10."""
HARMLESS_BYTES = 64 * 2**20
"""Below this the ratio does not matter: one black image may shrink a thousandfold."""
LONGEST_HEADER = 2**20
"""Bytes of a tar: a name that is too long for the usual header, and what stands behind the last file."""
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, IndexError, OverflowError),
)
"""What Python's zipfile and tarfile raise over damaged bytes, unknown methods and passwords."""
OTHER_ARCHIVES = {b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"\x1f\x8b": "gzip (.gz, .tgz)", b"BZh": "bzip2 (.bz2)",
                  b"\xfd7zXZ": "xz (.xz)", b"\x28\xb5\x2f\xfd": "Zstandard (.zst)"}  # fmt: skip
"""How archives begin that are not zips; a tar is none of these."""
OF_NAMES = (None, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EILSEQ)
"""OSErrors that a zip's places and names bring about; the others are the disk's."""


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip, to read; whatever its bytes or names do wrong, here or within the block, raises HtunetError.

    An OSError of the disk itself (full, no permission) stays what it is.
    """
    try:
        with open_file(path) as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except HtunetError:
        raise
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in OF_NAMES:
            raise
        with open_file(path) as file:
            start = file.read(8)
        if start.startswith(b"PK"):
            raise HtunetError(f"The zip {path} cannot be unpacked ({error}). Download it again.") from None
        kind = next((name for first, name in OTHER_ARCHIVES.items() if start.startswith(first)), "")
        if kind or _is_tar(path):
            raise HtunetError(f"{path} is a {kind or 'tar'} archive, and cannot be unpacked by htunet: only zips can. "
                              "Unpack it yourself and name the folder.") from None  # fmt: skip
        raise HtunetError(f"{path} is not a zip, so it cannot be unpacked: it begins with {start!r}. Name the zip or "
                          "the folder; if it was downloaded, download it again.") from None  # fmt: skip


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (*BROKEN, OSError):
        return False


def unpack(path: Path, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Unpack a zip into ``folder``; raises HtunetError for a broken or an unsafe one before it writes anything.

    Unsafe: absolute names, ``..``, a name twice, links and devices, a password, more than ``max_bytes`` in all, or
    more than 100 times the size of the zip.
    """
    with open_zip(path) as archive:
        members = [member for member in archive.infolist() if not member.filename.endswith("/")]
        _check_members(path, members)
        _check_size(path, folder, sum(member.file_size for member in members), max_bytes)
        for member in tqdm(members, desc=f"unpack {path.name}", unit="file", disable=None):
            target = folder / _safe_name(member.filename)
            target.parent.mkdir(parents=True, exist_ok=True)
            # reads at most the declared size, so that the checked total is also the written one
            with archive.open(member) as packed, target.open("xb") as unpacked:
                shutil.copyfileobj(packed, unpacked)


def tar_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """The files of a tar, none of which is unpacked: name, place of the first byte in the tar, number of bytes.

    Raises HtunetError, at its place in the iteration, for a tar that is compressed, broken or cut off, for names
    outside its folder, links and devices, and for whatever stands behind its end and would be passed over.
    """
    try:
        with open_file(path, LONGEST_HEADER) as stream:
            length = os.fstat(stream.fileno()).st_size
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                    _check_tar_member(path, member, length)
                    if not member.isdir():
                        yield member.name, member.offset_data, member.size
                end = archive.offset
            stream.seek(end)
            rest = stream.read(LONGEST_HEADER)
            if not rest or any(rest) or len(rest) < length - end:
                what = "is cut off" if not rest else "is damaged, or another file was appended"
                raise HtunetError(f"The tar {path} {what} (at byte {end} of {length}). Make it again.")
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in OF_NAMES:
            raise
        raise HtunetError(
            f"The tar {path} cannot be read ({error}). Make it again; tars are read where they are not compressed."
        ) from None


def _check_tar_member(path: Path, member: tarfile.TarInfo, length: int) -> None:
    if _is_outside(member.name):
        raise HtunetError(f"The tar {path} is refused: its file {member.name!r} would lie outside the folder.")
    if not (member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None) and not member.isdir():
        raise HtunetError(f"The tar {path} is refused: {member.name!r} is a link or a device, not a file.")
    if not 0 <= member.size <= length - member.offset_data:
        raise HtunetError(f"The tar {path} is cut off in {member.name!r}. Make it again.")


def _is_outside(name: str) -> bool:
    safe = _safe_name(name)
    return safe.is_absolute() or ".." in safe.parts or re.match(r"[A-Za-z]:", name) is not None


def _safe_name(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = Counter(_safe_name(member.filename) for member in members)
    if twice := [str(name) for name, number in names.items() if number > 1]:
        raise HtunetError(
            f"The zip {path} is refused: it holds {some(twice)} more than once. Find out which is the right one, "
            "unpack it yourself and name the folder."
        )
    for member in members:
        if _is_outside(member.filename):
            raise HtunetError(f"The zip {path} is refused: its file {member.filename!r} would lie outside the folder.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise HtunetError(f"The zip {path} is refused: {member.filename!r} is a link or a device, not a file.")
        if member.flag_bits & 1:
            raise HtunetError(f"The zip {path} has a password. Unpack it yourself and name the folder.")


def _check_size(path: Path, folder: Path, total: int, max_bytes: int) -> None:
    packed, free = path.stat().st_size, shutil.disk_usage(folder).free
    if total > max_bytes:
        raise HtunetError(f"The zip {path} is refused: it claims {_gb(total)}, at most {_gb(max_bytes)} are unpacked.")
    if total > HARMLESS_BYTES and total > MAX_RATIO * packed:
        raise HtunetError(
            f"The zip {path} is refused: it claims {total // max(packed, 1)} times its own size; data sets of images "
            f"stay below {MAX_RATIO}. Unpack it yourself if you trust it, and name the folder."
        )
    if total > free:
        raise HtunetError(
            f"The zip {path} needs {_gb(total)} in {folder.parent}, where {_gb(free)} are free. "
            "Free space, point the htunet_* variables at a larger disk, or unpack it yourself and name the folder."
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def pack(folder: Path, path: Path, name: str) -> None:
    """Write a folder's files into a zip, in a folder called ``name``; equal files make equal bytes.

    They are not compressed, as weights do not shrink, and have no time of their own.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                member = zipfile.ZipInfo(f"{name}/{file.relative_to(folder).as_posix()}")
                member.external_attr, member.file_size = (stat.S_IFREG | 0o644) << 16, file.stat().st_size
                with file.open("rb") as content, archive.open(member, "w") as packed:
                    shutil.copyfileobj(content, packed)
