"""A network as ONNX, with what a program without htunet must know to use it.

Dimension key: C channels, H W pixels.
"""

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from htunet.data import field_of_view
from htunet.data import postprocessing as postprocessing_module
from htunet.data.class_probabilities import class_order
from htunet.errors import HtunetError
from htunet.files import write_json
from htunet.inference import onnx_tables, run_onnx  # run_onnx also keeps onnxruntime from the network
from htunet.models.network import Network
from htunet.planning.plans import Plan
from htunet.reproducibility import generator

MODEL, DESCRIPTION = "model.onnx", "preprocessing.json"
OPSET = 20
"""The first with the Fourier transform that HTSpectral needs; onnxruntime runs it since 1.17."""
TOLERANCE = 1e-4
"""Largest difference of a score from PyTorch's, in parts of the largest score where that is above 1."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")
LARGEST = 2**31 - 2**24
"""Bytes of all tensors; a protocol buffer holds less than 2 GiB."""
SMALLEST = 1e-30
"""Probability, so that its logarithm is a number."""
CHECKED = 3
"""Random images on which the two are compared."""


def check_packages() -> None:
    """Raise HtunetError when a package of the extra ``onnx`` is missing."""
    for name in NEEDED:
        try:
            import_module(name)
        except ImportError as error:
            raise HtunetError(
                f"ONNX needs the package {name}, which is not here ({error}). Install it: pip install 'htunet[onnx]'."
            ) from error


def write_onnx(
    networks: Sequence[Network],
    plan: Plan,
    task: str,
    folder: Path,
    postprocessing: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write model.onnx, preprocessing.json and the runner into ``folder``; returns the names of the files.

    The networks must be on the CPU; they are merged here. One image a run: (1, C, H, W) of uint8 in, scores out; of
    several networks the logarithms of their mean probabilities, whose softmax they are. ``postprocessing`` is for the
    runner (see ``Prediction``), which then needs scipy, as it does where the plan crops the border.
    Raises HtunetError when a package is missing, where the networks are too large for one file, or when onnxruntime's
    scores differ from PyTorch's.
    """
    check_packages()
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    for network in networks:
        network.merge_for_inference()
    size = sum(tensor.nbytes for network in networks for tensor in network.state_dict().values())
    if size > LARGEST:
        raise HtunetError(
            f"The {len(networks)} networks have {size / 2**30:.1f} GB; an ONNX file holds less than 2 GB. Export fewer "
            "of them together, or without --onnx."
        )
    outputs = task.split("+")
    scores = _Scores(networks, outputs)
    example = torch.zeros(1, plan.channels, *plan.input_size, dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            scores,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        ClearMetadataAndDocStringPass()(program.model)  # of each node: lines and folders of the code on this machine
        program.save(folder / MODEL, external_data=False)
    _compare(scores, folder / MODEL, example.shape)
    steps = {"postprocessing": dict(postprocessing)} if postprocessing else {}
    write_json(folder / DESCRIPTION, describe(plan, outputs) | steps)
    scripts = [run_onnx, onnx_tables, *([field_of_view] * plan.crop_border), *([postprocessing_module] * bool(steps))]
    names = [Path(str(script.__file__)).name for script in scripts]
    for script, name in zip(scripts, names, strict=True):
        shutil.copyfile(str(script.__file__), folder / name)
    return [MODEL, DESCRIPTION, *names]


def describe(plan: Plan, outputs: list[str]) -> dict[str, Any]:
    """What preprocessing.json holds: the values that a program needs, and the steps in words."""
    height, width = plan.input_size
    colours = "gray" if plan.channels == 1 else "RGB"
    return {
        "format": 1,
        "input": {"name": "images", "type": "uint8", "shape": [1, plan.channels, height, width]},
        "outputs": outputs,
        "channels": plan.channels,
        "input_size": [height, width],
        "geometry": plan.geometry,
        "resize": plan.resize,
        "crop_border": plan.crop_border,
        "crop_margin": plan.crop_margin,
        "labels": plan.labels,
        "classes": list(class_order(plan.classes)) if "cls" in outputs else [],
        "steps": [
            f"read the image as {colours}, 0..255; values of more than 8 bits are scaled from the image's "
            "own range, floats from 0 to 1 are fractions of 255",
            "crop_border: cut out the insonified field, with crop_margin (field_of_view.py); else take the whole image",
            f"geometry stretch: resize to {height} x {width} (height x width), {plan.resize}, smoothed where it "
            "shrinks, as Pillow does; letterbox: keep the aspect ratio, and centre on black",
            "normalise nothing: the mean and the standard deviation are in the model",
        ],
        "and_back": [
            "seg: (1, labels, height, width) scores; softmax over the labels, take the letterbox's border away, resize "
            "each map to the cut-out part (bilinear), take the label with the highest value; outside the part 0",
            "cls: (1, classes) scores; softmax, in the order of classes",
        ],
    }


class _Scores(nn.Module):
    """The scores as a tuple, in the order of the outputs: of one network its own."""

    def __init__(self, networks: Sequence[Network], outputs: list[str]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.outputs = outputs

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = [network(images) for network in self.networks]
        of_outputs = [[one[name] if isinstance(one, dict) else one for one in found] for name in self.outputs]
        if len(found) == 1:
            return tuple(scores for (scores,) in of_outputs)
        return tuple(torch.stack([scores.softmax(dim=1) for scores in each]).mean(dim=0).clamp_min(SMALLEST).log()
                     for each in of_outputs)  # fmt: skip


def _compare(scores: _Scores, path: Path, shape: torch.Size) -> None:
    from onnxruntime import InferenceSession

    session = InferenceSession(path)
    for number in range(CHECKED):
        images = generator(number, "images that compare ONNX with PyTorch").integers(0, 256, shape, dtype=np.uint8)
        with torch.inference_mode():
            expected = [values.numpy() for values in scores(torch.from_numpy(images))]
        for name, want, got in zip(scores.outputs, expected, session.run(None, {"images": images}), strict=True):
            largest = float(np.abs(want - got).max())
            if not largest <= TOLERANCE * max(1.0, float(np.abs(want).max())):
                raise HtunetError(
                    f"The scores {name} of ONNX differ from PyTorch's by up to {largest:.1e}: nothing was exported. "
                    "Try another version of onnxruntime or torch."
                )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of operators that no network of ours has."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
