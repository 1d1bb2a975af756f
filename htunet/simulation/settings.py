"""The settings of the simulator: the ranges and shares from which it draws.

Fields: whether something is there and how many, levels of tissues and lesions, signs, artefacts, the machine and its
picture. Literals where they are drawn: places, lengths, aspects and tilts; the number of muscle layers, spicules and
lines of reverberation; grain and spread of textures and outlines; the strength of small parts (fasciae, walls,
capsules, a hilum, ducts, colloid, coarse calcifications, the band at the face); the first pattern of a lesion, after
which what lies behind is drawn; fair choices such as left or right; the layout of borders and letters; the words of
captions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from htunet.errors import HtunetError, did_you_mean
from htunet.files import json_hash

# ruff: noqa: RUF009 - the call below makes a dataclass field

Range = tuple[float, float]
Three = tuple[float, float, float]
Four = tuple[float, float, float, float]
Five = tuple[float, float, float, float, float]
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

    Three to five shares together are those of what the help names, and add up to 1. Numbers of things include both ends
    of their range. Levels are decibels of amplitude against glandular tissue, lengths millimetres.
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
    fatty_gland: Range = _drawn((0.02, 0.25), TISSUE, "gland of such breasts, as a share of fat and gland")
    fat_layer: float = _drawn(5.0, TISSUE, "weight of the fat below the skin in the depth of a breast", 0.01, 100)
    gland_layer: float = _drawn(11.0, TISSUE, "weight of the gland; larger weights vary less", 0.01, 100)
    deep_fat_layer: float = _drawn(2.0, TISSUE, "weight of the fat behind the gland", 0.01, 100)
    muscle_layer: float = _drawn(6.0, TISSUE, "weight of the pectoral muscle", 0.01, 100)
    skin_db: Range = _drawn((0.0, 6.0), TISSUE, "level of the skin of all organs but the breast", -40, 20)
    blood_db: Range = _drawn((-40.0, -18.0), TISSUE, "level of the blood in large vessels", -80, 20)
    prostate_db: Range = _drawn((-5.0, 3.0), TISSUE, "level of the prostate", -40, 20)
    inner_prostate_db: Range = _drawn((-9.0, 1.0), TISSUE, "level of its inner part", -40, 20)
    thyroid_along: float = _drawn(0.4, TISSUE, "share of thyroids that are cut along")
    carotid: float = _drawn(0.85, TISSUE, "share of the other thyroids with the carotid beside")
    jugular: float = _drawn(0.5, TISSUE, "share of them with the jugular vein")
    trachea_hidden: float = _drawn(0.8, TISSUE, "share of thyroids cut along without the trachea; else all show it")
    neck_muscle: float = _drawn(0.7, TISSUE, "share of thyroids with a deep muscle")
    vertebra: float = _drawn(0.3, TISSUE, "share of thyroids with the front of a vertebra")
    bone: float = _drawn(0.4, TISSUE, "share of images of muscle with a bone")
    node_vessel: float = _drawn(0.3, TISSUE, "share of images of lymph nodes with a vessel")
    vessel_along: float = _drawn(0.75, TISSUE, "share of vessels that are cut along; the others lie in pairs")

    no_lesion: float = _drawn(0.12, LESIONS, "share of images without a lesion")
    malignant: float = _drawn(0.4, LESIONS, "share of malignant ones among the images with a lesion")
    several: float = _drawn(0.08, LESIONS, "share of several lesions among the images with one")
    several_number: Range = _drawn((2.0, 3.0), LESIONS, "number of several lesions", 2, 9)
    area: Range = _drawn((0.006, 0.5), LESIONS, "area of a lesion as a share of the field", 0.0005, 0.9)
    large_shrunk: float = _drawn(0.4, LESIONS, "share of those above 8 % of the field that are made smaller")
    flat: float = _drawn(0.1, LESIONS, "share of flat ones among the lesions")
    superficial: float = _drawn(0.2, LESIONS, "share of lesions right below the skin")
    anechoic: float = _drawn(0.15, LESIONS, "share of cysts among benign lesions")
    isoechoic: float = _drawn(0.16, LESIONS, "share of lesions about as bright as what is around them")
    hyperechoic: float = _drawn(0.05, LESIONS, "share of lesions brighter than what is around them")
    mixed: float = _drawn(0.15, LESIONS, "share of lesions with cystic parts")
    malignant_hyperechoic: float = _drawn(0.3, LESIONS, "hyperechoic times this is the share of malignant ones")
    malignant_mixed: float = _drawn(0.4, LESIONS, "mixed times this is the share of malignant ones")
    homogeneous: float = _drawn(0.8, LESIONS, "share of even ones among all other benign lesions")
    malignant_homogeneous: float = _drawn(0.45, LESIONS, "the same of malignant ones")
    contrast_db: Range = _drawn((4.0, 32.0), LESIONS, "how much darker than its surroundings a lesion is", 0, 40)
    isoechoic_db: Range = _drawn((-1.5, 4.5), LESIONS, "the same of isoechoic lesions", -10, 10)
    cyst_db: Range = _drawn((16.0, 44.0), LESIONS, "the same of cysts", 0, 80)
    hyperechoic_db: Range = _drawn((3.0, 10.0), LESIONS, "how much brighter hyperechoic lesions are", 0, 40)
    mixed_contrast: float = _drawn(0.6, LESIONS, "largest contrast of partly cystic ones, of that of contrast_db")
    cystic_part: Range = _drawn((0.1, 0.6), LESIONS, "fluid share of partly cystic lesions")
    fluid_db: Range = _drawn((10.0, 28.0), LESIONS, "how much darker that fluid is", 0, 80)
    node_db: Range = _drawn((4.0, 16.0), LESIONS, "how dark the cortex of lymph nodes is", 0, 40)
    hilum: float = _drawn(0.8, LESIONS, "share of benign lymph nodes with a hilum")
    malignant_hilum: float = _drawn(0.15, LESIONS, "the same of malignant ones")
    benign_shapes: Four = _drawn((0.62, 0.12, 0.21, 0.05), LESIONS, "oval, round, lobulated, irregular")
    malignant_shapes: Three = _drawn((0.78, 0.14, 0.08), LESIONS, "irregular, lobulated, oval")
    benign_upright: float = _drawn(0.09, LESIONS, "share of benign lesions, unless round, that are taller than wide")
    malignant_upright: float = _drawn(0.52, LESIONS, "the same of malignant ones")
    benign_margins: Three = _drawn((0.82, 0.13, 0.05), LESIONS, "circumscribed, indistinct, microlobulated")
    malignant_margins: Five = _drawn(
        (0.3, 0.22, 0.22, 0.2, 0.06), LESIONS, "spiculated, angular, microlobulated, indistinct, circumscribed"
    )
    blur_mm: Range = _drawn((0.1, 2.3), LESIONS, "width of the transition on the outline", 0.02, 10)
    capsule: float = _drawn(0.45, LESIONS, "share of benign lesions with a bright capsule")
    isoechoic_capsule: float = _drawn(0.6, LESIONS, "share of isoechoic lesions that get one")
    halo: float = _drawn(0.08, LESIONS, "share of benign lesions with a bright rim; of the thyroid none")
    malignant_halo: float = _drawn(0.55, LESIONS, "the same of malignant ones")
    halo_db: Range = _drawn((1.0, 4.0), LESIONS, "excess of the rim of benign lesions", 0, 20)
    malignant_halo_db: Range = _drawn((3.0, 8.0), LESIONS, "the same of malignant ones", 0, 20)
    dark_halo: float = _drawn(0.25, LESIONS, "share of thyroid nodules with a dark rim")
    dark_halo_db: Range = _drawn((3.0, 11.0), LESIONS, "depth of the dark rim", 0, 40)
    calcified: float = _drawn(0.05, LESIONS, "share of benign lesions with small calcifications")
    malignant_calcified: float = _drawn(0.33, LESIONS, "the same of malignant ones")
    thyroid_calcified: float = _drawn(0.25, LESIONS, "share of thyroid nodules that get many")
    calcifications: Range = _drawn((1.0, 3.0), LESIONS, "number of them in benign lesions", 1, 200)
    malignant_calcifications: Range = _drawn((4.0, 15.0), LESIONS, "the same in malignant ones", 1, 200)
    thyroid_calcifications: Range = _drawn((5.0, 29.0), LESIONS, "number of these many", 1, 200)
    coarse_calcification: float = _drawn(0.07, LESIONS, "share of lesions with a calcification that casts a shadow")
    behind: Three = _drawn((0.6, 0.08, 0.32), LESIONS, "enhancement, shadow, neither behind benign lesions")
    behind_cyst: Three = _drawn((0.95, 0.0, 0.05), LESIONS, "the same of the 24 % drawn as cysts at first")
    behind_malignant: Three = _drawn((0.66, 0.24, 0.1), LESIONS, "shadow, neither, enhancement of malignant ones")
    thyroid_no_shadow: float = _drawn(0.6, LESIONS, "share of thyroid nodules that lose their shadow")
    shadowing_db: Range = _drawn((3.0, 18.0), LESIONS, "depth of the shadow behind a lesion", 0, 60)
    enhancement_db: Range = _drawn((2.0, 10.0), LESIONS, "excess behind a lesion", 0, 40)

    look_alikes: Range = _drawn((0.0, 5.0), ARTEFACTS, "number of dark lobules that are no lesions", 0, 20)
    ducts: Three = _drawn((0.7, 0.2, 0.1), ARTEFACTS, "breasts with no, one and two ducts or thin vessels")
    colloid: Three = _drawn((0.6, 0.25, 0.15), ARTEFACTS, "thyroids with no, one and three dark spots")
    rib: float = _drawn(0.18, ARTEFACTS, "share of breast images with ribs")
    ribs: Range = _drawn((1.0, 2.0), ARTEFACTS, "number of ribs", 1, 9)
    bone_loss: Range = _drawn((0.3, 3.5), ARTEFACTS, "loss behind bone and air, decibels per millimetre", 0.01, 60)
    shadow: float = _drawn(0.3, ARTEFACTS, "share of images with narrow shadows from above")
    shadows: Range = _drawn((1.0, 3.0), ARTEFACTS, "number of these", 1, 20)
    shadow_loss: Range = _drawn((1.5, 5.0), ARTEFACTS, "loss at the top of each, decibels per millimetre", 0, 60)
    broad_shadow: float = _drawn(0.22, ARTEFACTS, "share of images with a broad shadow that is no lesion's")
    broad_shadow_db: Range = _drawn((8.0, 30.0), ARTEFACTS, "its depth", 0, 80)
    contact: float = _drawn(0.2, ARTEFACTS, "share of images with poor contact at an edge")
    contact_db: Range = _drawn((12.0, 34.0), ARTEFACTS, "loss at that edge", 0, 80)
    reverberation: float = _drawn(0.3, ARTEFACTS, "share of images with reverberation below the face")
    reverberation_strength: Range = _drawn((0.15, 0.6), ARTEFACTS, "amplitude of the lines", 0, 5)

    curved: float = _drawn(0.12, MACHINE, "share of curvilinear transducers; of the prostate all are")
    trapezoid: float = _drawn(0.08, MACHINE, "share of linear transducers with a trapezoid field")
    depth_mm: Range = _drawn((20.0, 62.0), MACHINE, "depth of the field of linear transducers", 10, 200)
    curved_depth_mm: Range = _drawn((45.0, 140.0), MACHINE, "depth of the field of curvilinear transducers", 20, 300)
    thyroid_depth_mm: float = _drawn(26.0, MACHINE, "least depth of the field over the thyroid", 10, 200)
    face_mm: Range = _drawn((18.0, 60.0), MACHINE, "limits of the width of the transducer's face", 5, 200)
    linear_width: Range = _drawn((0.75, 1.6), MACHINE, "this width of linear transducers, of the depth", 0.1, 5)
    curved_width: Range = _drawn((0.6, 1.0), MACHINE, "the same of curvilinear ones and of trapezoid fields", 0.1, 5)
    curved_radius: Range = _drawn((0.8, 2.0), MACHINE, "radius of curvilinear transducers, of the depth", 0.2, 20)
    trapezoid_radius: Range = _drawn((2.2, 5.0), MACHINE, "where the edges of a trapezoid meet, of the depth", 0.2, 50)
    frequency_mhz: Range = _drawn((3.0, 18.0), MACHINE, "centre frequency; deeper fields have lower ones", 1, 30)
    penetration: float = _drawn(720.0, MACHINE, "usual frequency times depth, MHz mm", 10, 10_000)
    frequency_spread: float = _drawn(0.35, MACHINE, "standard deviation of the logarithm of the frequency", 0, 3)
    focus: Range = _drawn((0.2, 0.8), MACHINE, "depth of the focus as a share of the field's")
    f_number: Range = _drawn((1.5, 8.0), MACHINE, "focal length over aperture", 0.5, 20)
    looks: Range = _drawn((1.0, 3.0), MACHINE, "frames that are averaged (compounding)", 1, 16)
    dynamic_range_db: Range = _drawn((42.0, 72.0), MACHINE, "range of levels that becomes gray values", 20, 120)
    brightness: Range = _drawn((0.15, 0.58), MACHINE, "mean gray value that the gain is set to, of 0..1", 0.01, 0.99)
    gamma: Range = _drawn((0.85, 1.8), MACHINE, "exponent of the gray curve", 0.3, 4)
    tgc_db: Range = _drawn((-2.0, 40.0), MACHINE, "loss over the depth that gain compensation misses", -40, 80)
    tgc_bend: Range = _drawn((0.7, 2.5), MACHINE, "exponent of the depth in this loss", 0.1, 10)
    tgc_error_db: float = _drawn(1.5, MACHINE, "standard deviation of gain compensation at each of 7 depths", 0, 20)
    uneven_db: Range = _drawn((1.5, 9.0), MACHINE, "spread of the attenuation from place to place", 0, 60)
    noise_db: Range = _drawn((-56.0, -34.0), MACHINE, "level of the electronic noise at the face", -100, 0)
    noise_rise_db: Range = _drawn((2.0, 16.0), MACHINE, "how much that rises over the depth", 0, 60)
    sharpened: float = _drawn(0.5, MACHINE, "share of pictures whose edges are enhanced")
    speckle_reduction: Range = _drawn((0.0, 0.85), MACHINE, "share of a smoothed picture that is mixed in")

    bordered: float = _drawn(0.3, SCREEN, "share of pictures with black borders; of the thyroid more")
    thyroid_bordered: float = _drawn(0.35, SCREEN, "how much more that is of the thyroid")
    narrow: float = _drawn(0.35, SCREEN, "share of these with a narrow field in the middle")
    gray: float = _drawn(0.1, SCREEN, "share of pictures whose black is dark gray")
    split: float = _drawn(0.04, SCREEN, "share of pictures with two fields side by side; of the thyroid more")
    thyroid_split: float = _drawn(1.6, SCREEN, "split times this is the share of the thyroid", 0, 20)
    cropped: float = _drawn(0.25, SCREEN, "share of pictures that show a part of the field")
    cropped_curved: float = _drawn(0.4, SCREEN, "share of the others, unless linear, that do so, too")
    cropped_side: Range = _drawn((0.0, 0.25), SCREEN, "share of the width that is missing on each side", 0, 0.45)
    cropped_top: Range = _drawn((0.0, 0.12), SCREEN, "share of the depth missing above, in half of them", 0, 0.45)
    cropped_bottom: Range = _drawn((0.0, 0.4), SCREEN, "share of the depth that is missing below", 0, 0.5)
    text: float = _drawn(0.4, SCREEN, "share of pictures with letters and marks")
    bordered_text: float = _drawn(0.4, SCREEN, "how much more that is with black borders")
    marker: float = _drawn(0.5, SCREEN, "share of these with a mark of the transducer's end")
    words: float = _drawn(0.55, SCREEN, "share with the side or another word")
    parameters: float = _drawn(0.6, SCREEN, "share with the machine's settings, where a border has room")
    gray_wedge: float = _drawn(0.5, SCREEN, "share with a gray wedge beside the field; within it a fifth of that")
    depth_scale: float = _drawn(0.4, SCREEN, "share with a scale of the depth")
    body_mark: float = _drawn(0.12, SCREEN, "share with a mark of the body")
    box: float = _drawn(0.06, SCREEN, "share with a box around a region")
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
            if len(ends) > 2:
                if not (min(ends) >= 0 and abs(sum(ends) - 1) < 1e-8):
                    raise HtunetError(f"{item.name} must be {len(ends)} shares that add up to 1, got {value}.")
            elif not low <= ends[0] <= ends[1] <= high:
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

        The shares and other single numbers of ``tissue``, ``lesions`` and ``machine`` stay as they are; those of
        ``artefacts`` and ``screen`` become 0 (of several shares all but the first). What has a range and no share stays
        at its middle there, too: two look-alikes in each breast, blur, JPEG quality 70. Without ``organs`` every image
        is of the breast. Raises HtunetError for an unknown group.
        """
        if group not in GROUPS:
            raise HtunetError(f"There is no group of ranges {group!r}.{did_you_mean(group, GROUPS)} One of {GROUPS}.")
        narrowed: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.metadata.get("group") != group:
                continue
            if isinstance(value, tuple) and len(value) > 2:
                narrowed[item.name] = value if group == LESIONS else (1.0, *[0.0] * (len(value) - 1))
            elif isinstance(value, tuple):
                narrowed[item.name] = (sum(value) / 2, sum(value) / 2)
            elif group in (ORGANS, ARTEFACTS, SCREEN):
                narrowed[item.name] = float(item.name == "breast")
        return replace(self, **narrowed)


USUAL = SimulationSettings()


def whole_number(rng: np.random.Generator, low: float, high: float) -> int:
    """One from ``low`` to ``high``, both included, each as often as the others."""
    return int(rng.integers(round(low), round(high) + 1))
