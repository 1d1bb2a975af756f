"""Jobs that need each other's results, and the loop that has an engine work through them.

A job is a command, and it is done when its product is there: whatever ends the command, its exit code included, is only
a hint. Commands are idempotent and lock what they write, so that any process may be killed and begun again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from htunet.experiments.engines.base import Call, Engine
from htunet.experiments.products import Product
from htunet.paths import ROOTS, reproduced, root

RETRIES = 3
"""How often a job is begun again whose worker was killed, or was asked to stop by somebody else."""
POLL_SECONDS = 0.2
DONE, FAILED, NOT_STARTED, STOPPED = "done", "failed", "not started", "stopped"
ASKED_TO_STOP = 130


@dataclass(frozen=True, kw_only=True)
class JobCost:
    """What a job computes, to estimate its time."""

    method: str = ""
    task: str = ""
    dataset: str = ""
    """Full name of the one whose ``plan`` it is."""
    plan: str = ""
    train_images: int = 0
    """In one epoch."""
    epochs: int = 0
    other_images: int = 0
    """That pass through the network once: for a training those of the validation, in each epoch."""
    side: int | None = None
    """Of the square images of stage 1, pixels; None: the plan says it."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command of a table, and what it waits for."""

    name: str
    """Unique, fit for a file's name: ``train-BUSI-CLIP_HT-seg-seed1``."""
    kind: str
    """``prepare``, ``finetune``, ``train``, ``test`` or ``ask``."""
    arguments: tuple[str, ...]
    """The command without ``htunet_``: ``("train", "BUSI", ...)``."""
    product: Product
    needs: tuple[str, ...] = ()
    """Names of the jobs that must be done before."""
    work: JobCost = JobCost()


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a job ended."""

    status: str
    """``done``, ``failed``, ``not started`` (what it needs has failed), or ``stopped`` (the same call continues)."""
    attempts: int = 0
    log: Path | None = None
    reason: str = ""


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, each behind those that it needs, else as they stand; raises ValueError for needs that nobody meets."""
    placed: dict[str, Job] = {}
    waiting = list(jobs)
    while waiting:
        free = [job for job in waiting if all(need in placed for need in job.needs)]
        if not free:
            raise ValueError(f"Jobs that wait for each other or for nobody: {[job.name for job in waiting]}.")
        placed |= {job.name: job for job in free}
        waiting = [job for job in waiting if job.name not in placed]
    return list(placed.values())


def run_jobs(
    jobs: Sequence[Job],
    engine: Engine,
    folder: Path,
    *,
    tell: Callable[[Job, str], None],
    stop_requested: Callable[[], bool] = lambda: False,
) -> dict[str, Result]:
    """Work through the jobs that are not done; returns how each ended, by its name.

    A job whose worker was killed by a signal is begun again, at most ``RETRIES`` times; the others go on when one
    fails. ``folder`` takes a log for each job. ``tell`` hears of each change. When ``stop_requested`` says so, the
    workers are asked to save and to end.
    """
    in_order(jobs)
    board = _Board(jobs, folder, tell)
    while board.open and not stop_requested():
        ready = board.ready()
        assert ready or board.running, "what is left waits for nothing that runs"
        if ready := ready[: engine.room()]:
            for job in ready:
                board.begin(job, engine.begun)
            engine.start([board.call(job) for job in ready])
        for name, code in engine.ended(POLL_SECONDS):
            board.end(name, code)
    if board.open:
        for name, code in engine.stop():
            board.end(name, code, stopping=True)
        board.give_up()
    return board.results


class _Board:
    """Where each job stands."""

    def __init__(self, jobs: Sequence[Job], folder: Path, tell: Callable[[Job, str], None]) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.folder, self.tell = folder, tell
        self.results: dict[str, Result] = {job.name: Result(status=DONE) for job in jobs if job.product.done()}
        self.running: set[str] = set()
        self.attempts = dict.fromkeys(self.jobs, 0)

    @property
    def open(self) -> bool:
        return len(self.results) < len(self.jobs)

    def ready(self) -> list[Job]:
        waiting = [job for name, job in self.jobs.items() if name not in self.results and name not in self.running]
        return [job for job in waiting if all(self._is_done(need) for need in job.needs)]

    def begin(self, job: Job, how: str) -> None:
        self.running.add(job.name)
        self.attempts[job.name] += 1
        again = self.attempts[job.name]
        self.tell(job, how if again == 1 else f"{how} again ({again})")

    def call(self, job: Job) -> Call:
        """What an engine is given: plain values, because it may be another machine that works on them."""
        return Call(
            name=job.name,
            arguments=job.arguments,
            log=str(self._log(job.name)),
            lock=str(reproduced("locks") / job.name),
            environment={variable: str(root(variable).resolve()) for variable in ROOTS},
        )

    def end(self, name: str, code: int, *, stopping: bool = False) -> None:
        job = self.jobs[name]
        self.running.discard(name)
        if job.product.done():
            self._settle(name, DONE)
        elif stopping:
            self._settle(name, STOPPED)
        elif (code <= 0 or code == ASKED_TO_STOP) and self.attempts[name] <= RETRIES:
            self.tell(job, f"ended by {signal_text(code)}, and begins again")
        else:
            ended_by = signal_text(code) if code <= 0 else f"exit code {code}"
            self._settle(name, FAILED, last_words(self._log(name)) or ended_by)

    def give_up(self) -> None:
        """The rest does not begin any more."""
        for name in self.jobs:
            if name not in self.results:
                self.results[name] = Result(status=STOPPED, attempts=self.attempts[name])

    def _settle(self, name: str, status: str, reason: str = "") -> None:
        self.results[name] = Result(status=status, attempts=self.attempts[name], log=self._log(name), reason=reason)
        self.tell(self.jobs[name], f"{status}: {reason}" if reason else status)
        if status != FAILED:
            return
        for job in self.jobs.values():
            if job.name not in self.results and name in self._all_needs(job):
                self.results[job.name] = Result(status=NOT_STARTED, reason=f"it needs {name}")
                self.tell(job, f"{NOT_STARTED}: it needs {name}")

    def _all_needs(self, job: Job) -> set[str]:
        return set(job.needs).union(*(self._all_needs(self.jobs[need]) for need in job.needs))

    def _is_done(self, name: str) -> bool:
        return name in self.results and self.results[name].status == DONE

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def signal_text(code: int) -> str:
    """What ended a worker whose exit code is not positive.

    >>> signal_text(-9), signal_text(0)
    ('signal 9', 'a request to stop')
    """
    return f"signal {-code}" if code < 0 else "a request to stop"


def last_words(log: Path) -> str:
    """The error that a command printed last; empty where it printed none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if ": error: " in line), "")


def by_status(results: Mapping[str, Result]) -> dict[str, list[str]]:
    """The names of the jobs of each status."""
    found: dict[str, list[str]] = {}
    for name, result in results.items():
        found.setdefault(result.status, []).append(name)
    return found
