"""Predict several versions of test images, such as ones with artefacts, in the geometry of the originals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from htunet.data.image_io import UInt8, read_image
from htunet.data.preprocessed import CaseGeometry, PreprocessedDataset
from htunet.data.raw import Case, RawDataset
from htunet.errors import HtunetError
from htunet.inference.predictor import Predictor
from htunet.preprocessing.geometry import box_of, to_input

Versions = Callable[[Case, UInt8], Sequence[UInt8]]
"""From a case and its image (C, H, W) to its versions, of the same shape and always equally many."""


@dataclass(frozen=True)
class VersionPrediction:
    """What a network says of one version of an image; None for what its task does not ask for."""

    case: CaseGeometry
    version: int
    labels_HW: UInt8 | None
    """At the network's input size."""
    classes_N: NDArray[np.float64] | None


def predict_versions(
    predictor: Predictor, raw: RawDataset, data: PreprocessedDataset, ids: Sequence[str], versions: Versions
) -> Iterator[VersionPrediction]:
    """Predict every version of every case, in this order, in batches of the plan's size.

    Each version is cropped as the original image was, so that the true mask of the arrays is that of all of them.
    Raises HtunetError for a version of another size.
    """

    def inputs() -> Iterator[tuple[tuple[CaseGeometry, int], UInt8]]:
        for row in data.rows(list(ids)):
            geometry = data.cases[row]
            if geometry.id not in raw.by_id:
                raise HtunetError(f"{raw.paths.cases_csv} lacks the test case {geometry.id}. Plan the data set again.")
            case = raw.by_id[geometry.id]
            image_CHW = read_image(raw.image_path(case), predictor.plan.channels)
            for version, altered_CHW in enumerate(versions(case, image_CHW)):
                if altered_CHW.shape != image_CHW.shape:
                    raise HtunetError(
                        f"A version of {case.id} has the shape {altered_CHW.shape}, the image of the data set "
                        f"{image_CHW.shape}: they do not show the same."
                    )
                yield (geometry, version), to_input(altered_CHW, box_of(geometry), predictor.plan)

    for (geometry, version), scores_KHW, classes_N in predictor.each(inputs()):
        labels_HW = None if scores_KHW is None else scores_KHW.argmax(axis=0).astype(np.uint8)
        yield VersionPrediction(geometry, version, labels_HW, classes_N)
