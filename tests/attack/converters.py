"""Damaged downloads over all converters: an error of ours or a whole data set, and nothing else is changed."""

import contextlib
import io
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from builders.fuzz.archives import pack
from builders.fuzz.damage import damage
from builders.fuzz.subjects import OWN, SUBJECTS, Subject

from attack.pool import Found
from dataset_conversion import CONVERTERS
from htunet.cli.convert import main
from htunet.data.captions import read_captions
from htunet.data.image_io import read_image, read_labels
from htunet.data.raw import read_raw
from htunet.files import PART
from htunet.paths import DatasetPaths

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
"""Characters that a terminal obeys."""
PLACELESS = re.compile(r"[^)]\. Check the path and the disk")
"""An error of the system that does not say which file."""
Tree = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Home:
    """The folders of one run."""

    base: Path

    @property
    def raw(self) -> Path:
        return self.base / "raw"

    @property
    def sentinel(self) -> Path:
        """Must never change."""
        return self.base / "sentinel"

    @property
    def download(self) -> Path:
        return self.base / "download"

    @property
    def temporary(self) -> Path:
        return self.base / "temporary"

    def prepare(self) -> None:
        """Make all folders, and the sound downloads, which each input copies."""
        for folder in (self.sentinel / "kept", self.temporary, *(self.base / "forms" / name for name in SUBJECTS)):
            folder.mkdir(parents=True)
        (self.sentinel / "secret.txt").write_text("secret")
        (self.sentinel / "kept" / "image.png").write_bytes(b"kept")
        for name, subject in SUBJECTS.items():
            subject.build(self.base / "forms" / name)


def tree(folder: Path, *without: Path) -> Tree:
    """Every file and folder below ``folder`` with its size and time, links not followed.

    The times of folders do not count: what comes and goes in them does.
    """
    found: Tree = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(place, name) not in without]
        for name in (*folders, *files):
            state = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (
                state.st_mode,
                *((state.st_size, state.st_mtime_ns) if name in files else ()),
            )
    return found


def dataset_of(subject: Subject) -> DatasetPaths:
    """Where the subject's raw folder comes to lie."""
    return DatasetPaths("Dataset600_Mine" if subject.converter == OWN else CONVERTERS[subject.converter].facts.dataset)


def make_input(home: Home, number: int, name: str) -> tuple[list[str], str]:
    """The command over a damaged copy of the form ``name``, and how it was damaged."""
    rng = random.Random(f"damaged download {number}")
    for old in (home.download, home.raw, home.base / "preprocessed"):
        shutil.rmtree(old, ignore_errors=True)
    (home.base / "download.zip").unlink(missing_ok=True)
    shutil.copytree(home.base / "forms" / name, home.download, symlinks=True)
    done = []
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        files = sorted(path for path in home.download.rglob("*") if path.is_file() and not path.is_symlink())
        if files:
            with contextlib.suppress(FileExistsError, NotADirectoryError):  # a hostile name is there already
                done.append(damage(rng.choice(files), home.download, home.sentinel, rng))
    source = home.download
    if SUBJECTS[name].takes_zip and rng.random() < 0.35:
        source = home.base / "download.zip"
        done.append(pack(home.download, source, rng))
    if rng.random() < 0.5:
        earlier = dataset_of(SUBJECTS[name]).raw
        earlier.mkdir(parents=True)
        (earlier / "earlier.txt").write_text("an earlier conversion")
    return [*SUBJECTS[name].command(source), "--workers", "1"], "; ".join(done) or "sound"


def attack(home: Home, number: int) -> Found:
    """Convert one damaged download, and compare all that must not have changed."""
    tempfile.tempdir = str(home.temporary)
    os.chdir(home.temporary)
    name = list(SUBJECTS)[number % len(SUBJECTS)]
    command, done = make_input(home, number, name)
    found = Found(number, name, name, done)
    earlier, outside = tree(home.raw), tree(home.base, home.raw)
    with _captured() as (out, err):
        try:
            found.code = main(command)
        except SystemExit as leave:
            found.code = int(leave.code or 0)
    printed, errors = (stream.buffer.getvalue().decode("utf-8") for stream in (out, err))  # type: ignore[attr-defined]
    found.problems += spoken_problems(found.code, printed, errors)
    if done == "sound" and found.code and not SUBJECTS[name].foreign:
        found.problems.append(f"refuses a sound download: {errors[-300:]}")
    recorded = dataset_of(SUBJECTS[name]).conversion_json  # the command, beside the plans to come
    if found.code == 0 and recorded.exists():
        shutil.rmtree(recorded.parents[1])
    found.problems += [f"changed outside: {path}" for path in changed(outside, tree(home.base, home.raw))]
    found.problems += raw_problems(home, dataset_of(SUBJECTS[name]), found.code, earlier)
    return found


def spoken_problems(code: int, printed: str, errors: str) -> list[str]:
    """What is wrong with the exit code and the words."""
    problems = [] if code in (0, 1, 2) else [f"exit code {code}"]
    if "This is a bug" in errors or "Traceback" in errors or PLACELESS.search(errors):
        problems.append(f"not an error of ours: {errors[-300:]}")
    if code and "error: " not in errors:
        problems.append(f"exit code {code} without a reason: {errors[-300:]}")
    if found := CONTROL.search(printed + errors):
        problems.append(f"prints the control character {found[0]!r}")
    return problems


def changed(before: Tree, after: Tree) -> list[str]:
    """What came, went or differs."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def raw_problems(home: Home, dataset: DatasetPaths, code: int, earlier: Tree) -> list[str]:
    """What is wrong with the raw folder: it is as it was, or whole."""
    earlier, now = (
        {path: state for path, state in files.items() if "/.lock-" not in path} for files in (earlier, tree(home.raw))
    )
    problems = [f"left behind: {path}" for path in now if PART in path]
    if others := [path.name for path in home.raw.glob("[!.]*") if path.name != dataset.name]:
        problems.append(f"wrote other raw folders: {others}")
    if code == 0:
        return problems + half_written(dataset)
    return problems + [f"failed, and changed {path}" for path in changed(earlier, now)]


def half_written(dataset: DatasetPaths) -> list[str]:
    """What a raw folder that was said to be done lacks."""
    try:
        if dataset.captions_json.exists():
            captions = read_captions(dataset)
            expected = {captions.image_path(pair) for pair in captions.pairs}
            tables = [dataset.captions_json, dataset.captions_jsonl, dataset.excluded_csv]
        else:
            raw = read_raw(dataset)
            expected = {place(case) for case in raw.cases for place in (raw.image_path, raw.label_path)}
            tables = [dataset.dataset_json, dataset.cases_csv, dataset.excluded_csv]
            for case in raw.cases:
                image, labels = read_image(raw.image_path(case), 1)[0], read_labels(raw.label_path(case))
                if image.shape != labels.shape or not np.isin(labels, list(raw.info.labels.values())).all():
                    return [f"the image and the labels of {case.id} do not fit"]
    except Exception as error:
        return [f"the raw folder cannot be read: {type(error).__name__}: {error}"]
    images = {path for path in dataset.raw.glob("*/*.png") if path.is_file() and not path.is_symlink()}
    problems = [f"missing: {path}" for path in (*sorted(expected - images), *tables) if not path.is_file()]
    return problems + [f"not listed: {path}" for path in sorted(images - expected)]


@contextlib.contextmanager
def _captured() -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
    """Standard output and error as of a terminal in UTF-8, which refuses what is no character."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err
