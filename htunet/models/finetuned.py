"""Adapters that were trained before: found by name or by path, checked, and put where a training starts."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from htunet.errors import HtunetError, UsageError
from htunet.files import read_object
from htunet.models import checkpoint
from htunet.models.build import parse_method
from htunet.models.dual_encoder import DualEncoder
from htunet.models.network import EncoderNetwork, Network
from htunet.models.weights.load import RANDOM, WeightsRecord
from htunet.paths import FINETUNING, FinetuningPaths, root

FINETUNED = "finetuned"
PARTS = ("adapters.", "updates.")
"""What begins the names of an image tower's adapter in a checkpoint; ``text_updates`` belong to the text tower."""


@dataclass(frozen=True, kw_only=True)
class StartingAdapter:
    """The adapter of a checkpoint, from which a run starts."""

    path: Path
    label: str
    """What the run's folder says of it, such as ``MedPix+PMC-OA``."""
    record: dict[str, Any]
    """What the run's settings.json says of it: where it was trained on what, and the hash of its tensors."""


def find_adapter(wanted: str, method: str, *, seed: int, weights: str) -> StartingAdapter:
    """What ``--adapter`` means: ``finetuned``, the method's finished fine-tuning on captions; or a checkpoint's path.

    Of several fine-tunings that differ in their seeds alone the one with the run's ``seed`` is taken. Raises UsageError
    when the method has no adapter or there are several to choose from, HtunetError when there is none.
    """
    if parse_method(method).adapter is None:
        raise UsageError(f"{method} has no adapter that --adapter {wanted} could fill. Name one, such as CLIP_HT.")
    if wanted != FINETUNED:
        return _described(Path(wanted), seed)
    runs = [
        run
        for run in finished_finetunings(method)
        if (read_object(run.settings_json)["weights"]["source"] == RANDOM) == (weights == RANDOM)
    ]
    if not runs:
        kind = "random" if weights == RANDOM else "pre-trained"
        raise HtunetError(
            f"No finished fine-tuning of {method} on {kind} weights is in {root('htunet_results') / FINETUNING}. Run "
            f"htunet_finetune {method} -d DATASETS first, or give --adapter the path of a checkpoint."
        )
    of_seed = [run for run in runs if run.seed == seed]
    if len({run.datasets for run in runs}) == 1 and len(of_seed) == 1:
        runs = of_seed
    if len(runs) > 1:
        listing = ", ".join(str(run.checkpoint_best) for run in runs)
        raise UsageError(f"{method} has several fine-tunings: {listing}. Give one of these paths to --adapter.")
    return _described(runs[0].checkpoint_best, seed)


def finished_finetunings(method: str) -> list[FinetuningPaths]:
    """The finished fine-tunings of a method, in a stable order; those with shuffled captions are none."""
    runs = []
    for path in sorted((root("htunet_results") / FINETUNING).glob(f"*/{method}/seed_*/finished.json")):
        settings = read_object(path.with_name("settings.json"))
        runs.append(FinetuningPaths(tuple(settings["datasets"]), method, int(path.parent.name[5:])))
    return runs


def load_adapter(network: Network, weights: WeightsRecord, start: StartingAdapter) -> None:
    """Fill the adapter of the image tower, and what trains in the text tower where there is one; strictly.

    Raises HtunetError when the checkpoint was trained on other frozen weights or its tensors do not fit.
    """
    if not isinstance(network, EncoderNetwork | DualEncoder):
        raise ValueError(f"{type(network).__name__} has no adapter to fill.")
    tensors, about = checkpoint.load(start.path)
    checkpoint.check_weights(start.path, about, weights)
    parts = dict(network.encoder.trainable_modules())
    if isinstance(network, DualEncoder) and network.text_updates is not None:
        parts["text_updates"] = network.text_updates
    state = {name.removeprefix(checkpoint.MODEL): value for name, value in tensors.items()}
    try:
        for name, module in parts.items():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            module.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise HtunetError(f"The adapter {start.path}, of {about.get('method')}, does not fit: {error}") from error


def _described(path: Path, seed: int) -> StartingAdapter:
    tensors, about = checkpoint.load(path)
    names = sorted(name for name in tensors if name.removeprefix(checkpoint.MODEL).startswith(PARTS))
    if not names:
        raise HtunetError(f"{path} holds no adapter. Give the checkpoint_best.safetensors of a run of an adapter.")
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    settings = about.get("settings", {})
    datasets = settings.get("datasets")
    record = {
        "method": about.get("method"),
        "datasets": datasets or [settings.get("dataset")],
        "seed": settings.get("seed"),
        "num_epochs": settings.get("num_epochs"),
        "shuffled_captions": settings.get("shuffled_captions", False),
        "sha256": digest.hexdigest(),
    }
    label = str(record["sha256"])[:8]
    if datasets is not None:  # a fine-tuning: its data sets, and its seed where it is another than the run's
        run = FinetuningPaths(
            tuple(datasets), str(record["method"]), int(record["seed"]), bool(record["shuffled_captions"])
        )
        label = run.label_for(seed)
    return StartingAdapter(path=path, label=label, record=record)
