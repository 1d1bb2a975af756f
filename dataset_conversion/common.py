"""What the converters share: their facts and options, reading masks, writing the raw folder, and the report."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from dataset_conversion.overlays import CROPS_CSV, crop_overlays
from dataset_conversion.source import Layout
from htunet.data.captions import CaptionInfo
from htunet.data.duplicates import DuplicatePair, cluster, find_duplicates
from htunet.data.formats.stacks import SCALED, is_lossy
from htunet.data.image_io import TURNED, UInt8, open_image, pixels_of, read_with_turn, write_png
from htunet.data.measured_case import NO_MASK, Files, MeasuredCase, MeasuredCases, measure_case
from htunet.data.names import listed
from htunet.data.raw import TRAIN, Case, DatasetInfo, Excluded, positive_class, write_raw_index
from htunet.errors import HtunetError, counted
from htunet.files import exclusive, whole_folder, write_csv
from htunet.parallel import parallel_map, suitable_workers
from htunet.paths import DatasetPaths

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
CLASSES = {"benign": 0, "malignant": 1}
"""Of lesions, as most data sets name them."""
STRAY = "not a file of the data set"
PROPORTIONS = 0.02
"""Largest relative difference between the proportions of two pictures that rounding to whole pixels explains."""
LOSSY_THRESHOLD = 127
"""Between the two values of a mask, which JPEG spreads by some ten gray values; the public code cuts there, too."""
FAINT = (
    f"the mask has no value above {LOSSY_THRESHOLD}, which the public code reads as empty; every value above 0 is taken"
)
STRETCHED = "masks of other proportions than their images are stretched; if they were cropped, that is wrong"


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """Facts about a published data set that are known without its files."""

    dataset: str
    """Full name with its number: ``Dataset503_BUSI``."""
    title: str
    licence: str
    home: str
    citation: str
    download: str
    """What to fetch, and what it looks like when it has arrived."""
    split_rule: str
    """See ``htunet.data.raw.DatasetInfo.split_rule``."""
    expected: Mapping[str, int] = field(default_factory=dict)
    """How many of each kind the whole distribution holds, keyed as ``Collected.found``; empty: any number."""
    classes: Mapping[str, int] = field(default_factory=dict)
    positive: str = ""
    """See ``htunet.data.raw.DatasetInfo.positive``."""
    published: tuple[int, int] | None = None
    """(train, val) of the paper's Table I, for a data set of captions."""
    labels: Mapping[str, int] = field(default_factory=lambda: {"background": 0, "lesion": 1})
    has_masks: bool = True
    """False: images with classes alone."""

    @property
    def reference(self) -> str:
        """For the data set's own description: what to cite, and where it is from."""
        return f"{self.citation} {self.home}".strip()

    def differences(self, found: Mapping[str, int]) -> tuple[str, ...]:
        """One line for each kind of which ``found`` has another number than the whole distribution."""
        return tuple(
            f"{kind}: {found.get(kind, 0)} found, {number} in the whole data set"
            for kind, number in self.expected.items()
            if found.get(kind, 0) != number
        )


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a conversion that the user can set."""

    name: str = ""
    """Full name of the raw folder; empty: the data set's own."""
    fit_masks: bool = False
    """Take a mask of another size than its image, resized without interpolation."""
    workers: int | None = None
    """Processes or threads; None: as many as pay off."""
    crop_overlays: bool = False
    """Cut off what surrounds the insonified field: black border, text, scales."""
    drop_empty_slices: bool = False
    """Leave out the slices of a volume on which nothing is marked."""
    min_side: int | None = None
    """Pixels; an image whose shorter side has fewer is excluded."""
    translations: Path | None = None
    """A CSV that gives the English of each text."""
    translate: str = ""
    """The language model that translates the texts; a name or a folder."""

    def chosen(self) -> set[str]:
        """Names of the options that differ from their defaults."""
        return {one.name for one in fields(self) if getattr(self, one.name) != one.default}


GENERAL = frozenset({"name", "fit_masks", "workers"})
"""Options of images with masks."""


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What a conversion found and what became of it."""

    dataset: str
    source: Path
    folder: Path
    replaced: bool
    """Whether an earlier conversion was replaced."""
    found: dict[str, int]
    """Images by class (or by split, where there is no class), whatever became of them."""
    converted: dict[str, int]
    """Cases by class."""
    excluded: tuple[Excluded, ...]
    differences: tuple[str, ...]
    """Counts that differ from the whole distribution's."""
    notes: tuple[str, ...]
    merged: Mapping[str, int] = field(default_factory=dict)
    """Case id to the number of its mask files, where there was more than one."""
    fitted: tuple[str, ...] = ()
    """Cases whose mask was brought to the size of the image."""
    empty_masks: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    """Sets of cases that show the same picture."""
    contradictions: tuple[tuple[str, str], ...] = ()
    """Pairs of cases that show the same picture and differ in class."""
    captions: CaptionInfo | None = None
    """What ``captions.json`` says; None for images with masks."""


@dataclass(frozen=True, kw_only=True)
class Converter:
    """One data set that ``htunet_convert`` knows."""

    facts: SourceFacts
    layout: Layout
    run: Callable[[Path, SourceFacts, Options], ConversionReport]
    """Converts the folder that ``layout`` found."""
    takes: frozenset[str] = frozenset()
    """Names of the options that it honours beyond the general ones."""
    general: frozenset[str] = GENERAL


@dataclass(frozen=True, kw_only=True)
class Collected(Generic[Job]):
    """What a folder holds, judged by file names only; no pixel has been read."""

    jobs: list[Job]
    found: dict[str, int]
    excluded: list[Excluded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unit: str = "image"
    """Unit of the progress bar: what one job is."""


@dataclass(frozen=True)
class Exclusions:
    """The files of a download that become no case, each with the reason."""

    base: Path
    """The folder of the data set; the tables name files relative to it."""
    items: list[Excluded] = field(default_factory=list)

    def add(self, path: Path, reason: str = STRAY, class_name: str = "") -> None:
        """Name one file, or a folder with all that is in it."""
        self.items.append(Excluded(source=source_of(self.base, path), class_name=class_name, reason=reason))

    def add_unknown(self, folder: Path, known: Container[Path]) -> None:
        """Name what is in ``folder`` and not ``known``."""
        for path in sorted(folder.iterdir()):
            if path not in known:
                self.add(path)


def source_of(base: Path, path: Path) -> str:
    """``path`` as the tables name it: relative to ``base``, with slashes."""
    return path.relative_to(base).as_posix()


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One case whose files are in the raw folder."""

    case: Case
    files: Files | None
    measured: MeasuredCase | None
    """Measurements of these files; None if both are stored elsewhere."""
    masks: int = 1
    fitted: bool = False
    empty: bool = False
    """Whether it has a mask that marks nothing."""
    remarks: tuple[str, ...] = ()
    """Remarks for the user; the report lists the cases of each remark."""
    tables: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Its rows of further tables of the raw folder, by file name; all rows of a table have the same columns."""


@contextmanager
def raw_folder(paths: DatasetPaths) -> Iterator[tuple[Path, bool]]:
    """A raw folder to fill, whether there is an earlier one, and the place of that for it when the block has ended.

    Raises HtunetError while another process fills it.
    """
    lock = paths.raw.with_name(f".lock-{paths.name}")
    with exclusive(lock, f"The raw folder of {paths.name}"), whole_folder(paths.raw) as folder:
        yield folder, paths.raw.exists()


def convert_images(
    source: Path,
    facts: SourceFacts,
    collected: Collected[Job],
    write: Callable[[Job, Path], Sequence[Written | Excluded]],
    *,
    workers: int | None = None,
    finish: Callable[[Path, Sequence[Case]], Sequence[str]] | None = None,
    threads: bool = False,
) -> ConversionReport:
    """Run ``write(job, raw folder)`` for all jobs, in processes where that pays off, and finish the raw folder.

    Jobs are taken out of ``collected`` as they are done, so that memory does not hold them beside what they became.

    ``write`` is a module's own function (it is sent to other processes) and gives what became of each image.
    ``threads`` says that it reads pictures alone: what reads other formats forks processes, which threads must not.
    ``finish(raw folder, cases)`` adds what else the data set defines and gives notes for the report. The raw folder is
    replaced when everything has been written, and stays as it was on any error. Raises HtunetError where no image could
    be converted.
    """
    paths = DatasetPaths(facts.dataset)
    with raw_folder(paths) as (folder, replaced):
        write_one = partial(_write_into, write, folder)
        collected.jobs.reverse()
        number = len(collected.jobs)
        jobs = (collected.jobs.pop() for _ in range(number))
        outcomes = run_jobs(jobs, number, write_one, workers, unit=collected.unit, threads=threads)
        cases, excluded, measured = list[Case](), [*collected.excluded], MeasuredCases(DatasetInfo.channels)
        merged, fitted, empty, tables = dict[str, int](), list[str](), list[str](), list[Written]()
        ids_of: dict[str, list[str]] = defaultdict(list)
        for one in (one for some in outcomes for one in some):
            if isinstance(one, Excluded):
                excluded.append(one)
            elif one.measured and one.files:
                case_id = one.case.id
                cases.append(one.case)
                measured.add(case_id, one.measured, one.files)
                merged |= {case_id: one.masks} if one.masks > 1 else {}
                fitted += [case_id] * one.fitted
                empty += [case_id] * one.empty
                tables += [replace(one, measured=None, files=None)] * bool(one.tables)
                for remark in one.remarks:
                    ids_of[remark].append(case_id)
        cases.sort(key=lambda case: case.id)
        tables.sort(key=lambda one: one.case.id)
        excluded.sort(key=lambda one: (one.class_name, one.source))
        if not cases:
            raise HtunetError(f"Not one image of {source} could be converted. {_first_reasons(excluded)}")
        pairs = find_duplicates(measured[case.id].signature for case in cases)
        cases = with_groups(cases, pairs)
        scaled = len(ids_of.get(SCALED, ()))
        info = DatasetInfo(
            classes=dict(facts.classes),
            positive=facts.positive,
            labels=dict(facts.labels),
            has_masks=facts.has_masks,
            split_rule=facts.split_rule,
            reference=facts.reference,
            licence=facts.licence,
            description=facts.title,
            gray_values=f"{scaled} of {counted(len(cases), 'image')}: {SCALED}" * (scaled > 0),
        )
        info = replace(info, positive=positive_class(info))
        write_raw_index(folder, paths.short_name, info, cases, excluded)
        for name in sorted({name for one in tables for name in one.tables}):
            rows = [one.tables[name] for one in tables if name in one.tables]
            write_csv(folder / name, list(rows[0]), rows)
        notes = [*collected.notes, *(finish(folder, cases) if finish else ())]
    measured.save(paths.measured_npz)
    for remark, ids in sorted(ids_of.items(), key=lambda found: min(found[1])):
        notes.append(f"{remark}: {counted(len(ids), 'case')}, {listed(sorted(ids))}")
    same = [(cases[pair.first], cases[pair.second]) for pair in pairs]
    if torn := [f"{one.id} and {other.id}" for one, other in same if one.group != other.group]:
        shown = ", ".join(torn[:5])
        notes.append(f"the same picture in different groups or splits: {counted(len(torn), 'pair')}: {shown}")
    return ConversionReport(
        dataset=paths.name,
        source=source,
        folder=paths.raw,
        replaced=replaced,
        found=collected.found,
        converted=dict(sorted(Counter(case.class_name or case.split for case in cases).items())),
        merged=dict(sorted(merged.items())),
        fitted=tuple(sorted(fitted)),
        empty_masks=tuple(sorted(empty)),
        excluded=tuple(excluded),
        differences=facts.differences(collected.found),
        duplicates=tuple(tuple(cases[i].id for i in positions) for positions in cluster(pairs)),
        contradictions=tuple(
            (one.id, other.id) for one, other in same if "" != one.class_name != other.class_name != ""
        ),
        notes=tuple(notes),
    )


def _write_into(write: Callable[[Job, Path], Outcome], folder: Path, job: Job) -> Outcome:
    return write(job, folder)


def run_jobs(
    jobs: Iterable[Job],
    number: int,
    write: Callable[[Job], Outcome],
    workers: int | None,
    *,
    unit: str = "image",
    threads: bool = False,
) -> Iterator[Outcome]:
    """``write(job)`` for a ``number`` of jobs, in their order, in processes (or ``threads``) where that pays off."""
    from tqdm import tqdm  # only in the process that shows it

    results = parallel_map(write, jobs, workers=suitable_workers(number, workers), threads=threads, number=number)
    return iter(tqdm(results, total=number, desc="convert", unit=unit, disable=None))


def with_groups(cases: Sequence[Case], pairs: Sequence[DuplicatePair]) -> list[Case]:
    """Name the cases that show the same picture after the first of them, so that a split can keep them together.

    A group that is known already (a patient) stays. Only cases of one split are joined: a test split that the data
    set defines cannot be split again, and its likeness to the training split is for the verification to report.
    """
    inside = [pair for pair in pairs if cases[pair.first].split == cases[pair.second].split]
    grouped = list(cases)
    for positions in cluster(inside):
        known = [cases[position].group for position in positions if cases[position].group]
        name = known[0] if known else cases[positions[0]].id
        for position in positions:
            if not cases[position].group:
                grouped[position] = replace(cases[position], group=name)
    return grouped


def _first_reasons(excluded: Sequence[Excluded]) -> str:
    by_reason: dict[str, list[str]] = {}
    for one in excluded:
        by_reason.setdefault(one.reason, []).append(one.source)
    shown = [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"
        for reason, names in by_reason.items()
    ]
    return "; ".join(shown[:5]) or "It holds none."


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageWithMasks:
    """A case whose image and masks are files of their own."""

    case: Case
    image: Path
    masks: tuple[Path, ...]
    """Empty: the data set has none."""
    fit_masks: bool = False
    threshold: int = 0
    """Mask values above it are lesion; see ``read_mask``."""
    crop_overlays: bool = False
    """Crop image and mask to the insonified field (``dataset_conversion.overlays``)."""


def write_image_with_masks(job: ImageWithMasks, folder: Path) -> list[Written | Excluded]:
    """Write one gray image and the union of its masks; an unreadable or misfitting one is excluded with the reason."""
    try:
        image, remarks = read_gray(job.image)
        masks = {path.name: read_mask(path, job.threshold) for path in job.masks}
        if job.threshold and not any(mask.any() for mask in masks.values()):
            masks = {path.name: read_mask(path) for path in job.masks}
            remarks += (FAINT,) * any(mask.any() for mask in masks.values())
    except HtunetError as error:
        return [_excluded(job, str(error).replace(f"{job.image.parent}{os.sep}", ""))]
    if not masks:
        return [replace(write_case(folder, job.case, image, None), remarks=remarks)]
    if reason := misfit(image, masks, fit_masks=job.fit_masks):
        return [_excluded(job, reason)]
    union, shape = np.zeros_like(image), image.shape
    for mask in masks.values():
        union |= fit_mask(mask, shape)
    tables = {}
    if job.crop_overlays:
        found = crop_overlays(image, union)
        tables[CROPS_CSV] = found.row(job.case.id, image.shape)
        image, union = found.image, found.mask
    written = write_case(
        folder,
        job.case,
        image,
        union,
        masks=len(masks),
        fitted=any(mask.shape != shape for mask in masks.values()),
    )
    if not all(same_proportions(mask.shape, shape) for mask in masks.values()):
        remarks = (*remarks, STRETCHED)
    return [replace(written, tables=tables, remarks=remarks)]


def _excluded(job: ImageWithMasks, reason: str) -> Excluded:
    return Excluded(source=job.case.source, class_name=job.case.class_name, reason=reason)


def write_case(
    folder: Path, case: Case, image: UInt8, mask: UInt8 | None, *, masks: int = 1, fitted: bool = False
) -> Written:
    """Write (H, W) gray ``image`` and (H, W) ``mask`` with values 0..K to their places in the raw folder.

    None for ``mask``: the data set has none.
    """
    ending = "Tr" if case.split == TRAIN else "Ts"
    files = (
        write_png(folder / f"images{ending}" / f"{case.id}_0000.png", image),
        NO_MASK if mask is None else write_png(folder / f"labels{ending}" / f"{case.id}.png", mask),
    )
    measured = measure_case(image[None], mask)
    empty = measured.mask is not None and not measured.mask.labels
    return Written(case=case, files=files, measured=measured, masks=masks, fitted=fitted, empty=empty)


def read_gray(path: Path) -> tuple[UInt8, tuple[str, ...]]:
    """(H, W) gray values of a picture, and what a user should know of them; raises HtunetError as ``open_image``."""
    pixels_CHW, is_turned = read_with_turn(path, 1)
    return pixels_CHW[0], (TURNED,) * is_turned


def read_mask(path: Path, threshold: int = 0) -> UInt8:
    """(H, W) with 1 where any colour channel is above ``threshold`` and the pixel is not transparent, else 0.

    A bilevel image counts as 0 and 255, a palette by its colours. JPEG and lossy WebP, whatever the file's ending,
    spread both values by some ten gray values: there the threshold is at least ``LOSSY_THRESHOLD``. Raises HtunetError
    as ``open_image``.
    """
    pixels = pixels_of(open_image(path))
    threshold = max(threshold, LOSSY_THRESHOLD) if is_lossy(path) else threshold
    return ((pixels if pixels.ndim == 2 else pixels.max(axis=2)) > threshold).astype(np.uint8)


def fit_mask(mask: UInt8, shape: tuple[int, ...]) -> UInt8:
    """``mask`` at ``shape`` (height, width), each pixel the nearest one of the original; itself where it fits."""
    if mask.shape == shape:
        return mask
    height, width = shape
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def misfit(image: UInt8, masks: Mapping[str, UInt8], *, fit_masks: bool) -> str:
    """Why the masks, by their names, cannot serve a (H, W) image: empty where they fit, or are to be made to fit.

    A mask whose height is to its width as the image's width to its height is turned: to stretch it would ruin the
    label.
    """
    sizes = [f"{name} {size_text(mask)}" for name, mask in masks.items() if mask.shape != image.shape]
    turned = any(
        mask.shape == image.shape[::-1] != image.shape
        or (same_proportions(mask.shape, image.shape[::-1]) and not same_proportions(mask.shape, image.shape))
        for mask in masks.values()
    )
    if not sizes or (fit_masks and not turned):
        return ""
    advice = "one of them is rotated by 90 degrees" if turned else "--fit-masks takes it"
    return f"mask and image differ in size: image {size_text(image)}, {', '.join(sizes)} ({advice})"


def same_proportions(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two pictures (height, width, ...) have the same proportions, as far as whole pixels say it."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= PROPORTIONS * one[0] * other[1]


def size_text(image: UInt8) -> str:
    """``width x height`` as image viewers show it: ``555x465``."""
    return f"{image.shape[1]}x{image.shape[0]}"
