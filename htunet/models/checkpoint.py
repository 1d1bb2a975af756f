"""Checkpoints: the trained weights with the description needed to use them, in one safetensors file.

The frozen weights are not in it. The description is strict JSON. Reading a checkpoint runs no code from it.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from htunet.errors import HtunetError
from htunet.files import check_file, parse_json, whole_file
from htunet.models.build import published_weights
from htunet.models.network import Network
from htunet.models.weights.load import KEY, NONE, RANDOM, WeightsRecord, part_of
from htunet.paths import IMPORTED_WEIGHTS, PHANTOM
from htunet.records import checked_object, of_format
from htunet.reproducibility import provenance

FORMAT = 1
MODEL = "model."
SIMULATED_LICENCE = "pre-trained by htunet_pretrain on simulated images: Apache-2.0"
log = logging.getLogger(__name__)


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and a description, completely or not at all: after a kill the last complete checkpoint is there."""
    text = json.dumps({"format": FORMAT} | dict(about), allow_nan=False)
    content = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with whole_file(path) as part:
        part.write_bytes(to_bytes(content, metadata={KEY: text}))  # so that a full disk is an OSError


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description; raises HtunetError when the file is missing, broken or of another version."""
    with _opened(path) as (content, about):
        return {name: content.get_tensor(name) for name in content.keys()}, about  # noqa: SIM118


def read_about(path: Path) -> dict[str, Any]:
    """The description alone; raises as ``load``."""
    with _opened(path) as (_, about):
        return about


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    if not path.exists():
        raise HtunetError(f"The checkpoint {path} is missing: train first, or choose another run.")
    check_file(path)
    try:
        with safe_open(path, framework="pt") as content:
            about = checked_object(parse_json((content.metadata() or {})[KEY], "its description"), "its description")
            of_format(about, FORMAT, "it", "")
            yield content, about
    except (SafetensorError, KeyError, OSError, HtunetError) as error:
        raise HtunetError(
            f"{path} cannot be read as a checkpoint ({error}). A checkpoint is a file checkpoint_*.safetensors that "
            "htunet_train or htunet_finetune wrote. Name one, or train again with --restart if it is the run's own."
        ) from error


def warn_of_unfinished(path: Path) -> None:
    """Log that a checkpoint in the folder of a run is that of a training which is not finished."""
    if path.with_name("settings.json").exists() and not path.with_name("finished.json").exists():
        log.warning("The training in %s is not finished: its %s may still change.", path.parent, path.name)


def describe(
    method: str, weights: WeightsRecord, settings: Mapping[str, Any], start_licence: str | None = None
) -> dict[str, Any]:
    """The description that is stored with a checkpoint."""
    return {
        "method": method,
        "weights": weights.content(),
        "licence": licence_of(method, weights, start_licence),
        "settings": dict(settings),
        "made_by": provenance(),
    }


def licence_of(method: str, weights: WeightsRecord, start_licence: str | None = None) -> str:
    """The licence of the weights that a training started from, which also applies to what is trained from them.

    ``start_licence`` is what this function gave for the checkpoint that the training began with, if it did.
    """
    if start_licence:
        started = f"started from a checkpoint {start_licence}"
        return started if weights.source == NONE else f"{licence_of(method, weights)}; {started}"
    entry = published_weights(method)
    if weights.source == PHANTOM:
        return "trained from weights of htunet that were pre-trained on simulated images: Apache-2.0"
    if weights.simulated:
        return f"trained from {weights.file}, {SIMULATED_LICENCE}"
    own = weights.source == "file" or PurePath(str(weights.file)).stem == IMPORTED_WEIGHTS
    given = f"trained from {weights.file}, a file that the user chose"
    if weights.source in (RANDOM, NONE) or (entry is None and not own):
        return "trained from random weights: no published weights are in it"
    if entry is None:
        return given
    return (f"{given}; of the published ones: " if own else "trained from published weights, ") + entry.statement


def restore(network: Network, weights: WeightsRecord, path: Path) -> dict[str, Any]:
    """Fill the trainable part of a network from a checkpoint and return the description.

    Raises HtunetError when the checkpoint was trained on other frozen weights or does not fit. Weights that a network
    without a frozen part started from do not matter: the checkpoint holds what became of them.
    """
    tensors, about = load(path)
    if network.frozen_module() is not None:
        check_weights(path, about, weights)
    state = part_of(tensors, MODEL)
    try:
        network.load_trainable_state(state)
    except RuntimeError as error:
        raise HtunetError(f"{path} does not fit the method {about.get('method')}: {error}") from error
    return about


def check_weights(path: Path, about: Mapping[str, Any], loaded: WeightsRecord) -> None:
    """Raise HtunetError unless a checkpoint with this description was trained on the frozen weights that are loaded.

    The text tower's are compared where both have one.
    """
    try:
        trained_on = WeightsRecord(**about["weights"])
    except (KeyError, TypeError) as error:
        raise HtunetError(f"{path} does not say on which weights it was trained ({error}).") from error
    texts = (trained_on.text_sha256, loaded.text_sha256)
    for what, (then, now) in {"": (trained_on.identity, loaded.identity), " of the text encoder": texts}.items():
        if then != now and then and now:
            raise HtunetError(
                f"{path} was trained on {trained_on.source} weights{what} ({then[:12]}), but {loaded.source} weights "
                f"({now[:12]}) are loaded. Load the weights that it was trained on."
            )
