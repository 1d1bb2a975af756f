"""What the simulator draws from: every range and share in one place."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from htunet.errors import HtunetError, did_you_mean
from htunet.records import record_from

# ruff: noqa: RUF009 - the call below makes a dataclass field

Range = tuple[float, float]
ORGANS, TISSUE, LESIONS, ARTEFACTS, MACHINE, SCREEN = GROUPS = (
    "organs",
    "tissue",
    "lesions",
    "artefacts",
    "machine",
    "screen",
)


def _drawn(default: Any, group: str, help_text: str, low: float = 0.0, high: float = 1.0) -> Any:  # noqa: ANN401
    """A field: its default, the group that it belongs to, what it is, and its limits."""
    return field(default=default, metadata={"group": group, "limits": (low, high), "help": help_text})


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """All ranges (low, high) and shares (0..1) of the simulator; raises HtunetError for one that is impossible."""

    height: int = 224
    width: int = 224
    breast: float = _drawn(0.5, ORGANS, "weight of breast images among the organs")
    thyroid: float = _drawn(0.5, ORGANS, "weight of neck images with thyroid among the organs")
    no_lesion: float = _drawn(0.15, LESIONS, "share of images without a lesion")
    malignant: float = _drawn(0.4, LESIONS, "share of malignant ones among the images with a lesion")
    second_lesion: float = _drawn(0.08, LESIONS, "share of several lesions among the images with one")
    area: Range = _drawn((0.005, 0.45), LESIONS, "area of a lesion as a share of the field", 0.001, 0.8)
    frequency_mhz: Range = _drawn((3.0, 18.0), MACHINE, "centre frequency of the transducer", 1.0, 30.0)
    dynamic_range_db: Range = _drawn((42.0, 72.0), MACHINE, "range of levels that becomes gray values", 20.0, 120.0)
    gain_db: Range = _drawn((-8.0, 5.0), MACHINE, "level of the whole image", -40.0, 40.0)

    def __post_init__(self) -> None:
        """Check each value against the limits of its field."""
        for name, size in (("height", self.height), ("width", self.width)):
            if not 32 <= size <= 1024:
                raise HtunetError(f"{name} must be in 32..1024 pixels, got {size}.")
        for item in fields(self):
            if "limits" not in item.metadata:
                continue
            value, (low, high) = getattr(self, item.name), item.metadata["limits"]
            ends = value if isinstance(value, tuple) else (value, value)
            if not low <= ends[0] <= ends[1] <= high:
                raise HtunetError(f"{item.name} must lie in {low:g}..{high:g} and not decrease, got {value}.")

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which ``from_json`` makes the same settings."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: object, where: str = "The settings of the simulation") -> "SimulationSettings":
        """Raises HtunetError that begins with ``where`` for an unknown key, a wrong type or an impossible value."""
        return record_from(cls, content, where)

    @property
    def sha256(self) -> str:
        """Of the JSON object: equal for equal settings, on every machine."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def without(self, group: str) -> "SimulationSettings":
        """The same without the randomisation of one of GROUPS: its ranges shrink to their middles.

        Without ``organs`` every image is of the breast.
        """
        if group not in GROUPS:
            raise HtunetError(f"There is no group of ranges {group!r}.{did_you_mean(group, GROUPS)} One of {GROUPS}.")
        narrowed: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.metadata.get("group") == group and isinstance(value, tuple):
                narrowed[item.name] = (sum(value) / 2, sum(value) / 2)
            elif item.metadata.get("group") == group == ORGANS:
                narrowed[item.name] = float(item.name == "breast")
        return replace(self, **narrowed)
