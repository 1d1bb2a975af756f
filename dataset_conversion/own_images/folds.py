"""Official folds: a column that says train, val or test of each image, or the number of its fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from dataset_conversion.own_images.options import Found
from htunet.data.names import listed, printable
from htunet.data.raw import TEST, TRAIN, Case
from htunet.data.split_files import save_splits
from htunet.data.split_lists import WORDS, numbered_fold, one_of, split_values, split_word
from htunet.data.splits import SPLITS, Fold
from htunet.data.tables import column_names, read_tags, split_rule
from htunet.errors import HtunetError, counted
from htunet.files import read_json
from htunet.paths import DatasetPaths

COLUMNS = ("fold", "split", "folds", "kfold", "set", "subset", "partition")
VAL = "val"


@dataclass(frozen=True)
class OfficialFolds:
    """What is said of the images that are not in a test split of their own."""

    of: Mapping[str, str] = field(default_factory=dict)
    """``train``, ``val``, ``test`` or a number, by the name of the image."""
    notes: Sequence[str] = ()

    def divide(self, found: Sequence[Found]) -> list[Found]:
        """The images with those of the test split in it, where the data set then defines it."""
        return [replace(one, split=TEST) if self.of.get(one.name) == TEST else one for one in found]

    def write(self, dataset: DatasetPaths, folder: Path, cases: Sequence[Case]) -> list[str]:
        """Write the folds of ``cases`` into the raw ``folder``, from where a plan takes them; gives notes.

        Numbers: fold k validates on its images and trains on the others; without a test split it tests on them and
        validates on the next fold's, as htunet's own folds. Raises HtunetError for a fold that nothing can learn from.
        """
        by_source = {printable(name): value for name, value in self.of.items()}
        value_of = {case.id: TEST if case.split == TEST else by_source.get(case.source, "") for case in cases}
        ids = {value: sorted(one for one, own in value_of.items() if own == value) for value in {*value_of.values()}}
        notes = [f"in no fold, because --folds does not name them: {listed(ids[''])}"] if "" in ids else []
        test, numbers = ids.get(TEST, []), sorted((value for value in ids if value.isdigit()), key=int)
        if not numbers and VAL not in ids:
            return [*notes, "--folds names no images for validation: htunet chooses them among those for training"]
        folds = [{"train": ids.get(TRAIN, []), VAL: ids.get(VAL, []), TEST: test}]
        if numbers:
            folds = [numbered_fold(ids, numbers, position, test) for position in range(len(numbers))]
        for number, fold in enumerate(folds):
            if lacking := [split for split in (TRAIN, VAL) if not fold[split]]:
                raise HtunetError(
                    f"--folds leaves fold {number} without images for {' and '.join(lacking)}: " + _sizes(fold)
                )
        save_splits(folder / dataset.paper_splits_json.name, folds)
        notes.append(f"{counted(len(folds), 'official fold')}, which a plan takes: fold 0 has {_sizes(folds[0])}")
        if dataset.splits_json.exists() and read_json(dataset.splits_json) != folds:
            notes.append(
                f"{dataset.splits_json} has other folds and is kept; htunet_plan_and_preprocess -d "
                f"{dataset.short_name} --splits {dataset.paper_splits_json} takes these"
            )
        return notes


def _sizes(fold: Fold) -> str:
    return ", ".join(f"{len(fold[split])} for {split}" for split in SPLITS)


def named_splits(found: Sequence[Found]) -> list[str]:
    """A note where folders of images without official folds are called as splits: they would be mixed."""
    parts = [part for one in found for part in PurePosixPath(one.name).parts[:-1] if part.lower() in WORDS]
    if len({WORDS[part.lower()] for part in parts}) < 2 or any(one.split == TEST for one in found):
        return []
    words = [*dict.fromkeys(parts)]
    return [
        f"folders are called {listed(words)}, and their images are mixed: --folds '({'|'.join(words)})/' keeps them"
    ]


def read_folds(rule: str, found: Sequence[Found]) -> OfficialFolds:
    """What ``rule`` (see ``read_tags``) says of the images; raises HtunetError for values that are no fold or split.

    In a table without a column of ``COLUMNS`` those count that say yes or no of a split (``train``, ``val``, ``test``).
    """
    names = [one.name for one in found if one.split == TRAIN]
    path, requested = split_rule(rule) or (None, "")
    columns = column_names(path) if path and not requested else []
    answers = [] if {*columns} & {*COLUMNS} else [column for column in columns if split_word(column)]
    if path and len(answers) > 1:
        tags_of = {column: read_tags(f"{path}:{column}", names, option="--folds", columns=()) for column in answers}
        notes = tags_of[answers[0]].notes
        known = [name for name in names if any(name in tags.of for tags in tags_of.values())]
        words = one_of(path, {column: [tags.of.get(name, "") for name in known] for column, tags in tags_of.items()})
        value_of = {name: word for name, word in zip(known, words, strict=True) if word}
    else:
        if path and answers:
            rule, requested = f"{path}:{answers[0]}", answers[0]
        tags = read_tags(rule, names, option="--folds", columns=COLUMNS)
        values = split_values(requested.rpartition(":")[2], {*tags.of.values()})
        if unknown := sorted(text for text, value in values.items() if not value):
            raise HtunetError(f"--folds {rule} has the values {listed(unknown)}. Write train, val, test, or numbers.")
        value_of, notes = {name: values[text] for name, text in tags.of.items()}, tags.notes
    kinds = {*value_of.values()} - {TEST}
    if any(value.isdigit() for value in kinds) and not all(value.isdigit() for value in kinds):
        shown = listed(sorted(kinds & {*SPLITS}))
        raise HtunetError(f"--folds {rule} has numbers and also {shown}. Write one of both.")
    if TEST in value_of.values() and len(names) < len(found):
        raise HtunetError(f"--folds {rule} names images for test, and --test-images has others. Omit one of the two.")
    return OfficialFolds(value_of, notes)
