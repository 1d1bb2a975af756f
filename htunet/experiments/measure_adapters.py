"""The parts of a trained hybrid adapter: its frequency filter, and its noise estimator on speckled images.

Dimension key: L blocks, N images, V levels of speckle, S scales.
"""

import re
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from htunet.data.artefacts import ARTEFACTS
from htunet.data.artefacts.alter import apply_all, physical_value
from htunet.data.measurements import is_measured, write_measurement
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import trained_fold
from htunet.errors import HtunetError
from htunet.files import exclusive, file_hash
from htunet.inference.trained import TrainedModel
from htunet.models import checkpoint
from htunet.models.adapters.hybrid import KERNELS, NoiseEstimator
from htunet.models.build import OUT_INDICES, sketch
from htunet.models.network import EncoderNetwork
from htunet.models.tasks import Outputs
from htunet.paths import RunPaths
from htunet.planning.arrays import check_arrays

FILTER = re.compile(re.escape(checkpoint.MODEL) + r"adapters\.(\d+)\.filter\.theta")
SPECKLE = "speckle"
STRENGTHS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
MOST_IMAGES = 64
"""Of the test split: the figure shows means, which more images would hardly change, but they cost time."""


def measure_filter(run: RunPaths) -> None:
    """Write the run's ``filter`` measurement unless it exists for these weights.

    Arrays: ``theta``, the learned factors, (L, channels) or (L, channels, H, W // 2 + 1); ``initial`` alike, what an
    adapter starts with; ``blocks``, their numbers. Raises HtunetError where the checkpoint has no such filter.
    """
    path = run.measurement("filter")
    about: dict[str, Any] = {"checkpoint": file_hash(run.checkpoint_best), "last_block": max(OUT_INDICES)}
    model = TrainedModel.of_run(run)
    outputs = Outputs(task="seg", num_labels=len(model.plan.labels))
    network = cast(EncoderNetwork, sketch(model.method, outputs, model.plan.adapter_settings))  # without the weights
    grid_hw = list(network.encoder.backbone.grid_hw(model.plan.input_size))  # rows and columns of patches
    about |= {"adapter": run.adapter or None, "grid_hw": grid_hw}
    if is_measured(path, about):
        return
    tensors, _ = checkpoint.load(run.checkpoint_best)
    found = {int(match[1]): tensors[name].float().numpy() for name in tensors if (match := FILTER.fullmatch(name))}
    if not found:
        raise HtunetError(f"{run.checkpoint_best} has no frequency filter. Choose a method with one, such as CLIP_HT.")
    theta = np.stack([found[number] for number in sorted(found)])
    arrays = {"theta": theta, "initial": np.ones_like(theta), "blocks": np.array(sorted(found))}
    with exclusive(path.parent, f"The measurements of {run.label}"):
        write_measurement(path, arrays, about)


def measure_noise(run: RunPaths) -> None:
    """Write the run's ``noise`` measurement unless it exists for these weights and images.

    Arrays: ``levels``, (V,) exponents of the speckle; ``mean`` and ``std``, (V, L, S) of the estimator's weights over
    at most ``MOST_IMAGES`` test images at the input size; ``blocks``. Raises HtunetError where the run has no test
    images, its split has changed since, or its weights are missing.
    """
    path, model = run.measurement("noise"), TrainedModel.of_run(run)
    check_arrays(run.dataset, model.plan)
    ids = sorted(trained_fold(run)["test"])[:MOST_IMAGES]
    if not ids:
        raise HtunetError(f"fold{run.fold} of {run.dataset.name} has no test images to add speckle to.")
    folder = run.dataset.plan_folder(run.plan)
    about: dict[str, Any] = {
        "checkpoint": file_hash(run.checkpoint_best),
        "arrays": file_hash(folder / "images.npy"),
        "images": ids,
        "n_images": len(ids),
        "kernels": list(KERNELS),
        "strengths": list(STRENGTHS),
        "speckle": f"Speckle: {ARTEFACTS[SPECKLE].quantity}, added to the images at the network's input size.",
    }
    if is_measured(path, about):
        return
    with exclusive(path.parent, f"The measurements of {run.label}"):
        write_measurement(path, _weights_by_level(model, PreprocessedDataset(folder), ids), about)


def _weights_by_level(model: TrainedModel, data: PreprocessedDataset, ids: list[str]) -> dict[str, NDArray[Any]]:
    """The arrays of ``measure_noise``, from forward passes in fp32; of the blocks that are computed."""
    network = cast(EncoderNetwork, model.network().eval())
    estimators = _estimators(network)
    if not estimators:
        raise HtunetError(f"{model.method} has no noise estimator. Choose a method with one, such as CLIP_HT.")
    outputs: dict[int, list[NDArray[np.float32]]] = {}

    def store(number: int, _: nn.Module, __: Any, weights_BS: Tensor) -> None:  # noqa: ANN401
        outputs.setdefault(number, []).append(weights_BS.float().numpy())

    rows = data.rows(ids)
    speckled = [apply_all(data.images[row], SPECKLE, STRENGTHS, case=case) for row, case in zip(rows, ids, strict=True)]
    by_level = []
    handles = [estimator.register_forward_hook(partial(store, number)) for number, estimator in estimators.items()]
    try:
        for level in tqdm(range(len(STRENGTHS)), desc="speckle", unit="level", disable=None):
            outputs.clear()
            images = np.stack([versions[level] for versions in speckled])
            for start in range(0, len(images), model.plan.batch_size):
                batch = torch.from_numpy(images[start : start + model.plan.batch_size])
                with torch.inference_mode():
                    network.encoder(network.normalise(batch))
            by_level.append({number: np.concatenate(parts) for number, parts in outputs.items()})
    finally:
        for handle in handles:
            handle.remove()
    blocks = [number for number in estimators if number in by_level[0]]
    values_VLNS = np.stack([np.stack([weights[number] for number in blocks]) for weights in by_level])
    return {
        "levels": np.array([physical_value(SPECKLE, strength) for strength in STRENGTHS]),
        "mean": values_VLNS.mean(axis=2),
        "std": values_VLNS.std(axis=2),
        "blocks": np.array(blocks),
    }


def _estimators(network: EncoderNetwork) -> dict[int, NoiseEstimator]:
    """The noise estimator of each block that has one."""
    adapters = network.encoder.adapters or ()
    found = {number: getattr(adapter, "estimator", None) for number, adapter in enumerate(adapters)}
    return {number: estimator for number, estimator in found.items() if isinstance(estimator, NoiseEstimator)}
