"""Predict any images: a folder in, masks of the same names and sizes out, or a table of classes, or both."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.class_probabilities import ClassProbabilities, write_class_probabilities
from htunet.data.image_io import READABLE, UInt8, read_image, write_png
from htunet.errors import HtunetError, UsageError
from htunet.files import whole_file
from htunet.inference.predictor import Predictor
from htunet.preprocessing.cropping import crop_box
from htunet.preprocessing.geometry import from_input, to_input

CLASSES = "classes.csv"


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
    """The images that were predicted."""
    masks: list[Path]
    """The mask of each, where masks are learnt."""
    unreadable: dict[str, str]
    """File name to the reason."""
    empty: list[str]
    """Images in which nothing was found."""
    classes: ClassProbabilities | None = None
    """Of each image that was predicted, where classes are learnt; cases are the file names."""


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
    """Write ``NAME.png`` (labels 0..K, original size) for each image, ``classes.csv`` for all, as the run has learnt.

    ``save_probabilities``: also ``NAME.npz`` with ``probabilities`` (K, H, W) float16 at the network's input size.
    Images that cannot be read are named in the result and the others predicted; when none can be read HtunetError is
    raised. Raises UsageError when two images would write the same mask, or ``output`` is the images' own folder.
    ``after_each`` sees each image with its labels, for overlays.
    """
    targets = _targets(images, output) if predictor.segments else {}
    output.mkdir(parents=True, exist_ok=True)
    result, classes = FolderResult([], [], {}, []), []
    for path in tqdm(images, unit="image", disable=None):
        try:
            image_CHW = read_image(path, predictor.plan.channels)
        except HtunetError as error:
            result.unreadable[path.name] = str(error)
            continue
        box = crop_box(image_CHW, predictor.plan)
        found = predictor.probabilities(to_input(image_CHW, box, predictor.plan)[None])
        result.predicted.append(path)
        if found.classes_BN is not None:
            classes.append(found.classes_BN[0])
        if found.labels_BKHW is None:
            continue
        scores_KHW = found.labels_BKHW[0]
        labels_HW = from_input(scores_KHW, box, (image_CHW.shape[1], image_CHW.shape[2]), predictor.plan)
        _write_mask(targets[path], labels_HW, scores_KHW if save_probabilities else None)
        result.masks.append(targets[path])
        if not labels_HW.any():
            result.empty.append(path.name)
        if after_each:
            after_each(PredictedImage(path, image_CHW, labels_HW, targets[path]))
    if not result.predicted:
        raise HtunetError("None of the images can be read: " + " ".join(result.unreadable.values()))
    return replace(result, classes=_write_classes(output / CLASSES, predictor, result.predicted, classes))


def _write_classes(
    path: Path, predictor: Predictor, images: list[Path], values: list[NDArray[np.float64]]
) -> ClassProbabilities | None:
    """``classes.csv`` of new images, whose true classes nobody knows; None where the run has learnt no classes."""
    if not values:
        return None
    names = tuple(image.name for image in images)
    unknown = ("",) * len(names)
    found = ClassProbabilities(classes=predictor.classes, cases=names, truth=unknown, values_NK=np.stack(values))
    write_class_probabilities(path, found)
    return found


def _write_mask(path: Path, labels_HW: UInt8, scores_KHW: NDArray[np.float32] | None) -> None:
    write_png(path, labels_HW)
    if scores_KHW is not None:
        _write_probabilities(path.with_suffix(".npz"), scores_KHW)


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


def _write_probabilities(path: Path, scores_KHW: NDArray[np.float32]) -> None:
    with whole_file(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, probabilities=scores_KHW.astype(np.float16))
