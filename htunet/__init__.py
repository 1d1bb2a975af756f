"""htunet: self-configuring ultrasound segmentation and classification with frozen vision-language backbones.

``load``, ``plan``, ``train``, ``evaluate_folders`` and ``overlay`` are imported from ``htunet.api`` when they are first
used, so that ``import htunet`` takes no time.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from htunet.api import Model, Prediction, evaluate_folders, load, overlay, plan, train
    from htunet.errors import HtunetError, UsageError

__version__ = "0.1.0"
__all__ = [
    "HtunetError",
    "Model",
    "Prediction",
    "UsageError",
    "evaluate_folders",
    "load",
    "overlay",
    "plan",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import what ``__all__`` names when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'htunet' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("htunet.errors" if name.endswith("Error") else "htunet.api"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
