"""Preprocessed data sets as one small file, for machines that nothing else reaches, and back to the same bits.

    python -m benchmarks.gpu_pack PREPROCESSED FILE.zip     # pack: each data set with two plans of gray images

Images are lossless WebP; those of the second plan, which differ by a value or two, as differences from the first one's.
Masks of two labels are bits. BUSI and DDTI, 247 MB in plans paper and public, make 48 MiB.
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from htunet.archives import unpack

PLANS = ("paper", "public")
SMALL = (
    *("plans.json", "splits_final.json", "splits_made.json", "dataset_fingerprint.json", "warnings.json"),
    *(f"{plan}/{name}" for plan in PLANS for name in ("cases.csv", "preprocessed.json")),
)
LIMIT = 50 * 2**20
MIDDLE = 128


def pack(preprocessed: Path, target: Path) -> int:
    """Write the data sets of a preprocessed folder into ``target``; returns its bytes, ValueError above ``LIMIT``."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted(preprocessed.glob("Dataset*")):
            for name in SMALL:
                if (folder / name).exists():
                    archive.write(folder / name, f"{folder.name}/{name}")
            first = None
            for plan in PLANS:
                images = np.load(folder / plan / "images.npy")
                masks = np.load(folder / plan / "masks.npy")
                if images.shape[1] != 1 or masks.max() > 1:
                    raise ValueError(f"{folder.name}, plan {plan}: gray images and masks of one label are packed.")
                values = images if first is None else images - first + np.uint8(MIDDLE)
                first = images if first is None else first
                for row, image in enumerate(values[:, 0]):
                    stream = io.BytesIO()
                    Image.fromarray(image).save(stream, "WEBP", lossless=True, quality=100, method=4)
                    archive.writestr(f"{folder.name}/{plan}/{row:05d}.webp", stream.getvalue(), zipfile.ZIP_STORED)
                archive.writestr(f"{folder.name}/{plan}/masks.bits", np.packbits(masks.astype(bool)).tobytes())
    if (size := target.stat().st_size) > LIMIT:
        raise ValueError(f"{target} has {size} bytes, more than {LIMIT}.")
    return size


def restore(source: Path, preprocessed: Path) -> list[str]:
    """The data sets of a file that ``pack`` wrote, as they were; returns their names."""
    preprocessed.mkdir(parents=True, exist_ok=True)
    unpack(source, preprocessed)
    names = sorted(folder.name for folder in preprocessed.glob("Dataset*"))
    for name in names:
        first = None
        for plan in PLANS:
            folder = preprocessed / name / plan
            files = sorted(folder.glob("*.webp"))
            values = np.stack([np.asarray(Image.open(file).convert("RGB"))[None, ..., 0] for file in files])
            images = values if first is None else values + first - np.uint8(MIDDLE)
            first = images if first is None else first
            np.save(folder / "images.npy", images)
            bits = np.unpackbits(np.frombuffer((folder / "masks.bits").read_bytes(), np.uint8), count=images.size)
            np.save(folder / "masks.npy", bits.reshape(images[:, 0].shape))
            for file in (*files, folder / "masks.bits"):
                file.unlink()
    return names


if __name__ == "__main__":
    print(f"{pack(Path(sys.argv[1]), Path(sys.argv[2])) / 1e6:.1f} MB in {sys.argv[2]}")
