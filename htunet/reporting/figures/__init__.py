"""All figures by name. To add one: write its function in a module here and import that; the shared tests cover it."""

from htunet.reporting.figures import adapters as _adapters  # noqa: F401  (registers its entries)
from htunet.reporting.figures import classification as _classification  # noqa: F401
from htunet.reporting.figures import dice_distribution as _dice_distribution  # noqa: F401
from htunet.reporting.figures import features as _features  # noqa: F401
from htunet.reporting.figures import few_shot_curves as _few_shot_curves  # noqa: F401
from htunet.reporting.figures import mask_grids as _mask_grids  # noqa: F401
from htunet.reporting.figures import training_curves as _training_curves  # noqa: F401
from htunet.reporting.figures.base import FIGURES, Drawing, NotYetError, Results

__all__ = ["FIGURES", "Drawing", "NotYetError", "Results"]
