"""Sentences that describe each class of a data set, for classification without training.

``zero_shot_prompts.json`` beside this module holds ours: ten a class for breast, lymph node, thyroid and prostate, each
with the sign that it describes and where the sign comes from. A user's file holds one such set: ``{"format": 1,
"classes": {"benign": [{"text": ..., "sign": ..., "source": ...}, "or the text alone", ...], "malignant": [...]}}``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from htunet.errors import HtunetError, UsageError, counted, did_you_mean
from htunet.files import read_object
from htunet.records import checked_object, of_format, record_from

FORMAT = 1
OWN = Path(str(files("htunet.data") / "zero_shot_prompts.json"))


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One sentence about a class."""

    text: str
    sign: str = ""
    """What it describes: shape, margin, hilum, ..."""
    source: str = ""
    """Short name of the guideline or study that the sign comes from."""


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """The sentences of each class, and where they are from."""

    name: str
    """``breast`` and so on, or the path of the user's file."""
    classes: dict[str, tuple[Prompt, ...]]
    sources: dict[str, str]
    """Short name to full reference."""

    def in_order(self, classes: Sequence[str]) -> list[tuple[str, Prompt]]:
        """(class, prompt) of all prompts, the classes in the given order.

        Raises HtunetError when the data set has not exactly the classes that there are prompts for.
        """
        if extra := [name for name in self.classes if name not in classes]:
            known = ", ".join(classes) or "none"
            raise HtunetError(
                f"The prompts of {self.name} describe {', '.join(extra)}, which the data set lacks; its classes: "
                f"{known}. Take them out, or rename them."
            )
        if missing := [name for name in classes if name not in self.classes]:
            raise HtunetError(
                f"The prompts of {self.name} do not describe {', '.join(missing)}, which the data set has. Write "
                "sentences for each of its classes and give the file with --prompts."
            )
        return [(name, prompt) for name in classes for prompt in self.classes[name]]


def find_prompts(dataset: str, chosen: str | None = None) -> PromptSet:
    """The prompts for a data set's short name; ``chosen`` names one of our sets or the user's file instead.

    Raises UsageError when there are none for the data set, HtunetError for a file that is missing or broken.
    """
    sets = own_prompts()
    if chosen is None:
        if usual := usual_prompts(dataset):
            return sets[usual][0]
        raise UsageError(
            f"There are no prompts for {dataset}. Choose a set with --prompts ({', '.join(sets)}), or give a file of "
            "your own: documentation/how_to/zero_shot.md shows one."
        )
    if chosen in sets:
        return sets[chosen][0]
    path = Path(chosen)
    if not path.exists():
        known = ", ".join(sets)
        raise UsageError(
            f"--prompts {chosen} is neither a file nor one of the built-in sets: {known}.{did_you_mean(chosen, sets)}"
        )
    content = _read(path)
    sources = {str(key): str(value) for key, value in checked_object(content.get("sources", {}), str(path)).items()}
    return PromptSet(name=chosen, classes=_classes(content.get("classes"), str(path)), sources=sources)


def usual_prompts(dataset: str) -> str:
    """The name of our set for a data set's short name; empty where there is none."""
    return next((name for name, (_, datasets) in own_prompts().items() if dataset in datasets), "")


def unusual_prompts(dataset: str, name: str) -> str:
    """The name of prompts, without a folder, where they are not our set for the data set; else empty."""
    return "" if name == usual_prompts(dataset) else Path(name).name


@cache
def own_prompts() -> dict[str, tuple[PromptSet, tuple[str, ...]]]:
    """Our sets by name, each with the data sets that it is for."""
    content = _read(OWN)
    found = {}
    for name, entry in content["sets"].items():
        classes = _classes(entry["classes"], f"{OWN}, {name}")
        used = {prompt.source for prompts in classes.values() for prompt in prompts}
        sources = {short: text for short, text in content["sources"].items() if short in used}
        found[name] = PromptSet(name=name, classes=classes, sources=sources), tuple(entry["datasets"])
    return found


def _read(path: Path) -> dict[str, Any]:
    return of_format(read_object(path), FORMAT, path, f': write "format": {FORMAT}.')


def _classes(content: object, where: str) -> dict[str, tuple[Prompt, ...]]:
    classes = checked_object(content, f"{where}: classes")
    found = {name: tuple(_prompts(entries, f"{where}: {name}")) for name, entries in classes.items()}
    if len(found) < 2:
        raise HtunetError(f"{where} describes {counted(len(found), 'class')}; at least two are needed.")
    return found


def _prompts(entries: object, where: str) -> list[Prompt]:
    if not isinstance(entries, list) or not entries:
        raise HtunetError(f"{where} must be a list of at least one sentence.")
    prompts = []
    for number, entry in enumerate(entries, start=1):
        content: Mapping[str, Any] = {"text": entry} if isinstance(entry, str) else entry
        prompt = record_from(Prompt, content, f"{where}, sentence {number}")
        if not prompt.text.strip():
            raise HtunetError(f"{where}, sentence {number} is empty. Write it or take it out.")
        prompts.append(prompt)
    return prompts
