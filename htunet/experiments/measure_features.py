"""Features of images without and with a run's adapter, as the heads use them.

Dimension key: B batch, C channels, D width, N images, T tokens.
"""

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.measurements import is_measured, write_measurement
from htunet.data.preprocessed import CaseGeometry, PreprocessedDataset
from htunet.data.split_files import trained_fold
from htunet.errors import HtunetError
from htunet.experiments.cross_dataset import images_seen
from htunet.files import exclusive, file_hash
from htunet.inference.trained import TrainedModel
from htunet.models.build import OUT_INDICES, parse_method
from htunet.models.encoder import AdaptedEncoder
from htunet.models.network import EncoderNetwork
from htunet.models.weights.load import build_backbone
from htunet.paths import DatasetPaths, RunPaths, all_datasets
from htunet.planning.arrays import check_arrays, raw_has_changed
from htunet.reproducibility import generator

LAST_BLOCK = max(OUT_INDICES)
"""The deepest one whose features the heads take."""
MOST_IMAGES = 250
"""Of each data set; more only hide each other."""

log = logging.getLogger(__name__)
Chosen = tuple[str, PreprocessedDataset, list[CaseGeometry], str]
"""The short name of a data set, its arrays, the chosen images, and a description of them."""


def measure_features(run: RunPaths) -> None:
    """Write the run's ``features`` measurement unless it exists for these weights and images.

    Arrays: ``before`` and ``after``, (N, D) means of the patch tokens after the last block that the heads use, of
    the frozen backbone alone and with the adapter; ``cases``, ``classes``, ``datasets``. Images: the test split of the
    run's own data set, and all images of every other one that is preprocessed with the run's plan, at most
    ``MOST_IMAGES`` of each; the run was trained on none of them. Raises HtunetError where the run's weights or test
    images are missing.
    """
    model, path = TrainedModel.of_run(run), run.measurement("features")
    check_arrays(run.dataset, model.plan)
    chosen = _chosen_images(run)
    about: dict[str, Any] = {
        "checkpoint": file_hash(run.checkpoint_best),
        "images": {name: [case.id for case in cases] for name, _, cases, _ in chosen},
        "arrays": {name: file_hash(data.folder / "images.npy") for name, data, *_ in chosen},
        "parts": {name: f"{text} ({len(cases)})" for name, _, cases, text in chosen},
        "block": LAST_BLOCK,
    }
    if is_measured(path, about):
        return
    with exclusive(path.parent, f"The measurements of {run.label}"):
        network = model.network().eval()
        assert isinstance(network, EncoderNetwork)
        backbone_name = parse_method(model.method).backbone
        assert backbone_name is not None
        # A backbone of its own for "before": some adapters change the blocks in place.
        backbone, _ = build_backbone(backbone_name, model.weights)
        encoders = {"before": AdaptedEncoder(backbone, None, (LAST_BLOCK,)).eval(), "after": network.encoder}
        arrays: dict[str, NDArray[Any]] = {}
        for state, encoder in encoders.items():
            found = []
            for _, data, cases, _ in chosen:
                images = data.images[data.rows([case.id for case in cases])]
                found.append(_patch_means(network, encoder, images, model.plan.batch_size, state))
            arrays[state] = np.concatenate(found)
        arrays["cases"] = np.array([case.id for _, _, cases, _ in chosen for case in cases])
        arrays["classes"] = np.array([case.class_name for _, _, cases, _ in chosen for case in cases])
        arrays["datasets"] = np.array([name for name, _, cases, _ in chosen for _ in cases])
        write_measurement(path, arrays, about)


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


def _chosen_images(run: RunPaths) -> list[Chosen]:
    """The run's test images, and those of the other data sets with the same plan, number of channels and size.

    At most ``MOST_IMAGES`` of each, drawn at random, the same for all methods.
    """
    test_ids = trained_fold(run)["test"]
    if not test_ids:
        raise HtunetError(f"fold{run.fold} of {run.dataset.name} has no test images to look at.")
    found: list[Chosen] = []
    others = [DatasetPaths(name) for name in all_datasets() if name != run.dataset.name]
    for dataset in (run.dataset, *others):
        folder, own = dataset.plan_folder(run.plan), dataset == run.dataset
        if not own and not (folder / "preprocessed.json").exists():
            continue
        data = PreprocessedDataset(folder)
        if not own and data.images.shape[1:] != found[0][1].images.shape[1:]:
            continue
        ids = test_ids if own else [case.id for case in data.cases]
        drawn = generator(0, "images of features", dataset.name).permutation(sorted(ids))[:MOST_IMAGES]
        ids = sorted(map(str, drawn))
        if not (ids := ids if own else _unseen(run, dataset, ids)):
            continue
        cases = [data.cases[row] for row in data.rows(ids)]
        found.append((dataset.short_name, data, cases, "test split" if own else "all, or drawn from them"))
    return found


def _unseen(run: RunPaths, dataset: DatasetPaths, ids: list[str]) -> list[str]:
    """The images of another data set that the run was not trained on; none where that cannot be known."""
    if not dataset.dataset_json.exists():
        log.warning("%s is left out: it has no raw folder, so that its images cannot be compared.", dataset.short_name)
        return []
    if raw_has_changed(dataset, dataset.plan_folder(run.plan)):
        log.warning("%s is left out: its raw folder has changed since its arrays were made.", dataset.short_name)
        return []
    seen, not_compared = images_seen(run, dataset, ids)
    if seen is None or not_compared:
        log.warning(
            "%s is left out: whether the run was trained on its images cannot be known: %s.",
            dataset.short_name,
            "; ".join(not_compared),
        )
        return []
    return [case for case in ids if case not in seen]
