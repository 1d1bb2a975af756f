"""English sentences about a phantom image, in the manner of a breast ultrasound report. The wording is our own.

A sentence mentions only what the image shows; which signs are mentioned, in which order and in which words, is drawn.
"""

import numpy as np

from htunet.simulation.lesions import (
    BENIGN,
    CYST,
    ENHANCEMENT,
    HETEROGENEOUS,
    HYPOECHOIC,
    ISOECHOIC,
    MALIGNANT,
    SHADOW,
    Lesion,
)

SHAPES = {
    "oval": ("oval", "ovoid", "ellipsoid"),
    "round": ("round", "rounded"),
    "lobulated": ("gently lobulated", "macrolobulated", "lobulated"),
    "irregular": ("irregular", "irregularly shaped"),
}
MARGINS = {
    "circumscribed": ("circumscribed margins", "a smooth, sharp border", "well-defined margins", "a clear outline"),
    "indistinct": ("indistinct margins", "an ill-defined border", "a blurred outline"),
    "angular": ("angular margins", "sharp corners along its border", "an angulated outline"),
    "microlobulated": ("microlobulated margins", "a finely lobulated border", "many small lobulations"),
    "spiculated": (
        "spiculated margins",
        "spicules reaching into the tissue around it",
        "a star-like, spiculated border",
    ),
}
PATTERNS = {
    CYST: ("anechoic", "echo-free"),
    HYPOECHOIC: ("hypoechoic", "darker than the gland", "homogeneously hypoechoic"),
    ISOECHOIC: ("nearly isoechoic", "isoechoic", "hardly darker than its surroundings"),
    HETEROGENEOUS: ("heterogeneous", "of mixed echogenicity", "unevenly hypoechoic"),
    "hyperechoic": ("hyperechoic", "brighter than its surroundings", "echogenic"),
    "cystic and solid": ("partly cystic", "cystic and solid", "of mixed cystic and solid composition"),
}
POSTERIOR = {
    ENHANCEMENT: ("posterior enhancement", "brighter echoes behind it", "increased through transmission"),
    SHADOW: ("posterior acoustic shadowing", "a shadow behind it", "attenuation of the tissue behind it"),
}
NO_POSTERIOR_WORDS = ("no posterior features", "unchanged echoes behind it")
TALL = ("taller than wide", "not parallel to the skin", "upright in orientation")
WIDE = ("wider than tall", "parallel to the skin", "parallel in orientation")
IMPRESSIONS = {
    BENIGN: ("The findings suggest a benign lesion.", "Benign appearance.", "Features of a benign mass.", ""),
    MALIGNANT: (
        "The findings are suspicious for malignancy.",
        "Malignant appearance; biopsy is advised.",
        "Features of a malignant mass.",
        "",
    ),
}
NORMAL_SENTENCES = (
    "Normal breast tissue without a focal lesion.",
    "Layers of skin, fat, gland and muscle are regular; no mass is seen.",
    "No suspicious finding in this section of the breast.",
    "Ordinary fibroglandular tissue, no solid or cystic lesion.",
    "Ultrasound of the breast shows a normal layered pattern and no mass.",
    "Unremarkable gland and fat lobules, no area of shadowing that hides a mass.",
)
OTHER_NORMAL_SENTENCES = (
    "{organ} ultrasound without a focal lesion.",
    "Ultrasound of the {lower} shows a normal pattern and no lesion.",
    "No suspicious finding in this section of the {lower}.",
    "Unremarkable {lower}.",
)
"""For the organs other than the breast."""
OPENINGS = ("Breast ultrasound shows", "The image shows", "There is", "Ultrasound demonstrates", "This scan depicts")


def caption(lesions: list[Lesion], width_mm: float, rng: np.random.Generator, organ: str = "breast") -> str:
    """One to three sentences; ``width_mm`` is the width of the shown field, for the words left, central and right."""
    lower = organ.replace("_", " ")
    if not lesions:
        normal = NORMAL_SENTENCES if organ == "breast" else OTHER_NORMAL_SENTENCES
        return _pick(normal, rng).format(organ=lower.capitalize(), lower=lower)
    sentences = [_describe(lesion, width_mm, rng, again=number > 0) for number, lesion in enumerate(lesions)]
    sentences[0] = sentences[0].replace("Breast", lower.capitalize())
    sentences.append(_pick(IMPRESSIONS[lesions[0].class_name], rng))
    return " ".join(sentence for sentence in sentences if sentence)


def _describe(lesion: Lesion, width_mm: float, rng: np.random.Generator, *, again: bool) -> str:
    opening = "A second lesion is seen," if again else _pick(OPENINGS, rng)
    adjectives = [_pick(PATTERNS[lesion.pattern], rng), _pick(SHAPES[lesion.shape], rng)]
    plain = [word for word in adjectives if not word.startswith(("of ", "darker", "hardly", "brighter"))]
    after = [word for word in adjectives if word not in plain]
    noun = _pick(("mass", "lesion", "nodule", "focal lesion"), rng)
    front = ", ".join(plain)
    head = f"{opening} {'an' if front[:1] in 'aeiou' else 'a'} {front} {noun}"
    place = lesion.outline.lateral_mm / width_mm
    side = "left" if place < -0.15 else "right" if place > 0.15 else "central"
    scale = float(np.mean(lesion.outline.radius)) if lesion.outline.radius else 1.0
    size = max(round(2 * scale * max(lesion.outline.half_width_mm, lesion.outline.half_height_mm)), 1)
    where = _pick((f" in the {side} part of the image", "", f" about {size} mm across"), rng)
    signs = [f"with {_pick(MARGINS[lesion.margin], rng)}", _pick(TALL if lesion.taller_than_wide else WIDE, rng)]
    signs += after
    if lesion.posterior_db:
        signs.append(f"with {_pick(POSTERIOR[lesion.posterior], rng)}")
    elif rng.random() < 0.5:
        signs.append(f"with {_pick(NO_POSTERIOR_WORDS, rng)}")
    if lesion.halo_db:
        signs.append(_pick(("with an echogenic halo", "surrounded by a bright rim"), rng))
    if lesion.capsule:
        signs.append(_pick(("with a thin echogenic capsule", "in a thin bright capsule"), rng))
    if lesion.calcifications >= 4:
        signs.append(_pick(("containing microcalcifications", "with bright specks of calcification"), rng))
    elif lesion.calcifications:
        signs.append(_pick(("with a single coarse echo inside", "with a few bright foci"), rng))
    order = rng.permutation(len(signs))
    return f"{head}{where}, {', '.join(signs[position] for position in order)}."


def _pick(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
