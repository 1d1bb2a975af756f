"""All figures by name. To add one: write its function in a module here and add a line below; the tests cover it."""

from typing import TYPE_CHECKING

from htunet.registry import Registry

if TYPE_CHECKING:
    from htunet.reporting.figures.base import FigureMaker

_HERE = "htunet.reporting.figures"

FIGURES: "Registry[FigureMaker]" = Registry(
    "figure",
    {
        "dice_distribution": f"{_HERE}.dice_distribution:dice_distribution",
        "features": f"{_HERE}.features:features",
        "few_shot": f"{_HERE}.few_shot_curves:few_shot",
        "figure4": f"{_HERE}.mask_grids:figure4",
        "figure5": f"{_HERE}.mask_grids:figure5",
        "filter": f"{_HERE}.adapter_internals:frequency_filter",
        "noise": f"{_HERE}.adapter_internals:noise_estimator",
        "reliability": f"{_HERE}.class_curves:reliability_diagrams",
        "roc": f"{_HERE}.class_curves:roc",
        "training_curves": f"{_HERE}.training_curves:training_curves",
    },
    group="htunet.figures",
)
"""Functions that draw a figure from results, one drawing for each data set where one is not enough.

They raise ``NotYetError`` where there is nothing to draw from.
"""
