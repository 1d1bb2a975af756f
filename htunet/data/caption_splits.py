"""Which pairs of a caption data set train an adapter and which validate it: shuffled 9:1, stored on disk."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from tqdm import tqdm

from htunet.data.captions import CaptionDataset, CaptionPair
from htunet.data.splits import SEED, SPLIT_BY
from htunet.errors import HtunetError, UsageError, counted
from htunet.files import file_hash, json_hash, read_object, write_json
from htunet.parallel import available_cores
from htunet.paths import DatasetPaths
from htunet.records import of_format, record_from
from htunet.reproducibility import derived_seed

FORMAT = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CaptionSplit:
    """The content of ``caption_split.json``."""

    split_by: str
    """``image`` (as in the paper) or ``group``: no patient, case or article is in both splits."""
    seed: int
    rule: str
    """Where the sizes come from: ``9:1``, or ``published``."""
    pairs_sha256: str
    """Digest of the ids and groups that were split; other pairs need another split."""
    train: list[str]
    val: list[str]


def caption_split_sizes(n: int, published: tuple[int, int] | None = None) -> tuple[int, int]:
    """(train, val) of ``n`` pairs: floor(0.9 n) and the rest, or the published sizes where they add up to ``n``.

    Table I of arXiv 2506.08849 has three rows. MedPix, 21512/2391 of 23903, is this rule exactly (rounding up gives
    21513). PMC-OA, 4942/534 of 5476 (90.25 %), and CURD, 13228/1500 of 14728 (89.82 %), follow from no rounding of
    9:1, neither alone nor shuffled together; their sizes are taken over where the number of pairs is the published one.

    >>> caption_split_sizes(23903), caption_split_sizes(5476), caption_split_sizes(5476, (4942, 534))
    ((21512, 2391), (4928, 548), (4942, 534))
    """
    if published and sum(published) == n:
        return published
    train = 9 * n // 10
    return train, n - train


def make_caption_split(
    pairs: Sequence[CaptionPair], published: tuple[int, int] | None = None, split_by: str = "image", seed: int = SEED
) -> CaptionSplit:
    """Shuffle the pairs (or whole groups) by ``seed`` and divide them; the order of ``pairs`` changes nothing.

    By group, the validation split takes groups in shuffled order as long as they fit into its size, so it may stay a
    little below it. Raises UsageError for an unknown ``split_by``, HtunetError when a split would be empty.
    """
    if split_by not in SPLIT_BY:
        raise UsageError(f"--split-by is one of {', '.join(SPLIT_BY)}; got {split_by!r}.")
    train_size, val_size = caption_split_sizes(len(pairs), published)
    units: dict[tuple[str, str], list[str]] = defaultdict(list)
    for pair in pairs:
        whole = split_by == "group" and pair.group
        units[("group", pair.group) if whole else ("pair", pair.id)].append(pair.id)
    val = set[str]()
    # sorted by a hash: a shuffle that no library version can change
    for key in sorted(units, key=lambda key: (derived_seed(seed, "caption split", *key), key)):
        if len(val) + len(units[key]) <= max(val_size, 1):
            val.update(units[key])
    if not val or len(val) == len(pairs):
        what = "pairs" if split_by == "image" else "groups; --split-by image takes single pairs"
        raise HtunetError(f"{counted(len(pairs), 'pair')} cannot be divided 9:1 into two splits: too few {what}.")
    return CaptionSplit(
        split_by=split_by,
        seed=seed,
        rule="9:1" if (train_size, val_size) == caption_split_sizes(len(pairs)) else "published",
        pairs_sha256=_digest(pairs),
        train=sorted(pair.id for pair in pairs if pair.id not in val),
        val=sorted(val),
    )


def groups_in_both(pairs: Sequence[CaptionPair], split: CaptionSplit) -> list[str]:
    """Groups (patients, cases, articles) with pairs in both splits, sorted: what a split by image lets leak."""
    val = set(split.val)
    splits = ({pair.group for pair in pairs if pair.group and (pair.id in val) == here} for here in (True, False))
    return sorted(set.intersection(*splits))


def settle_caption_split(dataset: CaptionDataset, split_by: str | None = None) -> CaptionSplit:
    """The split on disk where it fits the data set, else a new one; nothing is written.

    ``split_by`` None: as the existing one was made; ``image`` for the first. The splits of a fitting file may have been
    edited by hand. Raises HtunetError when the file is broken or names pairs that do not exist or are in both splits,
    and when an edited one would be replaced by one of ``split_by``.
    """
    path = dataset.paths.caption_split_json
    if path.exists():
        split = load_caption_split(dataset.paths)
        if split.pairs_sha256 == _digest(dataset.pairs):
            if split_by in (None, split.split_by):
                _check_split(dataset, split)
                return split
            if split != make_caption_split(dataset.pairs, dataset.info.published, split.split_by, split.seed):
                raise HtunetError(
                    f"--split-by {split_by} would replace {path}, which was edited by hand: by {split.split_by} the "
                    "pairs are split otherwise. Omit the option to use the file; or move it away."
                )
        split_by = split_by or split.split_by
    return make_caption_split(dataset.pairs, dataset.info.published, split_by or "image")


def save_caption_split(paths: DatasetPaths, split: CaptionSplit) -> None:
    """Write ``caption_split.json`` unless it is that split; one of other pairs stays beside it, and a warning says so.

    One of the same pairs can be made again: ``settle_caption_split`` has refused to replace an edited one.
    """
    path = paths.caption_split_json
    before = load_caption_split(paths) if path.exists() else None
    if before and before.pairs_sha256 != split.pairs_sha256:
        kept = path.with_name("caption_split.before.json")
        write_json(kept, {"format": FORMAT} | vars(before))
        log.warning("%s has other pairs than before: they are split anew. The split before: %s", paths.short_name, kept)
    if before != split:
        write_json(path, {"format": FORMAT} | vars(split))


def load_caption_split(paths: DatasetPaths) -> CaptionSplit:
    """Read ``caption_split.json``; raises HtunetError when it is missing or not of this format."""
    path = paths.caption_split_json
    return record_from(CaptionSplit, of_format(read_object(path), FORMAT, path, ": delete it."), str(path))


def _check_split(dataset: CaptionDataset, split: CaptionSplit) -> None:
    path, known = dataset.paths.caption_split_json, {pair.id for pair in dataset.pairs}
    named = [*split.train, *split.val]
    unknown = sorted(set(named) - known)
    if unknown or len(named) != len(set(named)) or not split.train or not split.val:
        problem = f"names pairs that do not exist: {', '.join(unknown[:5])}" if unknown else "has an id twice or no id"
        raise HtunetError(f"{path} {problem}. Correct it, or delete it to have it made again.")


def pairs_digest(dataset: CaptionDataset, split: CaptionSplit) -> str:
    """Digest of ids, captions and splits; ``images_digest`` covers the pixels."""
    return json_hash([[(pair.id, pair.caption) for pair in dataset.pairs], split.train, split.val])


def images_digest(dataset: CaptionDataset) -> str:
    """Digest of the contents of the image files, in the order of the pairs; read only where a size or time is another.

    It is written beside the split, with the files' sizes and times.
    """
    paths, record_json = [dataset.image_path(pair) for pair in dataset.pairs], dataset.paths.raw_files_json
    files = [(pair.image, path.stat()) for pair, path in zip(dataset.pairs, paths, strict=True)]
    state = json_hash([(name, found.st_size, found.st_mtime_ns) for name, found in files])
    record = read_object(record_json) if record_json.exists() else {}
    if record.get("state") != state:
        with ThreadPoolExecutor(available_cores()) as pool:  # hashing gives the interpreter's lock free
            hashes = pool.map(file_hash, paths)
            bar = tqdm(
                hashes, total=len(paths), desc=f"checksums {dataset.paths.short_name}", unit="image", disable=None
            )
            record = {"format": FORMAT, "state": state, "raw_sha256": json_hash([*bar])}
        with suppress(HtunetError, OSError):  # read again the next time
            write_json(record_json, record)
    return str(record["raw_sha256"])


def _digest(pairs: Sequence[CaptionPair]) -> str:
    return json_hash(sorted((pair.id, pair.group) for pair in pairs))
