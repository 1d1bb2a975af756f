"""Records of a run for people: progress.csv, progress.png, training.log, TensorBoard, and a bar while it runs."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from htunet.errors import duration
from htunet.files import whole_file, write_csv
from htunet.paths import RunFolder
from htunet.training.loggers import RunLogger, open_logger
from htunet.training.state import EpochMetrics, Progress

PICTURE_SECONDS = 20.0
"""A picture takes a third of a second: it is drawn again at most this often, and at the end."""

log = logging.getLogger(__name__)


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append htunet's log to a file inside the block, with times and from level INFO on, whatever the level is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("htunet")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


class Recorder:
    """Writes the records after each epoch and moves the bar after each step. Only one process of a run has one."""

    def __init__(
        self,
        run: RunFolder,
        *,
        total_steps: int,
        done_steps: int,
        num_epochs: int,
        history: Sequence[EpochMetrics],
        metric: str,
        logger: str = "tensorboard",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.logger, self.settings = logger, settings or {}
        self.run = run
        self.history = tuple(history)
        self.num_epochs = num_epochs
        self.metric = metric
        self.bar = tqdm(total=total_steps, initial=done_steps, unit="step", disable=None, file=sys.stderr)
        self.started = self.epoch_started = time.perf_counter()
        self.epochs_timed = 0
        self.picture_drawn = 0.0

    def after_step(self, progress: Progress, loss: float) -> None:
        """Move the bar."""
        last = progress.history[-1].val_metric if progress.history else None
        best = "" if last is None else f" {self.metric} {last:.3f}"
        self.bar.set_description(f"epoch {progress.epoch + 1}/{self.num_epochs} loss {loss:.3f}{best}", refresh=False)
        self.bar.update()

    def after_epoch(self, progress: Progress, best: bool) -> None:
        """Write the metrics of the epoch that has just ended."""
        row = progress.history[-1]
        seconds = time.perf_counter() - self.epoch_started
        self.epoch_started = time.perf_counter()
        mark = ", best so far" if best else ""
        self.epochs_timed += 1
        each = (time.perf_counter() - self.started) / self.epochs_timed
        left = self.num_epochs - progress.epoch
        more = f", {duration(each * left)} left" if left else ""
        text = f"epoch {row.epoch + 1}/{self.num_epochs}: loss {row.train_loss:.4f}"
        if row.val_loss is not None:
            text += f", validation loss {row.val_loss:.4f}, {self.metric} {row.val_metric:.4f}"
        log.info("%s%s (%.1f s)%s", text, mark, seconds, more)
        write_progress(self.run.progress_csv, progress.history)
        self.curves.add(_values(row) | {"seconds": seconds}, row.epoch)
        if time.monotonic() - self.picture_drawn > PICTURE_SECONDS:
            self.draw(progress)

    @cached_property
    def curves(self) -> RunLogger:
        """The logger. TensorBoard's gets the earlier epochs again: a killed process has not written them all."""
        found = open_logger(self.logger, self.run, self.settings)
        for row in self.history if self.logger == "tensorboard" else ():
            found.add(_values(row), row.epoch)
        return found

    def draw(self, progress: Progress) -> None:
        """Draw progress.png."""
        draw_progress(self.run.progress_png, progress.history, self.metric, self.run.label)
        self.picture_drawn = time.monotonic()

    def close(self) -> None:
        """Close the logger, take the bar away."""
        if "curves" in vars(self):
            self.curves.close()
        self.bar.close()


def _values(row: EpochMetrics) -> dict[str, float]:
    return {name: value for name, value in asdict(row).items() if value is not None}


def write_progress(path: Path, history: Sequence[EpochMetrics]) -> None:
    """progress.csv: one line an epoch, in full precision."""
    write_csv(path, [field.name for field in fields(EpochMetrics)], (asdict(row) for row in history))


def draw_progress(path: Path, history: Sequence[EpochMetrics], metric: str, title: str) -> None:
    """Draw the losses on the left axis and the validation metric on the right one."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row.epoch + 1 for row in history]
    mark = "o" if len(epochs) == 1 else ""  # one point makes no line
    figure = Figure(figsize=(7, 4), layout="constrained")
    losses = figure.add_subplot()
    losses.plot(epochs, [row.train_loss for row in history], color="tab:blue", label="training loss", marker=mark)
    validated = [row for row in history if row.val_loss is not None and row.val_metric is not None]
    seen = np.array([(row.epoch + 1, row.val_loss, row.val_metric) for row in validated]).reshape(-1, 3).T
    seen_mark = "o" if len(validated) == 1 else ""
    losses.plot(seen[0], seen[1], color="tab:orange", label="validation loss", marker=seen_mark)
    losses.set(xlabel="epoch", ylabel="loss", title=title)
    losses.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figures = losses.twinx()
    figures.plot(seen[0], seen[2], color="tab:green", label=f"validation {metric}", marker=seen_mark)
    figures.set(ylabel=metric, ylim=(0, 1))
    lines = [*losses.get_lines(), *figures.get_lines()]
    losses.legend(lines, [str(line.get_label()) for line in lines], loc="center right")
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=120)
