"""Whether the splits of a fold can serve a classification, before anything expensive starts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from htunet.data.splits import SPLITS, Fold
from htunet.errors import HtunetError

WHAT_FOR = {"train": "be learnt", "val": "choose the best epoch", "test": "be scored"}


def with_classes(fold: Fold, class_of: Mapping[str, str]) -> Fold:
    """The fold without the cases that have no class, which a classification can neither learn from nor score."""
    return {split: [case for case in cases if class_of.get(case) != ""] for split, cases in fold.items()}


def missing_in_folds(folds: Sequence[Fold], having: Mapping[str, AbstractSet[str]]) -> dict[str, dict[str, list[int]]]:
    """For each name that some case holds: split to the folds in which no case of it holds the name.

    ``having`` gives the ids of the cases that hold each name. Folds whose split is empty are not counted, names that
    are missing nowhere are left out.
    """
    found = {}
    for name, cases in having.items():
        missing = {
            split: [k for k, fold in enumerate(folds) if fold[split] and cases.isdisjoint(fold[split])]
            for split in SPLITS
        }
        if cases and any(missing.values()):
            found[name] = {split: numbers for split, numbers in missing.items() if numbers}
    return found


def check_classes(fold: Fold, class_of: Mapping[str, str], known: Sequence[str]) -> None:
    """Raise HtunetError that names the split and the way out when a fold does not suit a classification.

    Every case has one of the ``known`` classes; the training split has all of them, and each other split that has
    images at least two: one class alone cannot be distinguished from anything.
    """
    for split in SPLITS:
        strange = [
            f"{case} ({class_of.get(case, '')!r})" for case in fold[split] if class_of.get(case, "") not in known
        ]
        if strange:
            raise HtunetError(
                f"{len(strange)} of {len(fold[split])} images of the {split} split have none of the classes "
                f"{', '.join(known)}: {', '.join(strange[:5])}. Give them one in cases.csv of the raw folder, or take "
                "them out of the split."
            )
        counts = Counter(class_of[case] for case in fold[split])
        if split == "val" and not counts:
            raise HtunetError("No image of the val split has a class, so the best epoch cannot be chosen.")
        missing = [name for name in known if not counts[name]]
        if missing and split == "train":
            raise HtunetError(
                f"The train split has no image of {', '.join(missing)}, which can then not be learnt. Take another "
                "fold or split, or take the class out of the data set."
            )
        if len(counts) == 1:
            raise HtunetError(
                f"Every image of the {split} split ({len(fold[split])}) is {next(iter(counts))}: with one class alone "
                f"nothing can {WHAT_FOR[split]}. Take another fold, or correct splits_final.json."
            )
