"""Predict any images: a folder in, masks of the same names and sizes out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from htunet.data.image_io import READABLE, UInt8, read_image, write_png
from htunet.errors import HtunetError, UsageError
from htunet.files import whole_file
from htunet.inference.predictor import Predictor
from htunet.preprocessing.cropping import crop_box
from htunet.preprocessing.geometry import from_input, to_input


@dataclass(frozen=True)
class PredictedImage:
    """One image of the folder and where its mask is; labels 0..K in the image's own size."""

    source: Path
    image_CHW: UInt8
    labels_HW: UInt8
    mask_path: Path


@dataclass(frozen=True)
class FolderResult:
    """What became of a folder."""

    predicted: list[Path]
    unreadable: dict[str, str]
    """File name to the reason."""
    empty: list[str]
    """Images in which nothing was found."""


def images_in(folder: Path) -> list[Path]:
    """The readable images of a folder or the one file itself, sorted; raises UsageError when there are none."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UsageError(f"{folder} is neither a folder nor an image.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in READABLE and path.is_file())
    if not found:
        raise UsageError(f"{folder} holds no image; read are {', '.join(READABLE)}.")
    return found


def predict_folder(
    predictor: Predictor,
    images: list[Path],
    output: Path,
    *,
    save_probabilities: bool = False,
    after_each: Callable[[PredictedImage], None] | None = None,
) -> FolderResult:
    """Write ``NAME.png`` (labels 0..K, original size) for each image, and ``NAME.npz`` with ``probabilities``.

    Probabilities are (K, H, W) float16 at the network's input size. Images that cannot be read are named in the
    result and the others predicted; when none can be read HtunetError is raised. Raises UsageError when two images
    would write the same mask, or ``output`` is the images' own folder. ``after_each`` sees each image with its labels,
    for overlays.
    """
    targets = _targets(images, output)
    output.mkdir(parents=True, exist_ok=True)
    predicted, unreadable, empty = [], {}, []
    for path in tqdm(images, unit="image", disable=None):
        try:
            image_CHW = read_image(path, predictor.plan.channels)
        except HtunetError as error:
            unreadable[path.name] = str(error)
            continue
        box = crop_box(image_CHW, predictor.plan)
        scores_KHW = predictor.probabilities(to_input(image_CHW, box, predictor.plan)[None])[0]
        labels_HW = from_input(scores_KHW, box, (image_CHW.shape[1], image_CHW.shape[2]), predictor.plan)
        write_png(targets[path], labels_HW)
        if save_probabilities:
            _write_probabilities(targets[path].with_suffix(".npz"), scores_KHW)
        if not labels_HW.any():
            empty.append(path.name)
        if after_each:
            after_each(PredictedImage(path, image_CHW, labels_HW, targets[path]))
        predicted.append(targets[path])
    if not predicted:
        raise HtunetError("None of the images can be read: " + " ".join(unreadable.values()))
    return FolderResult(predicted, unreadable, empty)


def _targets(images: list[Path], output: Path) -> dict[Path, Path]:
    """Mask path by image; ``a.png`` and ``a.jpg`` would both write ``a.png``."""
    targets = {path: output / f"{path.stem}.png" for path in images}
    by_target: dict[Path, Path] = {}
    for path, target in targets.items():
        if target in by_target:
            raise UsageError(f"{by_target[target].name} and {path.name} would both write {target.name}. Rename one.")
        if output.resolve() == path.parent.resolve():
            raise UsageError(f"The mask of {path.name} would lie among the images. Choose another output folder.")
        by_target[target] = path
    return targets


def _write_probabilities(path: Path, scores_KHW: np.ndarray) -> None:
    with whole_file(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, probabilities=scores_KHW.astype(np.float16))
