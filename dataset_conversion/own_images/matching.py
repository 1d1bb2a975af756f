"""Match masks with images by their names: by words such as ``_mask``, a table, patterns, or an inferred rule."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from htunet.data.mask_names import (
    NO_IMAGE,
    NUMBERED,
    Matched,
    frame_of,
    in_own_folders,
    is_marked,
    is_mask_word,
    keys_of,
    match_masks,
    plain_of,
    with_ending_of,
)
from htunet.data.names import composed, listed, name_finder, printable, stem_of
from htunet.data.tables import ZEROS, read_rows
from htunet.errors import HtunetError, UsageError, counted

MOST_CUTS = 8
"""At either end of a name."""
PLACEHOLDER = re.compile(r"\{(\w+)\}|\*")
WAY_OUT = "Say which belong together: --pairs CSV (columns image, mask), or --pairs 'bus_{id}' 'mask_{id}'."


def match_files(names: Sequence[str], masks: Sequence[str] | None, pairs: Sequence[str] = ()) -> Matched:
    """Match images with ``masks``; None: both are among ``names``.

    ``pairs`` is a table or two patterns; without them the words of ``match_masks`` count, and where no mask has one, a
    rule that the names follow. Among the images, what numbers the frames of another file is their mask, if it has none
    itself. Raises HtunetError where none matches, or where the rule is not certain.
    """
    if len(pairs) == 1:
        return _by_table(pairs[0], names, names if masks is None else masks)
    if pairs:
        return _by_patterns(pairs[0], pairs[1], names, masks)
    images, note = names, ""
    if masks is None:
        masks = [name for name in names if is_marked(name)]
        masks = masks if len(masks) < len(names) else []  # images/seg_1.png, masks/seg_1.png
        in_folders = [name for name in names if any(map(is_mask_word, PurePosixPath(name).parts[:-1]))]
        if len(masks) < len(in_folders) < len(names):
            masks, note = in_folders, f"masks are the files in folders of masks: {listed(in_folders)}"
        if not masks and any((added := _added(names, names)).masks_of.values()):
            return added
        with_mask = {keys_of(mask)[1] for mask in masks}
        frames = [name for name in _frames_of_others(names) if keys_of(name)[1] not in with_mask]
        if not masks and not frames:
            return added
        if frames:
            note = f"masks by their frame numbers: {listed(frames)}; if these are images, use --pairs"
        masks += frames
        known = {*masks}
        images = [name for name in names if name not in known]
    matched = match_masks(images, masks)
    matched.note = note
    if not any(matched.masks_of.values()):
        matched = _added(images, masks)
    if not any(matched.masks_of.values()):
        matched = _exchanged(images, masks)
    _refuse_shifted(matched, masks)
    return matched


def _frames_of_others(names: Sequence[str]) -> list[str]:
    """Those that number the frames of a file beside them: ``cine__0001.png`` or ``cine.tif__0001.png`` of cine.tif."""
    known = {keys_of(name)[0] for name in names} | {composed(name) for name in names}
    of_file = [(name, frame[0]) for name in names if not is_marked(name) and (frame := frame_of(name))]
    return [name for name, whole in of_file if {keys_of(whole)[0], with_ending_of(whole)} & known]


def numbered(image: str, masks: Sequence[str]) -> dict[int, list[int]]:
    """Frame number to the positions of its masks, where the names of all ``masks`` number the frames of ``image``."""
    of_frame: dict[int, list[int]] = defaultdict(list)
    for position, mask in enumerate(masks):
        frame = frame_of(mask)
        if not frame or not {plain_of(frame[0]), with_ending_of(frame[0])} & {plain_of(image), composed(image)}:
            return {}
        of_frame[frame[1]].append(position)
    return of_frame


def _by_table(rule: str, names: Sequence[str], masks: Sequence[str]) -> Matched:
    """Match by a table with the columns image and mask; several rows of an image give it several masks."""
    rows, notes = read_rows(rule, names, "--pairs", ("mask", "label"))
    find = name_finder(masks)
    found: dict[str, list[str]] = defaultdict(list)
    owner: dict[str, str] = {}
    absent = []
    for row in rows:
        mask = find(row.value)
        if row.name is None or mask is None:
            absent.append(f"{row.text} with {row.value}")
        elif owner.setdefault(mask, row.name) != row.name:
            raise HtunetError(f"{rule} gives the mask {mask} to {owner[mask]} and to {row.name}. Correct it.")
        elif mask not in found[row.name]:
            found[row.name].append(mask)
    if not owner:
        raise HtunetError(
            f"{rule} names no pair of files: it has {listed(absent)}; images are named as {listed(names)}, masks as "
            f"{listed(masks)}."
        )
    if absent:
        notes.append(f"{counted(len(absent), 'row')} of {rule} with files that do not exist: {listed(absent)}")
    images = [name for name in names if masks is not names or name not in owner]
    unmatched = {mask: NO_IMAGE for mask in masks if mask not in owner and masks is not names}
    return Matched({name: tuple(found[name]) for name in images}, unmatched, "; ".join(notes))


def _by_patterns(image: str, mask: str, names: Sequence[str], masks: Sequence[str] | None) -> Matched:
    """Match by two patterns: their common placeholders stand for the same text in an image and in its masks."""
    placeholders = [{match[1] for match in PLACEHOLDER.finditer(pattern)} - {None} for pattern in (image, mask)]
    common = sorted(placeholders[0] & placeholders[1])
    if not common:
        raise UsageError(f"--pairs {image!r} {mask!r} have no placeholder in common. {WAY_OUT}")
    found: dict[str, list[str]] = {}
    keys: dict[tuple[str, ...], str] = {}
    mask_of = {name: texts for name in (names if masks is None else masks) if (texts := _texts(mask, name))}
    for name in names:
        if (masks is None and name in mask_of) or (texts := _texts(image, name)) is None:
            continue
        found[name] = []
        if (other := keys.setdefault(tuple(texts[one] for one in common), name)) != name:
            raise HtunetError(
                f"--pairs {image!r} {mask!r} does not tell the images {printable(other)} and {printable(name)} apart "
                f"(masks are named as {listed(list(mask_of))}). Take a placeholder into both patterns that does."
            )
    unmatched = {}
    for name, texts in mask_of.items():
        owner = keys.get(tuple(texts[one] for one in common))
        if owner is None:
            unmatched[name] = NO_IMAGE
        else:
            found[owner].append(name)
    rest = [name for name in {*names, *(masks or ())} if name not in found and name not in mask_of]
    unmatched |= dict.fromkeys(sorted(rest), "a name that fits no pattern of --pairs")
    return Matched({name: tuple(sorted(chosen)) for name, chosen in found.items()}, unmatched)


def _texts(pattern: str, name: str) -> dict[str, str] | None:
    """What the placeholders of ``pattern`` stand for in a file's name; None where it does not fit.

    A pattern without a folder or an ending is compared without it. ``*`` and ``{...}`` stand for at least one
    character, up to the first place at which the text behind them occurs; ``*`` may differ between image and mask.
    """
    text = composed(name if "/" in pattern else PurePosixPath(name).name)
    requested = composed(pattern)
    if stem_of(requested) == PurePosixPath(requested).name:
        text = text.removesuffix(PurePosixPath(text).name) + stem_of(text)
    found: dict[str, str] = {}
    at, literal = 0, 0
    marks = list(PLACEHOLDER.finditer(requested))
    for number, mark in enumerate(marks):
        before = requested[literal : mark.start()]
        if not text.startswith(before, at):
            return None
        at, literal = at + len(before), mark.end()
        after = requested[literal : marks[number + 1].start() if number + 1 < len(marks) else None]
        last = number + 1 == len(marks)
        end = len(text) - len(after) if last else text.find(after, at + 1)
        if end <= at or not text.startswith(after, end):
            return None
        if mark[1] and found.setdefault(mark[1], text[at:end]) != text[at:end]:
            return None
        at = end
    return found if "/" not in "".join(found.values()) else None


def _is_cut(stem: str, at: int) -> bool:
    """Whether a cut leaves numbers and words whole, so that 1 is never taken for 10."""
    before, after = stem[:at][-1:], stem[at:][:1]
    return not (before.isdigit() and after.isdigit()) and not (before.isalpha() and after.isalpha())


def _cuts(stem: str) -> Iterator[tuple[str, str, str]]:
    """The ways to cut a name in front of and behind a core."""
    ends = [at for at in range(len(stem) + 1) if _is_cut(stem, at)]
    for start in ends[:MOST_CUTS]:
        yield from ((stem[:start], stem[start:end], stem[end:]) for end in ends[-MOST_CUTS:] if end > start)


def _stems(names: Iterable[str]) -> dict[str, str]:
    """The stems in lower case, with the folder where two files have the same, to the names; empty if that fails."""
    names = list(names)
    for key in (stem_of, lambda name: f"{PurePosixPath(name).parent}/{stem_of(name)}"):
        stems = {composed(key(name)).lower(): name for name in names}
        if len(stems) == len(names):
            return stems
    return {}


def _added(names: Sequence[str], masks: Sequence[str]) -> Matched:
    """Masks that are named as their image with the same text before or after it; both may be in one list.

    The text must be the one of more than half of the images. Masks with another text belong to none.
    """
    images = _stems(names)
    found: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for stem, mask in _stems(masks).items():
        for before, core, after in _cuts(stem):
            plain = NUMBERED.sub("", f"x{after}")[1:]
            numbered_image = plain != after and core + after.removeprefix(plain) in images  # x_tumor_1 may be x_1's
            if core in images and not numbered_image and re.search(r"[^\W\d_]", before + plain):
                found[before, plain][images[core]].append(mask)
    best = max(map(len, found.values()), default=0)
    ways = [(added, masks_of) for added, masks_of in found.items() if len(masks_of) == best]
    taken = {mask for _, masks_of in ways[:1] for chosen in masks_of.values() for mask in chosen}
    others = [name for name in names if name not in taken or masks is not names]
    if 2 * best <= len(others):
        return Matched(dict.fromkeys(names, ()), dict.fromkeys([] if masks is names else masks, NO_IMAGE))
    if len(ways) > 1:
        shown = " or ".join(f"{{id}} with {before}{{id}}{after}" for (before, after), _ in ways[:3])
        raise _uncertain(names, masks, f"they fit in {len(ways)} ways: {shown}")
    (before, after), masks_of = ways[0]
    unmatched = {} if masks is names else {mask: NO_IMAGE for mask in masks if mask not in taken}
    matched = in_own_folders(Matched({name: tuple(masks_of.get(name, ())) for name in others}, unmatched))
    matched.note = _note(matched, ("", ""), (before, after))
    return matched


def _exchanged(names: Sequence[str], masks: Sequence[str]) -> Matched:
    """All images and all masks, one to one, when each side has its own text around a common core.

    Numbers are compared as they are written, then by their value (``1`` and ``001``).
    """
    matched = Matched(dict.fromkeys(names, ()), dict.fromkeys(masks, NO_IMAGE))
    if len(names) != len(masks) or len(names) < 2:
        return matched
    ways: dict[frozenset[tuple[str, str]], tuple[tuple[str, str], tuple[str, str]]] = {}
    for read in (str, lambda core: ZEROS.sub("", core)):
        sides = [list(_cores(_stems(side), read)) for side in (names, masks)]
        for image_text, images in sides[0]:
            for mask_text, found in sides[1]:
                if images.keys() == found.keys():
                    way = frozenset((name, found[core]) for core, name in images.items())
                    texts = (image_text, mask_text)
                    ways[way] = max(ways.get(way, texts), texts, key=lambda two: len("".join(map("".join, two))))
        if ways:
            break
    if len(ways) > 1:
        raise _uncertain(names, masks, f"they fit one to one in {len(ways)} ways")
    for pairs, texts in ways.items():
        mask_of = dict(pairs)
        matched = Matched({name: (mask_of[name],) for name in names})
        matched.note = _note(matched, *texts)
    return matched


def _cores(stems: Mapping[str, str], read: Callable[[str], str]) -> Iterator[tuple[tuple[str, str], dict[str, str]]]:
    """The text that all names have around a core, each way to cut it, and the names by their cores."""
    for start, _, end in _cuts(next(iter(stems), "")):
        cores = {
            read(stem[len(start) : len(stem) - len(end)]): name
            for stem, name in stems.items()
            if stem.startswith(start)
            and stem.endswith(end)
            and len(stem) > len(start + end)
            and _is_cut(stem, len(start))
            and _is_cut(stem, len(stem) - len(end))
        }
        if len(cores) == len(stems):
            yield (start, end), cores


def _note(matched: Matched, image: tuple[str, str], mask: tuple[str, str]) -> str:
    pairs = [(name, masks[0]) for name, masks in matched.masks_of.items() if masks]
    rule = " with ".join(f"{before}{{id}}{after}" for before, after in (image, mask))
    return (
        f"which masks belong to which images was inferred from the names: {rule}, {len(pairs)} of "
        f"{counted(len(matched.masks_of), 'image')} ({', '.join(f'{name} with {mask}' for name, mask in pairs[:2])}); "
        "if that is wrong, use --pairs"
    )


def _refuse_shifted(matched: Matched, masks: Sequence[str]) -> None:
    """Raise HtunetError where images and masks stay alone because one side is numbered from 0, the other from 1."""
    images = list(matched.masks_of)
    if all(matched.masks_of.values()) or not matched.unmatched or len(images) != len(masks):
        return
    sides = []
    for names in (images, masks):
        numbers = [re.findall(r"\d+", plain_of(name)) for name in names]
        sides.append(sorted(int(found[-1][:18]) for found in numbers if found))
    if all(side and side == [*range(side[0], side[0] + len(images))] for side in sides) and sides[0] != sides[1]:
        first, other = sides[0][0], sides[1][0]
        raise _uncertain(images, masks, f"images are numbered from {first}, masks from {other}")


def _uncertain(images: Sequence[str], masks: Sequence[str], why: str) -> HtunetError:
    return HtunetError(
        f"Which mask belongs to which image is not certain, {why}: images {listed(images)}; masks {listed(masks)}. "
        f"{WAY_OUT}"
    )
