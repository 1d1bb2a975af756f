"""Shards: tars of pairs (NAME.png or .jpg beside NAME.txt or .json), as they lie, or written of a converted data set.

Each pair is read once: what cannot be read, or has no text of 20 characters, is excluded with its reason. Tars are
linked, not copied.
"""

import io
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.captions.cleaning import SHORTEST, clean_caption, is_too_short, language_of
from dataset_conversion.captions.common import GENERAL, caption_report, excluded_text, reason_kind
from dataset_conversion.common import ConversionReport, Converter, Options, SourceFacts, raw_folder, run_jobs
from dataset_conversion.source import Layout
from htunet.archives import tar_members
from htunet.data.caption_splits import settle_caption_split
from htunet.data.captions import IMAGES, CaptionDataset, CaptionInfo, read_captions, write_caption_info
from htunet.data.image_io import READABLE, as_channels, open_image
from htunet.data.names import listed, printable
from htunet.data.raw import Excluded, write_excluded
from htunet.data.shards import CAPTIONS, LARGEST_CAPTION, LARGEST_IMAGE, PairShard, write_index
from htunet.errors import HtunetError, UsageError, counted
from htunet.files import file_hash, open_file, parse_json, read_bytes, whole_file
from htunet.paths import DatasetPaths, root
from htunet.reproducibility import derived_seed

TAR = ".tar"
TRAIN, VALIDATION = "train", "val"
"""What the names of shards begin with that are written here; of others', too, those validate that begin so."""
FRACTION = 10
"""If no shard is named as validation, the last one in so many shards validates."""
PAIRS_PER_SHARD = 5000
TEXTS = (".txt", ".json")
TEXT_KEYS = ("caption", "text")
Place = tuple[int, int]
"""First byte in the tar, and number of bytes."""

SHARDS = SourceFacts(
    dataset="Dataset512_Shards",
    title="Pairs of images and texts in tars",
    licence="that of the pairs",
    home="yours",
    citation="",
    download="a folder of .tar files with NAME.png or .jpg beside NAME.txt or .json (webdataset), or the raw folder of "
    "a converted data set of captions, of which shards are written; name it with --name Dataset520_MINE",
    split_rule="by shard: those called val..., else the last tenth, validate",
)


def is_here(folder: Path) -> bool:
    """Does ``folder`` hold tars, or a converted data set of captions?"""
    return bool(_tars_in(folder)) or ((folder / "captions.jsonl").is_file() and (folder / IMAGES).is_dir())


LAYOUT = Layout(
    looked_for="a folder of .tar files, or the raw folder of a converted data set of captions",
    is_here=is_here,
    member=re.compile(r"$^"),  # tars are linked, so that they cannot be in a zip
)


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """What a tar holds."""

    size: int
    modified_ns: int
    sha256: str
    images_N2: NDArray[np.int64]
    captions: list[str]
    excluded: list[Excluded]
    languages: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Endings, from the first point of a name on, of files that are neither an image nor a text."""


def convert_shards(source: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Index the tars of ``source``, or write and index those of a converted data set of captions.

    Raises HtunetError for a tar that is broken, and where nothing is left to train or to validate.
    """
    paths = DatasetPaths(facts.dataset)
    if source.resolve().is_relative_to(paths.raw.resolve()):
        raise UsageError(f"{source} would be replaced by its own shards. Give them a name of their own with --name.")
    tars = _tars_in(source)
    with raw_folder(paths) as (folder, replaced):
        place = folder / paths.shards.name
        place.mkdir()
        if tars:
            for path in tars:
                (place / path.name).symlink_to(path.resolve())
        else:
            converted = DatasetPaths(source.resolve().name)
            if converted.raw.resolve() != source.resolve():
                raise HtunetError(f"{source} is not in htunet_raw ({root('htunet_raw')}). Name a data set that is.")
            tars = write_shards(read_captions(converted), place)
        tars = [place / path.name for path in tars]
        found = dict(zip(tars, run_jobs(tars, len(tars), index_shard, options.workers, unit="shard"), strict=True))
        named = [path for path in tars if path.name.startswith(VALIDATION)]
        validating = named or list(tars[-max(1, len(tars) // FRACTION) :])
        splits = {TRAIN: [path for path in tars if path not in validating], VALIDATION: validating}
        for name, own in splits.items():
            if not any(found[path].captions for path in own):
                raise HtunetError(
                    f"No pair of {source} is left for the {name} split. Two shards with pairs are needed at least; "
                    f"those whose names begin with {VALIDATION} validate, else the last one of {FRACTION}."
                )
        info, excluded = _write(place, splits, found, facts, paths.short_name)
        write_caption_info(folder, info)
        write_excluded(folder, excluded)
    return caption_report(source, facts, info, excluded, replaced=replaced)


CONVERTER = Converter(facts=SHARDS, layout=LAYOUT, run=convert_shards, general=GENERAL)


def _tars_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == TAR and not path.name.startswith("."))


def write_shards(dataset: CaptionDataset, folder: Path) -> list[Path]:
    """Write the pairs of a data set as tars, mixed, each of its splits apart; equal bytes each time.

    Images are copied as they are.
    """
    split = settle_caption_split(dataset)
    written = []
    for name, ids in ((TRAIN, split.train), (VALIDATION, split.val)):
        chosen = set(ids)
        pairs = [pair for pair in dataset.pairs if pair.id in chosen]
        pairs.sort(key=lambda pair: (derived_seed("shards", pair.id), pair.id))
        for number, start in enumerate(range(0, len(pairs), PAIRS_PER_SHARD)):
            written.append(folder / f"{name}-{number:06d}{TAR}")
            with whole_file(written[-1]) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as archive:
                for pair in pairs[start : start + PAIRS_PER_SHARD]:
                    _add(archive, f"{pair.id}.png", read_bytes(dataset.image_path(pair)))
                    _add(archive, f"{pair.id}.txt", pair.caption.encode())
    return written


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def index_shard(path: Path) -> Indexed:
    """Read each pair of a tar once. Raises HtunetError for a tar that is broken or holds a file twice."""
    parts: dict[str, dict[str, Place]] = defaultdict(dict)
    passed_over = Counter[str]()
    for name, start, size in tar_members(path):
        base = PurePosixPath(name).name
        key, dot, ending = base.partition(".")
        ending = f"{dot}{ending}".lower()
        if not key or ending not in (*READABLE, *TEXTS):
            passed_over.update([ending] * bool(key))  # other kinds of labels, or a point in a name; macOS's have no key
            continue
        kind = "image" if ending in READABLE else ending
        if kind in (own := parts[str(PurePosixPath(name).with_name(key))]):
            raise HtunetError(f"The tar {path} holds {name!r} twice, or two images of that name. Make it again.")
        own[kind] = start, size
    images, captions, excluded = [], list[str](), []
    with open_file(path) as stream:
        for key, own in parts.items():
            read = partial(_read, stream)
            problem = caption = ""
            try:
                caption = _caption(own, read)
                _check_image(Path(path.name, key), own, read)
            except HtunetError as error:
                problem = str(error)
            if problem:
                excluded.append(excluded_text(f"{path.name}: {key}", problem))
            else:
                images.append(own["image"])
                captions.append(caption)
    state = path.stat()
    return Indexed(size=state.st_size, modified_ns=state.st_mtime_ns, sha256=file_hash(path), captions=captions,
                   images_N2=np.array(images, dtype=np.int64).reshape(-1, 2), excluded=excluded,
                   languages=Counter(map(language_of, captions)), passed_over=passed_over)  # fmt: skip


def _read(stream: io.BufferedReader, place: Place) -> bytes:
    stream.seek(place[0])
    return stream.read(place[1])


def _caption(own: dict[str, Place], read: "partial[bytes]") -> str:
    """The cleaned text; HtunetError with the reason where there is none."""
    kind = next((kind for kind in TEXTS if kind in own), None)
    if kind is None:
        raise HtunetError("no text")
    if own[kind][1] > LARGEST_CAPTION:
        raise HtunetError(f"text too long: {own[kind][1]} bytes")
    try:
        text = read(own[kind]).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HtunetError("text is not UTF-8") from None
    if kind == ".json":
        content = parse_json(text, "text cannot be read: it")
        found = next((content[key] for key in TEXT_KEYS if key in content), None) if isinstance(content, dict) else None
        if not isinstance(found, str):
            raise HtunetError(f"no text: its JSON has no {' or '.join(TEXT_KEYS)}")
        text = found
    caption = clean_caption(text)
    if is_too_short(caption):
        raise HtunetError(f"caption too short: {len(caption)} of at least {SHORTEST} characters with a letter")
    return caption


def _check_image(name: Path, own: dict[str, Place], read: "partial[bytes]") -> None:
    if "image" not in own:
        raise HtunetError("no image")
    if own["image"][1] > LARGEST_IMAGE:
        raise HtunetError(f"image too large: {own['image'][1]} bytes")
    try:
        as_channels(open_image(name, read(own["image"])), 3)
    except HtunetError as error:
        raise HtunetError(f"image cannot be read: {error}") from None


def _write(
    place: Path, splits: dict[str, list[Path]], found: dict[Path, Indexed], facts: SourceFacts, name: str
) -> tuple[CaptionInfo, list[Excluded]]:
    """The index of all shards, those that train first, and what captions.json says."""
    shards, rows, excluded = [], list[NDArray[np.int64]](), list[Excluded]()
    languages, distinct = Counter[str](), set[int]()
    end = 0
    with whole_file(place / CAPTIONS) as part, part.open("wb") as stream:
        for split, paths in splits.items():
            for path in paths:
                one = found[path]
                texts = [caption.encode() for caption in one.captions]
                lengths = np.array([len(text) for text in texts], dtype=np.int64)
                starts = end + np.cumsum(lengths) - lengths + np.arange(len(lengths))  # a line each
                rows.append(np.column_stack([one.images_N2, starts, lengths]))
                stream.writelines(text + b"\n" for text in texts)
                end += int(lengths.sum()) + len(lengths)
                distinct.update(hash(caption) for caption in one.captions)
                excluded += one.excluded
                languages += one.languages
                shards.append(PairShard(file=path.name, size=one.size, modified_ns=one.modified_ns, sha256=one.sha256,
                                        validation=split == VALIDATION, pairs=len(texts)))  # fmt: skip
    pairs_N4 = np.concatenate(rows)
    write_index(place, shards, pairs_N4)
    val = sum(shard.pairs for shard in shards if shard.validation)
    names = [shard.file for shard in shards if shard.validation]
    info = CaptionInfo(
        name=name,
        licence=facts.licence,
        reference=facts.reference,
        description=facts.title,
        split_rule="by shard",
        published=(len(pairs_N4) - val, val),
        found={"shards": len(shards), "samples": len(pairs_N4) + len(excluded)},
        pairs=len(pairs_N4),
        languages=dict(sorted(languages.items())),
        repeated_captions=len(pairs_N4) - len(distinct),
        drops=dict(Counter(reason_kind(one.reason) for one in excluded)),
        notes=[f"for validation: {counted(val, 'pair')} of {listed(names)}", *_note_on(found.values())],
    )
    return info, excluded


def _note_on(shards: Iterable[Indexed]) -> list[str]:
    """Files that are part of no pair; a name ends at its first point, as webdataset has it."""
    endings = sum((one.passed_over for one in shards), Counter[str]())
    shown = listed([f"{number} x {printable(ending)}" for ending, number in endings.most_common()])
    text = f"passed over, as a pair's name ends at its first point: {counted(endings.total(), 'file')}: {shown}"
    return [text] * bool(endings)
