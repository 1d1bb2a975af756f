"""Jobs that need each other's results, and the loop that runs them on an engine.

A job is a command, and it is done when its product is there; the exit code of the command is not enough. Commands are
idempotent and lock what they write, so that any process may be killed and started again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from htunet.errors import HtunetError
from htunet.experiments.engines.engine import Call, Engine
from htunet.experiments.products import Product
from htunet.files import read_bytes
from htunet.paths import ROOTS, reproduced, root

RETRIES = 3
"""How often a job is started again whose worker was killed or was asked to stop by someone else."""
POLL_SECONDS = 0.2
DONE, FAILED, NOT_STARTED, STOPPED = "done", "failed", "not started", "stopped"
STOP_REQUESTED = (130, 143, 129)
"""Exit codes after SIGINT, SIGTERM and SIGHUP."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a job computes, to estimate its time."""

    method: str = ""
    task: str = ""
    dataset: str = ""
    """Full name of the data set whose ``plan`` it is."""
    plan: str = ""
    train_images: int = 0
    """In one epoch."""
    epochs: int = 0
    other_images: int = 0
    """Images of the forward passes alone: for a training the validation images, in each epoch."""
    side: int | None = None
    """Side of the square images of stage 1, pixels; None: that of the plan."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command of a table, and the jobs that it waits for."""

    name: str
    """Unique, fit for a file's name: ``train-BUSI-CLIP_HT-seg-seed1``."""
    kind: str
    """``prepare``, ``finetune``, ``train``, ``test`` or ``zero-shot``."""
    arguments: tuple[str, ...]
    """The command without ``htunet_``: ``("train", "BUSI", ...)``."""
    product: Product
    needs: tuple[str, ...] = ()
    """Names of the jobs that must be done before."""
    workload: Workload = Workload()


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a job ended."""

    status: str
    """``done``, ``failed``, ``not started`` (what it needs has failed), or ``stopped`` (the same call continues)."""
    attempts: int = 0
    log: Path | None = None
    reason: str = ""


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, each after those that it needs, else as given; raises ValueError for needs that no job meets."""
    placed: dict[str, Job] = {}
    waiting = list(jobs)
    while waiting:
        free = [job for job in waiting if all(need in placed for need in job.needs)]
        if not free:
            raise ValueError(
                f"Jobs that wait for each other or for a job that does not exist: {[job.name for job in waiting]}."
            )
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
    """Run the jobs that are not done; returns how each ended, by its name.

    A job whose worker was killed by a signal is started again, at most ``RETRIES`` times; when one fails, the others
    continue. ``folder`` gets a log for each job. ``tell`` is called at each change. When ``stop_requested`` is true,
    the workers are asked to save and to end.
    """
    in_order(jobs)
    board = _Board(jobs, folder, tell)
    while board.unfinished and not stop_requested():
        ready = board.ready()
        assert ready or board.running, "what is left waits for nothing that runs"
        if ready := ready[: engine.room()]:
            engine.start([board.start(job, engine.started_as) for job in ready])
        for name, code in engine.ended(POLL_SECONDS):
            board.end(name, code)
    if board.unfinished:
        for name, code in engine.stop():
            board.end(name, code, stopping=True)
        for name in [name for name in board.jobs if name not in board.results]:
            board.results[name] = Result(status=STOPPED, attempts=board.attempts[name])
    return board.results


class _Board:
    """The state of each job."""

    def __init__(self, jobs: Sequence[Job], folder: Path, tell: Callable[[Job, str], None]) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.folder, self.tell = folder, tell
        self.results: dict[str, Result] = {job.name: Result(status=DONE) for job in jobs if job.product.done()}
        self.running: set[str] = set()
        self.attempts = dict.fromkeys(self.jobs, 0)

    @property
    def unfinished(self) -> bool:
        return len(self.results) < len(self.jobs)

    def ready(self) -> list[Job]:
        """The jobs that wait for nothing any more, in the order in which they were given."""
        done = {name for name, result in self.results.items() if result.status == DONE}
        waiting = [job for job in self.jobs.values() if job.name not in self.results and job.name not in self.running]
        return [job for job in waiting if done >= set(job.needs)]

    def start(self, job: Job, how: str) -> Call:
        """Note that a job starts. The call consists of plain values, because it may run on another machine."""
        self.running.add(job.name)
        self.attempts[job.name] += 1
        attempt = self.attempts[job.name]
        self.tell(job, how if attempt == 1 else f"{how} again ({attempt})")
        return Call(
            name=job.name,
            arguments=job.arguments,
            log=str(self.folder / f"{job.name}.log"),
            lock=str(reproduced("locks") / job.name),
            environment={variable: str(root(variable).resolve()) for variable in ROOTS},
        )

    def end(self, name: str, code: int, *, stopping: bool = False) -> None:
        """Note that a worker has ended; its job is done, stopped, failed, or will start again."""
        job, log = self.jobs[name], self.folder / f"{name}.log"
        self.running.discard(name)
        status, reason = FAILED, ""
        if job.product.done():
            status = DONE
        elif stopping:
            status = STOPPED
        elif (code <= 0 or code in STOP_REQUESTED) and self.attempts[name] <= RETRIES:
            self.tell(job, f"ended by {signal_text(code)}; it starts again")
            return
        else:
            reason = last_error(log) or (signal_text(code) if code <= 0 else f"exit code {code}")
        self.results[name] = Result(status=status, attempts=self.attempts[name], log=log, reason=reason)
        self.tell(job, f"{status}: {reason}" if reason else status)
        if status != FAILED:
            return
        lost = {name}
        for other in in_order(list(self.jobs.values())):
            if other.name not in self.results and lost & set(other.needs):
                lost.add(other.name)
                self.results[other.name] = Result(status=NOT_STARTED, reason=f"it needs {name}")
                self.tell(other, f"{NOT_STARTED}: it needs {name}")


def signal_text(code: int) -> str:
    """What ended a worker whose exit code is not positive.

    >>> signal_text(-9), signal_text(0)
    ('signal 9', 'a request to stop')
    """
    return f"signal {-code}" if code < 0 else "a request to stop"


def last_error(log: Path) -> str:
    """The error that a command printed last; empty where it printed none."""
    try:
        lines = read_bytes(log).decode(errors="replace").splitlines()
    except (HtunetError, OSError):
        return ""
    return next((line for line in reversed(lines) if ": error: " in line), "")
