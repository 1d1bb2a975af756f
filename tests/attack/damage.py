"""One damage to one file of htunet's own: a key, a cell or a byte that is not what it should be."""

import csv
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 10**18, 10**400, 1e308, float("nan"), "", "text", "²", "../../x", "/etc/passwd", "a/b"),
    *("a\0b", "\x1b[31m", "x" * 5000, "\ud800", "nan", "=1+1", [], {}, [None], ["a", "a"], [[]], {"a": None}, {"": ""}),
)
CELLS = [value for value in VALUES if isinstance(value, str)] + ["-1", "1e308", "inf", "9" * 400, "a,b", '"', "a\nb"]


def damage(path: Path, rng: random.Random) -> str:
    """Damage the file, and say how; what is no JSON or CSV is damaged byte by byte."""
    way = rng.random()
    if way < 0.03:
        return _replace(path, rng)
    text = path.suffix in (".json", ".csv", ".jsonl") and way < 0.85
    content = path.read_bytes()
    path.unlink()
    if text and path.suffix == ".csv":
        done, changed = _damage_csv(content.decode(), rng)
    elif text and path.suffix == ".jsonl":
        lines = content.decode().splitlines()
        at = rng.randrange(len(lines))
        done, lines[at] = _damage_json(lines[at], rng)
        changed = "\n".join(lines) + "\n"
    elif text:
        done, changed = _damage_json(content.decode(), rng)
    else:
        done, damaged = damage_bytes(content, rng)
        path.write_bytes(damaged)
        return done
    path.write_bytes(changed.encode(errors="surrogatepass"))
    return done


def _replace(path: Path, rng: random.Random) -> str:
    path.unlink()
    kind = rng.choice(("nothing", "a folder", "a pipe", "/dev/zero", "/dev/full", "itself", "an empty file"))
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind in ("/dev/zero", "/dev/full"):
        path.symlink_to(kind)
    elif kind == "itself":
        path.symlink_to(path)
    elif kind == "an empty file":
        path.touch()
    return f"replaced by {kind}"


def damage_bytes(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Cut, flip, insert, repeat or clear bytes."""
    size = len(content)
    at = rng.randrange(size + 1)
    if rng.random() < 0.5:
        at = min(at, rng.randrange(200))  # where headers are
    end = min(size, at + rng.choice((1, 1, 2, 8, 100, 5000)))
    kind = rng.choice(("cut", "flip", "insert", "remove", "clear", "repeat"))
    random_bytes = bytes(rng.randrange(256) for _ in range(end - at))
    changed = {
        "cut": content[:at],
        "flip": content[:at] + random_bytes + content[end:],
        "insert": content[:at] + random_bytes + content[at:],
        "remove": content[:at] + content[end:],
        "clear": content[:at] + bytes(end - at) + content[end:],
        "repeat": content[:end] + content[at:],
    }
    return f"{kind} {at}:{end}", changed[kind]


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content[:3]):
            yield from _places(value, (*path, key))


def _damage_json(text: str, rng: random.Random) -> tuple[str, str]:
    content = json.loads(text)
    by_depth: dict[int, list[tuple[Any, ...]]] = {}
    for place in _places(content):
        by_depth.setdefault(len(place), []).append(place)
    place = rng.choice(by_depth[rng.choice(list(by_depth))])  # else the many deep places would hide the few above
    value = rng.choice(VALUES)
    if not place:
        return f"all = {str(value)[:30]!r}", json.dumps(value)
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    shown = "/".join(map(str, place))
    if rng.random() < 0.3:
        del parent[place[-1]]
        done = f"without {shown}"
    elif rng.random() < 0.1 and isinstance(parent, dict):
        parent[str(value)[:300]] = parent.pop(place[-1])
        done = f"{shown} called {str(value)[:30]!r}"
    else:
        parent[place[-1]] = value
        done = f"{shown} = {str(value)[:30]!r}"
    return done, json.dumps(content)


def _damage_csv(text: str, rng: random.Random) -> tuple[str, str]:
    rows = list(csv.reader(io.StringIO(text)))
    at = 0 if rng.random() < 0.15 else rng.randrange(len(rows))
    column = rng.randrange(max(1, len(rows[at])))
    kind = rng.choice(("cell", "cell", "cell", "cell", "column", "row", "twice", "short"))
    shown = f"row {at} {rows[0][column] if column < len(rows[0]) else column}"
    if kind == "cell":
        cell = rng.choice(CELLS)
        rows[at][column : column + 1] = [cell]
        shown += f" = {cell[:30]!r}"
    elif kind == "column":
        rows = [row[:column] + row[column + 1 :] for row in rows]
    elif kind == "row":
        del rows[at]
    elif kind == "twice":
        rows.insert(at, list(rows[at]))
    else:
        rows[at] = rows[at][:column]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return f"{kind}: {shown}", stream.getvalue()
