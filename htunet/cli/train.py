"""Train a method on one fold of a planned data set, or on all folds. The same command resumes an interrupted run."""

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from htunet.cli.arguments import ALL_FOLDS, add_settings, fold_or_all, settings_from
from htunet.cli.command import log_on_terminal, make_parser, print_next, run_command
from htunet.errors import StoppedBySignalError
from htunet.models.adapters import ADAPTERS, WEIGHT_ADAPTERS
from htunet.models.backbones import BACKBONES
from htunet.models.heads import CLASS_HEADS, HEADS
from htunet.models.standalone import STANDALONE
from htunet.paths import find_dataset
from htunet.training.augmentation import AUGMENTATIONS
from htunet.training.losses import CLASS_LOSSES, LOSSES
from htunet.training.settings import TrainSettings

if TYPE_CHECKING:
    from htunet.training.session import Outcome


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_train BUSI CLIP_HT fold0``."""
    parser = make_parser("htunet_train", __doc__)
    parser.add_positional("dataset", "-d", help="data set: name or number, such as BUSI, 503 or Dataset503_BUSI")
    parser.add_positional("method", "-m", help="method, such as UNet, CLIP or CLIP_HT")
    parser.add_positional(
        "fold",
        "-f",
        type=fold_or_all,
        help="fold, such as fold0; paper for the split of the paper's authors; all-folds for all, one after another",
    )
    add_settings(parser, TrainSettings)
    parser.add_argument(
        "--restart", action="store_true", help="delete an earlier run of the same name and start from scratch"
    )
    parser.lists |= {"Networks": STANDALONE, "Backbones": BACKBONES, "Adapters, after a backbone and _": ADAPTERS}
    parser.lists |= {"Adapters of weights": WEIGHT_ADAPTERS, "In a plan, loss": LOSSES, "class_loss": CLASS_LOSSES}
    parser.lists |= {"head": HEADS, "class_head": CLASS_HEADS, "more_augmentation": AUGMENTATIONS}
    return run_command(parser, _train, argv)


def _train(options: argparse.Namespace) -> None:
    settings = settings_from(TrainSettings, options)
    from htunet import api

    folds = [options.fold]
    if options.fold == ALL_FOLDS:
        from htunet.data.split_files import all_folds

        folds = all_folds(find_dataset(options.dataset), settings.task)
    first = True
    for fold in folds:
        with training_log():
            outcome = api.train(options.dataset, options.method, fold, settings, restart=options.restart)
        first = is_finished(outcome)
        if first:
            from htunet.evaluation.metrics import label_of

            best = f"best validation {label_of(outcome.metric)} {outcome.best_metric:.4f} in epoch {outcome.best_epoch}"
            print(f"{outcome.status.capitalize()}: {outcome.run.label}, {best}.")
            print(f"Weights, curves and log: {outcome.run.folder}", flush=True)
    if first:
        print_next("Next: htunet_evaluate")


def is_finished(outcome: "Outcome") -> bool:
    """False in all processes but the first.

    Raises StoppedBySignalError after a stop, which is printed, and KeyboardInterrupt after a Ctrl-C: what follows in a
    script (``htunet_train ... && htunet_evaluate``) must not start.
    """
    if outcome.status == "stopped":
        stopped(outcome.run.folder if outcome.rank == 0 else None, outcome.signal)
    return outcome.rank == 0


def stopped(folder: Path | None, received: int | None) -> NoReturn:
    """Print where a stopped training can be resumed, and end as the signal requires.

    ``received`` None: another process of the run received the signal.

    Raises StoppedBySignalError, for SIGINT KeyboardInterrupt.
    """
    if folder:
        print(f"Stopped and saved. The same command continues: {folder}")
    if received == signal.SIGINT:
        raise KeyboardInterrupt
    raise StoppedBySignalError(received or signal.SIGTERM)


@contextmanager
def training_log() -> Iterator[None]:
    """Inside the block, the library's log is on the terminal; where there is a bar, above it."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    with log_on_terminal("htunet"), logging_redirect_tqdm([logging.getLogger("htunet")]):
        yield


if __name__ == "__main__":  # as torchrun -m htunet.cli.train starts it
    sys.exit(main())
