"""The settings of the simulator: all ranges and shares from which it draws."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from htunet.errors import HtunetError, did_you_mean
from htunet.files import json_hash

# ruff: noqa: RUF009 - the call below makes a dataclass field

Range = tuple[float, float]
ORGANS, TISSUE, LESIONS, ARTEFACTS, MACHINE, SCREEN = GROUPS = (
    *("organs", "tissue", "lesions"),
    *("artefacts", "machine", "screen"),
)


def _drawn(default: Any, group: str, help_text: str, low: float = 0.0, high: float = 1.0) -> Any:  # noqa: ANN401
    """A field with its default, its group, its description, and its limits."""
    return field(default=default, metadata={"group": group, "limits": (low, high), "help": help_text})


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """All ranges (low, high) and shares (0..1) of the simulator; raises HtunetError for one that is impossible.

    Levels are decibels of amplitude against glandular tissue, lengths millimetres.
    """

    height: int = 224
    width: int = 224
    breast: float = _drawn(0.48, ORGANS, "weight of the breast among the organs")
    thyroid: float = _drawn(0.36, ORGANS, "weight of the thyroid among the organs")
    lymph_node: float = _drawn(0.05, ORGANS, "weight of lymph nodes among the organs")
    prostate: float = _drawn(0.03, ORGANS, "weight of the prostate among the organs")
    muscle: float = _drawn(0.04, ORGANS, "weight of muscle among the organs")
    vessel: float = _drawn(0.04, ORGANS, "weight of vessels among the organs; they have no lesion")

    fat_db: Range = _drawn((-11.0, -1.0), TISSUE, "level of fat", -40, 20)
    muscle_db: Range = _drawn((-15.0, -2.0), TISSUE, "level of muscle", -40, 20)
    thyroid_db: Range = _drawn((-2.0, 4.0), TISSUE, "level of the thyroid", -40, 20)
    texture_db: Range = _drawn((0.6, 3.6), TISSUE, "spread of the levels within glandular tissue", 0, 20)
    septa: Range = _drawn((0.3, 2.2), TISSUE, "strength of septa and fasciae; 1 is usual", 0, 5)
    waviness_mm: Range = _drawn((0.1, 1.3), TISSUE, "how far layers swing", 0, 10)
    streaks: Range = _drawn((0.0, 1.8), TISSUE, "strength of leaning fibres; 1 is usual", 0, 5)
    blotches_db: Range = _drawn((0.0, 6.5), TISSUE, "depth of soft dark patches that are no lesions", 0, 30)
    warp: Range = _drawn((0.0, 0.018), TISSUE, "how far all shapes are bent, as a share of the field", 0, 0.2)
    diffuse: float = _drawn(0.3, TISSUE, "share of thyroids that are uneven all through")
    fatty: float = _drawn(0.3, TISSUE, "share of breasts that are nearly all fat")

    no_lesion: float = _drawn(0.12, LESIONS, "share of images without a lesion")
    malignant: float = _drawn(0.4, LESIONS, "share of malignant ones among the images with a lesion")
    several: float = _drawn(0.08, LESIONS, "share of several lesions among the images with one")
    area: Range = _drawn((0.006, 0.5), LESIONS, "area of a lesion as a share of the field", 0.0005, 0.9)
    flat: float = _drawn(0.1, LESIONS, "share of flat ones among the lesions")
    superficial: float = _drawn(0.2, LESIONS, "share of lesions right below the skin")
    anechoic: float = _drawn(0.15, LESIONS, "share of cysts among benign lesions")
    isoechoic: float = _drawn(0.16, LESIONS, "share of lesions about as bright as what is around them")
    hyperechoic: float = _drawn(0.05, LESIONS, "share of lesions brighter than what is around them")
    mixed: float = _drawn(0.15, LESIONS, "share of lesions with cystic parts")
    contrast_db: Range = _drawn((4.0, 32.0), LESIONS, "how much darker than its surroundings a lesion is", 0, 40)
    isoechoic_db: Range = _drawn((-1.5, 4.5), LESIONS, "the same of isoechoic lesions", -10, 10)
    blur_mm: Range = _drawn((0.1, 2.3), LESIONS, "width of the transition on the outline", 0.02, 10)
    dark_halo: float = _drawn(0.25, LESIONS, "share of thyroid nodules with a dark rim")
    coarse_calcification: float = _drawn(0.07, LESIONS, "share of lesions with a calcification that casts a shadow")
    shadowing_db: Range = _drawn((3.0, 18.0), LESIONS, "depth of the shadow behind a lesion", 0, 60)
    enhancement_db: Range = _drawn((2.0, 10.0), LESIONS, "excess behind a lesion", 0, 40)

    look_alikes: Range = _drawn((0.0, 5.0), ARTEFACTS, "number of dark lobules that are no lesions", 0, 20)
    rib: float = _drawn(0.18, ARTEFACTS, "share of breast images with ribs")
    shadow: float = _drawn(0.3, ARTEFACTS, "share of images with narrow shadows from above")
    broad_shadow: float = _drawn(0.22, ARTEFACTS, "share of images with a broad shadow that is no lesion's")
    contact: float = _drawn(0.2, ARTEFACTS, "share of images with poor contact at an edge")
    reverberation: float = _drawn(0.3, ARTEFACTS, "share of images with reverberation below the face")

    curved: float = _drawn(0.12, MACHINE, "share of curvilinear transducers; of the prostate all are")
    trapezoid: float = _drawn(0.08, MACHINE, "share of linear transducers with a trapezoid field")
    depth_mm: Range = _drawn((20.0, 62.0), MACHINE, "depth of the field of linear transducers", 10, 200)
    curved_depth_mm: Range = _drawn((45.0, 140.0), MACHINE, "depth of the field of curvilinear transducers", 20, 300)
    frequency_mhz: Range = _drawn((3.0, 18.0), MACHINE, "centre frequency; deeper fields have lower ones", 1, 30)
    f_number: Range = _drawn((1.5, 8.0), MACHINE, "focal length over aperture", 0.5, 20)
    looks: Range = _drawn((1.0, 3.0), MACHINE, "frames that are averaged (compounding)", 1, 16)
    dynamic_range_db: Range = _drawn((42.0, 72.0), MACHINE, "range of levels that becomes gray values", 20, 120)
    brightness: Range = _drawn((0.15, 0.58), MACHINE, "mean gray value that the gain is set to, of 0..1", 0.01, 0.99)
    gamma: Range = _drawn((0.85, 1.8), MACHINE, "exponent of the gray curve", 0.3, 4)
    tgc_db: Range = _drawn((-2.0, 40.0), MACHINE, "loss over the depth that gain compensation misses", -40, 80)
    noise_db: Range = _drawn((-56.0, -34.0), MACHINE, "level of the electronic noise at the face", -100, 0)
    speckle_reduction: Range = _drawn((0.0, 0.85), MACHINE, "share of a smoothed picture that is mixed in")

    bordered: float = _drawn(0.3, SCREEN, "share of pictures with black borders; of the thyroid more")
    split: float = _drawn(0.04, SCREEN, "share of pictures with two fields side by side; of the thyroid more")
    cropped: float = _drawn(0.25, SCREEN, "share of pictures that show a part of the field")
    text: float = _drawn(0.4, SCREEN, "share of pictures with letters and marks")
    calipers: float = _drawn(0.15, SCREEN, "share of pictures with calipers on the lesion")
    false_calipers: float = _drawn(0.03, SCREEN, "share of pictures with calipers elsewhere")
    blur_pixels: Range = _drawn((0.0, 0.8), SCREEN, "standard deviation of the picture's blur", 0, 10)
    sharpening: Range = _drawn((0.0, 1.5), SCREEN, "strength of edge enhancement", 0, 5)
    jpeg_quality: Range = _drawn((40.0, 100.0), SCREEN, "quality of the JPEG that the picture was", 1, 100)

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
        if not any(weight > 0 for weight in self.organs.values()):
            raise HtunetError("At least one organ needs a weight above 0: breast, thyroid, lymph_node and so on.")
        if self.anechoic + self.isoechoic + self.hyperechoic + self.mixed > 1:
            raise HtunetError("anechoic, isoechoic, hyperechoic and mixed must not exceed 1 together.")

    @property
    def organs(self) -> dict[str, float]:
        """The weight of each organ."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.metadata.get("group") == ORGANS}

    @property
    def sha256(self) -> str:
        """Of the JSON object: equal for equal settings, on every machine."""
        return json_hash(asdict(self), sort_keys=True)

    def only(self, organs: Sequence[str]) -> "SimulationSettings":
        """These settings with the weights of all other organs at 0; raises HtunetError for an unknown one."""
        weights = self.organs
        for organ in organs:
            if organ not in weights:
                raise HtunetError(
                    f"The simulator has no organ {organ!r}.{did_you_mean(organ, weights)} It has {', '.join(weights)}."
                )
        chosen: dict[str, Any] = {name: weight if name in organs else 0.0 for name, weight in weights.items()}
        return replace(self, **chosen)

    def without(self, group: str) -> "SimulationSettings":
        """These settings without the randomisation of one of GROUPS: its ranges shrink to their middles.

        Without ``organs`` every image is of the breast; without ``artefacts`` and ``screen`` their shares are 0. Raises
        HtunetError for an unknown group.
        """
        if group not in GROUPS:
            raise HtunetError(f"There is no group of ranges {group!r}.{did_you_mean(group, GROUPS)} One of {GROUPS}.")
        narrowed: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.metadata.get("group") != group:
                continue
            if isinstance(value, tuple):
                narrowed[item.name] = (sum(value) / 2, sum(value) / 2)
            elif group in (ORGANS, ARTEFACTS, SCREEN):
                narrowed[item.name] = float(item.name == "breast")
        return replace(self, **narrowed)
