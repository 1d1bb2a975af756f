"""Attack htunet: ``python -m attack --minutes 10``, or ``make attack MINUTES=10``; run again, it goes on.

What was done is counted in ``counts.json`` of ``--folder``, what was found is written to ``found.txt`` there. Each
input is made from its number alone. Exit code 1: something was found now.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from builders.processes import ForkServer

from attack import converters, formats, own_files, readers, resources
from attack.kills import MORE, Killer
from attack.pool import Found, forked
from htunet.paths import ROOTS

TURNS = {"formats": 20, "readers": 15, "own files": 10, "converters": 10, "kills": 45}
"""The kinds of attacks, and the seconds of each before it is the next one's turn."""
SAVE_SECONDS = 5.0
"""Between two savings of the counts: an attack that is ended keeps them."""
MEMORY = Path("/dev/shm")
"""Where files lie in memory: the disk is not what is tested."""
Attack = Callable[[int, int | None, float | None], Iterator[Found]]
"""Given the first number, how many or how many seconds: what became of each input."""


@contextmanager
def environment(home: Path) -> Iterator[None]:
    """htunet's folders in ``home`` inside the block."""
    before = dict(os.environ)
    os.environ.update({variable: str(home / folder) for variable, folder in ROOTS.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def one_by_one(attack: Callable[[int], Found], first: int, most: int | None, seconds: float | None) -> Iterator[Found]:
    """For an attack that starts processes itself; at least one input."""
    end = None if seconds is None else time.monotonic() + seconds
    number = first
    while (most is None or number < first + most) and (end is None or time.monotonic() < end or number == first):
        yield attack(number)
        number += 1


def attacks(base: Path, kinds: list[str]) -> dict[str, Attack]:
    """Prepare the kinds, each in a folder of its own."""
    made: dict[str, Attack] = {}
    if "kills" in kinds:
        (base / "kills" / "processes").mkdir(parents=True)
        os.chdir(base)
        killer = Killer(base / "kills", ForkServer(base / "kills" / "processes", MORE))
        killer.build()
        made["kills"] = partial(one_by_one, killer.attack)
    os.fsync = lambda _: None  # the disk is not what is tested
    if "formats" in kinds:
        formats.build(base / "formats")
        attack = partial(formats.attack, base / "formats")
        made["formats"] = in_process(base / "formats", attack, ("now", "out"), again=partial(attack, as_users=True))
    if "readers" in kinds or "own files" in kinds:
        world = base / "world"
        world.mkdir()
        files = own_files.prepare(world)
        made["own files"] = partial(one_by_one, partial(own_files.attack, world, files))
        home = base / "read" / "home"
        shutil.copytree(world / "sound", home)
        with environment(home):
            chosen = readers.pairs(home)
        made["readers"] = in_process(
            home.parent, partial(readers.attack, world / "sound", home, chosen), ("home",), home
        )
    if "converters" in kinds:
        place = converters.Home(base / "converters")
        place.prepare()
        allowed = ("raw", "preprocessed", "download", "download.zip", "inner.zip", "temporary", "sentinel/x")
        made["converters"] = in_process(place.base, partial(converters.attack, place), allowed, place.base)
    os.chdir(base)
    return made


def in_process(
    base: Path,
    attack: Callable[[int], Found],
    allowed: tuple[str, ...],
    home: Path | None = None,
    again: Callable[[int], Found] | None = None,
) -> Attack:
    """Many inputs in one process, which may write into folders of ``base`` alone; ``home`` has htunet's folders."""

    def run(first: int, most: int | None, seconds: float | None) -> Iterator[Found]:
        places = [base / name for name in allowed]
        limits = {"allowed": places, "secret": base / "secret", "most": most, "seconds": seconds}
        with environment(home or base / "none"):
            yield from forked(attack, first, again=again, **limits)  # type: ignore[arg-type]

    return run


def main() -> int:
    parser = argparse.ArgumentParser(prog="attack", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path.cwd() / "attack_results")
    parser.add_argument("--minutes", type=float, default=0.0, help="attack for so long, all kinds in turn")
    parser.add_argument("--resources", action="store_true", help="also full disks, no /dev/shm and little memory")
    for kind in TURNS:
        parser.add_argument(f"--{kind.split()[0]}", type=int, default=0, help=f"so many inputs of the kind {kind}")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    requested = {kind: getattr(options, kind.split()[0]) for kind in TURNS}
    kinds = [kind for kind in TURNS if options.minutes or requested[kind]]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    end, record = time.monotonic() + 60 * options.minutes, Record(folder)
    if options.resources and not resources.works():
        sys.stdout.write("Without a resource: left out, this user may not mount in a namespace (unshare -rm).\n")
    for name, wrong in resources.attack() if options.resources and resources.works() else ():
        sys.stdout.write(f"{name}: {'; '.join(wrong) or 'as it should be'}\n")
        record.problems += bool(wrong)
    place = MEMORY if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2**30 else None
    with tempfile.TemporaryDirectory(prefix="htunet_attack_", dir=place) as base:
        made = attacks(Path(base), kinds)
        while kinds:
            for kind in kinds:
                turn = (None, TURNS[kind]) if options.minutes else (requested[kind], None)
                try:
                    for found in made[kind](record.next[kind], *turn):
                        record.add(kind, found)
                finally:
                    record.save()
            if not options.minutes or time.monotonic() > end:
                break
        os.chdir(folder)
    totals = ", ".join(f"{kind}: {sum(record.counts[kind].values())}" for kind in TURNS)
    sys.stdout.write(f"{totals}; found now: {record.problems}\n")
    return 1 if record.problems else 0


class Record:
    """What was done until now, in ``counts.json``, and what was found, in ``found.txt``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.problems, self.saved = folder, 0, 0.0
        path = folder / "counts.json"
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.next = Counter[str](stored.pop("next", {}))
        """The number of the next input of each kind."""
        self.refused = Counter[str](stored.pop("refused", {}))
        self.counts = {kind: Counter[str](stored.get(kind, {})) for kind in TURNS}

    def add(self, kind: str, found: Found) -> None:
        """Count one input, and say what is wrong with it."""
        self.next[kind] = found.number + 1
        self.counts[kind][found.command if kind != "readers" else Path(found.file).name] += found.count
        self.refused[kind] += found.code != 0
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()
        if found.problems:
            self.problems += 1
            sys.stdout.write(f"{kind}: {found}\n")
            sys.stdout.flush()
            with (self.folder / "found.txt").open("a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(f"{kind}: {found}\n")

    def save(self) -> None:
        """Write the counts."""
        content = {"next": self.next, "refused": self.refused, **self.counts}
        part = self.folder / "counts.json.part"
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")
        part.replace(self.folder / "counts.json")
        self.saved = time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
