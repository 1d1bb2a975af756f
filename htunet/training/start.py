"""Begin a training with the weights of an earlier one, and never with those of one that has seen the test images."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from htunet.data.raw import read_raw
from htunet.data.shared_images import shared_images
from htunet.data.splits import Fold
from htunet.data.training_fold import recorded_fold
from htunet.errors import HtunetError, UsageError, counted, some
from htunet.files import file_hash
from htunet.models import checkpoint
from htunet.models.finetuned import StartingAdapter, training_of, trainings_before
from htunet.models.network import Network
from htunet.models.weights.load import WeightsRecord
from htunet.paths import DatasetPaths
from htunet.planning.configuration import digest
from htunet.planning.plans import Plan

log = logging.getLogger(__name__)


def refuse_run_as_weights(weights: str) -> None:
    """Raise UsageError where ``--weights`` names the checkpoint of a run, which may have seen images that are held out.

    A network that trains as a whole could start from it, and only ``--start-from`` compares the images.
    """
    if not (path := Path(weights)).is_file():
        return
    try:
        settings = checkpoint.read_about(path).get("settings")
    except HtunetError:  # a file of weights
        return
    if isinstance(settings, dict) and settings.get("dataset"):
        raise UsageError(
            f"{path} is the checkpoint of a run on {settings['dataset']}. Name it with --start-from, which makes sure "
            "that it was not trained on images that are validated or tested now."
        )


def load_start(network: Network, weights: WeightsRecord, path: Path, method: str, plan: Plan) -> dict[str, Any]:
    """Fill the trainable part of the network; what settings.json says of the checkpoint.

    That is its data set, fold, training, hash and licence, and where it began with the weights of another run itself,
    its own record of them.

    Raises HtunetError where the checkpoint is of another method, does not fit, or was trained on images of other
    values, with an adapter of other settings, or with other numbers of the same labels or classes.
    """
    about = checkpoint.read_about(path)
    if about.get("method") != method:
        raise HtunetError(f"{path} is of {about.get('method')}, not of {method}. Name a checkpoint of {method}.")
    settings = about.get("settings") or {}
    then = settings.get("plan_content") or {}
    trained = StartingAdapter(
        path=path, label="", record={}, normalise=bool(then.get("normalise", True)), settings=then.get("adapter") or {}
    )
    trained.check(method, normalise=plan.normalise, settings=plan.adapter)
    tasks = str(settings.get("task") or "seg+cls").split("+")
    for what, task, now in (("labels", "seg", plan.labels), ("classes", "cls", plan.classes)):
        learnt = (then.get(what) or {}) if task in tasks else {}
        other = [name for name, number in now.items() if learnt.get(name, number) != number]
        if wrong := [f"{name} ({learnt[name]}, now {now[name]})" for name in other]:
            raise HtunetError(
                f"{path} has learnt {what} under other numbers: {', '.join(wrong)}. Give them the same numbers in "
                "dataset.json, or omit --start-from."
            )
    checkpoint.restore(network, weights, path)
    checkpoint.warn_of_unfinished(path)
    return {
        "start_from": settings.get("dataset"),
        "start_checkpoint": training_of(settings) | {"configuration": digest(settings), "sha256": file_hash(path)},
        "start_argument": str(path),
        "start_licence": checkpoint.SIMULATED_LICENCE if "recipe" in settings else about.get("licence"),
    }


def refuse_seen_images(path: Path, whole: Fold, dataset: DatasetPaths, fold: int | None) -> None:
    """Raise HtunetError where a checkpoint has learnt from an image that ``fold`` of ``dataset`` tests or validates.

    None: that is classified without training; ``whole`` has these images.
    So does one whose own starting weights or adapter have, and theirs. Images of one data set are the same by their
    ids; those of two by their ids and pictures. Where another image of the checkpoint's data set shows the same picture
    as a held-out one, or none of this can be known because the earlier split or its images are not there any more, that
    is logged. Of a fine-tuning on captions and of weights of ``htunet_pretrain`` nothing is compared.
    """
    start = checkpoint.read_about(path).get("settings") or {}
    if start.get("datasets"):  # a fine-tuning on captions
        return
    now = "are classified" if fold is None else f"fold{fold} validates or tests"
    for one in trainings_before({"start_checkpoint": training_of(start)}):
        _refuse_seen_by(one, whole, dataset, now)


def _refuse_seen_by(start: Mapping[str, Any], whole: Fold, dataset: DatasetPaths, now: str) -> None:
    """Of one of the runs, by what ``training_of`` says of it."""
    if (learnt_fold := recorded_fold(start)) is None:
        log.warning("Whether the starting weights have seen images that %s cannot be known.", now)
        return
    number, earlier = start["fold"], DatasetPaths(start["dataset"])
    learnt = learnt_fold["train"]
    held_out = sorted({case for split, cases in whole.items() if split != "train" for case in cases})
    seen = sorted(set(learnt) & set(held_out))
    if earlier.name != dataset.name:
        try:
            shared = shared_images(read_raw(earlier), learnt, read_raw(dataset), held_out)
        except HtunetError as error:
            log.warning("Which pictures of %s the starting weights have seen cannot be known: %s", dataset.name, error)
        else:
            seen = [case for case in seen if case in shared.get(case, ())]
            if others := sorted(shared.keys() - set(seen)):
                log.warning(
                    "The starting weights (fold%d of %s) were trained on pictures that are the same as %s that %s, "
                    "so that the results may be too good: %s.",
                    *(number, earlier.name, counted(len(others), "image"), now, some(others)),
                )
    if seen:
        raise HtunetError(
            f"The starting weights (fold{number} of {earlier.name}) were trained on {counted(len(seen), 'image')} that "
            f"{now}: {some(seen)}. Take a run of the same split and fold; in htunet_zero_shot also --split test."
        )
