"""Predict any images: a folder in, masks of the same names and sizes out, or a table of classes, or both."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from htunet.data.class_probabilities import ClassProbabilities, write_class_probabilities
from htunet.data.image_io import READABLE, image_files, write_png
from htunet.errors import HtunetError, UsageError
from htunet.files import whole_file
from htunet.inference.prediction import Prediction
from htunet.inference.predictor import Predictor

CLASSES = "classes.csv"


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
    if not (found := image_files(folder)):
        raise UsageError(f"{folder} holds no image; read are {', '.join(READABLE)}.")
    return found


def predict_folder(
    predictor: Predictor,
    images: list[Path],
    output: Path,
    *,
    save_probabilities: bool = False,
    after_each: Callable[[Prediction, Path], None] | None = None,
) -> FolderResult:
    """Write ``NAME.png`` (labels 0..K, original size) for each image, ``classes.csv`` for all, as the run has learnt.

    ``save_probabilities``: also ``NAME.npz`` with ``probabilities`` (K, H, W) float16 at the network's input size.
    Images that cannot be read are named in the result and the others predicted; when none can be read HtunetError is
    raised. Raises UsageError when two images would write the same mask, or ``output`` is the images' own folder.
    ``after_each`` gets each image's prediction and where its mask is, for overlays.
    """
    by_target: dict[Path, Path] = {}
    for path in images if predictor.segments else ():
        target = output / f"{path.stem}.png"
        if target in by_target:
            raise UsageError(f"{by_target[target].name} and {path.name} would both write {target.name}. Rename one.")
        if output.resolve() == path.parent.resolve():
            raise UsageError(f"The mask of {path.name} would lie among the images. Choose another output folder.")
        by_target[target] = path
    output.mkdir(parents=True, exist_ok=True)
    result, classes = FolderResult([], [], {}, []), []
    for path in tqdm(images, unit="image", disable=None):
        try:
            found = predictor.predict(path)
        except HtunetError as error:
            result.unreadable[path.name] = str(error)
            continue
        result.predicted.append(path)
        if found.network_classes is not None:
            classes.append(list(found.network_classes.values()))
        if found.labels is None or found.scores_KHW is None:
            continue
        target = output / f"{path.stem}.png"
        write_png(target, found.labels)
        if save_probabilities:
            with whole_file(target.with_suffix(".npz")) as part, part.open("wb") as stream:
                np.savez_compressed(stream, probabilities=found.scores_KHW.astype(np.float16))
        result.masks.append(target)
        if not found.labels.any():
            result.empty.append(path.name)
        if after_each:
            after_each(found, target)
    if not result.predicted:
        raise HtunetError("None of the images can be read: " + " ".join(result.unreadable.values()))
    if not classes:
        return result
    names = tuple(path.name for path in result.predicted)
    unknown = ("",) * len(names)  # nobody knows the true classes of new images
    of_all = ClassProbabilities(classes=predictor.classes, cases=names, truth=unknown, values_NK=np.array(classes))
    write_class_probabilities(output / CLASSES, of_all)
    return replace(result, classes=of_all)
