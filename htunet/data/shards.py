"""A caption data set in shards: pairs of images and texts in tars, read one by one where they lie.

Dataset520_Large/  captions.json  excluded.csv  shards/  index.json  pairs.npy  captions.txt  NAME.tar (or links)

pairs.npy (N, 4) int64 holds of each pair the place and the length of its image in the tar, and of its caption in
captions.txt: some 130 bytes a pair with the caption, of which 32 are in memory. Tars as the library webdataset reads
them; that library's streams can be shuffled but not continued at a sample, which places in an index make simple.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.image_io import open_image
from htunet.errors import HtunetError
from htunet.files import file_hash, json_hash, open_file, read_object, whole_file, write_json
from htunet.paths import DatasetPaths
from htunet.records import of_format, record_from

FORMAT = 1
INDEX, PAIRS, CAPTIONS = "index.json", "pairs.npy", "captions.txt"
COLUMNS = 4
LARGEST_IMAGE, LARGEST_CAPTION = 64 * 2**20, 2**20
"""Bytes in a shard."""


@dataclass(frozen=True, kw_only=True)
class PairShard:
    """A tar, as it was when it was indexed."""

    file: str
    size: int
    """Bytes."""
    modified_ns: int
    sha256: str
    validation: bool
    """Whether its pairs validate; else they train."""
    pairs: int


@dataclass(frozen=True)
class ShardedCaptions:
    """The pairs of all shards, one after another, those that train first."""

    paths: DatasetPaths
    shards: tuple[PairShard, ...]
    pairs_N4: NDArray[np.int64]
    sha256: str
    """Digest of everything that is learnt from; it stays the same if the shards move or are indexed again."""

    def counts(self, *, validation: bool) -> tuple[int, ...]:
        """The pairs of each shard that trains, or that validates."""
        return tuple(shard.pairs for shard in self.shards if shard.validation == validation)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([shard.pairs for shard in self.shards])

    def image(self, row: int) -> Image.Image:
        """The decoded image of a pair; raises HtunetError that names its shard."""
        which = int(np.searchsorted(self._ends, row, side="right"))
        path = self.paths.shards / self.shards[which].file
        start, length = self.pairs_N4[row, :2].tolist()
        return open_image(path / f"pair {row - int(self._ends[which]) + self.shards[which].pairs}",
                          _bytes_at(path, start, length))  # fmt: skip

    def caption(self, row: int) -> str:
        """The cleaned text of a pair."""
        return _bytes_at(self.paths.shards / CAPTIONS, *self.pairs_N4[row, 2:].tolist()).decode()


def _bytes_at(path: Path, start: int, length: int) -> bytes:
    with open_file(path) as stream:
        content = os.pread(stream.fileno(), length, start)
    if len(content) < length:
        raise HtunetError(f"{path} was cut off since it was indexed. Convert the data set again.")
    return content


def read_shards(paths: DatasetPaths) -> ShardedCaptions:
    """The index of a data set in shards; raises HtunetError where it is broken, or a shard is not what it was."""
    way_out = f"Convert {paths.name} again: htunet_convert Shards."
    path = paths.shards / INDEX
    content = read_object(path, {"format": int, "shards": [{"file": str}], CAPTIONS: str, PAIRS: str})
    of_format(content, FORMAT, path, f". {way_out}")
    shards = tuple(record_from(PairShard, one, str(path)) for one in content["shards"])
    for shard in shards:
        with open_file(paths.shards / Path(shard.file).name) as stream:
            found = os.fstat(stream.fileno())
        if (found.st_size, found.st_mtime_ns) != (shard.size, shard.modified_ns):
            raise HtunetError(f"The shard {paths.shards / shard.file} has changed since it was indexed. {way_out}")
    for name in (CAPTIONS, PAIRS):
        if file_hash(paths.shards / name) != content[name]:
            raise HtunetError(f"{paths.shards / name} has changed since it was written. {way_out}")
    try:
        with open_file(paths.shards / PAIRS) as stream:
            pairs_N4 = np.load(stream, allow_pickle=False)
    except Exception as error:  # its header is Python, and NumPy raises whatever reading broken Python does
        raise HtunetError(f"{paths.shards / PAIRS} is broken ({error}). {way_out}") from None
    expected = (sum(shard.pairs for shard in shards), COLUMNS)
    most = (LARGEST_IMAGE, LARGEST_CAPTION)
    if (
        pairs_N4.shape != expected
        or pairs_N4.dtype != np.int64
        or (pairs_N4.min(initial=0) < 0 or (pairs_N4[:, 1::2] > most).any())
    ):
        raise HtunetError(f"{paths.shards / PAIRS} does not fit {INDEX}. {way_out}")
    identity = [[(one.sha256, one.validation, one.pairs) for one in shards], content[CAPTIONS], content[PAIRS]]
    return ShardedCaptions(paths, shards, pairs_N4, json_hash(identity))


def write_index(folder: Path, shards: list[PairShard], pairs_N4: NDArray[np.int64]) -> None:
    """Write ``index.json`` and ``pairs.npy`` into the folder of the shards, where ``captions.txt`` is."""
    with whole_file(folder / PAIRS) as part, part.open("wb") as stream:
        np.save(stream, pairs_N4)
    rows: list[dict[str, Any]] = [vars(shard) for shard in shards]
    hashes = {name: file_hash(folder / name) for name in (CAPTIONS, PAIRS)}
    write_json(folder / INDEX, {"format": FORMAT} | hashes | {"shards": rows})
