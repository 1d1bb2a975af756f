"""From texts that name images to the caption raw folder: what the converters of caption data sets share."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dataset_conversion.captions.cleaning import SHORTEST, clean_caption, is_too_short, language_of
from dataset_conversion.captions.images import FoundImages, PairJob, base_name, find_images, write_pair
from dataset_conversion.common import ConversionReport, Options, SourceFacts, raw_folder, run_jobs
from htunet.data.captions import IMAGES, CaptionInfo, CaptionPair, write_captions
from htunet.data.names import LONGEST_ID
from htunet.data.raw import Excluded
from htunet.errors import HtunetError, UsageError
from htunet.paths import DatasetPaths

GENERAL = frozenset({"name", "workers"})
"""Options that every converter of captions honours."""
NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]+")
SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Text:
    """A caption as distributed, and the image that it names."""

    caption: str
    image: str
    """File name with its ending; folders before it are not used."""
    where: str
    """Its place in the download: ``pmc_oa.jsonl, line 12``."""
    id: str
    """Requested name of the pair; made fit for a file name, and unique."""
    group: str = ""
    folder: str = ""
    """If several images have this name, the one below a folder of this name is meant."""


@dataclass
class Reading:
    """What is counted and noted while the texts of a download are read."""

    found: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Reason to texts that the data set holds and this one is not about; too many to be named one by one."""
    notes: list[str] = field(default_factory=list)


def convert_captions(
    source: Path,
    facts: SourceFacts,
    texts: Iterable[Text | Excluded],
    reading: Reading,
    options: Options,
    *,
    min_side: int = 0,
) -> ConversionReport:
    """Clean the texts, find their images below ``source``, and write the caption raw folder of ``facts.dataset``.

    ``texts`` are read once, in order; a text that cannot be used is an Excluded, and ``reading`` fills meanwhile.
    An image whose shorter side is below ``min_side`` pixels is excluded; ``options.min_side`` overrides it. The raw
    folder is replaced when everything has been written, and stays as it was on any error. Raises UsageError for a side
    below 0, HtunetError where no pair is left.
    """
    if options.min_side is not None and options.min_side < 0:
        raise UsageError(f"--min-side must be at least 0 pixels, got {options.min_side}.")
    least = min_side if options.min_side is None else options.min_side
    paths = DatasetPaths(facts.dataset)
    with raw_folder(paths) as (folder, replaced):
        kept, excluded = _sift(texts)
        with find_images(source, {base_name(text.image) for text in kept}) as images:
            jobs, without = _jobs(kept, images, least)
            (folder / IMAGES).mkdir()
            outcomes = list(run_jobs(jobs, len(jobs), partial(write_pair, folder=folder), options.workers))
        pairs = [one for one in outcomes if isinstance(one, CaptionPair)]
        excluded += [*without, *(one for one in outcomes if isinstance(one, Excluded))]
        if not pairs:
            named = [f"{one.source[:SHOWN]}: {one.reason}" for one in excluded[:5]]
            named += [f"{number} x {reason}" for reason, number in reading.passed_over.items()]
            reasons = "; ".join(named) or "It names no image."
            raise HtunetError(f"Not one pair of {source} could be converted. {reasons}")
        drops = reading.passed_over + Counter(reason_kind(one.reason) for one in excluded)
        info = CaptionInfo(
            name=paths.short_name,
            licence=facts.licence,
            reference=facts.reference,
            description=facts.title,
            split_rule=facts.split_rule,
            published=facts.published,
            found=dict(reading.found),
            drops=dict(sorted(drops.items(), key=lambda item: (-item[1], item[0]))),
            notes=[as_utf8(note) for note in reading.notes],
        )
        info = write_captions(folder, info, pairs, excluded)
    return caption_report(source, facts, info, excluded, replaced=replaced)


def caption_report(
    source: Path, facts: SourceFacts, info: CaptionInfo, excluded: Sequence[Excluded], *, replaced: bool
) -> ConversionReport:
    """What a conversion into captions did, as ``info`` counts it."""
    paths = DatasetPaths(facts.dataset)
    return ConversionReport(
        dataset=paths.name,
        source=source,
        folder=paths.raw,
        replaced=replaced,
        found=info.found,
        converted=info.languages,
        excluded=tuple(excluded),
        differences=facts.differences(info.found),
        notes=tuple(info.notes),
        captions=info,
    )


def reason_kind(reason: str) -> str:
    """What a reason is counted as: its words before the first colon."""
    return reason.split(":", 1)[0]


def excluded_text(where: str, reason: str) -> Excluded:
    """A text that cannot be used, by its place in the download; ``reason`` is counted up to its first colon."""
    return Excluded(source=as_utf8(where), class_name="", reason=as_utf8(reason))


def as_utf8(text: str) -> str:
    """``text`` without halves of characters (lone surrogates), which no file in UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _sift(texts: Iterable[Text | Excluded]) -> tuple[list[Text], list[Excluded]]:
    """The texts with clean captions of at least 20 characters, and the others with the reason."""
    kept, excluded, seen = [], [], set[tuple[str, str, str]]()
    for text in texts:
        if isinstance(text, Excluded):
            excluded.append(text)
            continue
        caption = clean_caption(text.caption)
        key = (text.folder, text.image, caption)
        if is_too_short(caption):
            reason = f"caption too short: {len(caption)} of at least {SHORTEST} characters with a letter: {caption!r}"
            excluded.append(_leave(text, reason))
        elif key in seen:
            excluded.append(_leave(text, "the same image and caption again"))
        else:
            seen.add(key)
            kept.append(replace(text, caption=caption))
    return kept, excluded


def _jobs(texts: Sequence[Text], images: FoundImages, min_side: int) -> tuple[list[PairJob], list[Excluded]]:
    """Several captions of one image are a group where no other is known: the image must not train and validate."""
    jobs, excluded, taken = [], [], dict[str, int]()
    folders = {text.folder for text in texts}
    picked = [images.pick(base_name(text.image), text.folder, folders) for text in texts]
    shown = Counter(image.source for image in picked if not isinstance(image, str))
    for text, image in zip(texts, picked, strict=True):
        if isinstance(image, str):
            excluded.append(_leave(text, image))
            continue
        pair_id = unique_id(text.id, taken)
        pair = CaptionPair(
            image=f"{IMAGES}/{pair_id}.png",
            caption=text.caption,
            source=as_utf8(image.source),
            id=pair_id,
            language=language_of(text.caption),
            group=as_utf8(text.group or image.source * (shown[image.source] > 1)),
        )
        jobs.append(PairJob(pair=pair, path=image.path, where=text.where, min_side=min_side))
    return jobs, excluded


def unique_id(requested: str, taken: dict[str, int]) -> str:
    """``requested`` with nothing but letters, digits, ``_`` and ``-``, numbered where it is taken; noted in ``taken``.

    Names that differ in case alone count as one: some file systems do not distinguish them.
    """
    plain = NOT_IN_IDS.sub("_", requested)[:LONGEST_ID].strip("_") or "image"
    candidate = plain
    while candidate.lower() in taken:
        taken[plain.lower()] += 1
        candidate = f"{plain}_{taken[plain.lower()]}"
    taken[candidate.lower()] = 1
    return candidate


def _leave(text: Text, reason: str) -> Excluded:
    return excluded_text(f"{text.where}: {text.image}", reason)
