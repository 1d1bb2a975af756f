"""Damage to single files: any bytes, and what each format is known to be attacked with."""

import gzip
import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from builders.ddti import BILLION_LAUGHS

PNG_START = b"\x89PNG\r\n\x1a\n"
HOSTILE_NAMES = (
    *("结节.png", "a\nb.xml", "a\rb.png", "\udc80.jpg", "..png", " .png", "-rf.png", "%s%n.png", "=1+1.png"),
    *("0000.JPG", "-1.xml", "1_1_1.jpg", "9" * 40 + ".xml", "9" * 200 + "_1.jpg", "\u202egnp.exe", "e\u0301.png"),
    *("benign (1)_mask_mask.png", "benign (٣).png", "²_1.jpg", "a\\b.png", "a:b.png", '"; x.png', "\x1b[31m.png"),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 7, -1, 0.5, 10**40, 1e308, "", "x", "\x00", "\ud800", "../../outside", "/etc/passwd", "a\nb"),
    *([], {}, [[]], {"a": {}}, [None], "9" * 5000, 2**63, -(2**31), ["x"] * 3, float("nan"), float("-inf")),
)
ODD_NUMBERS = (0, 1, 2, 3, 7, 8, 60_000, 32_767, -1, -32_768)
NIFTI_SHORTS = (*range(40, 56, 2), 70, 72)
"""dim[0..7], datatype, bitpix."""
NIFTI_FLOATS = (*range(76, 108, 4), 108, 112, 116, *range(256, 328, 4))
"""pixdim[0..7], vox_offset, slope, intercept, quaternion and affine."""


def damage(path: Path, folder: Path, sentinel: Path, rng: random.Random) -> str:
    """Damage one file of ``folder``, and say how; links lead to ``sentinel``."""
    suited = [how for pattern, how in BY_FORMAT if re.search(pattern, path.name.lower())]
    how = rng.choice(suited) if suited and rng.random() < 0.6 else rng.choice(ANY)
    how(path, folder, sentinel, rng)
    return f"{how.__name__.lstrip('_')} {path.relative_to(folder)}"


def _cut(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def _empty(path: Path, _folder: Path, _sentinel: Path, _rng: random.Random) -> None:
    path.write_bytes(b"")


def _flip(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    reach = min(len(content), rng.choice((64, 400, 10**9)))
    for _ in range(rng.randrange(1, 20) if reach else 0):
        content[rng.randrange(reach)] = rng.randrange(256)
    path.write_bytes(content)


def _insert(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    start = rng.randrange(len(content) + 1)
    extra = rng.choice(
        (content[:200], b"\xff\xfe", b"\xef\xbb\xbf", b"\0" * 9, b"\xe7\xbb", rng.randbytes(30), b"{[\"'<")
    )
    path.write_bytes(content[:start] + extra + content[start:])


def _mark_first(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    path.write_bytes(rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\n\n", b"\x1f\x8b")) + path.read_bytes())


def _rename(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    path.rename(path.with_name(rng.choice(HOSTILE_NAMES)))


def _rename_ending(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    ending = rng.choice(
        (".png", ".PNG", ".jpg", ".tif", ".bmp", ".nii.gz", ".nii", ".dcm", ".csv", ".zip", ".json", "")
    )
    path.rename(path.with_name(path.name.split(".")[0] + ending))


def _take(path: Path, _folder: Path, _sentinel: Path, _rng: random.Random) -> None:
    path.unlink()


def _make_folder(path: Path, _folder: Path, _sentinel: Path, _rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, _folder: Path, sentinel: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice((sentinel / "secret.txt", sentinel, "/nonexistent", ".", path.name, "/dev/null")))


def _swap(path: Path, folder: Path, _sentinel: Path, rng: random.Random) -> None:
    """The bytes of another file under this one's name."""
    others = sorted(other for other in folder.rglob("*") if other.is_file())
    path.write_bytes(rng.choice(others).read_bytes())


def _double(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    (path.parent / rng.choice(HOSTILE_NAMES)).write_bytes(path.read_bytes())


ANY: tuple[Callable[[Path, Path, Path, random.Random], None], ...] = (
    *(_cut, _empty, _flip, _flip, _insert, _mark_first, _rename, _rename_ending),
    *(_take, _make_folder, _link, _swap, _double),
)


@cache
def zeros(compress: Callable[[bytes], bytes], count: int) -> bytes:
    """So many zeros, compressed."""
    return compress(bytes(count))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its right checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge_png(width: int = 60_000, height: int = 60_000, kind: int = 0) -> bytes:
    """A valid header that claims so many pixels, and hardly any data."""
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def _huge_header(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    sides = rng.choice(((60_000, 60_000), (2**31 - 1, 1), (8000, 7999), (0, 5), (1, 60_000), (2**31, 2**31)))
    path.write_bytes(huge_png(*sides, kind=rng.choice((0, 2, 3, 6, 9))))


def _text_bomb(path: Path, _folder: Path, _sentinel: Path, _rng: random.Random) -> None:
    bomb = chunk(b"zTXt", b"a\0\0" + zeros(zlib.compress, 20_000_000))
    content = path.read_bytes()
    path.write_bytes(content[:33] + bomb + content[33:] if content.startswith(PNG_START) else huge_png(9, 9) + bomb)


def _wide_jpeg(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    """Other sides in the frame header of a JPEG."""
    content = path.read_bytes()
    start = content.find(b"\xff\xc0")
    sides = struct.pack(">HH", rng.choice(ODD_NUMBERS) % 65536, rng.choice(ODD_NUMBERS) % 65536)
    path.write_bytes(content[: start + 5] + sides + content[start + 9 :] if start >= 0 else content[:50])


def _other_kind(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    """A sound picture of another kind than the name says."""
    modes = {"PNG": ("1", "L", "LA", "P", "RGBA", "I;16"), "TIFF": ("F", "CMYK", "LAB", "I;16"), "GIF": ("L",)}
    kind = rng.choice(sorted(modes))
    side = rng.choice((1, 2, 40))
    Image.new(rng.choice(modes[kind]), (side, rng.choice((1, side))), 1).save(path, format=kind)


def _places(content: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        found.append((content, key))
        _places(value, found)
    return found


def _odd_json(content: Any, rng: random.Random) -> Any:
    places = _places(content, [])
    if not places or rng.random() < 0.05:
        return rng.choice(ODD_VALUES)
    for container, key in rng.sample(places, min(len(places), rng.randrange(1, 4))):
        if rng.random() < 0.25 and isinstance(container, dict):
            container.pop(key, None)
        elif rng.random() < 0.15 and isinstance(container, list):
            container.append(rng.choice(ODD_VALUES))
        else:
            container[key] = rng.choice(ODD_VALUES)
    return content


def _odd_values(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    """Values of other types in a JSON file, or in a line of one."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [text] if path.suffix.lower() == ".json" else text.splitlines()
    position = rng.randrange(len(lines)) if lines else 0
    try:
        value = _odd_json(json.loads(lines[position]), rng)
        lines[position] = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    except (ValueError, IndexError, RecursionError):
        lines = ["null"]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")


def _deep_json(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    path.write_text(rng.choice(("[" * 100_000, '{"a":' * 100_000, "[" * 5_000 + "]" * 5_000, "9" * 100_000, "NaN")))


def _odd_xml(path: Path, _folder: Path, sentinel: Path, rng: random.Random) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    outside = f'<!DOCTYPE case [<!ENTITY e SYSTEM "file://{sentinel}/secret.txt">]><case><tirads>&e;</tirads></case>'
    shapes = re.search(r"(?<=<svg>).*?(?=</svg>)", text, re.DOTALL)
    try:
        odd = json.dumps(_odd_json(json.loads(shapes[0]), rng)).replace("&", "&amp;") if shapes else "{"
    except (ValueError, RecursionError):
        odd = "["
    options = (
        BILLION_LAUGHS,
        outside,
        "<case>" * 50_000,
        text.replace("utf-8", "utf-16"),
        text.replace("<mark>", "<m>"),
    )
    inside = text[: shapes.start()] + odd + text[shapes.end() :] if shapes else odd
    again = text.replace("<image>1<", rng.choice(("<image>9<", "<image>" + "9" * 5000 + "<", "<image><", "<image>x<")))
    chosen = rng.choice((*options, inside, inside, inside, again))
    path.write_text(chosen, encoding="utf-8", errors="replace")


def _odd_table(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines() or [""]
    position = rng.randrange(len(lines))
    cells = lines[position].split(",")
    odd = ("", "nan", "-1", "9" * 5000, '"', "\0", "a;b", "../../x", "benign", "结节", "x" * 200_000, "1e999", "a,b,c")
    cells[rng.randrange(len(cells))] = rng.choice(odd)
    lines[position] = ",".join(cells)
    if rng.random() < 0.2:
        lines.insert(position, lines[position])
    path.write_text(rng.choice(("\n", "\n", "\r\n", "\r")).join(lines), encoding=rng.choice(("utf-8", "utf-16")))


def _odd_volume(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    """Other numbers in the header of a NIfTI file; whole otherwise."""
    packed = path.read_bytes()
    try:
        content = bytearray(gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)
    except (OSError, EOFError, zlib.error):
        content = bytearray()
    content += bytes(max(0, 348 - len(content)))
    for _ in range(rng.randrange(1, 4)):
        if rng.random() < 0.5:
            struct.pack_into("<H", content, rng.choice(NIFTI_SHORTS), rng.choice(ODD_NUMBERS) % 65536)
        else:
            value = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e30, 1e-30, 352.0, 3e9))
            struct.pack_into("<f", content, rng.choice(NIFTI_FLOATS), value)
    path.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)


def _volume_bomb(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    """A header of a large volume, then zeros that shrink a thousandfold."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 2000, 2000, rng.choice((100, 30_000)), 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<4f", header, 76, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    path.write_bytes(gzip.compress(bytes(header)) + zeros(gzip.compress, 30_000_000))


def _odd_dicom(path: Path, _folder: Path, _sentinel: Path, rng: random.Random) -> None:
    """Other numbers in Rows, Columns, frames, bits or samples, by their tags in explicit little endian."""
    content = bytearray(path.read_bytes())
    tags = (b"\x28\0\x10\0US", b"\x28\0\x11\0US", b"\x28\0\0\x01US", b"\x28\0\x01\x01US", b"\x28\0\x02\0US")
    for tag in rng.sample(tags, 2):
        start = content.find(tag)
        if 0 <= start <= len(content) - 10:  # an earlier damage may have cut it
            struct.pack_into("<H", content, start + 8, rng.choice(ODD_NUMBERS) % 65536)
    start = content.find(b"\x28\0\x08\0IS")
    if start >= 0 and rng.random() < 0.5:
        content[start + 8 : start + 10] = rng.choice((b"99", b"-1", b"x ", b"0 ", b"  "))
    path.write_bytes(content)


def _odd_header(path: Path, _folder: Path, sentinel: Path, rng: random.Random) -> None:
    """Another value in a line of a header of text, of the line that names the file of the pixels in most cases."""
    content = path.read_bytes()
    lines = list(re.finditer(rb"(?m)^([\w ]{3,40}?)[ \t]*([:=])[ \t]*(.*)$", content[:4096]))
    named = [match for match in lines if b"file" in match[1].lower()]
    if not lines:
        return
    line = rng.choice(named if named and rng.random() < 0.5 else lines)
    places = (
        f"../{sentinel.name}/secret.raw",
        f"{sentinel}/secret.raw",
        "LIST",
        "%03d.raw 1 2 1",
        "/dev/zero",
        ".",
        "x",
    )
    value = rng.choice(
        (*places, "LOCAL", "-1", "0", "9" * 20, "3 3 3", "2147483647 2147483647", "nan", "short", "gzip")
    )
    changed = line[1] + b" " * (line[2] == b"=") + line[2] + b" " + value.encode()
    path.write_bytes(content[: line.start()] + changed + content[line.end() :])


BY_FORMAT = (
    *((r"\.(png|jpe?g)$", how) for how in (_huge_header, _text_bomb, _other_kind)),
    (r"\.jpe?g$", _wide_jpeg),
    *((r"\.jsonl?$", how) for how in (_odd_values, _odd_values, _odd_values, _deep_json)),
    (r"\.xml$", _odd_xml),
    (r"\.csv$", _odd_table),
    *((r"\.nii(\.gz)?$", how) for how in (_odd_volume, _odd_volume, _odd_volume, _volume_bomb)),
    (r"\.dcm$", _odd_dicom),
    (r"\.(mha|mhd|nrrd)$", _odd_header),
)
"""A file of the pattern may be damaged so."""
