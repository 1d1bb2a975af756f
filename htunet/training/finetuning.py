"""Stage 1: train the adapter of a method on images with captions. Calling it again continues where the run was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from htunet.data.caption_splits import (
    CaptionSplit,
    groups_in_both,
    images_digest,
    pairs_digest,
    save_caption_split,
    settle_caption_split,
)
from htunet.data.captions import CaptionDataset, read_captions
from htunet.data.shards import ShardedCaptions, read_shards
from htunet.errors import UsageError, counted
from htunet.models.build import PUBLIC_PLAN, check_input_size, parse_method
from htunet.models.dual_encoder import DualEncoder, build_dual_encoder
from htunet.models.embeddings import long_texts_note, stored_text_embeddings, tokens
from htunet.models.text import TEXT_TOWERS
from htunet.models.weights.load import WeightsRecord
from htunet.paths import FinetuningPaths, find_dataset
from htunet.planning.finetuning_plan import finetuning_plan
from htunet.planning.plans import CENTRE_CROP, Plan
from htunet.preprocessing.caption_arrays import PreparedCaptions, prepare_captions, resizing
from htunet.reproducibility import generator
from htunet.training.contrastive import ContrastiveTrainer
from htunet.training.devices import make_fabric
from htunet.training.loop import Data
from htunet.training.pairs import CaptionPairs, StreamedPairs, shuffled
from htunet.training.session import Outcome, TrainingRun, lock_run, run_training
from htunet.training.settings import FinetuneSettings

MOST_VALIDATED = 2048
"""Of the pairs in validation shards: they are decoded anew after each epoch."""


def finetune(
    method: str,
    datasets: Sequence[str],
    settings: FinetuneSettings,
    *,
    split_by: str | None = None,
    shuffle: bool = False,
    restart: bool = False,
) -> Outcome:
    """Train, or continue, the fine-tuning that the arguments name, over all data sets together.

    ``split_by`` is ``image`` or ``group`` and makes another split where it differs from the one on disk; None: as it
    is. It is written once nothing can be refused any more. ``shuffle`` gives each training image the caption of another
    one: a control, which must not learn anything. Everything that can be checked is checked before it starts. Raises
    UsageError for a method without an adapter or without a text tower, HtunetError when files are missing or broken,
    when another process holds the run, or when the run was started with other settings.
    """
    _check_method(method)
    paths = {found.name: found for found in map(find_dataset, datasets)}
    pairs_of: _DataSets | _Shards
    parts: list[_Part] = []
    if any(one.shards.is_dir() for one in paths.values()):
        if len(paths) > 1 or split_by or shuffle:
            raise UsageError("A data set in shards trains alone, without --split-by (its shards are its split) and "
                             "--shuffle-captions.")  # fmt: skip
        pairs_of = _Shards(read_shards(*paths.values()))
    else:
        read = [read_captions(paths[name]) for name in sorted(paths)]
        parts = [_Part(one, settle_caption_split(one, split_by)) for one in read]
        pairs_of = _DataSets(parts, shuffle)
    run = FinetuningPaths(tuple(sorted(paths)), method, settings.seed, shuffle, settings.plan)
    size = (settings.input_size, settings.input_size)
    check_input_size(method, size, adapter_settings={"input_size": size})
    fabric = make_fabric(device=settings.device, devices=settings.devices, precision=settings.precision)
    plan = finetuning_plan(
        run.name,
        batch_size=settings.batch_size,
        learning_rate=settings.lr,
        input_size=size,
        public=settings.plan == PUBLIC_PLAN,
        backbone=str(parse_method(method).backbone),
    )
    pairs = plan.contrast_size or plan.batch_size
    if pairs < plan.batch_size and pairs % fabric.world_size:
        raise UsageError(
            f"{counted(pairs, 'pair')} to contrast cannot be divided evenly among "
            f"{counted(fabric.world_size, 'device')}."
        )
    with lock_run(fabric, run):
        network, weights = build_dual_encoder(
            method,
            seed=settings.seed,
            weights=settings.weights,
            adapter_settings=plan.adapter_settings,
            normalise=plan.normalise,
        )
        training = TrainingRun(
            run=run,
            trainer=ContrastiveTrainer(pairs, blocks=plan.batch_size // pairs),
            network=network,
            weights=weights,
            plan=plan,
            data=pairs_of.data(network.to(fabric.device), weights, plan, settings.seed),
            settings=settings,
            about={
                "datasets": list(run.datasets),
                "method": method,
                "task": ContrastiveTrainer.task,
                "shuffled_captions": shuffle,
                **pairs_of.digests(),
            },
            unit="pairs",
            remarks=pairs_of.remarks(network),
            before_training=partial(_save_splits, parts),
        )
        return run_training(fabric, training, restart=restart)


@dataclass(frozen=True)
class _Part:
    """One of the data sets, and which of its pairs train."""

    dataset: CaptionDataset
    split: CaptionSplit

    @property
    def captions(self) -> list[str]:
        return [pair.caption for pair in self.dataset.pairs]

    def remarks(self, network: DualEncoder) -> Iterator[str]:
        """Notes for a reader of the validation metrics."""
        if note := long_texts_note(network, self.captions):
            yield f"{self.dataset.paths.short_name}: {note}"
        if shared := groups_in_both(self.dataset.pairs, self.split):
            yield (
                f"{self.dataset.paths.short_name}: {counted(len(shared), 'group')} (patients, cases or "
                "articles) with pairs in "
                "both splits, so the validation results are too good. --split-by group keeps each in one split."
            )


@dataclass(frozen=True)
class _DataSets:
    """The pairs of all data sets together, as arrays, with the embeddings of their texts."""

    parts: Sequence[_Part]
    shuffle: bool

    def digests(self) -> dict[str, dict[str, str]]:
        """Hashes of the captions with their split, and of the images, by the name of the data set."""
        pairs = {part.dataset.paths.name: pairs_digest(part.dataset, part.split) for part in self.parts}
        images = {part.dataset.paths.name: images_digest(part.dataset) for part in self.parts}
        return {"pairs_sha256": pairs, "images_sha256": images}

    def remarks(self, network: DualEncoder) -> list[str]:
        """See ``_Part.remarks``."""
        return [text for part in self.parts for text in part.remarks(network)]

    def data(self, network: DualEncoder, weights: WeightsRecord, plan: Plan, seed: int) -> Data:
        """The arrays and texts; one process makes what is missing, the others wait for it."""
        centre = plan.geometry == CENTRE_CROP
        prepared = [prepare_captions(part.dataset, plan.input_size, centre_crop=centre) for part in self.parts]
        texts = _texts(network, weights, self.parts)
        return _data(prepared, texts, self.parts, shuffle_seed=seed if self.shuffle else None)


@dataclass(frozen=True)
class _Shards:
    """The pairs of a data set in shards, read and embedded when they are needed."""

    captions: ShardedCaptions

    def digests(self) -> dict[str, dict[str, str]]:
        """See ``_DataSets``; one hash covers the shards, images and all."""
        return {"pairs_sha256": {self.captions.paths.name: self.captions.sha256}}

    def remarks(self, _: DualEncoder) -> list[str]:
        """A note where only some of the pairs validate."""
        held_out = sum(self.captions.counts(validation=True))
        return [f"{MOST_VALIDATED} of {held_out} pairs of the validation shards validate."] * (
            held_out > MOST_VALIDATED
        )

    def data(self, network: DualEncoder, _: WeightsRecord, plan: Plan, __: int) -> Data:
        """Rows by their places; nothing is read but the captions that validate."""
        files = self.captions.counts(validation=False)
        train, end = sum(files), len(self.captions.pairs_N4)
        mixed = generator("order of the validation pairs").permutation(end - train)[:MOST_VALIDATED]
        val_rows = [train + int(index) for index in mixed]
        resized = resizing(plan.input_size, centre_crop=plan.geometry == CENTRE_CROP)
        pairs = StreamedPairs(self.captions, resized, network.text.tokenize, val_rows)
        return Data(train_rows=range(train), val_rows=val_rows, images=pairs, files=files)


def _save_splits(parts: Sequence[_Part]) -> None:
    for part in parts:
        save_caption_split(part.dataset.paths, part.split)


def _check_method(method: str) -> None:
    parsed = parse_method(method)
    if parsed.backbone not in TEXT_TOWERS:
        able = ", ".join(TEXT_TOWERS.names())
        raise UsageError(
            f"{method} has no text encoder and cannot be fine-tuned on captions. Backbones that have one: {able}."
        )
    if parsed.adapter is None:
        raise UsageError(f"{method} has no adapter, and only an adapter is fine-tuned. Name one, such as {method}_HT.")


def _texts(network: DualEncoder, weights: WeightsRecord, parts: Sequence[_Part]) -> list[Tensor]:
    """One tensor for each pair of all data sets: tokens where the text tower trains, else stored embeddings."""
    if network.text_updates is not None:
        return [row for part in parts for row in tokens(network, part.captions)]
    rows: list[Tensor] = []
    for part in parts:
        folder = part.dataset.paths.text_embeddings
        embedded_NE = stored_text_embeddings(folder, network, str(weights.text_sha256), part.captions)
        rows += torch.from_numpy(embedded_NE).unbind()
    return rows


def _data(
    prepared: Sequence[PreparedCaptions], texts: Sequence[Tensor], parts: Sequence[_Part], *, shuffle_seed: int | None
) -> Data:
    rows: dict[str, list[int]] = {"train": [], "val": []}
    start = 0
    for one, part in zip(prepared, parts, strict=True):
        place = one.rows
        for name, ids in (("train", part.split.train), ("val", part.split.val)):
            rows[name] += [start + place[pair] for pair in ids]
        start += len(place)
    captions = [caption for part in parts for caption in part.captions]
    order = list(range(start)) if shuffle_seed is None else shuffled(rows["train"], start, shuffle_seed)
    pairs = CaptionPairs(prepared, [texts[row] for row in order], [captions[row] for row in order])
    mixed = generator("order of the validation pairs").permutation(len(rows["val"]))
    return Data(train_rows=rows["train"], val_rows=[rows["val"][index] for index in mixed], images=pairs)
