"""Prompts of CLIPSeg: words for the masks of each data set of the paper.

They are clinical names of the organ or the finding that the masks outline, one for each data set. Other data sets use
the names of their labels unless somebody writes better words into ``prompts`` of the plan.
"""

from collections.abc import Mapping

WORDS = {
    "LN-INT": "lymph node",
    "LN-EXT": "lymph node",
    "BUSI": "breast lesion",
    "DDTI": "thyroid nodule",
    "TN3K": "thyroid nodule",
    "Prostate": "prostate",
}
"""By the short name of a data set; each of these has one label beside the background."""


def prompts(dataset: str, labels: Mapping[str, int]) -> tuple[dict[str, str], str]:
    """Words for each label but the background, and where they come from. ``dataset`` is a full name."""
    found = [name for name, value in labels.items() if value > 0]
    short = dataset.partition("_")[2]
    if short in WORDS and len(found) == 1:
        return {found[0]: WORDS[short]}, f"what the masks of {short} outline"
    return {name: in_words(name) for name in found}, "the names of the labels" if found else "no masks: nothing to name"


def in_words(label: str) -> str:
    """A label's name as a person would say it.

    >>> in_words("thyroid_nodule")
    'thyroid nodule'
    """
    return label.replace("_", " ").replace("-", " ").strip()
