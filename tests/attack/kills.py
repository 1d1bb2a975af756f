"""Commands that are killed at any moment: the same command again ends in the bytes of an undisturbed one.

Every round copies a state, starts a command in a forked process, kills it up to five times, lets it end, and compares
every file with those that it writes undisturbed. A round is made from its number alone.
"""

import os
import random
import shutil
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from builders.busi import build_busi
from builders.contrastive import TinyImages
from builders.processes import ForkServer, Process
from builders.training import prepare_command
from safetensors.torch import save_file

from attack.own_files import COMMANDS, MODULES, make_tiny, unpack_world
from attack.pool import Found
from htunet.experiments import cross_validation
from htunet.experiments.cost import CACHE, START_SECONDS, Cost
from htunet.files import PART
from htunet.paths import ROOTS

MAY_DIFFER = (".log", ".lock", "events.out.tfevents", "report.html", CACHE, "raw_files.json")
"""Parts of names: what was said and when, locks, times of TensorBoard; the report names the minute that it was made;
how long a step took here; when the images were written."""
KILLED = {
    "export": COMMANDS["export"],
    "convert zip": ("convert", "BUSI", "download.zip", "--workers", "1"),
    "export folder": (*COMMANDS["export"][:-1], "out"),
    "convert": ("convert", "BUSI", "download", "--workers", "1"),
    **{name: COMMANDS[name] for name in ("import", "import zip", "predict", "model", "resume", "plan")},
    "plan anew": ("plan_and_preprocess", "-d", "Old", "--plan", "adaptive", "--workers", "1"),
    "train": (*COMMANDS["resume"][:-1], "7"),
    **{name: COMMANDS[name] for name in ("finetune", "tables", "evaluate", "classes", "paper", "report", "robustness")},
    "reproduce": (
        *("reproduce", "table2", "--datasets", "Old", "--methods", "Plain", "--plan", "tiny", "--weights", "random"),
        *("--captions", "none", "--seeds", "4", "5", "--num-epochs", "2", "--jobs", "2"),
    ),
    "weights": ("weights", "import", "clip.safetensors", "--as", "CLIP"),
    "run": (
        *("run", "-d", "Old", "--methods", "Plain", "--weights", "random", "--hours", "0.000001"),
        *("-i", "new_images", "-o", "predicted"),
    ),
}
"""In the order in which they are taken."""
MORE = (
    *(*MODULES, "htunet.cli.convert", "attack.kills", "pandas", "matplotlib.pyplot", "htunet.evaluation.evaluate"),
    *("htunet.reporting.report.page", "htunet.reporting.report.collect", "htunet.reporting.tables.paper_tables"),
    *("htunet.reporting.figures.few_shot_curves", "htunet.experiments.update_run"),
    *("htunet.experiments.robustness_study", "htunet.inference.export", "htunet.inference.import_model"),
    *("htunet.inference.folder", "htunet.cli.reproduce", "htunet.cli.weights", "htunet.cli.run"),
)
"""What the process that forks has loaded, so that a kill costs the command alone."""


@dataclass
class Killer:
    """What all rounds share."""

    base: Path
    server: ForkServer
    expected: dict[str, dict[str, bytes]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    unfinished: int = 0
    """Kills that left an unfinished file or folder behind."""

    def build(self) -> None:
        """The state that every round starts from."""
        unpack_world(self.base)
        build_busi(self.base / "sound" / "download")
        shutil.make_archive(str(self.base / "sound" / "download"), "zip", self.base / "sound" / "download")
        save_file(TinyImages().state_dict(), self.base / "sound" / "clip.safetensors")
        adaptive = self.base / "sound" / "preprocessed" / "Dataset930_Old" / "adaptive"
        shutil.rmtree(adaptive, ignore_errors=True)

    def attack(self, number: int) -> Found:
        """One round; it counts as often as the command was killed in it."""
        rng = random.Random(f"kill {number}")
        name = list(KILLED)[number % len(KILLED)]
        if name not in self.expected:
            self._undisturbed(name)
        home, killed, done = self._home(), 0, []
        for _ in range(rng.randint(1, 5)):
            after = rng.uniform(0, self.seconds[name])
            process = self._start(name, home)
            time.sleep(after)
            process.kill()
            killed += process.whole()[0] < 0
            self.unfinished += any(True for _ in home.rglob(f"{PART}*"))
            done.append(f"{after:.2f} s")
        found = Found(number, name, name, f"killed after {', '.join(done)} of {self.seconds[name]:.2f} s")
        started = time.monotonic()
        found.code, output, errors = self._start(name, home).whole()
        found.seconds = time.monotonic() - started
        if found.code:
            found.problems.append(f"ends with {found.code}: {errors[-300:]}{output[-200:]}")
        else:
            found.problems += self._differences(name, home)
        found.count = killed
        return found

    def _undisturbed(self, name: str) -> None:
        home = self._home()
        for _ in range(2):  # the first time for what is imported on the way
            shutil.rmtree(home)
            home = self._home()
            process = self._start(name, home)
            started = time.monotonic()
            code, output, errors = process.whole()
            assert code == 0, f"{name}: {output}{errors}"
            self.seconds[name] = time.monotonic() - started
        self.expected[name] = _contents(home)

    def _home(self) -> Path:
        home = self.base / "home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.base / "sound", home)
        (home / "temporary").mkdir()
        return home

    def _start(self, name: str, home: Path) -> Process:
        places = {variable: str(home / folder) for variable, folder in ROOTS.items()}
        os.chdir(home)
        return self.server.start("attack.kills:command", *KILLED[name], TMPDIR=str(home / "temporary"), **places)

    def _differences(self, name: str, home: Path) -> list[str]:
        expected, now = self.expected[name], _contents(home)
        changed = [path for path in sorted(expected.keys() | now.keys()) if expected.get(path) != now.get(path)]
        left = [str(path.relative_to(home)) for path in home.rglob(f"{PART}*")] + os.listdir(home / "temporary")
        return [f"differs: {path}" for path in changed] + [f"left behind: {path}" for path in left]


def _contents(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not any(part in path.name for part in (*MAY_DIFFER, PART))
    }


def command() -> int:
    """One of ``KILLED`` with the tiny methods; a ``target`` of ``builders.processes``."""
    prepare_command()
    make_tiny()
    cross_validation.costs_of = lambda jobs: {job.name: Cost(START_SECONDS + 0.5, "made up") for job in jobs}
    return int(import_module(f"htunet.cli.{sys.argv[1]}").main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(command())
