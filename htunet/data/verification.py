"""Find everything that is wrong with a raw folder, in one pass, file by file; nothing is changed."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from htunet.data.duplicates import DuplicatePair, Signature, cluster, find_duplicates, signature_of
from htunet.data.formats.stacks import open_stack
from htunet.data.image_io import READABLE, UInt8, read_image, read_labels
from htunet.data.measured_case import MarkedLabels, MeasuredCase, MeasuredCases, marked_labels, measure_case
from htunet.data.names import listed
from htunet.data.raw import IMAGE_FOLDERS, LABEL_FOLDERS, TEST, TRAIN, Case, RawDataset
from htunet.errors import HtunetError, counted
from htunet.parallel import parallel_map

ERROR, WARNING = "error", "warning"
SHOWN = 10
"""Errors of one kind that are listed."""
DUPLICATES = ("exact_duplicates", "near_duplicates")
BLANK = "images of one or two gray values, such as black, show nothing, or are masks: look at these files"
MOST, NEARLY_ALL = 0.5, 0.8
"""Fractions of the masks that mark something."""
FEWEST_BOXES, LEAST_SIDE = 10, 8
"""So many masks with one lesion, of so many pixels in height and width, before boxes are no coincidence."""
FOLDERS = (*IMAGE_FOLDERS.values(), *LABEL_FOLDERS.values())


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. An ``error`` makes the data set unusable, a ``warning`` is for the user to judge."""

    kind: str
    severity: str
    files: tuple[str, ...]
    """Relative to the raw folder."""
    message: str
    """What is wrong and what to do about it; names the files."""


def verify(
    raw: RawDataset, measured: MeasuredCases | None = None, *, workers: int = 1, progress: str | None = None
) -> list[Problem]:
    """All problems of a raw folder, errors first, then by kind and file; an empty list for a sound one.

    Reads every image and mask once, and adds what it measures of each case to ``measured``; the files of cases that
    are in it already are not read. ``progress`` names the bar on stderr, None shows none.
    """
    from tqdm import tqdm  # only in the process that shows it

    measured = MeasuredCases(raw.info.channels) if measured is None else measured
    masks, known = raw.info.has_masks, {*measured}
    new = [case for case in raw.cases if case.id not in known]
    allowed = sorted(raw.info.labels.values())
    check = partial(_check_case, base=raw.paths.raw, channels=raw.info.channels, allowed=allowed)

    def job(case: Case) -> _CaseToCheck:
        of_before = measured[case.id] if case.id in known else None
        return _CaseToCheck(case, raw.image_path(case), raw.label_path(case) if masks else None, of_before)

    name = lambda one: one.case.id  # noqa: E731
    results = parallel_map(check, map(job, new), workers=workers, name=name, threads=True, number=len(new))
    read = iter(tqdm(results, total=len(new), desc=progress, unit="case", disable=None if progress and new else True))
    problems, pictures, masks_of = list[Problem](), list[Case](), list[tuple[Case, MarkedLabels]]()
    alike: dict[MarkedLabels, MarkedLabels] = {}
    having: dict[str, list[Case]] = defaultdict(list)
    alone: dict[bool, list[Case]] = defaultdict(list)  # with one lesion, by whether it is a box

    def signatures() -> Iterator[Signature]:
        for case in raw.cases:
            found = check(job(case)) if case.id in known else next(read)
            problems.extend(found.problems)
            for remark in found.remarks:
                having[remark].append(case)
            if found.measured and case.id not in known:
                measured.add(case.id, found.measured)
            if found.measured and np.count_nonzero(found.measured.histogram) <= 2:
                having[BLANK].append(case)
            if found.mask:
                masks_of.append((case, alike.setdefault(found.mask, found.mask)))
            if found.measured and found.measured.lesions == 1 and min(found.measured.lesion_sides) >= LEAST_SIDE:
                alone[found.measured.lesion_pixels == math.prod(found.measured.lesion_sides)].append(case)
            if found.signature:
                pictures.append(case)
                yield found.signature
        next(read, None)  # the end of the bar and of the workers

    pairs = find_duplicates(signatures())
    for remark, cases in having.items():
        files = tuple(str(raw.image_path(case).relative_to(raw.paths.raw)) for case in cases)
        text = f"{remark[0].upper()}{remark[1:]}: {counted(len(cases), 'case')}, {listed([case.id for case in cases])}."
        problems.append(Problem("image_values", WARNING, files, text))
    problems += [
        *_table_problems(raw),
        *_unlisted_files(raw),
        *_duplicate_problems(raw, pictures, pairs),
        *_mask_problems(raw, masks_of),
        *_box_problem(raw, alone[True], len(alone[True]) + len(alone[False])),
    ]
    return sorted(problems, key=lambda problem: (problem.severity, problem.kind, problem.files))


def same_pictures(raw: RawDataset, problems: Sequence[Problem]) -> list[list[str]]:
    """The ids of the cases that show the same picture, a list for each picture, out of what ``verify`` found."""
    id_of = {str(raw.image_path(case).relative_to(raw.paths.raw)): case.id for case in raw.cases}
    return [[id_of[name] for name in problem.files] for problem in problems if problem.kind in DUPLICATES]


def raise_for_errors(name: str, problems: Sequence[Problem]) -> None:
    """Raise HtunetError that lists the problems of severity ``error``, some of each kind; warnings raise nothing."""
    errors = [problem for problem in problems if problem.severity == ERROR]
    if errors:
        alike, lines = defaultdict[str, list[str]](list), list[str]()
        for problem in errors:
            alike[problem.kind].append(problem.message)
        for messages in alike.values():
            more = [f"and {len(messages) - SHOWN} more errors like these"] * (len(messages) > SHOWN)
            lines += [f"  - {text}" for text in (*messages[:SHOWN], *more)]
        raise HtunetError("\n".join([f"{name} cannot be used as it is; {len(errors)} errors:", *lines]))


@dataclass(frozen=True)
class _CaseToCheck:
    case: Case
    image: Path
    label: Path | None
    """None in a data set without masks."""
    known: MeasuredCase | None
    """Earlier measurements of these files; None if they have to be read."""


@dataclass(frozen=True)
class _Checked:
    problems: tuple[Problem, ...]
    signature: Signature | None
    """None when the image could not be read."""
    mask: MarkedLabels | None
    """None when there is no mask that could be read."""
    measured: MeasuredCase | None
    """None where a file could not be read, or both differ in size."""
    remarks: tuple[str, ...] = ()
    """How the values of an image were changed when it was read."""


def _check_case(job: _CaseToCheck, base: Path, channels: int, allowed: Sequence[int]) -> _Checked:
    problems: list[Problem] = []

    def read(path: Path, read_pixels: Callable[[Path], UInt8]) -> UInt8 | None:
        try:
            return read_pixels(path)
        except HtunetError as error:
            kind = "unreadable_file" if path.exists() else "missing_file"
            problems.append(Problem(kind, ERROR, (str(path.relative_to(base)),), str(error)))
            return None

    image_name, label_name = (str(path.relative_to(base)) for path in (job.image, job.label or job.image))
    measured, image, label, remarks = job.known, None, None, tuple[str, ...]()
    if measured is None:
        image = read(job.image, partial(read_image, channels=channels))
        label = read(job.label, read_labels) if job.label else None
        if image is not None and label is not None and image.shape[1:] != label.shape:
            sizes = f"{label_name} is {_size(label)} but {image_name} is {_size(image)}"
            text = f"{sizes} (width x height): they must agree."
            problems.append(Problem("size_mismatch", ERROR, (image_name, label_name), text))
        if image is not None:
            stack = open_stack(job.image)
            remarks = (*stack.remarks, *stack.scaling)
        if image is not None and not problems:
            measured = measure_case(image, label)
    signature = measured.signature if measured else None if image is None else signature_of(image)
    mask = measured.mask if measured else None if label is None else marked_labels(label)
    if mask and (unexpected := sorted(mask.labels.difference(allowed))):
        values = listed([*map(str, unexpected)])
        text = f"{label_name} holds the values {values}; dataset.json names {list(allowed)}. Write class "
        text += "indices, or convert the files with htunet_convert --images and --masks, which takes other values, too."
        problems.append(Problem("unexpected_mask_values", ERROR, (label_name,), text))
    if mask and not mask.labels:
        text = f"{label_name} is empty, which is right for an image without a lesion."
        problems.append(Problem("empty_mask", WARNING, (label_name,), text))
    return _Checked(tuple(problems), signature, mask, measured, remarks)


def _mask_problems(raw: RawDataset, known: Sequence[tuple[Case, MarkedLabels]]) -> Iterator[Problem]:
    """What no mask shows alone: labels that never occur, background drawn as a label, outlines in place of areas."""
    marked = [(case, mask) for case, mask in known if mask.labels]
    names = {value: name for name, value in raw.info.labels.items()}
    if known and not marked:
        text = (
            f"Every mask is empty ({counted(len(known), 'file')}): there is nothing to segment. Check that these "
            "are the masks."
        )
        yield Problem("all_masks_empty", WARNING, (), text)
        return

    def problem(kind: str, cases: Sequence[Case], text: str) -> Problem:
        files = tuple(str(raw.label_path(case).relative_to(raw.paths.raw)) for case in cases)
        return Problem(kind, WARNING, files, f"{text} Such as: {listed([case.id for case in cases])}.")

    held = {value for _, mask in marked for value in mask.labels}
    for value in sorted(set(names) - {0} - held) if marked else ():
        text = (
            f"No mask holds the label {value} ({names[value]}) of dataset.json: nothing of it can be learnt or scored."
        )
        yield Problem("label_never_occurs", WARNING, (), f"{text} Take it out of dataset.json, or correct the masks.")
    for value in sorted(names):
        having = [case for case, mask in marked if mask.surrounding == value]
        text = (
            f"The label {value} ({names[value]}) covers most of the image and its edge in {len(having)} of "
            f"{len(marked)} masks"
        )
        if 0 < len(having) <= MOST * len(marked):
            yield problem("large_label", having, f"{text}: check that these are not inverted or filled by mistake.")
        elif having:
            if len(names) == 2:
                text += ": the masks seem to be inverted. Convert them with the values exchanged: --labels "
                yield problem("inverted_masks", having, f"{text}'background=255,lesion=0'.")
            else:
                text += ", as background does. Convert again and say which value it has: --labels 'background=...'."
                yield problem("background_as_label", having, text)
    if framed := [case for case, mask in marked if mask.is_framed]:
        text = f"{len(framed)} of {len(marked)} masks mark a thin line along one or more whole sides of the image, "
        yield problem("framed_masks", framed, f"{text}as of a screenshot, which counts as lesion. Erase it in them.")
    if outlines := [case for case, mask in marked if mask.is_outline]:
        text = f"{len(outlines)} of {len(marked)} masks are closed outlines: only the drawn line counts as lesion, not "
        yield problem("outlines", outlines, f"{text}what it encloses. htunet_convert --fill-outlines fills them.")


def _box_problem(raw: RawDataset, boxes: Sequence[Case], single: int) -> Iterator[Problem]:
    """Upright boxes, of ``single`` masks with one lesion: exports of what was drawn for detection."""
    if single >= FEWEST_BOXES and len(boxes) > NEARLY_ALL * single:
        files = tuple(str(raw.label_path(case).relative_to(raw.paths.raw)) for case in boxes)
        text = f"{len(boxes)} of {single} masks of one lesion are boxes: what is learnt is to draw boxes, and Dice is "
        text += "that of boxes. If the lesions were outlined, give these outlines as masks or annotations. "
        yield Problem("boxes", WARNING, files, f"{text}Such as: {listed([case.id for case in boxes])}.")


def _size(array: UInt8) -> str:
    height, width = array.shape[-2:]
    return f"{width}x{height}"


def _table_problems(raw: RawDataset) -> Iterator[Problem]:
    """What ``cases.csv`` says that cannot be, or that would leak from training to test."""
    table = (raw.paths.cases_csv.name,)
    for case_id, number in Counter(case.id for case in raw.cases).items():
        splits = sorted({case.split for case in raw.cases if case.id == case_id}) if number > 1 else []
        if len(splits) > 1:
            text = f"The case {case_id} is in the splits {' and '.join(splits)}. Keep it in one of them."
            yield Problem("case_in_two_splits", ERROR, table, text)
        elif splits:
            text = f"The case {case_id} is listed {number} times in {table[0]}. Give each image its own id."
            yield Problem("repeated_case", ERROR, table, text)
    splits_of = defaultdict(set)
    for case in raw.cases:
        splits_of[case.group].add(case.split)
    for group in sorted(group for group, splits in splits_of.items() if group and len(splits) > 1):
        text = f"The group {group} has cases in the splits train and test. Move them all to one of the two."
        yield Problem("group_in_two_splits", ERROR, table, text)
    for case in raw.cases:
        if case.split not in (TRAIN, TEST):
            text = f"The case {case.id} has the split {case.split!r}; it must be {TRAIN!r} or {TEST!r}."
            yield Problem("unknown_split", ERROR, table, text)
        if raw.info.classes and case.class_name not in ("", *raw.info.classes):
            text = f"The case {case.id} has the class {case.class_name!r}; dataset.json names {list(raw.info.classes)}."
            yield Problem("unknown_class", ERROR, table, text)
    if unclassed := [case.id for case in raw.cases if raw.info.classes and not case.class_name]:
        without = f"{counted(len(unclassed), 'case')} without a class ({listed(unclassed)})"
        text = f"{without}, for segmentation, not classification."
        yield Problem("no_class", WARNING, table, text)


def _unlisted_files(raw: RawDataset) -> Iterator[Problem]:
    paths = (path(case) for case in raw.cases for path in (raw.image_path, raw.label_path))
    listed = {f"{path.parent.name}/{path.name}" for path in chain(paths, raw.unlabelled)}
    for folder in FOLDERS:
        ending = f"_0000{raw.file_ending}" if folder in IMAGE_FOLDERS.values() else raw.file_ending
        place = raw.paths.raw / folder
        for file in sorted(os.listdir(place)) if place.is_dir() else ():
            path, name = place / file, f"{folder}/{file}"
            if name in listed or file.startswith("."):
                continue
            what = "belongs to no case" if path.name.lower().endswith(ending.lower()) else f"does not read ID{ending}"
            table = f" of {raw.paths.cases_csv.name}" if raw.paths.cases_csv.exists() else ""
            way_out = "Add a line for it" if table else "Add its image" if "case" in what else f"Name it ID{ending}"
            if path.suffix.lower() in READABLE:
                text = f"{name} {what}{table}. {way_out}, or take the file out."
                yield Problem("file_without_case", ERROR, (name,), text)
            else:  # Thumbs.db and the like
                yield Problem("file_without_case", WARNING, (name,), f"{name} {what} and is ignored.")


def _duplicate_problems(raw: RawDataset, known: Sequence[Case], pairs: Sequence[DuplicatePair]) -> Iterator[Problem]:
    def name_of(position: int) -> str:
        return str(raw.image_path(known[position]).relative_to(raw.paths.raw))

    for kind, words, chosen in (
        (DUPLICATES[0], "hold the same pixels", [pair for pair in pairs if pair.exact]),
        (DUPLICATES[1], "show nearly the same picture", [pair for pair in pairs if not pair.exact]),
    ):
        for positions in cluster(chosen):
            files = tuple(name_of(position) for position in positions)
            cases = [known[position] for position in positions]
            advice = "--split-by group keeps them in one split"
            if len({case.split for case in cases}) > 1:
                advice = "they lie in both splits, so the test split is not independent"
            yield Problem(kind, WARNING, files, f"{', '.join(files)} {words}; {advice}.")
    for pair in pairs:
        classes = [known[position].class_name for position in (pair.first, pair.second)]
        if all(classes) and classes[0] != classes[1]:
            files = (name_of(pair.first), name_of(pair.second))
            words = "the same pixels" if pair.exact else f"nearly the same picture (correlation {pair.correlation:.3f})"
            text = f"{files[0]} ({classes[0]}) and {files[1]} ({classes[1]}) are {words} with two classes."
            yield Problem("contradicting_classes", WARNING, files, text)
