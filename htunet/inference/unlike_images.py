"""Which images are unlike those that a network has learnt from, by simple statistics of the image.

The statistics are of brightness and of texture at five sizes, and know nothing of the network: what its deepest layer
says of breast images and of thyroid images was the same in our trials, though it had seen no thyroid. A new image is as
far from the training images as the squared deviations from their mean say, each in units of their variance along the
principal axes (Mahalanobis 1936). How far is too far is learnt from the validation and test images of the fold, which
are as like as new ones can be.

Dimension key: C channels, H W pixels, S statistics, A axes, N images.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.image_io import UInt8
from htunet.errors import HtunetError
from htunet.files import read_object
from htunet.paths import RunPaths
from htunet.schemas import FAMILIAR

LEVEL = 0.95
"""The share of images like the training images whose distance is below the threshold."""
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
SIZES = (1, 2, 4, 8, 16)
"""Standard deviations of Gaussians, pixels of the network's input; a band is what one removes beside the one before."""
FEWEST_IMAGES = 9
"""Fewer training, or fewer held-out images say nothing."""
MOST_IMAGES = 1000
IMAGES_PER_AXIS = 3
SMALLEST = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Familiar:
    """The training images of one run, and how far its held-out images are from them."""

    mean_S: Floats
    scale_S: Floats
    axes_AS: Floats
    variances_A: Floats
    rest: float
    """The variance along every other axis."""
    held_out_N: Floats
    """Distances of the held-out images; their median is 1."""

    def distance(self, statistics_S: Floats) -> float:
        """1 is the median of images like the training images."""
        return float(self._distances(statistics_S[None])[0])

    def _distances(self, statistics_NS: Floats) -> Floats:
        scaled_NS = (statistics_NS - self.mean_S) / self.scale_S
        along_NA = scaled_NS @ self.axes_AS.T
        squares_N = (along_NA**2 / self.variances_A).sum(axis=1)
        if len(self.axes_AS) < len(self.mean_S):  # else nothing is left but rounding, which ``rest`` would multiply
            others_N = (scaled_NS**2).sum(axis=1) - (along_NA**2).sum(axis=1)
            squares_N += np.maximum(others_N, 0) / self.rest
        return np.sqrt(squares_N)

    def content(self) -> dict[str, object]:
        """As JSON holds it."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    @classmethod
    def of_content(cls, content: Mapping[str, Any], where: str) -> "Familiar":
        """What ``content`` gave, with the schema ``FAMILIAR``; HtunetError where the sizes do not belong together."""
        arrays = [np.array(content[name], dtype=np.float64) for name in ("mean_S", "scale_S", "variances_A")]
        mean_S, scale_S, variances_A = arrays
        rows = content["axes_AS"]
        sizes = {len(scale_S), *map(len, rows), len(LEVELS) + 4 * len(SIZES)}
        positive = min([*scale_S, *variances_A, content["rest"], len(content["held_out_N"])]) > 0
        if sizes != {len(mean_S)} or len(rows) != len(variances_A) or not positive:
            raise HtunetError(f"{where} holds statistics that do not belong together. Evaluate the run again: --force.")
        axes_AS = np.reshape(np.array(rows, dtype=np.float64), (len(rows), len(mean_S)))
        return cls(mean_S, scale_S, axes_AS, variances_A, float(content["rest"]), np.array(content["held_out_N"]))


def image_statistics(image_CHW: UInt8) -> Floats:
    """(S,): quantiles of the brightness 0..1 and, of each band, contrast, direction, tails and skewness."""
    from scipy.ndimage import gaussian_filter  # takes a moment, and only here

    image_HW = image_CHW.mean(axis=0) / 255
    found = np.quantile(image_HW, LEVELS).tolist()
    before_HW = image_HW
    for size in SIZES:
        smooth_HW = gaussian_filter(image_HW, size)
        band_HW, before_HW = before_HW - smooth_HW, smooth_HW
        down, across = (np.log(np.abs(np.diff(band_HW, axis=axis)).mean() + 1e-4) for axis in (0, 1))
        square_HW = band_HW**2  # products, because numpy is slow at powers of 3 and 4
        square = float(square_HW.mean())
        found += [
            np.log(np.abs(band_HW).mean() + 1e-4),
            down - across,
            np.log((square_HW**2).mean() / (square**2 + 1e-12) + SMALLEST),
            (square_HW * band_HW).mean() / (square**1.5 + 1e-9),
        ]
    return np.array(found)


def learn_familiar(training: Iterable[UInt8], held_out: Iterable[UInt8]) -> Familiar | None:
    """From (C, H, W) inputs of the network; None where either are fewer than 9."""
    training_NS, held_out_NS = (np.array([image_statistics(image) for image in images])
                                for images in (training, held_out))  # fmt: skip
    if min(len(training_NS), len(held_out_NS)) < FEWEST_IMAGES:
        return None
    mean_S, scale_S = training_NS.mean(axis=0), training_NS.std(axis=0) + SMALLEST
    _, singular, axes = np.linalg.svd((training_NS - mean_S) / scale_S, full_matrices=False)
    n_axes, variances = min(len(mean_S), len(training_NS) // IMAGES_PER_AXIS), singular**2 / len(training_NS)
    rest = float(variances[n_axes:].sum() / max(1, len(mean_S) - n_axes)) + SMALLEST
    found = Familiar(mean_S, scale_S, axes[:n_axes], variances[:n_axes] + SMALLEST, rest, np.empty(0))
    distances_N = found._distances(held_out_NS)
    middle = float(np.median(distances_N)) or 1.0
    return Familiar(
        mean_S,
        scale_S,
        found.axes_AS,
        found.variances_A * middle**2,
        rest * middle**2,
        np.sort(distances_N / middle),
    )


def distance_from(familiar: Sequence[Familiar], image_CHW: UInt8) -> float:
    """The mean over several runs, in units of what 95 % of their held-out images stay below."""
    statistics_S = image_statistics(image_CHW)
    held_out_N = np.sort(np.concatenate([one.held_out_N for one in familiar]))
    rank = min(len(held_out_N), ceil((len(held_out_N) + 1) * LEVEL))
    return float(np.mean([one.distance(statistics_S) for one in familiar])) / float(held_out_N[rank - 1])


def familiar_of(run: RunPaths) -> Familiar | None:
    """As the evaluation of a run wrote it; None before, and of too few images."""
    path = run.familiar_json
    return Familiar.of_content(read_object(path, FAMILIAR), str(path)) if path.exists() else None


def some_of(ids: Sequence[str]) -> list[str]:
    """At most 1000, evenly spaced."""
    return list(ids[:: ceil(len(ids) / MOST_IMAGES) or 1])
