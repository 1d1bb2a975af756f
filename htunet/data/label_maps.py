"""From the values of people's masks to labels 0..K: a map that they give, or one that is read off the masks and said.

Values are those of ``stacks.Levels``: gray values, or colours. Before anything is written every mask is surveyed, so
that 0/1, 0/255, one value per label, colours and lossy masks are distinguished for the data set and not file by file.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from htunet.data.formats.stacks import COLOUR, LARGEST_LEVEL, Levels, is_lossy, open_stack
from htunet.data.image_io import UInt8
from htunet.data.names import listed
from htunet.errors import HtunetError, UsageError, counted
from htunet.files import parse_json, read_json

BACKGROUND = "background"
LESION = "lesion"
MOST_LABELS = 32
MOST_VALUES = 4096
"""Values of one mask that are counted, the most frequent ones; a lossy one may have more."""
LOSSY_REACH = 24
"""How far, per channel, a lossy format moves a value inside an even area."""
LOSSY_RIPPLE = 2
"""How much neighbours in an even area of a lossy mask may differ."""
BLEND_REACH = 8
"""The same for a lossless mask whose values blend: a blurred area of 255 has even parts of 254, too."""
FEWEST_BLENDED = 4
"""A mask has at least as many values without an even area if its values blend."""
LEAST_EVEN = 0.15
"""At least this fraction of what blended or lossy masks mark is even; less is, in pictures and probabilities."""
MOST_MARKED = 0.5
"""Masks mark at most this fraction of their pixels; pictures are seldom black in more than the rest."""
RARE = 1e-3
"""A value that covers less than this fraction of the largest label's even area is not a label in a lossy mask."""
BETWEEN, BETWEEN_LOSSY = 64, 128
"""How far, per channel, a value may lie outside those of the labels if sharpening made it of them, or if a lossy format
with colours of half the resolution did."""
INVALID = 255
OVERLAP = "masks of one image mark the same pixels with different labels, the later mask is used"


@dataclass(frozen=True, slots=True)
class Survey:
    """What one mask file holds."""

    counts: dict[int, int]
    """Value to number of pixels."""
    even: dict[int, int]
    """Value to number of pixels whose four neighbours have it, too: the inside of an area, not its edge."""
    lossy: bool
    name: str = ""
    """Name of the file."""
    segments: Mapping[int, str] = field(default_factory=dict)
    """What 3D Slicer calls its values."""

    @property
    def blends(self) -> bool:
        """Whether most values of a lossless mask are steps between others, as blurred edges and probabilities have."""
        steps = len(self.counts) - len(self.even)
        return not self.lossy and steps >= FEWEST_BLENDED and steps > 2 * len(self.even)


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """Which value is which label."""

    names: tuple[str, ...]
    """Names of the labels 1..K."""
    values: tuple[tuple[int, int], ...]
    """(value, label) pairs, background included."""
    refused: frozenset[int] = frozenset()
    """Values that are neither a label nor the blurred edge of one; a mask that holds one is not read."""
    note: str = ""
    """One line for the user: what was found and what it became."""

    @property
    def labels(self) -> dict[str, int]:
        """The labels as in dataset.json: name to index, background 0."""
        return {BACKGROUND: 0} | {name: index for index, name in enumerate(self.names, start=1)}

    def apply(self, levels: Levels) -> tuple[UInt8, bool]:
        """(H, W) labels, and whether values between the known ones were brought to the nearest.

        Raises HtunetError that names the refused values of the mask.
        """
        table, exact = _table(self)
        if levels.max() <= LARGEST_LEVEL:
            found, known = table[levels], exact[levels]
        else:
            values, inverse = np.unique(levels, return_inverse=True)
            labels, exact = _nearest(self, values)
            found, known = labels[inverse].reshape(levels.shape), exact[inverse].reshape(levels.shape)
        if (found == INVALID).any():
            strange = [value_text(int(value)) for value in np.unique(levels[found == INVALID])[:5]]
            text = f"holds the values {', '.join(strange)}, which are not labels; name them with --labels"
            if any(value >= COLOUR for value, label in self.values if label):
                text += (
                    ". Where marks over a copy of the image blend into it (JPEG, half-transparent), no colour can be "
                    "named: give masks of the marks alone as PNG, or the outlines as --annotations"
                )
            raise HtunetError(text)
        return found, not known.all()


@lru_cache(maxsize=4)
def _table(label_map: LabelMap) -> tuple[UInt8, NDArray[np.bool_]]:
    """Label, and whether it is exact, of each gray value."""
    return _nearest(label_map, np.arange(LARGEST_LEVEL + 1))


def _nearest(label_map: LabelMap, values: NDArray[np.integer]) -> tuple[UInt8, NDArray[np.bool_]]:
    known, labels = (np.array(column) for column in zip(*label_map.values, strict=True))
    best, distance = np.zeros(len(values), dtype=np.uint8), np.full(len(values), np.inf)
    for value, label in zip(_channels(known), labels, strict=True):
        away = ((_channels(values) - value) ** 2).sum(axis=1)
        best[away < distance] = label
        distance = np.minimum(distance, away)
    best[np.isin(values, list(label_map.refused))] = INVALID
    if known[labels > 0].min() >= COLOUR:  # marks in colour: beside them the gray of a picture is background
        near = np.abs(_channels(values)[:, None] - _channels(known[labels > 0])).max(axis=2).min(axis=1) <= LOSSY_REACH
        is_gray = (np.ptp(_channels(values), axis=1) <= LOSSY_REACH) & ~near & (best != 0)
        best[is_gray] = 0 if near.any() else INVALID
    return best, np.isin(values, known)


def _channels(values: NDArray[np.integer]) -> NDArray[np.float64]:
    """(N, 3) red, green, blue; a gray value three times."""
    rgb = np.stack([(values >> shift) & 0xFF for shift in (16, 8, 0)], axis=1)
    return np.where((values >= COLOUR)[:, None], rgb, values[:, None]).astype(np.float64)


def value_text(value: int) -> str:
    """``255`` for a gray value, ``#ff0000`` for a colour."""
    return f"#{value - COLOUR:06x}" if value >= COLOUR else str(value)


def survey(path: Path) -> Survey | None:
    """What a mask file holds, over all its frames; None where it cannot be read (whoever converts it names it)."""
    counts, even = Counter[int](), Counter[int]()
    try:
        lossy = is_lossy(path)
        tolerance = LOSSY_RIPPLE if lossy else 0
        stack = open_stack(path)
        for levels in stack.levels():
            frame = _count(levels)
            counts.update(frame)
            even.update(frame if len(frame) <= 2 else _count(levels[1:-1, 1:-1][_is_even(levels, tolerance)]))
            if len(counts) > MOST_VALUES:
                counts, even = (Counter(dict(found.most_common(MOST_VALUES))) for found in (counts, even))
    except HtunetError:
        return None
    found = dict(counts)
    return Survey(found, found if even == found else dict(even), lossy, path.name, stack.segments)


def unreadable(path: Path) -> str:
    """The error for which ``survey`` gave None for a mask."""
    try:
        for _ in open_stack(path).levels():
            pass
    except HtunetError as error:
        return str(error)
    return f"The mask {path} cannot be read. Replace it or take it out."


def check_segments(masks: Iterable[Path], surveys: Iterable[Survey | None]) -> list[str]:
    """A note where 3D Slicer's files call a value by several names; HtunetError where a name has several values."""
    value_of, names_of = dict[str, tuple[int, Path]](), defaultdict[int, dict[str, None]](dict)
    for path, one in zip(masks, surveys, strict=True):
        for value, name in one.segments.items() if one else ():
            names_of[value][name] = None
            before, first = value_of.setdefault(name.casefold(), (value, path))
            if before != value:
                raise HtunetError(
                    f"The segment {name!r} has the value {before} in {first} and {value} in {path}: 3D Slicer numbers "
                    "the segments of each file in the order in which they were made. Export all of them as labelmaps "
                    "with one colour table, so that each segment has the same value in all files."
                )
    return [
        f"value {value} is called {listed([*names])} in the segmentations; it is one label"
        for value, names in names_of.items()
        if len(names) > 1
    ]


def _count(values: Levels) -> dict[int, int]:
    if values.size == 0:
        return {}
    if int(values.max()) <= LARGEST_LEVEL:
        counts = np.bincount(values.ravel())
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, numbers = np.unique(values, return_counts=True)
    return {int(value): int(number) for value, number in zip(found, numbers, strict=True)}


def _is_even(levels: Levels, tolerance: int) -> NDArray[np.bool_]:
    """(H - 2, W - 2): do the four neighbours have the pixel's value, or one that differs by ``tolerance`` at most?

    Of a colour each channel may differ as much.
    """
    planes = [levels]
    if tolerance and levels.max() >= COLOUR:
        planes = [np.where(levels >= COLOUR, levels >> shift & 0xFF, levels) for shift in (16, 8, 0)]
    return np.logical_and.reduce([
        abs(plane[1:-1, 1:-1] - other) <= tolerance for plane in planes
        for other in (plane[:-2, 1:-1], plane[2:, 1:-1], plane[1:-1, :-2], plane[1:-1, 2:])
    ])  # fmt: skip


def infer(surveys: Sequence[Survey]) -> LabelMap:
    """Read the labels off the masks; raises UsageError where that is not possible, HtunetError where all are empty.

    Where no mask holds 0 and several values occur, the most frequent one is the background.
    """
    total = sum((Counter(one.counts) for one in surveys), Counter[int]())
    background = 0 if 0 in total or len(total) < 2 else max(total, key=lambda value: (total[value], -value))
    values = sorted(total.keys() - {background})
    if not values:
        raise HtunetError("Every mask is empty: there is nothing to learn. Check that these are the masks.")
    lossless = not any(one.lossy for one in surveys)
    indices = values == list(range(background + 1, background + len(values) + 1)) and len(values) <= MOST_LABELS
    one_each = all(len(one.counts.keys() - {background}) <= 1 for one in surveys)
    found = values if lossless and (indices or one_each) else _clean_values(surveys, background)
    if not found and not lossless:
        away = np.abs(_channels(np.array(values)) - _channels(np.array([background])))
        if away.max() > LOSSY_REACH:
            raise HtunetError(
                "The masks are JPEG or WebP and hold no even area of one value: they are pictures, or they mark a few "
                "pixels each, and nobody can tell such lesions from the noise of the compression. Save them as PNG. If "
                "they are lesions, for conversions name their value, as in --labels "
                f'"lesion={value_text(values[-1])}": what is nearer to it than to the background is lesion.'
            )
        raise HtunetError(
            "The masks are JPEG or WebP, which do not keep exact values, and no even area of them differs by more than "
            f"{LOSSY_REACH} from the background ({listed([value_text(value) for value in values], 8)}). Save them as "
            "PNG, with values such as 0 and 255."
        )
    found = found or values
    _refuse_pictures(surveys, found, background)
    if unknown := _unknown_values(surveys, [background, *found]):
        having = [one.name for one in surveys if {*unknown} & one.counts.keys()]
        texts = [listed([*map(value_text, some)]) for some in (unknown, found)]
        raise UsageError(
            f"{counted(len(having), 'mask')} ({listed(having)}) hold values that are neither labels nor between them "
            f"({texts[0]}; the labels are {texts[1]}): small areas, drawn outlines or text. Say what they mean: "
            f'--labels "lesion={value_text(found[0])},background={value_text(background)}+{value_text(unknown[0])}".'
        )
    if len(found) > MOST_LABELS:
        shown = listed([value_text(value) for value in found], 8)
        raise UsageError(
            f"The masks hold {len(found)} different values ({shown}), too many to be labels. "
            'Say what they mean: --labels "lesion=1,cyst=2".'
        )
    how = "inferred, the most frequent value as background because no mask holds 0" if background else "inferred"
    if len(found) == 1 or (found == [1, 255] and not any({1, 255} <= one.counts.keys() for one in surveys)):
        return _made((LESION,), [(background, 0), *((value, 1) for value in found)], how)
    segments = _segment_names(surveys, found)
    names = segments or tuple(
        f"value_{value_text(value)}" if value < COLOUR else f"colour_{value - COLOUR:06x}" for value in found
    )
    label_map = _made(names, [(background, 0), *((value, label) for label, value in enumerate(found, start=1))], how)
    numbered = _numbers_lesions(surveys, found) if indices and not segments else ""
    return replace(label_map, note=f"{label_map.note}{numbered}")


def _segment_names(surveys: Sequence[Survey], found: Sequence[int]) -> tuple[str, ...]:
    """What 3D Slicer calls the values, where each has one name, which no other has; else nothing."""
    names_of = defaultdict[int, dict[str, str]](dict)
    for one in surveys:
        for value, name in one.segments.items():
            names_of[value].setdefault(name.casefold(), name)
    names = tuple(name for value in found for name in names_of[value].values() if name.isprintable())
    alone = all(len(names_of[value]) == 1 for value in found) and len({*map(str.casefold, names)}) == len(found)
    return names if alone and not {BACKGROUND, "ignore"} & {*map(str.casefold, names)} else ()


def _numbers_lesions(surveys: Sequence[Survey], found: Sequence[int]) -> str:
    """For the note, where the values 1, 2, ... look like the numbers of the lesions of an image: 2 is only beside 1."""
    having = [{at for at, one in enumerate(surveys) if value in one.counts} for value in found]
    nested = all(more < fewer for fewer, more in pairwise(having))
    if len(found) < 2 or not nested or len(having[1]) > MOST_MARKED * len(having[0]):
        return ""
    return (
        f"; {found[1]} is only where {found[0]} is, as if they numbered the lesions of an image: if so, they are one "
        f"label with --labels lesion={'+'.join(map(str, found))}"
    )


def _refuse_pictures(surveys: Sequence[Survey], found: Sequence[int], background: int) -> None:
    """Raise UsageError where little of what unsharp masks mark is even: then the values found are no labels."""
    unsharp = [one for one in surveys if one.blends or one.lossy]
    values = np.array(sorted({value for one in unsharp for value in one.counts} | {background}))
    away = np.abs(_channels(values) - _channels(np.array([background]))).max(axis=1) > LOSSY_REACH
    far = {*values[away].tolist()}
    marked, even = (
        [sum(number for value, number in counts.items() if value in far) for counts in some]
        for some in ([one.counts for one in unsharp], [one.even for one in unsharp])
    )
    large = sum(marked) > MOST_MARKED * sum(sum(one.counts.values()) for one in unsharp)
    if sum(even) < LEAST_EVEN * sum(marked) and (large or len(found) > 1):  # small lesions are blurred as a whole
        each = zip(unsharp, even, marked, strict=True)
        names = [one.name for one, part, whole in each if part < LEAST_EVEN * whole]
        raise UsageError(
            f"The values of {counted(len(names), 'mask')} ({listed(names)}) blend into each other, as in pictures or "
            f"probabilities ({sum(even) / sum(marked):.0%} of the marked pixels have neighbours of their value), and "
            "are no labels. Check that these are the masks and not the images. Cut probabilities at a threshold; for "
            'conversions name the value that counts, as in --labels "lesion=255": what is nearer to 255 than to 0 is '
            'lesion. Of marks in one colour over a copy of the image name the colour: --labels "lesion=#ff0000".'
        )


def _unknown_values(surveys: Sequence[Survey], known: Sequence[int]) -> list[int]:
    """The values, most frequent first, that no blurred edge between ``known`` ones can have; none if they are rare."""
    channels = _channels(np.array(known))
    far, marked = Counter[int](), 0
    for one in surveys:
        values, reach = np.array([*one.counts]), BETWEEN_LOSSY if one.lossy else BETWEEN
        outside = np.maximum(channels.min(axis=0) - _channels(values), _channels(values) - channels.max(axis=0))
        far.update({value: one.counts[value] for value in values[outside.max(axis=1) > reach].tolist()})
        marked += sum(one.counts.values()) - one.counts.get(known[0], 0)
    return [value for value, _ in far.most_common()] if far.total() > RARE * marked else []


def infer_in_splits(parts: Sequence[Sequence[Survey]]) -> LabelMap:
    """``infer`` over several splits: if each has one label, it is the same label, whatever its value in each.

    Raises HtunetError where splits of several labels have none in common.
    """
    marked = [part for part in parts if any(len(one.counts) > 1 or 0 not in one.counts for one in part)]
    if len(marked) < 2:
        return infer([one for part in parts for one in part])
    maps = [infer(part) for part in marked]
    values = dict(sorted({pair for one in maps for pair in one.values}))
    held = [{value for value, label in one.values if label} for one in maps]
    if all(one.names == (LESION,) for one in maps) and all(set(one.values) <= set(values.items()) for one in maps):
        return _made((LESION,), [*values.items()], "inferred")
    if not set.intersection(*held):
        shown = " and ".join(listed([value_text(value) for value in sorted(one)]) for one in held)
        raise UsageError(
            f"The splits have no mask value in common: {shown}. Give a label the same value in both, or say what the "
            'values mean: --labels "lesion=1,cyst=2".'
        )
    return infer([one for part in parts for one in part])


def _clean_values(surveys: Iterable[Survey], background: int) -> list[int]:
    """The values that form even areas, without those that a lossy format or a blurred edge made of others."""
    exact, lossy, blended = Counter[int](), Counter[int](), Counter[int]()
    for one in surveys:
        (lossy if one.lossy else blended if one.blends else exact).update(one.even)
    kept = set(exact)
    # heaviest first, so that the values around a clean level fall to it
    for unsure, reach in ((blended, BLEND_REACH), (lossy, LOSSY_REACH)):
        for value, _ in sorted(unsure.items(), key=lambda item: (-item[1], item[0])):
            others = _channels(np.array([background, *kept]))
            if np.abs(others - _channels(np.array([value]))).max(axis=1).min() > reach:
                kept.add(value)
    area = exact + lossy + blended
    heaviest = max((area[value] for value in kept - {background}), default=0)
    return sorted(value for value in kept - {background} if exact[value] or area[value] >= RARE * heaviest)


def given(text: str, surveys: Sequence[Survey]) -> LabelMap:
    """The map of ``--labels``: ``lesion=1,cyst=#00ff00``, or JSON, or the name of a JSON file.

    A label may have several values, ``lesion=1+2``: they become one. Whole numbers 1..K stay the labels that they are;
    other values get 1, 2, ... by value, colours in the order given.
    The background is 0 unless it is named. Values of the masks that form even areas and have no name are refused.
    Raises UsageError for a text that is no such map.
    """
    entries = _entries(text)
    background = entries.pop(BACKGROUND, [0])
    if not entries:
        raise UsageError(f"--labels {text!r} names no label. Write it as lesion=1,cyst=2.")
    if max(Counter(value for some in (background, *entries.values()) for value in some).values()) > 1:
        raise UsageError(f"--labels {text!r} gives one value to two labels. Give each its own.")
    names = sorted(entries, key=lambda name: entries[name]) if max(map(max, entries.values())) < COLOUR else [*entries]
    meant = [background, *(entries[name] for name in names)]
    pairs = [(value, label) for label, some in enumerate(meant) for value in some]
    known = {value for value, _ in pairs}
    near = [(_channels(np.array([value]))[0], label) for value, label in pairs]
    if any(one.lossy for one in surveys) and any(
        label != other_label and np.abs(one - other).max() <= LOSSY_REACH
        for (one, label), (other, other_label) in combinations(near, 2)
    ):
        raise UsageError(
            f"--labels {text!r} gives values that differ by {LOSSY_REACH} or less, and JPEG and WebP masks do not keep "
            "exact values. Save the masks as PNG, or give the values that they hold."
        )
    blended = {value for one in surveys if one.blends for value in one.even} - known
    refused = {value for one in surveys if not one.lossy and not one.blends for value in one.even} - known
    for value in blended:  # what is near a known value belongs to it
        away = [np.abs(_channels(np.array([value]))[0] - other).max() for other, _ in near]
        refused |= {value} if min(away) > LOSSY_REACH else set()
    refused |= {*_unknown_values(surveys, [*known])}
    return _made(tuple(names), pairs, "given", frozenset(refused))


def _entries(text: str) -> dict[str, list[int]]:
    """The values of each label, in their order."""
    content: object
    if text.lower().endswith(".json"):
        content = read_json(Path(text))
    elif text.lstrip().startswith("{"):
        try:
            content = parse_json(text, "--labels")
        except HtunetError as error:
            raise UsageError(str(error)) from None
    else:
        parts = [part.split("=") for part in text.split(",") if part.strip()]
        if any(len(part) != 2 for part in parts):
            raise UsageError(f'--labels must read "lesion=1,cyst=2" (name=mask value), got {text!r}.')
        content = {name.strip(): value.strip() for name, value in parts}
        if len(content) < len(parts):
            raise UsageError(f"--labels {text!r} names a label twice.")
    if not isinstance(content, Mapping):
        raise UsageError(f'--labels must be an object {{"lesion": 1}}, got {text[:60]!r}.')
    for name in content:
        if not name.strip() or not name.isprintable() or name == "ignore":
            raise UsageError(f"A label must have a name of printed characters other than 'ignore', got {name!r}.")
    parts_of = {name: value.split("+") if isinstance(value, str) else [value] for name, value in content.items()}
    return {name: sorted(_value(part, name) for part in parts) for name, parts in parts_of.items()}


def _value(value: object, name: str) -> int:
    """A gray value, ``#rrggbb`` or [r, g, b]."""
    value = value.strip() if isinstance(value, str) else value
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        red, green, blue = (int(value[at : at + 2], 16) for at in (1, 3, 5))
    elif isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        red, green, blue = value
    elif str(value).isascii() and str(value).isdigit() and int(str(value)) <= LARGEST_LEVEL:
        return int(str(value))
    else:
        raise UsageError(
            f"The label {name!r} must have a mask value 0..{LARGEST_LEVEL} or a colour #rrggbb, got {value!r}."
        )
    return red if red == green == blue else COLOUR + (red << 16) + (green << 8) + blue


def _made(
    names: tuple[str, ...], pairs: Sequence[tuple[int, int]], how: str, refused: frozenset[int] = frozenset()
) -> LabelMap:
    shown = ", ".join(f"{value_text(value)} = {[BACKGROUND, *names][label]} ({label})" for value, label in pairs)
    return LabelMap(names=names, values=tuple(pairs), refused=refused, note=f"labels {how}: {shown}")
