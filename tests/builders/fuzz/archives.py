"""Zips that hold a download, and those that nobody should unpack."""

import random
import stat
import struct
import warnings
import zipfile
from pathlib import Path

BOMB_BYTES = 300_000_000
"""Claimed by a bomb; far above what is harmless, and never written whole."""


def pack(folder: Path, path: Path, rng: random.Random) -> str:
    """Pack ``folder`` into the zip ``path``, in most cases with something hostile in it, and say what."""
    kinds = (_sound, _outside, _outside, _linked, _bomb, _damaged, _damaged, _forged, _odd_names, _nested)
    how = rng.choice(kinds)
    with warnings.catch_warnings(action="ignore"):  # names that come twice are meant
        how(folder, path, rng)
    return f"zip {how.__name__.lstrip('_')}"


def _sound(folder: Path, path: Path, _rng: random.Random) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                name = file.relative_to(folder).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                archive.writestr(zipfile.ZipInfo(f"top/{name}"), file.read_bytes(), zipfile.ZIP_DEFLATED)


def _add(path: Path, name: str, content: bytes, mode: int = 0) -> None:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, content)


def _outside(folder: Path, path: Path, rng: random.Random) -> None:
    _sound(folder, path, rng)
    home = path.parent.as_posix()
    names = ("../outside.txt", "../../outside.txt", f"{home}/outside.txt", "top/../../outside.txt", "C:/outside.txt")
    windows = ("..\\outside.txt", f"{home}/outside.txt".replace("/", "\\"), "top/..\\..\\outside.png")
    _add(path, rng.choice((*names, *windows, f"/{home}/outside.txt")), b"x")


def _linked(folder: Path, path: Path, rng: random.Random) -> None:
    _sound(folder, path, rng)
    kind = rng.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK))
    _add(path, "top/link", (path.parent / "sentinel").as_posix().encode(), kind | 0o777)
    _add(path, "top/link/outside.txt", b"x")


def _bomb(folder: Path, path: Path, rng: random.Random) -> None:
    """One member of zeros; its headers claim more than it holds."""
    _sound(folder, path, rng)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("top/zeros.png", bytes(1_000_000))
        archive.getinfo("top/zeros.png").file_size = rng.choice((BOMB_BYTES, 2**31, 2**40))


def _forged(folder: Path, path: Path, rng: random.Random) -> None:
    """A member that holds more than its headers claim, or has another checksum, method or flag."""
    _sound(folder, path, rng)
    with zipfile.ZipFile(path, "a") as archive:
        member = rng.choice(archive.infolist())
        for name, values in (
            ("file_size", (0, 10)),
            ("CRC", (1,)),
            ("compress_type", (99, 12, 14)),
            ("flag_bits", (1,)),
        ):
            if rng.random() < 0.4:
                setattr(member, name, rng.choice(values))
        archive.writestr("top/last.txt", b"x")


def _damaged(folder: Path, path: Path, rng: random.Random) -> None:
    _sound(folder, path, rng)
    content = bytearray(path.read_bytes())
    tail = content.rfind(b"PK\5\6")
    if rng.random() < 0.4:
        struct.pack_into("<I", content, tail + rng.choice((8, 12, 16)), rng.choice((0, 1, 2**31, 2**32 - 1)))
    for _ in range(rng.randrange(8)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])


def _odd_names(folder: Path, path: Path, rng: random.Random) -> None:
    _sound(folder, path, rng)
    names = ("top/结节.png", "top/a\nb.png", "top/" + "x" * 300 + ".png", "top/" + "d/" * 300 + "x.png", "top", "/", "")
    name = rng.choice(
        (*names, "top/\x01.png", "top/é" * 40, ".", "top/.", "top//x.png", "./top/y.png", "top/../top/z.png")
    )
    _add(path, name, b"x")
    if rng.random() < 0.5:
        _add(path, name, b"y")


def _nested(folder: Path, path: Path, rng: random.Random) -> None:
    inner = path.with_name("inner.zip")
    rng.choice((_sound, _outside, _linked, _bomb, _damaged, _odd_names))(folder, inner, rng)
    content = inner.read_bytes()
    inner.unlink()
    _add(path, "set/inner.zip", content)
