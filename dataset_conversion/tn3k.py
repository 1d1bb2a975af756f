"""TN3K, thyroid nodules: ``trainval-image/0000.jpg`` with ``trainval-mask/0000.jpg``, and a test split of its own.

The masks are JPEG files with values around 0 and 255, cut at 127. Both splits number their images from 0, so that the
split is in the id. Five fold files name training and validation images by their position in the sorted list.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dataset_conversion.common import (
    CLASSES,
    Collected,
    ConversionReport,
    Converter,
    Exclusions,
    ImageWithMasks,
    Options,
    SourceFacts,
    convert_images,
    write_image_with_masks,
)
from dataset_conversion.numbered import NUMBER, Numbered, collect_numbered, is_numbered_image
from dataset_conversion.source import Layout
from htunet.data.names import listed
from htunet.data.raw import TEST, TRAIN, Case
from htunet.data.split_files import save_splits
from htunet.data.splits import Fold
from htunet.errors import HtunetError, counted
from htunet.files import read_object, read_text

SPLITS = {"trainval": TRAIN, "test": TEST}
KINDS = ("image", "mask")
FOLD = re.compile(r"tn3k-trainval-fold([0-9]+)\.json", re.IGNORECASE)
PUBLISHED_SPLITS = "published_splits.json"
"""In the raw folder: the folds of the authors, in the format of splits_final.json."""

TN3K = SourceFacts(
    dataset="Dataset505_TN3K",
    title="Ultrasound images of thyroid nodules with nodule masks and a predefined test split",
    licence="not stated for the images; the repository that distributes them is under MIT",
    home="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
    citation=(
        "Gong H, Chen G, Wang R, Xie X, Mao M, Yu Y, Chen F, Li G: Multi-task learning for thyroid nodule segmentation "
        "with thyroid region prior. IEEE ISBI 2021, 257-261. https://doi.org/10.1109/ISBI48211.2021.9434087"
    ),
    download=(
        "'Thyroid Dataset.zip', or its folder tn3k with trainval-image/, trainval-mask/, test-image/ and test-mask/ "
        "(unpack a .rar yourself)"
    ),
    expected={"trainval": 2879, "test": 614},
    split_rule="8:2",
)


def is_here(folder: Path) -> bool:
    """Does ``folder`` hold the image folder of at least one split, with an image in it?"""
    images = (path for (_, kind), path in split_folders(folder).items() if kind == "image")
    return any(is_numbered_image(path) for images_folder in images for path in images_folder.iterdir())


LAYOUT = Layout(
    looked_for="a folder with trainval-image/, trainval-mask/, test-image/ and test-mask/ of files 0000.jpg",
    is_here=is_here,
    member=re.compile(r"(^|/)(trainval|test)[-/]images?/[0-9]+\.", re.IGNORECASE),
)


def split_folders(folder: Path) -> dict[tuple[str, str], Path]:
    """(``trainval`` or ``test``, ``image`` or ``mask``) to its folder: ``test-mask/``, else ``test/mask/``."""
    found = {}
    children = _folders(folder)
    for split in SPLITS:
        inner = _folders(children[split]) if split in children else {}
        for kind in KINDS:
            options = (children.get(f"{split}-{kind}"), inner.get(kind), inner.get(f"{kind}s"))
            if place := next((option for option in options if option), None):
                found[split, kind] = place
    return found


def _folders(folder: Path) -> dict[str, Path]:
    return {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}


def convert_tn3k(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder``; with the tables of labels the cases have classes.

    Raises HtunetError as ``convert_images``, and when a table of labels has a line that cannot be meant.
    """
    numbered, collected = collect(folder, fit_masks=options.fit_masks)
    if any(job.case.class_name for job in collected.jobs):
        facts = replace(facts, classes=CLASSES)
    published = PublishedFolds(folder, numbered["trainval"].numbers)
    return convert_images(
        folder,
        facts,
        collected,
        write_image_with_masks,
        workers=options.workers,
        finish=published.write,
        threads=True,
    )


CONVERTER = Converter(facts=TN3K, layout=LAYOUT, run=convert_tn3k)


def collect(folder: Path, *, fit_masks: bool = False) -> tuple[dict[str, Numbered], Collected[ImageWithMasks]]:
    """Both splits as found, and the cases of both together with every other file and the reason why it is none."""
    places = split_folders(folder)
    tables = [folder / f"label4{split}.csv" for split in SPLITS]
    folds = (path for path in folder.iterdir() if FOLD.fullmatch(path.name))
    exclusions = Exclusions(folder)
    exclusions.add_unknown(folder, {*places.values(), *(place.parent for place in places.values()), *tables, *folds})
    numbered: dict[str, Numbered] = {}
    notes: list[str] = []
    for split, table in zip(SPLITS, tables, strict=True):
        labels = read_labels_table(table)
        numbered[split] = collect_numbered(
            exclusions,
            places.get((split, "image")),
            places.get((split, "mask")),
            case_of=partial(_case, split, labels),
            fit_masks=fit_masks,
        )
        numbers = set(numbered[split].numbers)
        for missing, noun, lacking in (
            (sorted(numbers - set(labels)) if labels else [], "image", "class"),
            (sorted(set(labels) - numbers), "label", "image"),
        ):
            if missing:
                shown = listed([f"{number:04d}" for number in missing])
                notes.append(f"{table.name}: {counted(len(missing), noun)} without {lacking}: {shown}")
    collected = Collected(
        jobs=[job for one in numbered.values() for job in one.jobs],
        found={split: len(one.numbers) for split, one in numbered.items()},
        excluded=exclusions.items,
        notes=notes,
    )
    return numbered, collected


def _case(split: str, labels: Mapping[int, str], number: int, source: str) -> Case:
    return Case(id=_case_id(split, number), split=SPLITS[split], class_name=labels.get(number, ""), source=source)


def _case_id(split: str, number: int) -> str:
    return f"{split}_{number:04d}"


def read_labels_table(path: Path) -> dict[int, str]:
    """Image number to class from lines such as ``0012.jpg,1`` (0 benign, 1 malignant); empty where there is no file.

    Raises HtunetError when the file is no such table. A first line without a number is taken for a header.
    """
    if not path.exists():
        return {}
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path), newline="")) if row]
    except csv.Error as error:
        raise HtunetError(f"{path} is not a CSV in UTF-8 ({error}). Save it as one, or take it out.") from None
    names = list(CLASSES)
    labels: dict[int, str] = {}
    for line, row in enumerate(rows):
        stem = Path(row[0].strip()).stem
        if line == 0 and not NUMBER.fullmatch(stem):
            continue
        if len(row) != 2 or not NUMBER.fullmatch(stem) or row[1].strip() not in ("0", "1"):
            raise HtunetError(
                f"{path} has the line {','.join(row)!r}; it must read 0012.jpg,0 or 0012.jpg,1. Correct it."
            )
        number, label = int(stem), names[int(row[1])]
        if labels.setdefault(number, label) != label:
            raise HtunetError(f"{path} gives the image {stem} two classes: {labels[number]} and {label}. Correct it.")
    return labels


@dataclass(frozen=True)
class PublishedFolds:
    """The fold files of the authors: positions in the list of training images sorted by number."""

    folder: Path
    numbers: Sequence[int]
    """Numbers of the training images, sorted."""

    def write(self, raw_folder: Path, cases: Sequence[Case]) -> list[str]:
        """Write ``published_splits.json`` into ``raw_folder``, or say in a note why there is none.

        Only images that became a case are in it; the test split is the data set's own. Folds 0, 1, ... without a gap.
        """
        files = {int(match[1]): path for path in self.folder.iterdir() if (match := FOLD.fullmatch(path.name))}
        if not files:
            return []
        folds: list[Fold] = []
        for fold in range(max(files) + 1):
            content, reason = self._positions(files.get(fold))
            if reason:
                return [f"the published folds are not taken over: tn3k-trainval-fold{fold}.json {reason}"]
            folds.append(self._fold(content, cases))
        save_splits(raw_folder / PUBLISHED_SPLITS, folds)
        sizes = " / ".join(str(len(folds[0][split])) for split in ("train", "val", "test"))
        return [
            f"{PUBLISHED_SPLITS} has {counted(len(folds), 'published fold')} (fold 0: {sizes}); "
            "htunet_plan_and_preprocess "
            "--splits with this file of the raw folder takes them instead of the split by 8:2"
        ]

    def _positions(self, path: Path | None) -> tuple[dict[str, list[int]], str]:
        """The positions of ``train`` and ``val``, and why they cannot be meant (empty when they can)."""
        if path is None:
            return {}, "is missing"
        try:
            content = read_object(path)
        except HtunetError:
            return {}, "is not a JSON object"
        splits = {split: content.get(split) for split in ("train", "val")}
        if not all(isinstance(split, list) and all(type(item) is int for item in split) for split in splits.values()):
            return {}, "is not an object with the lists of numbers 'train' and 'val'"
        named = [position for split in splits.values() for position in split or ()]
        if sorted(named) != list(range(len(self.numbers))):
            return {}, f"divides {counted(len(named), 'image')} (or names one twice), {len(self.numbers)} are here"
        return {split: list(positions or ()) for split, positions in splits.items()}, ""

    def _fold(self, positions: dict[str, list[int]], cases: Sequence[Case]) -> Fold:
        known = {case.id for case in cases}
        ids = {split: [_case_id("trainval", self.numbers[i]) for i in chosen] for split, chosen in positions.items()}
        fold = {split: sorted(case for case in chosen if case in known) for split, chosen in ids.items()}
        return fold | {"test": sorted(case.id for case in cases if case.split == TEST)}
