"""Which mask belongs to which image by its name: by words such as ``_mask``, by numbers of masks and of frames."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import PurePosixPath

from htunet.data.names import FRAME, MASK_MARK, MASK_WORDS, composed, printable, stem_of
from htunet.data.tables import ZEROS

IMAGE_MARK = re.compile(r"^(?:image|img)[ _-]+(?=.)|(?<=.)[ _-]+(?:image|img|0000)$", re.IGNORECASE)
MASK_NAME = re.compile(MASK_WORDS, re.IGNORECASE)
"""Name of a mask file, or of a folder of masks."""
IMAGE_NAME = re.compile("images?|imgs?|originals?", re.IGNORECASE)
NUMBERED = re.compile(r"(?<=[^\d])[ _-]?\d+$")
"""The number of a mask, where an image has several."""
FRAME_NUMBER = re.compile(rf"(?<=.){FRAME}(\d+)$")
"""End of the name of one frame's mask, as ``htunet_predict`` writes it: ``cine__0001.png``."""
BESIDE_MASKS = ("overlays", "uncertainty")
"""Folders into which htunet_predict draws."""
NO_IMAGE = "a mask without an image"


@dataclass
class Matched:
    """The masks of each image, and the masks that belong to none, with the reason."""

    masks_of: dict[str, tuple[str, ...]]
    """In the order of the images; empty where an image has none."""
    unmatched: dict[str, str] = field(default_factory=dict)
    note: str = ""
    """How they were matched, if that does not follow from the names."""


def is_marked(name: str) -> bool:
    """Does the file name say that it is a mask: ``x_mask.png``, ``gt-x.png``, ``mask.png``?"""
    return is_mask_word(stem_of(name))


def is_mask_word(part: str) -> bool:
    """Is the name of a file without ending, or of a folder, one of masks?"""
    return (MASK_MARK.search(part) or MASK_NAME.fullmatch(part)) is not None


def match_masks(images: Sequence[str], masks: Sequence[str]) -> Matched:
    """Give each mask to the one image that its name fits; a mask that fits several images belongs to none.

    Tried in turn: the same path, the path without words such as ``_mask`` (and folders such as ``masks``), the stem in
    any folder, the stem without such words, that with numbers by their value (``1`` and ``001``). Images that differ in
    the ending alone (``x.png``, ``x.jpg``) are told apart where each of them has a mask of its whole name: ``x.jpg``,
    or ``x.jpg.png``. A mask in a folder that holds images, too, belongs to none of another folder (``in_own_folders``
    says more). Where no image has its name, a mask ``x__0001`` of a frame is a mask of ``x``.
    """
    of_file = {mask: frame[0] if (frame := frame_of(mask)) else mask for mask in masks}
    by_whole_name = {
        key: mask for mask, whole in of_file.items() for key in (*map(with_ending_of, (mask, whole)), composed(mask))
    }

    @cache
    def table(way: int) -> dict[tuple[str, str], list[str]]:
        by_key = defaultdict[tuple[str, str], list[str]](list)
        for image in images:
            by_key[keys_of(image)[way]].append(image)
            if way == 0:
                whole = composed(str(PurePosixPath(image).parent)), composed(PurePosixPath(image).name)
                by_key[whole] = list(dict.fromkeys([*by_key[whole], image]))
        return by_key

    folders = {folder for image in images if (folder := keys_of(image)[1][0])}
    found: dict[str, list[str]] = {image: [] for image in images}
    unmatched = dict[str, str]()
    for mask in masks:
        candidates = list[str]()
        for name in dict.fromkeys((mask, of_file[mask])):
            keys = keys_of(name)[: 2 if keys_of(name)[1][0] in folders else None]
            if candidates := next((table(way)[key] for way, key in enumerate(keys) if key in table(way)), []):
                break
        if not candidates and keys_of(mask)[1][1].isdecimal():  # mask_1.png and mask_2.png of image.png
            candidates = table(1).get((keys_of(mask)[1][0], ""), [])
        if candidates and (number := NUMBERED.search(stem_of(mask))) and is_marked(mask):
            # x_mask_1 is a second mask of x; but where there is an image x_1, it may be that one's
            folder, plain = keys_of(mask)[1]
            candidates = candidates + table(1).get((folder, plain + number[0].lower()), [])
        if len(candidates) > 1 and all(composed(image) in by_whole_name for image in candidates):
            own = {composed(mask), with_ending_of(mask), with_ending_of(of_file[mask])}
            candidates = [image for image in candidates if composed(image) in own]
        if len(candidates) == 1:
            found[candidates[0]].append(mask)
        elif candidates:
            unmatched[mask] = f"a mask whose name fits several images: {', '.join(map(printable, candidates[:3]))}"
        else:
            unmatched[mask] = NO_IMAGE
    return in_own_folders(Matched({image: tuple(names) for image, names in found.items()}, unmatched))


def in_own_folders(matched: Matched) -> Matched:
    """``matched`` without masks of another folder than their image, where that has one in its own folder.

    Where any image has one in its own folder, a mask of ``B`` does not belong to an image of ``A``, either; one folder
    may lie in the other. Words such as ``masks`` do not count, nor does letter case.
    """
    masks_of, unmatched = dict(matched.masks_of), dict(matched.unmatched)
    folder_of = {
        name: PurePosixPath(keys_of(name)[1][0].lower()) for image in masks_of for name in (image, *masks_of[image])
    }
    own = {image for image in masks_of if any(folder_of[mask] == folder_of[image] for mask in masks_of[image])}
    for image, masks in matched.masks_of.items():
        for mask in masks if own else ():
            here, there = folder_of[image], folder_of[mask]
            if there != here and image in own:
                unmatched[mask] = f"a mask of the name of {printable(image)}, which has one in its own folder"
            elif not (there.is_relative_to(here) or here.is_relative_to(there)):
                unmatched[mask] = f"a mask of another folder than the image of its name, {printable(image)}"
        masks_of[image] = tuple(mask for mask in masks if mask not in unmatched)
    return Matched(masks_of, unmatched, matched.note)


def frame_of(mask: str) -> tuple[str, int] | None:
    """Name without the frame number, and the number, of a mask of one frame; words such as ``_mask`` may follow.

    >>> frame_of("a/cine__0012.png"), frame_of("cine__0012_mask.png"), frame_of("cine_12.png")
    (('a/cine.png', 12), ('cine.png', 12), None)
    """
    stem = stem_of(mask)
    plain = MASK_MARK.sub("", stem)
    found = FRAME_NUMBER.search(plain)
    if not found:
        return None
    path = PurePosixPath(mask)
    return str(path.with_name(plain[: found.start()] + path.name.removeprefix(stem))), int(found[1])


def with_ending_of(mask: str) -> str:
    """What is left of ``a/x.jpg.png``: ``a/x.jpg``."""
    return composed(str(PurePosixPath(mask).with_name(stem_of(mask))))


@lru_cache(maxsize=2**12)
def keys_of(name: str) -> tuple[tuple[str, str], ...]:
    """What a mask and its image have in common, the surest first."""
    name = composed(name)
    parent, plain = PurePosixPath(name).parent, plain_of(name)
    parts = (part if (word := _without_words(part)) == part.lower() else word for part in parent.parts)
    folder = "/".join(filter(None, parts))
    anywhere = plain or name  # image.png and mask.png belong together in one folder alone
    ways = (str(parent), stem_of(name)), (folder, plain), ("", stem_of(name)), ("", anywhere)
    return *ways, ("", ZEROS.sub("", anywhere))


def plain_of(name: str) -> str:
    """The stem in lower case without the words that distinguish images from masks."""
    return _without_words(stem_of(name))


@lru_cache(maxsize=2**12)
def _without_words(part: str) -> str:
    """In lower case; empty for a word alone."""
    part = part.lower()
    for mark in (MASK_MARK, IMAGE_MARK):
        part = mark.sub("", part)
    part = part.strip()
    return "" if MASK_NAME.fullmatch(part) or IMAGE_NAME.fullmatch(part) else part
