"""Adapters of earlier trainings: found by name or by path, checked, and loaded where a training starts."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from htunet.errors import HtunetError, UsageError
from htunet.files import read_object
from htunet.models import checkpoint
from htunet.models.adaptation import own_settings
from htunet.models.adapters import WEIGHT_ADAPTERS
from htunet.models.adapters.lora import LoRAConfig
from htunet.models.build import PAPER_PLAN, PUBLIC_PLAN, parse_method
from htunet.models.dual_encoder import DualEncoder
from htunet.models.network import EncoderNetwork, Network
from htunet.models.weights.load import RANDOM, WeightsRecord, part_of
from htunet.paths import FINETUNING, PHANTOM, FinetuningPaths, root
from htunet.schemas import SETTINGS

FINETUNED = "finetuned"
PARTS = ("adapters.", "updates.")
"""Prefixes of the image tower's adapter in a checkpoint; ``text_updates`` belong to the text tower."""


@dataclass(frozen=True, kw_only=True)
class StartingAdapter:
    """The adapter of a checkpoint, from which a run starts."""

    path: Path
    label: str
    """Its name in the run's folder, such as ``MedPix+PMC-OA``."""
    record: dict[str, Any]
    """Its entry in the run's settings.json: on what it was trained and how, and the hash of its tensors."""
    normalise: bool = True
    """Whether it was trained on images in the mean and deviation of the pre-training."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The adapter's settings that it was trained with."""
    pairs_sha256: Mapping[str, str] = field(default_factory=dict)
    """Of the captions and their split, by the full names of the data sets that it was fine-tuned on."""

    def check(self, method: str, *, normalise: bool, settings: Mapping[str, Any]) -> None:
        """Raise HtunetError where ``method`` would see other values, or scale its matrices otherwise, than before."""
        if normalise != self.normalise:
            raise HtunetError(
                f"{self.path} was trained on images {_values(self.normalise)}, and the plan has them "
                f"{_values(normalise)}. Train with a plan that has them as there, or fine-tune the adapter with the "
                "same protocol: htunet_finetune --plan paper or public."
            )
        adapter = str(parse_method(method).adapter)
        if adapter not in WEIGHT_ADAPTERS:
            return
        usual = asdict(LoRAConfig())
        then, now = (
            {
                key: value
                for key, value in own_settings(adapter, one).items()
                if key != "dropout" and value != usual.get(key)
            }
            for one in (self.settings, settings)
        )
        if then != now:
            raise HtunetError(
                f"The adapter in {self.path} was trained with {then or 'the defaults'}, and the plan has "
                f"{now or 'the defaults'}: its matrices would have another effect. Write the same settings under "
                "'adapter' in the plan, or train it again."
            )


def find_adapter(
    requested: str, method: str, *, seed: int, weights: str, normalise: bool | None = None
) -> StartingAdapter:
    """The adapter that ``--adapter`` names: ``finetuned``, the method's finished fine-tuning, or a checkpoint's path.

    ``normalise``: whether the plan normalises images; a plan that does not, such as ``public``, takes a fine-tuning
    with plan ``public``; None: one with any plan. Of several fine-tunings that differ only in their seeds it is the one
    with the run's ``seed``. Raises UsageError when the method has no adapter or there are several fine-tunings to
    choose from, HtunetError when there is none.
    """
    if parse_method(method).adapter is None:
        raise UsageError(f"{method} has no adapter that --adapter {requested} could fill. Name one, such as CLIP_HT.")
    if requested != FINETUNED:
        checkpoint.warn_of_unfinished(Path(requested))
        return described_adapter(Path(requested), seed)
    runs = [
        run
        for run in finished_finetunings(method)
        if (read_object(run.settings_json, SETTINGS)["weights"]["source"] == RANDOM) == (weights == RANDOM)
        and normalise in (None, run.plan == PAPER_PLAN)
    ]
    if not runs:
        kind = "random" if weights == RANDOM else "pre-trained"
        plan = f" --plan {PUBLIC_PLAN}" if normalise is False else ""
        raise HtunetError(
            f"No finished fine-tuning of {method} on {kind} weights is in {root('htunet_results') / FINETUNING}. Run "
            f"htunet_finetune {method} -d DATASETS{plan} first, or give --adapter the path of a checkpoint."
        )
    of_seed = [run for run in runs if run.seed == seed]
    if len({run.datasets for run in runs}) == 1 and len(of_seed) == 1:
        runs = of_seed
    if len(runs) > 1:
        listing = ", ".join(str(run.checkpoint_best) for run in runs)
        raise UsageError(f"{method} has several fine-tunings: {listing}. Give one of these paths to --adapter.")
    return described_adapter(runs[0].checkpoint_best, seed)


def finished_finetunings(method: str) -> list[FinetuningPaths]:
    """The finished fine-tunings of a method in a stable order, without those on shuffled captions."""
    runs = []
    for plan, group in ((PAPER_PLAN, method), (PUBLIC_PLAN, f"{method}__{PUBLIC_PLAN}")):
        for path in sorted((root("htunet_results") / FINETUNING).glob(f"*/{group}/seed_*/finished.json")):
            settings = read_object(path.with_name("settings.json"), SETTINGS)
            runs.append(FinetuningPaths(tuple(settings["datasets"]), method, int(path.parent.name[5:]), plan=plan))
    return runs


def load_adapter(network: Network, weights: WeightsRecord, start: StartingAdapter) -> None:
    """Load the adapter of the image tower, and of the text tower if there is one; every tensor must fit.

    Raises HtunetError when the checkpoint was trained on other frozen weights or its tensors do not fit, ValueError for
    a network without an adapter.
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
            module.load_state_dict(part_of(state, f"{name}."), strict=True)
    except RuntimeError as error:
        raise HtunetError(f"The adapter {start.path}, of {about.get('method')}, does not fit: {error}") from error


def described_adapter(path: Path, seed: int = 1) -> StartingAdapter:
    """The adapter in a checkpoint, named for a run with ``seed``; raises HtunetError where it holds none.

    The name of one that is not the best checkpoint in the folder of its fine-tuning has its hash, because another
    fine-tuning on the same data sets, or another epoch of it, would have that name, too.
    """
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
        "datasets": datasets or [name for name in [settings.get("dataset")] if name],
        "seed": settings.get("seed"),
        "num_epochs": settings.get("num_epochs"),
        "shuffled_captions": settings.get("shuffled_captions", False),
        "sha256": digest.hexdigest(),
        "plan_content": settings.get("plan_content"),
        **({} if datasets else {"run": training_of(settings)}),
    }
    plan = settings.get("plan_content") or {}
    normalise = bool(plan.get("normalise", True))
    label = str(record["sha256"])[:8]
    if datasets is not None:  # a fine-tuning: its data sets, and its seed where it is another than the run's
        run = FinetuningPaths(
            tuple(datasets),
            str(record["method"]),
            int(record["seed"]),
            bool(record["shuffled_captions"]),
            PAPER_PLAN if normalise else PUBLIC_PLAN,
        )
        elsewhere = path.resolve() != run.checkpoint_best.resolve()
        label = f"{run.label_for(seed)}-{label}" if elsewhere else run.label_for(seed)
    return StartingAdapter(
        path=path,
        label=label,
        record=record,
        normalise=normalise,
        settings=plan.get("adapter") or {},
        pairs_sha256=settings.get("pairs_sha256") or {},
    )


def training_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run learnt from, for the settings of runs that begin with its weights; with what it began with itself."""
    found = {name: settings.get(name) for name in ("dataset", "fold", "num_epochs", "split_sha256")}
    weights = settings.get("weights") or {}
    found["weights"] = PHANTOM if "recipe" in settings or weights.get("simulated") else weights.get("source")
    if before := settings.get("start_checkpoint"):
        found["start_checkpoint"] = before
    if isinstance(adapter := settings.get("adapter"), dict) and "run" in adapter:
        found["adapter"] = {"run": adapter["run"]}
    return found


def trainings_before(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What ``training_of`` says of the runs whose weights or adapter a run began with, and of those before them.

    Not of ``htunet_pretrain``, which has seen no image of a data set.
    """
    adapter = settings.get("adapter")
    for before in (settings.get("start_checkpoint"), adapter.get("run") if isinstance(adapter, dict) else None):
        if isinstance(before, Mapping):
            if before.get("dataset") or before.get("weights") != PHANTOM:
                yield before
            yield from trainings_before(before)


def _values(normalise: bool) -> str:
    return "normalised" if normalise else "with values 0 to 1"
