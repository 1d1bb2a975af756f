"""Features of images without and with a run's adapter, as the heads take them.

Dimension key: B batch, C channels, D width, N images, T tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.measurements import file_digest, is_measured, write_measurement
from htunet.data.preprocessed import CaseGeometry, PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError
from htunet.files import exclusive
from htunet.inference.trained import TrainedModel
from htunet.models.build import OUT_INDICES, parse_method
from htunet.models.encoder import AdaptedEncoder
from htunet.models.network import EncoderNetwork
from htunet.models.weights.load import build_backbone
from htunet.paths import DatasetPaths, RunPaths, all_datasets
from htunet.reproducibility import generator

LAST_BLOCK = max(OUT_INDICES)
"""The deepest one whose features the heads take."""
MOST_IMAGES = 250
"""Of each data set; more only hide each other."""

Chosen = tuple[DatasetPaths, list[CaseGeometry], str]
"""A data set, its images, and which split they are, in words."""


def measure_features(run: RunPaths) -> None:
    """Write the run's ``features`` measurement unless it is there for these weights and images.

    Arrays: ``before`` and ``after``, (N, D) means of the patch tokens after the last block that the heads look at, of
    the frozen backbone alone and with the adapter; ``cases``, ``classes``, ``datasets``. Images: the test split of the
    run's own data set, and of every other one that has the run's plan all images, of each at most ``MOST_IMAGES``; none
    of them was trained on. Raises HtunetError where the run's weights or test images are not there.
    """
    model, path = TrainedModel.of_run(run), run.measurement("features")
    chosen = [_own_images(run), *_other_images(run)]
    about: dict[str, Any] = {
        "checkpoint": file_digest(run.checkpoint_best),
        "images": {dataset.short_name: [case.id for case in cases] for dataset, cases, _ in chosen},
        "arrays": {dataset.short_name: file_digest(_folder(dataset, run) / "images.npy") for dataset, *_ in chosen},
        "parts": {dataset.short_name: f"{text} ({len(cases)})" for dataset, cases, text in chosen},
        "block": LAST_BLOCK,
    }
    if is_measured(path, about):
        return
    with exclusive(path.parent, f"The measurements of {run.label}"):
        arrays = _features(model, run, chosen)
        write_measurement(path, arrays, about)


def _features(model: TrainedModel, run: RunPaths, chosen: Sequence[Chosen]) -> Mapping[str, NDArray[Any]]:
    network = model.network().eval()
    assert isinstance(network, EncoderNetwork)
    found: dict[str, list[NDArray[np.float32]]] = {}
    for state, encoder in (("before", _frozen(model)), ("after", network.encoder)):
        found[state] = []
        for dataset, cases, _ in chosen:
            data = PreprocessedDataset(_folder(dataset, run))
            images = data.images[data.rows([case.id for case in cases])]
            found[state].append(_patch_means(network, encoder, images, model.plan.batch_size, state))
    return {
        **{state: np.concatenate(parts) for state, parts in found.items()},
        "cases": np.array([case.id for _, cases, _ in chosen for case in cases]),
        "classes": np.array([case.class_name for _, cases, _ in chosen for case in cases]),
        "datasets": np.array([dataset.short_name for dataset, cases, _ in chosen for _ in cases]),
    }


@torch.inference_mode()
def _patch_means(
    network: EncoderNetwork, encoder: AdaptedEncoder, images_NCHW: NDArray[np.uint8], batch: int, what: str
) -> NDArray[np.float32]:
    """(N, D), in fp32."""
    parts = []
    for start in tqdm(range(0, len(images_NCHW), batch), desc=f"features {what}", unit="batch", disable=None):
        images = torch.from_numpy(np.ascontiguousarray(images_NCHW[start : start + batch]))
        tokens_BTD = encoder(network.normalise(images))[-1]
        parts.append(tokens_BTD[:, 1:].mean(dim=1).float().numpy())
    return np.concatenate(parts)


def _frozen(model: TrainedModel) -> AdaptedEncoder:
    """The backbone as it was before any training, of weights of its own: some adapters change blocks in place."""
    name = parse_method(model.method).backbone
    assert name is not None
    backbone, _ = build_backbone(name, model.weights)
    return AdaptedEncoder(backbone, None, (LAST_BLOCK,)).eval()


def _own_images(run: RunPaths) -> Chosen:
    ids = load_splits(run.dataset.splits_json)[run.fold]["test"]
    if not ids:
        raise HtunetError(f"fold{run.fold} of {run.dataset.name} has no test images to look at.")
    return run.dataset, _some(run.dataset, run, ids), "test split"


def _other_images(run: RunPaths) -> list[Chosen]:
    """All images of the other data sets that are preprocessed with the same plan, of the same channels and size."""
    own, found = PreprocessedDataset(_folder(run.dataset, run)), list[Chosen]()
    for name in all_datasets():
        other = DatasetPaths(name)
        folder = _folder(other, run)
        if other != run.dataset and (folder / "preprocessed.json").exists():
            data = PreprocessedDataset(folder)
            if data.images.shape[1:] == own.images.shape[1:]:
                found.append((other, _some(other, run, [case.id for case in data.cases]), "all, or drawn from them"))
    return found


def _some(dataset: DatasetPaths, run: RunPaths, ids: Sequence[str]) -> list[CaseGeometry]:
    """At most ``MOST_IMAGES`` of these cases, drawn at random, the same for all methods."""
    data = PreprocessedDataset(_folder(dataset, run))
    drawn = generator(0, "images of features", dataset.name).permutation(sorted(ids))[:MOST_IMAGES]
    return [data.cases[row] for row in data.rows(sorted(map(str, drawn)))]


def _folder(dataset: DatasetPaths, run: RunPaths) -> Path:
    return dataset.plan_folder(run.plan)
