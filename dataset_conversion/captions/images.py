"""The image files that texts name: found by name in folders and zips, and stored small enough for a network's input."""

import shutil
import stat
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset_conversion.source import zips_in
from htunet.archives import BROKEN, OF_NAMES, open_zip
from htunet.data.captions import CaptionPair
from htunet.data.folders import walk
from htunet.data.image_io import as_gray, image_size, open_image, pixels_of, write_png
from htunet.data.names import composed
from htunet.data.raw import Excluded
from htunet.errors import HtunetError
from htunet.files import scratch_folder
from htunet.paths import root

SHORTER_SIDE = 512
"""Pixels that an image's shorter side keeps at most: over twice the 224 of the networks' input, so that nothing they
could see is lost."""
GRAY_TOLERANCE = 8
"""Gray values by which the colours of a gray image may differ after JPEG."""
LARGEST_MEMBER = 100 * 2**20
"""Bytes; no figure of an article unpacks to more."""


@dataclass(frozen=True)
class FoundImage:
    """A file that can be read now."""

    source: str
    """Its place in what the user downloaded: ``images.zip/figures/a.jpg``."""
    path: Path


class FoundImages:
    """The places where each requested name was found."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[FoundImage]] = defaultdict(list)

    def add(self, name: str, image: FoundImage) -> None:
        """One more place where a file of this name lies."""
        self._by_name[name].append(image)

    def names(self) -> set[str]:
        """Every file name that was found at least once."""
        return set(self._by_name)

    def pick(self, name: str, folder: str = "", others: Set[str] = frozenset()) -> FoundImage | str:
        """The one image of that name, or why not.

        It lies below a folder called ``folder`` where there is such a place, else in none of ``others``.
        """
        found = self._by_name.get(name, [])
        parts = [{*PurePosixPath(image.source).parts} for image in found]
        inside = [image for image, own in zip(found, parts, strict=True) if folder in own]
        found = inside or [image for image, own in zip(found, parts, strict=True) if not own & (others - {""})]
        if not found:
            return "no image file"
        if len(found) > 1:
            return f"several images of this name: {', '.join(image.source for image in found[:3])}"
        return found[0]


def base_name(name: str) -> str:
    """The file name in a path as texts give it, composed, whatever its slashes: no text leads outside the folder."""
    return composed(PurePosixPath(name.replace("\\", "/")).name)


@contextmanager
def find_images(folder: Path, requested: Set[str]) -> Iterator[FoundImages]:
    """Find files called ``requested`` (base names) below ``folder``, and in its zips where no folder has them.

    Of a zip only these files are unpacked, under names of our own, and they vanish afterwards. Raises HtunetError
    for a broken zip that may hold them, and when the disk is too small.
    """
    found = FoundImages()
    for place, _, files in walk(folder):
        for file in files:
            if (name := composed(file)) in requested:
                found.add(name, FoundImage((place / file).relative_to(folder).as_posix(), place / file))
    with ExitStack() as stack:
        missing = requested - found.names()
        if missing and (archives := zips_in(folder)):
            target = stack.enter_context(scratch_folder(root("htunet_raw")))
            for archive in archives:
                _add_members(found, archive, archive.relative_to(folder).as_posix(), missing, target)
        yield found


def _add_members(found: FoundImages, archive: Path, source: str, requested: Set[str], target: Path) -> None:
    """Unpack the requested files of a zip; a broken member becomes an empty file, which nobody can read as an image."""
    with open_zip(archive) as opened:
        members = [one for one in opened.infolist() if base_name(one.filename) in requested and _is_plain(one)]
        size, free = sum(one.file_size for one in members), shutil.disk_usage(target).free
        if size > free:
            raise HtunetError(
                f"The images of {archive} need {size / 1e9:.1f} GB in {target.parent}, where {free / 1e9:.1f} "
                "GB are free. Point htunet_raw at a larger disk, or unpack the zip yourself and name the folder."
            )
        folder = target / str(len([*target.iterdir()]))
        folder.mkdir()
        for number, member in enumerate(tqdm(members, desc=f"unpack {archive.name}", unit="file", disable=None)):
            name = base_name(member.filename)
            path = folder / f"{number}{Path(name).suffix.lower()}"
            try:
                with opened.open(member) as packed, path.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
            except (*BROKEN, OSError) as error:
                if isinstance(error, OSError) and error.errno not in OF_NAMES:
                    raise  # about the disk
                path.write_bytes(b"")
            found.add(name, FoundImage(f"{source}/{member.filename}", path))


def _is_plain(member: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(member.external_attr >> 16)
    return not member.is_dir() and kind in (0, stat.S_IFREG) and member.file_size <= LARGEST_MEMBER


@dataclass(frozen=True, kw_only=True)
class PairJob:
    """A pair whose image is still to be written."""

    pair: CaptionPair
    path: Path
    where: str
    """The text's place in the download, for ``excluded.csv``."""
    min_side: int = 0


def write_pair(job: PairJob, folder: Path) -> CaptionPair | Excluded:
    """Write the pair's image into the raw folder ``folder``; an unreadable or too small one is excluded.

    Gray where it is gray, else RGB. An image whose shorter side is above 512 pixels is reduced to that, in its shape.
    """
    try:
        shorter = min(image_size(job.path))
        if shorter < job.min_side:
            return _excluded(job, f"image too small: its shorter side has {shorter} pixels, not {job.min_side}")
        image = reduced(open_image(job.path))
    except HtunetError as error:
        return _excluded(job, f"image cannot be read: {str(error).replace(f'{job.path}', job.pair.source)}")
    write_png(folder / job.pair.image, np.asarray(image))
    return job.pair


def _excluded(job: PairJob, reason: str) -> Excluded:
    return Excluded(source=f"{job.where}: {job.pair.source}", class_name="", reason=reason)


def reduced(image: Image.Image) -> Image.Image:
    """8-bit gray (L) or RGB, its shorter side at most 512 pixels."""
    plain = Image.fromarray(as_gray(image) if is_gray(image) else pixels_of(image))
    scale = SHORTER_SIDE / min(plain.size)
    if scale >= 1:
        return plain
    width, height = (max(1, round(side * scale)) for side in plain.size)
    return plain.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def is_gray(image: Image.Image) -> bool:
    """Does the image show no colour, however it is stored?"""
    pixels = pixels_of(image)
    return pixels.ndim == 2 or int(np.abs(np.diff(pixels.astype(np.int16), axis=2)).max()) <= GRAY_TOLERANCE
