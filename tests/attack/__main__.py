"""Attack htunet: ``python -m attack --minutes 10``, or ``make attack MINUTES=10``; run again, it goes on.

What was done is counted in ``counts.json`` of ``--folder``, what was found is written to ``found.txt`` there. Each
input is made from its number alone. Exit code 1: something was found now.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from builders.fuzz import run as converters
from builders.fuzz.subjects import SUBJECTS
from builders.processes import ForkServer

from attack import own_files, readers, resources
from attack.kills import MORE, Killer
from attack.own_files import Found
from htunet.paths import ROOTS

KINDS = ("readers", "own files", "converters", "kills")
TOGETHER = {"readers": 100, "own files": 5, "converters": 20, "kills": 1}
"""How many inputs of a kind follow each other, so that each kind gets its share of the time."""
Attack = Callable[[int], tuple[Found, int]]


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


def attacks(base: Path, kinds: list[str]) -> dict[str, Attack]:
    """What attacks with a number, and gives what it found and how often it counts."""
    made: dict[str, Attack] = {}
    if "kills" in kinds:
        (base / "kills" / "processes").mkdir(parents=True)
        os.chdir(base)
        killer = Killer(base / "kills", ForkServer(base / "kills" / "processes", MORE))
        killer.build()
        made["kills"] = killer.attack
    if "readers" in kinds or "own files" in kinds:
        world = base / "world"
        world.mkdir()
        files = own_files.prepare(world)
        made["own files"] = lambda number: (own_files.attack(world, files, number), 1)
        home = base / "read"
        shutil.copytree(world / "sound", home)
        with environment(home):
            chosen = readers.pairs(home)

        def read(number: int) -> tuple[Found, int]:
            with environment(home):
                return readers.attack(world / "sound", home, chosen, number), 1

        made["readers"] = read
    if "converters" in kinds:
        made["converters"] = converter_attack(base / "converters")
    return made


def converter_attack(base: Path) -> Attack:
    """Damaged downloads, as ``builders.fuzz``."""
    names = list(SUBJECTS)
    home = converters.Home(base)
    state = SimpleNamespace(ready=False)

    def attack(number: int) -> tuple[Found, int]:
        with environment(base):
            before = tempfile.tempdir
            if not state.ready:
                base.mkdir()
                home.prepare()
                converters.build_forms(home, names)
                state.ready = True
            tempfile.tempdir = str(home.temporary)
            one = converters.convert_one(home, number, names[number % len(names)])
            tempfile.tempdir = before
        os.chdir(base.parent)
        found = Found(number, one.subject, one.subject, one.done, one.code, one.seconds, one.peak_mb, one.problems)
        return found, 1

    return attack


def main() -> int:
    parser = argparse.ArgumentParser(prog="attack", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path.cwd() / "attack_results")
    parser.add_argument("--minutes", type=float, default=0.0, help="attack for so long, all kinds in turn")
    parser.add_argument("--resources", action="store_true", help="also full disks, no /dev/shm and little memory")
    for kind in KINDS:
        parser.add_argument(f"--{kind.split()[0]}", type=int, default=0, help=f"so many inputs of the kind {kind}")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "counts.json"
    counts = {kind: Counter[str]() for kind in KINDS}
    done = Counter[str]()
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        done.update(stored.pop("next"))
        counts |= {kind: Counter(stored.get(kind, {})) for kind in KINDS}
    expected = {kind: getattr(options, kind.split()[0]) for kind in KINDS}
    kinds = [kind for kind in KINDS if options.minutes or expected[kind]]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    end, problems = time.monotonic() + 60 * options.minutes, 0
    if options.resources and not resources.works():
        sys.stdout.write("Without a resource: left out, this user may not mount in a namespace (unshare -rm).\n")
    for name, wrong in resources.attack() if options.resources and resources.works() else ():
        sys.stdout.write(f"{name}: {'; '.join(wrong) or 'as it should be'}\n")
        problems += bool(wrong)
    with tempfile.TemporaryDirectory(prefix="htunet_attack_") as base:
        made = attacks(Path(base), kinds)
        left = Counter(expected)
        while kinds := [kind for kind in kinds if options.minutes or left[kind] > 0]:
            for kind in kinds:
                for _ in range(TOGETHER[kind] if options.minutes else min(left[kind], TOGETHER[kind])):
                    found, number = made[kind](done[kind])
                    done[kind] += 1
                    left[kind] -= 1
                    counts[kind][found.command if kind != "readers" else Path(found.file).name] += number
                    if found.problems:
                        problems += 1
                        sys.stdout.write(f"{kind}: {found}\n")
                        with (folder / "found.txt").open("a", encoding="utf-8") as stream:
                            stream.write(f"{kind}: {found}\n")
                path.write_text(json.dumps({"next": done, **counts}, indent=1), encoding="utf-8")
            if options.minutes and time.monotonic() > end:
                break
        os.chdir(folder)
    totals = ", ".join(f"{kind}: {sum(counts[kind].values())}" for kind in KINDS)
    sys.stdout.write(f"{totals}; found now: {problems}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
