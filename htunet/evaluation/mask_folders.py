"""Two folders of masks as people have them: which files belong together, and which of their values is which label."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from htunet.data.folders import files_in
from htunet.data.formats.stacks import FORMATS, is_image, open_stack
from htunet.data.image_io import READABLE, read_labels
from htunet.data.label_maps import (
    MOST_LABELS,
    OVERLAP,
    LabelMap,
    Survey,
    check_segments,
    infer,
    survey,
    unreadable,
    value_text,
)
from htunet.data.mask_names import BESIDE_MASKS, match_masks
from htunet.data.names import FRAME, composed, listed, stem_of, without_mask_words
from htunet.errors import HtunetError, UsageError, counted
from htunet.parallel import parallel_map, suitable_workers

Labels = NDArray[np.uint8]
Files = tuple[Path, ...]
WHAT = ("predictions", "references")
FEW, MUCH = 0.4, 0.6
"""Of all pixels; the labels of one folder below and those of the other above are seldom of the same images."""


class Joined(tuple[Path, ...]):
    """Masks of one image each, whose labels are joined, such as those of its lesions; the later one is on top."""


@dataclass(frozen=True, kw_only=True)
class MaskFolders:
    """The files of two folders that belong together, and how their values are read."""

    pairs: Mapping[str, tuple[Files, Files]]
    """Name to prediction and reference: one file each, one for each frame of the other's, or ``Joined``."""
    maps: tuple[LabelMap | None, LabelMap | None]
    """Of both; None: the values are the labels, of a palette its indices."""
    labels: list[int]
    notes: list[str]


def match_folders(predictions: Path, references: Path) -> MaskFolders:
    """Match two folders by name and infer the labels of their masks as ``htunet_convert`` does.

    Raises HtunetError for a reference without a prediction, and where the folders have no label in common.
    """
    pairs, notes = _matched(predictions, references)
    if predictions.samefile(references):
        notes.append("predictions and references are the same folder: every mask agrees with itself")
    sides = [[path for pair in pairs.values() for path in pair[side]] for side in (0, 1)]
    surveys = [_surveys(paths) for paths in sides]
    notes += check_segments([*sides[0], *sides[1]], [*surveys[0], *surveys[1]])
    maps = [_inferred(part, what) for part, what in zip(surveys, WHAT, strict=True)]
    values = [[value for value, label in one.values if label] if one else [] for one in maps]
    backgrounds = {value for one in maps if one for value, label in one.values if not label}
    together, shared = sorted({*values[0], *values[1]}), set(values[0]) & set(values[1])
    if max(together, default=0) <= MOST_LABELS and (shared or not all(values)):
        none = {0, *backgrounds} - {*together}
        pairs_of = [*((value, 0) for value in sorted(none)), *((value, value) for value in together)]
        maps = [LabelMap(names=(), values=tuple(pairs_of))] * 2
    elif all(one and len(one.names) == 1 for one in maps) and backgrounds != {0}:
        pass  # one label each, on a background of another value
    elif shared or not all(values):
        maps = [_inferred([*surveys[0], *surveys[1]], "masks")] * 2
    elif max(together) <= MOST_LABELS or any(len(one.names) > 1 for one in maps if one):
        together = _labels_of_palettes(sides)
        if not together:
            shown = [listed([value_text(value) for value in part]) for part in values]
            raise HtunetError(
                f"The folders have no label in common: the predictions in {predictions} hold the values {shown[0]}, "
                f"the references in {references} {shown[1]}. Give a label the same value in both."
            )
        return MaskFolders(pairs=pairs, maps=(None, None), labels=together, notes=[*notes, PALETTES])
    if shared and len(together) > len(shared):
        notes += _in_one_alone(values)
    labels = sorted({label for one in maps if one for _, label in one.values} - {0}) or [1]
    shares = [_share_of_labels(part, one) for part, one in zip(surveys, maps, strict=True)]
    if min(shares) < FEW and max(shares) > MUCH:
        notes.append(
            f"labels cover {shares[0]:.0%} of the predictions and {shares[1]:.0%} of the references: one of them seems "
            "to be inverted"
        )
    labels_notes = [note for part in zip(WHAT, surveys, maps, strict=True) for note in _notes_on(*part)]
    return MaskFolders(pairs=pairs, maps=(maps[0], maps[1]), labels=labels, notes=[*labels_notes, *notes])


PALETTES = "values are the indices of palettes, not their colours, in which the folders have no label in common"


def read_masks(files: Files, label_map: LabelMap | None) -> Iterator[tuple[Path, Labels, str]]:
    """The file, the (H, W) labels and a remark of each frame, one after another; HtunetError names a file."""
    if isinstance(files, Joined):
        for frames in zip(*(read_masks((path,), label_map) for path in files), strict=True):
            whole, remark = frames[0][1], ""
            for path, labels, _ in frames[1:]:
                if labels.shape != whole.shape:
                    raise HtunetError(f"{files[0]} and {path} are masks of one image, and differ in size.")
                remark = OVERLAP if ((labels > 0) & (whole > 0) & (labels != whole)).any() else remark
                whole = np.where(labels > 0, labels, whole)
            yield files[0], whole, remark
        return
    for path in files:
        if label_map is None:
            yield path, read_labels(path), ""
            continue
        for levels in open_stack(path).levels():
            yield path, label_map.apply(levels)[0], ""


def reference_map(paths: Sequence[Path], most: int) -> LabelMap | None:
    """How ``read_masks`` reads true masks of a model whose labels are 0..``most``.

    Values that are such labels stay as they are (None: of a palette its indices); others are inferred as conversions
    do. Raises HtunetError for a mask that cannot be read, and for more labels than the model has.
    """
    surveys = _surveys(paths)
    check_segments(paths, surveys)
    pictures = all(path.name.lower().endswith(READABLE) and open_stack(path).frames == 1 for path in paths)
    if pictures and max(int(read_labels(path).max()) for path in paths) <= most:
        return None
    values = sorted({value for one in surveys for value in one.counts} | {0})
    if values[-1] <= most:
        return LabelMap(names=(), values=tuple((value, value) for value in values))
    found = _inferred(surveys, WHAT[1])
    if found and len(found.names) > most:
        shown = listed([value_text(value) for value, label in found.values if label])
        raise HtunetError(f"The references hold {counted(len(found.names), 'label')} ({shown}), the model has {most}.")
    return found


def _matched(predictions: Path, references: Path) -> tuple[dict[str, tuple[Files, Files]], list[str]]:
    found, notes = [], []
    for folder, what in zip((predictions, references), WHAT, strict=True):
        paths, passed_over = _files(folder, (predictions, references))
        found.append(paths)
        if passed_over:
            notes.append(f"{what}: subfolders are not read, because there are masks beside them: {passed_over}")
    last = [{name.rpartition("/")[2]: path for name, path in names.items()} for names in found]
    if all(len(short) == len(names) for short, names in zip(last, found, strict=True)):  # else a/1 and b/1
        found = last
    plain = [dict[str, Files]({name: (path,) for name, path in names.items()}) for names in found]
    joined = [_joined_frames(*names) for names in (found, found[::-1])]
    in_lower_case = [{name.lower(): files for name, files in names.items()} for names in plain]
    ways = [(_with_names(*named), named[1]) for named in (plain, joined)]
    if all(len(lower) == len(names) for lower, names in zip(in_lower_case, plain, strict=True)):
        ways.append((_with_names(*in_lower_case), in_lower_case[1]))
    unmarked = [without_mask_words(names) for names in plain]
    ways.append((_with_names(*unmarked), unmarked[1]))
    ways.append(_with_several_masks(*plain))
    (named, rule), of_references = next((way for way in ways if set(way[1]) <= set(way[0][0])), ways[0])
    if missing := sorted(set(of_references) - set(named)):
        raise HtunetError(
            f"{len(missing)} of {counted(len(of_references), 'reference')} in {references} have no prediction in "
            f"{predictions}: {listed(missing)}. Predictions are named {listed(sorted(named), 3)}. Predict the others, "
            "or take their references out."
        )
    if extra := sorted(set(named) - set(of_references)):
        notes.append(f"predictions without a reference, not scored: {len(extra)} of {len(named)}: {listed(extra)}")
    return {name: (named[name], of_references[name]) for name in sorted(of_references)}, [*rule, *notes]


def _with_several_masks(
    predictions: dict[str, Files], references: dict[str, Files]
) -> tuple[tuple[dict[str, Files], list[str]], dict[str, Files]]:
    """References such as ``x_mask`` and ``x_mask_1`` under the name of their image, as conversions join them."""
    matched = match_masks(*([f"{name}.png" for name in names] for names in (predictions, references)))
    masks_of = {image[:-4]: sorted(mask[:-4] for mask in masks) for image, masks in matched.masks_of.items() if masks}
    several = [masks for masks in masks_of.values() if len(masks) > 1]
    if matched.unmatched or not several:
        return ({}, []), references
    joined: dict[str, Files] = {
        image: Joined(references[mask][0] for mask in masks) for image, masks in masks_of.items()
    }
    note = f"references: several masks of one image are joined, such as {listed(several[0])}"
    note += f", of {counted(len(several), 'image')}"
    return (predictions, [note]), joined


def _joined_frames(names: Mapping[str, Path], others: Mapping[str, Path]) -> dict[str, Files]:
    """Files that are the frames 1, 2, ... of one, ``p__0001``, under its name, unless the other folder has frames."""
    frames: dict[str, dict[int, str]] = {}
    for name in names:
        whole, mark, number = name.rpartition(FRAME)
        if mark and number.isdecimal() and name not in others:
            frames.setdefault(whole, {})[int(number)] = name
    complete = {
        name: numbered
        for name, numbered in frames.items()
        if name not in names and sorted(numbered) == list(range(1, len(numbered) + 1))
    }
    of_frames = {name for numbered in complete.values() for name in numbered.values()}
    alone: dict[str, Files] = {name: (path,) for name, path in names.items() if name not in of_frames}
    return alone | {name: tuple(names[numbered[n]] for n in sorted(numbered)) for name, numbered in complete.items()}


def _with_names(
    predictions: Mapping[str, Files], references: Mapping[str, Files]
) -> tuple[dict[str, Files], list[str]]:
    """The predictions under the names of their references, and how that came about where they differ."""
    of_prediction, rule = _by_affix(predictions, references)
    return {of_prediction.get(name, name): files for name, files in predictions.items()}, rule


def _files(folder: Path, without: Sequence[Path]) -> tuple[dict[str, Path], str]:
    """Name without ending to path, of the folder itself; at any depth where it holds no mask. And what was not read.

    What lies in one of the folders ``without`` below it is none of its masks.
    """
    if not folder.is_dir():
        what = "a file, not a folder. Unpack an archive first" if folder.exists() else "missing"
        raise HtunetError(f"The folder {folder} is {what}.")
    names, others = files_in(folder, is_image, without=(*without, *(folder / name for name in BESIDE_MASKS)))
    top = [name for name in names if "/" not in name]
    found: dict[str, Path] = {}
    for name in top or names:
        key = composed(f"{name[: name.rfind('/') + 1]}{stem_of(name)}")
        if key in found:
            raise HtunetError(f"{folder} has both {found[key].name} and {Path(name).name}. Keep one of them.")
        found[key] = folder / name
    if not found:
        raise HtunetError(f"The folder {folder} holds no masks ({FORMATS}); it holds {listed(others)}.")
    inner = sorted({name.split("/")[0] for name in names if "/" in name}) if top else []
    return found, listed(inner) if inner else ""


def _by_affix(predictions: Mapping[str, Files], references: Mapping[str, Files]) -> tuple[dict[str, str], list[str]]:
    """The reference's name for each prediction's, where one text before or after makes all of one of the other."""
    if set(references) <= set(predictions):
        return {}, []
    first, fitting = next(iter(references)), []
    for name in predictions:
        if name in first:
            before, after = first.split(name, 1)
            pairs = {name: f"{before}{name}{after}" for name in predictions}
            named = "references are named as predictions"
        elif first in name:
            before, after = name.split(first, 1)
            pairs = {f"{before}{name}{after}": name for name in references}
            named = "predictions are named as references"
        else:
            continue
        if any(_cuts_a_number(before, one, after) for one in (predictions if name in first else references)):
            continue  # case10 is not case1 with a 0
        if set(references) <= set(pairs.values()) and set(pairs) <= set(predictions):
            added = " and ".join(repr(text) for text in (before, after) if text)
            fitting.append((pairs, [f"{named} with {added} added"]))
    return fitting[0] if len(fitting) == 1 else ({}, [])


def _cuts_a_number(before: str, name: str, after: str) -> bool:
    """Whether digits beside a name would make another number of its own; leading zeros do not."""
    leading = before[len(before.rstrip("0123456789")) :].strip("0")
    return bool(leading and name[:1].isdecimal()) or (name[-1:].isdecimal() and after[:1].isdecimal())


def _surveys(paths: Sequence[Path]) -> list[Survey]:
    found = list(parallel_map(survey, paths, workers=suitable_workers(len(paths), None)))
    for path, one in zip(paths, found, strict=True):
        if one is None:
            raise HtunetError(unreadable(path))
    return [one for one in found if one]


def _inferred(surveys: Sequence[Survey], what: str) -> LabelMap | None:
    """None: no mask has a pixel."""
    if not any(one.counts.keys() - {0} for one in surveys):
        return None
    try:
        return infer(surveys)
    except UsageError as error:
        text = str(error).split(" Say what")[0].replace("The masks", f"The {what}")
        raise HtunetError(f"{text} Evaluate label maps: a pixel's value is 0 or its label's number.") from None


def _in_one_alone(values: Sequence[Sequence[int]]) -> Iterator[str]:
    """Values of one folder that the other does not hold, while it holds others: missed labels, or no labels."""
    for what, own, other in zip(WHAT, values, values[::-1], strict=True):
        if alone := sorted({*own} - {*other}):
            yield (
                f"{listed([value_text(value) for value in alone])} in the {what} alone, and scored as a label: if it "
                "marks what is not to be scored (a border, pixels to ignore), make it background in both folders; if "
                "values number the lesions, give all lesions one value"
            )


def _labels_of_palettes(sides: Sequence[Sequence[Path]]) -> list[int]:
    """The labels where palettes' indices are read and the folders share one; else none."""
    if not all(path.name.lower().endswith(READABLE) for paths in sides for path in paths):
        return []
    values = [{int(v) for path in paths for v in np.unique(read_labels(path))} - {0} for paths in sides]
    together = sorted(values[0] | values[1])
    return together if values[0] & values[1] and max(together) <= MOST_LABELS else []


def _share_of_labels(surveys: Sequence[Survey], label_map: LabelMap | None) -> float:
    """Of all pixels those that are not exactly background."""
    counts = sum((Counter(one.counts) for one in surveys), Counter[int]())
    background = sum(counts[value] for value, label in label_map.values if not label) if label_map else counts.total()
    return 1 - background / counts.total()


def _notes_on(what: str, surveys: Sequence[Survey], label_map: LabelMap | None) -> Iterator[str]:
    if lossy := sum(one.lossy for one in surveys):
        yield f"{what}: {lossy} JPEG masks cut at half between their values, because JPEG does not keep exact ones"
    held = {value for one in surveys for value in one.counts}
    read = [(value, label) for value, label in label_map.values if value in held] if label_map else []
    if any(value != label for value, label in read):
        texts = (" and ".join(map(one, read)) for one in (lambda pair: value_text(pair[0]), lambda pair: str(pair[1])))
        yield f"{what}: values {' read as '.join(texts)}"
    known = {value for value, _ in label_map.values} if label_map else held
    if between := [one.name for one in surveys if not one.lossy and one.counts.keys() - known]:
        yield (
            f"{what}: {counted(len(between), 'mask')} with values between those of the labels (smoothed edges, or "
            f"probabilities), each taken as the nearest: {listed(between)}"
        )
