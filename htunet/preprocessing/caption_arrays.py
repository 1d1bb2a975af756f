"""The images of a caption data set at a network's input size, made once and stored beside the split.

captions_224x224/  images.npy (N, C, H, W) uint8, in the order of captions.jsonl   prepared.json   checksums.json
captions_224x224_centre_crop/  the same, of their middles
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from htunet.data.captions import CaptionDataset
from htunet.data.image_io import UInt8, opened, read_image
from htunet.data.preprocessed import open_array
from htunet.files import LONG_WAIT, exclusive, file_hash, read_object, whole_folder, write_json
from htunet.parallel import parallel_map, suitable_workers
from htunet.planning.arrays import CHECKSUMS, damaged_arrays

FORMAT = 1
IMAGES, MARKER, TIMES = "images.npy", "prepared.json", "times_sha256"
Size = tuple[int, int]


@dataclass(frozen=True)
class PreparedCaptions:
    """The pairs of a caption data set with their images as arrays."""

    dataset: CaptionDataset
    images: NDArray[np.uint8]
    """(N, C, H, W), memory-mapped; row i belongs to pair i. Gray where all images are."""

    @property
    def rows(self) -> dict[str, int]:
        """The array row of each pair's id."""
        return {pair.id: row for row, pair in enumerate(self.dataset.pairs)}


def prepare_captions(dataset: CaptionDataset, input_size: Size, *, centre_crop: bool = False) -> PreparedCaptions:
    """The images stretched (bilinear) to ``input_size`` (height, width): read from disk, or made if they have changed.

    They are made again where they are damaged, too.
    With ``centre_crop`` they are resized (bicubic) until the shorter side fits, and the middle is taken. Waits while
    another process makes the same arrays. Raises HtunetError that names an image which cannot be read.
    """
    kind = f"captions_{input_size[0]}x{input_size[1]}{'_centre_crop' if centre_crop else ''}"
    folder = dataset.paths.plan_folder(kind)
    expected = {"format": FORMAT, "input_size": list(input_size), **_digests(dataset)}
    with exclusive(folder.with_name(f".lock-{folder.name}"), str(folder), wait=LONG_WAIT):
        marker = folder / MARKER
        found = read_object(marker) if marker.exists() else {}
        damaged = (folder / CHECKSUMS).exists() and damaged_arrays(folder)
        if damaged or {TIMES: expected[TIMES], **found} != expected:  # arrays of earlier versions are without times
            with whole_folder(folder) as part:
                resized = resizing(input_size, centre_crop=centre_crop)
                _write_images(dataset, resized, input_size, part / IMAGES)
                write_json(part / CHECKSUMS, {IMAGES: file_hash(part / IMAGES)})
                write_json(part / MARKER, expected)
        elif found != expected:
            write_json(marker, expected)
    images = open_array(folder / IMAGES, len(dataset.pairs), 4, f"Delete {folder} to have it made again.")
    return PreparedCaptions(dataset, images)


def resizing(input_size: Size, *, centre_crop: bool) -> Callable[[Image.Image], Image.Image]:
    """The function that brings an image plane to ``input_size``, see ``prepare_captions``."""
    return partial(_centre_crop if centre_crop else _stretched, input_size)


def _write_images(
    dataset: CaptionDataset,
    resized: Callable[[Image.Image], Image.Image],
    input_size: Size,
    path: Path,
) -> None:
    files = [dataset.image_path(pair) for pair in dataset.pairs]
    channels = 3 if any(_is_coloured(file) for file in files) else 1
    array = open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(files), channels, *input_size))
    read = partial(_read, channels, resized)
    images = parallel_map(read, files, workers=suitable_workers(len(files)), threads=True)
    bar = tqdm(images, total=len(files), desc=dataset.paths.short_name, unit="image", disable=None)
    for row, image in enumerate(bar):
        array[row] = image
    array.flush()


def _is_coloured(path: Path) -> bool:
    """From the header alone; raises HtunetError when there is none."""
    with opened(path) as image:
        return image.mode not in ("L", "1", "I", "F", "I;16")


def _read(channels: int, resized: Callable[[Image.Image], Image.Image], path: Path) -> UInt8:
    return np.stack([np.asarray(resized(Image.fromarray(plane))) for plane in read_image(path, channels)])


def _stretched(input_size: Size, plane: Image.Image) -> Image.Image:
    height, width = input_size
    return plane.resize((width, height), Image.Resampling.BILINEAR)


def _centre_crop(input_size: Size, plane: Image.Image) -> Image.Image:
    """As torchvision's Resize and CenterCrop: the longer side is rounded down, a half pixel of the margin to even."""
    height, width = input_size
    scale_by_width = plane.width * height <= plane.height * width
    size = (
        (width, plane.height * width // plane.width)
        if scale_by_width
        else (plane.width * height // plane.height, height)
    )
    enlarged = plane.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    return enlarged.crop((left, top, left + width, top + height))


def _digests(dataset: CaptionDataset) -> dict[str, str]:
    """Of the pairs and the sizes of their files, and of the files' times: where one changes, the arrays are others."""
    files = [(pair.image, dataset.image_path(pair).stat()) for pair in dataset.pairs]
    facts = {"sha256": [(name, file.st_size) for name, file in files], TIMES: [file.st_mtime_ns for _, file in files]}
    return {key: hashlib.sha256(repr(values).encode()).hexdigest() for key, values in facts.items()}
