"""Damaged files of htunet's own, over the commands that read them: an error that names the file, or a result.

Each input is a copy of what a user of an earlier version had on disk (``tests/compatibility``) with one file damaged; a
forked process runs a command on it. An input is made from its number alone, so that its number repeats a failure.
"""

import contextlib
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import zipfile
from pathlib import Path

from builders.contrastive import tiny_contrastive
from builders.training import register_tiny_methods

from attack.converters import Tree, changed, spoken_problems, tree
from attack.damage import damage
from attack.pool import MEGABYTES, SECONDS, Found
from htunet.evaluation import comparisons, statistics
from htunet.files import PART
from htunet.paths import ROOTS

ARCHIVE = Path(__file__).parents[1] / "compatibility" / "files_of_4fe71f3.zip"
TINY = ("--plan", "tiny", "--device", "cpu")
SMALL = ("--input-size", "32", "--batch-size", "8", "--weights", "random", "--device", "cpu", "--precision", "fp32")
TRAIN = (*TINY, "--precision", "fp32", "--workers", "0", "--weights", "random")
COMMANDS: dict[str, tuple[str, ...]] = {
    "tables": ("evaluate",),
    "paper": ("tables", "table2"),
    "report": ("report",),
    "figures": ("figures",),
    "evaluate": ("evaluate", "Old", "Plain", "--plan", "tiny"),
    "classes": ("evaluate", "Old", "PlainClasses", "--plan", "tiny", "--task", "cls"),
    "plan": ("plan_and_preprocess", "-d", "Old", "--plan", "tiny", "--workers", "1"),
    "resume": ("train", "Old", "Plain", "fold0", *TRAIN, "--seed", "3"),
    "again": ("train", "Old", "Plain", "fold0", *TRAIN, "--seed", "1"),
    "few shot": ("train", "Old", "Plain", "fold0", *TRAIN, "--ratio", "0.5"),
    "predict": ("predict", "-i", "new_images", "-o", "masks", "-d", "Old", "-m", "Plain", *TINY),
    "model": ("predict", "-i", "new_images", "-o", "masks", "--model", "exported_Plain", "--device", "cpu"),
    "import": ("import_", "exported_Plain", "--name", "theirs"),
    "import zip": ("import_", "exported_Plain.zip", "--name", "theirs"),
    "export": ("export", "Old", "Plain", "fold0", "--plan", "tiny", "-o", "out.zip"),
    "robustness": ("robustness", "Old", "Plain", *TINY, "--artefacts", "gain", "--strengths", "1"),
    "finetune": ("finetune", "CLIP_HT", "-d", "Words", *SMALL, "--num-epochs", "1"),
    "sizes": ("table1",),
}
READ_BY = {
    "raw/Dataset930_Old/*.json": ("plan", "evaluate", "classes", "report", "export", "resume", "sizes"),
    "raw/Dataset930_Old/*.csv": ("plan", "evaluate", "classes", "report", "sizes"),
    "raw/Dataset930_Old/*/*.png": ("plan", "evaluate"),
    "raw/Dataset907_Words/*.*": ("finetune",),
    "preprocessed/Dataset907_Words/**/*.*": ("finetune",),
    "preprocessed/Dataset930_Old/dataset_fingerprint.json": ("plan",),
    "preprocessed/Dataset930_Old/splits*": ("plan", "evaluate", "classes", "resume", "report", "few shot"),
    "preprocessed/Dataset930_Old/plans.json": ("plan", "resume", "report", "predict", "evaluate"),
    "preprocessed/Dataset930_Old/few_shot/*.json": ("few shot",),
    "preprocessed/Dataset930_Old/tiny/*": ("plan", "resume", "evaluate", "robustness"),
    "results/Dataset930_Old/*/fold_0/seed_[12]/settings.json": (
        "tables",
        "evaluate",
        "again",
        "predict",
        "export",
        "report",
    ),
    "results/Dataset930_Old/*/fold_0/seed_3/*": ("resume", "resume", "resume", "report", "figures"),
    "results/Dataset930_Old/*/fold_0/seed_[12]/finished.json": ("tables", "evaluate", "report", "figures", "again"),
    "results/Dataset930_Old/*/fold_0/seed_[12]/progress.csv": ("report", "figures"),
    "results/Dataset930_Old/*/fold_0/seed_[12]/checkpoint*": ("predict", "export", "evaluate", "robustness"),
    "results/Dataset930_Old/*/fold_0/seed_[12]/test/*.json": (
        "tables",
        "paper",
        "report",
        "figures",
        "export",
        "evaluate",
    ),
    "results/Dataset930_Old/*/fold_0/seed_[12]/*/classes.csv": ("tables", "classes", "report", "figures"),
    "results/Dataset930_Old/*/fold_0/seed_[12]/test/*/*.png": ("evaluate", "report", "figures"),
    "results/Dataset930_Old/*/fold_0/seed_1/robustness/altered/*": ("robustness", "report"),
    "results/Dataset930_Old/robustness/*/*/*": ("robustness", "report"),
    "results/Dataset930_Old/zero_shot/*/*/*": ("tables", "report", "paper"),
    "results/finetuning/*/*/seed_1/*": ("finetune", "report"),
    "exported_Plain/*": ("model", "import"),
    "exported_Plain.zip": ("import zip",),
    "new_images/*.png": ("predict", "model"),
}
stack = contextlib.ExitStack()
MODULES = sorted({f"htunet.cli.{words[0]}" for words in COMMANDS.values()})


def unpack_world(base: Path) -> None:
    """The files in ``sound``, and in ``victim`` what nothing may touch."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(base / "sound")
    shutil.rmtree(base / "sound" / "expected")
    (base / "victim").mkdir()
    (base / "victim" / "photo.png").write_bytes(b"photo")


def make_tiny() -> None:
    """For the rest of this process: the tiny methods, no pictures, short statistics, no waiting for the disk."""
    from htunet.training import record

    record.draw_progress = lambda *_: None
    os.fsync = lambda _: None
    register_tiny_methods()
    stack.enter_context(tiny_contrastive())
    for function in (statistics.bootstrap_means, statistics.bootstrap_estimates, comparisons.paired_tests):
        function.__kwdefaults__["resamples"] = 50  # the numbers are not what is tested


def prepare(base: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Unpack the world, import all commands, and give each file with the commands that read it."""
    unpack_world(base)
    for module in MODULES:
        importlib.import_module(module)
    make_tiny()
    known: dict[str, tuple[str, ...]] = {}
    for pattern, commands in READ_BY.items():
        for path in sorted((base / "sound").glob(pattern)):
            if path.is_file() and not path.name.startswith("."):
                known.setdefault(str(path.relative_to(base / "sound")), commands)
    return list(known.items())


def attack(base: Path, files: list[tuple[str, tuple[str, ...]]], number: int) -> Found:
    """Damage one file of a copy of the world, and run a command that reads it in a forked process."""
    rng = random.Random(f"own file {number}")
    kinds: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, commands in files:
        kinds.setdefault(Path(name).parts[0] + Path(name).name.split("_0")[0].rstrip("0123456789"), []).append(
            (name, commands)
        )
    name, commands = rng.choice(kinds[rng.choice(sorted(kinds))])
    home = base / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(base / "sound", home)
    found = Found(number, name, rng.choice(commands), damage(home / name, rng))
    run(base, found)
    return found


def run(base: Path, found: Found) -> None:
    """The command in a forked process, and what it did that it must not."""
    home, before = base / "home", tree(base, base / "home")
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_the_command(base, COMMANDS[found.command])
    _, status, used = os.wait4(pid, 0)
    found.code, found.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - started
    found.megabytes = used.ru_maxrss // 1024
    printed, stderr = ((base / name).read_text(encoding="utf-8", errors="replace") for name in ("output", "errors"))
    found.problems = spoken_problems(found.code, printed, stderr)
    outside: Tree = tree(base, home)
    found.problems += [
        f"changed outside: {path}" for path in changed(before, outside) if not path.endswith(("output", "errors"))
    ]
    found.problems += [f"left behind: {path}" for path in home.rglob(f"{PART}*")]
    if used.ru_utime + used.ru_stime > SECONDS:
        found.problems.append(f"took {used.ru_utime + used.ru_stime:.0f} seconds")
    if found.megabytes > MEGABYTES:
        found.problems.append(f"took {found.megabytes} MB")


def _be_the_command(base: Path, words: tuple[str, ...]) -> None:
    """Never returns."""
    try:
        home = base / "home"
        for variable, folder in ROOTS.items():
            os.environ[variable] = str(home / folder)
        os.environ["TMPDIR"] = str(home)
        os.chdir(home)
        for number, name in ((1, "output"), (2, "errors")):
            os.dup2(os.open(base / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        signal.alarm(20 * SECONDS)  # others may use the machine, too
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 5, SECONDS + 10))
        resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
        code = 70
        try:
            code = importlib.import_module(f"htunet.cli.{words[0]}").main(list(words[1:]))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
