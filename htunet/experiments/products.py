"""What the jobs of a table produce, and whether it is there: a job is done when its product exists."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from htunet.data.caption_splits import images_digest, pairs_digest, settle_caption_split
from htunet.data.captions import read_captions
from htunet.data.zero_shot_prompts import usual_prompts
from htunet.errors import HtunetError, counted
from htunet.evaluation.freshness import earlier_zero_shot, is_evaluated, needs_prediction, trained_on_other_images
from htunet.evaluation.metrics import PENALISE
from htunet.files import file_hash, read_object
from htunet.models.build import PUBLIC_PLAN, parse_method
from htunet.models.finetuned import described_adapter
from htunet.models.weights.load import PRETRAINED, RANDOM
from htunet.paths import PHANTOM, DatasetPaths, FinetuningPaths, RunFolder, RunPaths
from htunet.planning.arrays import DONE, check_arrays, raw_sha256
from htunet.planning.configuration import plan_differences
from htunet.planning.finetuning_plan import finetuning_plan
from htunet.planning.plans import Plan, load_plans
from htunet.planning.rules import BASE_SIDE
from htunet.schemas import SETTINGS, ZERO_SHOT
from htunet.training.settings import FinetuneSettings


class Product:
    """Something on the disk."""

    def done(self) -> bool:
        """Whether it is there, complete and made with the requested settings."""
        raise NotImplementedError


class NotYet(Product):
    """The product of a job that cannot run here and of which only the time is estimated."""

    def done(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class PreparedDataset(Product):
    """A data set that is planned, split, and preprocessed for some plans."""

    dataset: DatasetPaths
    plans: tuple[str, ...]

    def done(self) -> bool:
        """Whether the split and the plans are there, with arrays that were made for the plans as they are now."""
        if not (self.dataset.plans_json.exists() and self.dataset.splits_json.exists()):
            return False
        planned = load_plans(self.dataset.plans_json)
        try:
            for name in self.plans:
                check_arrays(self.dataset, planned[name])
        except (HtunetError, KeyError):  # not there, or made for the plan as it was before
            return False
        return True


@dataclass(frozen=True)
class Trained(Product):
    """A finished run, of either stage."""

    run: RunFolder
    num_epochs: int | None
    """None: as many as the plan says."""
    weights: str
    side: int = BASE_SIDE
    """Of the images of a fine-tuning on captions, pixels; a training has it in its plan."""
    start: RunFolder | None = None
    """The fine-tuning whose adapter the run starts from; None: there is none."""

    def done(self) -> bool:
        """Whether the run is finished, and started from the fine-tuning as it is now."""
        if not self.run.finished_json.exists():
            return False
        return self.start is None or (self.start.finished_json.exists() and not self._is_of_earlier_start())

    def check(self) -> None:
        """Raise HtunetError where the run was started with other settings than now: the training would refuse it."""
        if not self.run.settings_json.exists():
            return
        before = read_object(self.run.settings_json, SETTINGS)
        wrong = []
        if self.num_epochs not in (None, before.get("num_epochs")):
            wrong.append(f"{counted(int(before.get('num_epochs', 0)), 'epoch')}, not {self.num_epochs}")
        if not same_weights(before.get("weights") or {}, self.weights):
            wrong.append(f"{before['weights']['source']} weights, not {self.weights}")
        plan, content = _plan_now(self.run, self.side), before.get("plan_content") or {}
        if changes := plan_differences(content, asdict(plan)) if plan and content else {}:
            wrong.append("; ".join(f"{name} {then}, not {now}" for name, (then, now) in changes.items()))
        if start := before.get("start_checkpoint"):
            wrong.append(f"the weights of a run on {start.get('dataset')}, not untrained")
        if self._is_of_earlier_start():
            wrong.append("an adapter that has been fine-tuned again since")
        if isinstance(self.run, RunPaths):
            wrong += _other_images(self.run, before)
        elif isinstance(self.run, FinetuningPaths):
            wrong += _other_captions(before)
        if wrong:
            raise HtunetError(
                f"The run {self.run.label} was started with {' and '.join(wrong)}. Request the same, or "
                f"remove the run first: {self.run.folder}"
            )

    def _is_of_earlier_start(self) -> bool:
        """Whether the adapter of the finished fine-tuning is another one than the run started from."""
        if self.start is None or not (self.start.finished_json.exists() and self.run.settings_json.exists()):
            return False
        path = self.start.checkpoint_best
        if not path.exists():
            raise HtunetError(f"{self.start.label} is finished, and its {path} is missing. Remove {self.start.folder}.")
        before = read_object(self.run.settings_json, SETTINGS).get("adapter")
        then = before.get("sha256") if isinstance(before, dict) else None  # an early version has its path
        return then is not None and then != _adapter_digest(path, path.stat().st_mtime_ns)


def _other_images(run: RunPaths, before: Mapping[str, Any]) -> Iterator[str]:
    """What a run has learnt from that the data set no longer holds."""
    dataset, arrays = run.dataset, run.dataset.plan_folder(run.plan) / DONE
    if dataset.splits_json.exists() and trained_on_other_images(run):
        yield "another split than that in use"
    then = before.get("data_sha256") if arrays.exists() else None
    if then and (then != file_hash(arrays) or read_object(arrays).get("raw_sha256") not in (None, raw_sha256(dataset))):
        yield "other images, masks or classes than the data set has now"


def _other_captions(before: Mapping[str, Any]) -> Iterator[str]:
    """The caption data sets of which a fine-tuning has learnt other pairs than they have now; not of shards."""
    images = before.get("images_sha256") or {}
    for name, then in (before.get("pairs_sha256") or {}).items():
        dataset = DatasetPaths(name)
        if dataset.captions_jsonl.exists():
            pairs_now, images_now = _caption_digests(dataset)
            if then != pairs_now:
                yield f"other captions, or another split of them, than {dataset.short_name} has now"
            if images.get(name, images_now) != images_now:
                yield f"other images than {dataset.short_name} has now"


@cache
def _caption_digests(dataset: DatasetPaths) -> tuple[str, str]:
    captions = read_captions(dataset)
    return pairs_digest(captions, settle_caption_split(captions)), images_digest(captions)


@cache
def _adapter_digest(path: Path, _changed: int) -> str:
    """The hash of the adapter in a checkpoint, which is read again where the file has changed."""
    return str(described_adapter(path, seed=0).record["sha256"])


def _plan_now(run: RunFolder, side: int) -> Plan | None:
    """The plan that a run of this name would be started with; None where there is none."""
    if isinstance(run, RunPaths):
        plans = run.dataset.plans_json
        return load_plans(plans).get(run.plan) if plans.exists() else None
    if not isinstance(run, FinetuningPaths):
        return None
    usual = FinetuneSettings(plan=run.plan)
    return finetuning_plan(
        run.name,
        batch_size=usual.batch_size,
        learning_rate=usual.lr,
        input_size=(side, side),
        public=run.plan == PUBLIC_PLAN,
        backbone=str(parse_method(run.method).backbone),
    )


def same_weights(record: Mapping[str, Any], source: str) -> bool:
    """Whether frozen weights, as a run records them, are of the requested kind; files are not compared.

    What PhantomCLIP is pre-trained on is simulation.
    """
    then, now = record.get("source"), source if source in (RANDOM, PRETRAINED, PHANTOM) else "file"
    return then in (now, "none", None) or {then, now} == {PRETRAINED, PHANTOM}


@dataclass(frozen=True)
class Tested(Product):
    """The evaluation of a run on its test split, or on the data set that it is tested on."""

    run: RunPaths
    trained: Trained | None = None
    """The run as the table needs it; None: as it is."""

    def done(self) -> bool:
        """Whether the run's newest weights were predicted with and evaluated by this version."""
        run = self.run
        if self.trained and not self.trained.done():
            return False
        if not (run.finished_json.exists() and run.summary_json.exists()):
            return False
        return not needs_prediction(run) and is_evaluated(run, PENALISE)


@dataclass(frozen=True)
class ZeroShotClassified(Product):
    """A zero-shot classification."""

    folder: Path
    plan: str
    weights: str
    adapter: Path | None
    """The checkpoint that it used; another adapter needs a new classification."""

    def done(self) -> bool:
        """Whether there is a result with this plan, our prompts, these weights, the present images and this adapter."""
        path = self.folder / "summary.json"
        if not path.exists():
            return False
        content = read_object(path, ZERO_SHOT)
        if (
            content.get("plan") != self.plan
            or content.get("plan_edited")
            or not same_weights(content.get("weights") or {}, self.weights)
        ):
            return False
        usual = usual_prompts(DatasetPaths(str(content["dataset"])).short_name)
        if content.get("prompts", usual) != usual or earlier_zero_shot(content, path):
            return False
        if self.adapter is None:
            return True
        before = content.get("adapter")
        then = before.get("sha256") if isinstance(before, dict) else None
        return self.adapter.exists() and then == _adapter_digest(self.adapter, self.adapter.stat().st_mtime_ns)
