"""Overlap of one binary mask with its reference, from four counts. Pure NumPy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels of one mask pair; the names are nnU-Net's."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n_pred(self) -> int:
        """Pixels of the prediction."""
        return self.tp + self.fp

    @property
    def n_ref(self) -> int:
        """Pixels of the reference."""
        return self.tp + self.fn


def count(prediction: Mask, reference: Mask) -> Counts:
    """Count the pixels of one mask pair.

    Raises TypeError for masks that are not boolean and ValueError for shapes that differ.

    >>> count(np.array([[True, True]]), np.array([[True, False]]))
    Counts(tp=1, fp=1, fn=0, tn=0)
    """
    check_pair(prediction, reference)
    tp = int(np.count_nonzero(prediction & reference))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(reference)) - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=prediction.size - tp - fp - fn)


def check_pair(prediction: Mask, reference: Mask) -> None:
    """Raise TypeError unless both are boolean masks, ValueError unless both are (H, W) of one shape."""
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if mask.dtype != np.bool_:
            raise TypeError(f"The {name} must be a boolean mask, got dtype {mask.dtype}.")
        if mask.ndim != 2:
            raise ValueError(f"The {name} must have two axes (height, width), got shape {mask.shape}.")
    if prediction.shape != reference.shape:
        raise ValueError(f"Masks differ in shape: prediction {prediction.shape}, reference {reference.shape}.")
