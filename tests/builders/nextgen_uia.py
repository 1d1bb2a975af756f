"""A small release in the layout of the paper's authors: all images in one folder, lists of names, tables of labels."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from builders.raw import speckled
from htunet.reproducibility import generator

SPLITS = ("train", "val", "test")
BUSI = [f"benign ({i}).png" for i in range(1, 8)] + [f"malignant ({i}).png" for i in range(1, 4)]
DDTI = [f"DDTI_{i:04d}.PNG" for i in range(5)]
PROSTATE = [
    f"microUS_{split}_{patient:02d}_{i}.png" for split, patient in (("train", 1), ("test", 2)) for i in range(3)
]


def write_pair(folder: Path, name: str, *, seed: int, mask: int | None = 255) -> None:
    """A noisy image and its mask, a square of value ``mask``; None writes no mask."""
    rng = generator(seed, "release", name)
    for child in ("images", "masks"):
        (folder / "all" / child).mkdir(parents=True, exist_ok=True)
    Image.fromarray(speckled((24, 30), rng)).save(folder / "all" / "images" / name)
    if mask is not None:
        square = np.zeros((24, 30), np.uint8)
        square[5:15, 8:20] = mask
        Image.fromarray(square).save(folder / "all" / "masks" / name)


def write_lists(folder: Path, names: list[str], val: int, test: int) -> None:
    """The last names are ``test``, those before ``val``, the others ``train``."""
    folder.mkdir(parents=True, exist_ok=True)
    end = len(names) - test
    for split, chosen in zip(SPLITS, (names[: end - val], names[end - val : end], names[end:]), strict=True):
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen), encoding="utf-8")


def write_captions(folder: Path, names: list[str]) -> None:
    """A table with the columns Caption and filename, and its images."""
    (folder / "images").mkdir(parents=True)
    rows = [("Caption", "filename")]
    for index, name in enumerate(names):
        rows.append((f"Ultrasound image number {index} shows a round lesion with a smooth border.", name))
        Image.fromarray(speckled((40, 40), generator(index, "captions"))).save(folder / "images" / name)
    with (folder / f"{folder.name}.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def build_release(folder: Path) -> Path:
    """BUSI with lists for both tasks that differ, DDTI, Prostate, and both caption sets; the private sets are lists."""
    for seed, name in enumerate([*BUSI, *DDTI, *PROSTATE]):
        write_pair(folder, name, seed=seed)
    write_lists(folder / "segmentation" / "BUSI", BUSI, 2, 2)
    write_lists(folder / "classification" / "BUSI", BUSI[::-1], 2, 3)
    labels = "".join(f"{name},{int(name.startswith('malignant'))}\n" for name in BUSI)
    (folder / "classification" / "BUSI" / "labels.csv").write_text(labels, encoding="utf-8")
    write_lists(folder / "segmentation" / "DDTI", DDTI, 1, 1)
    write_lists(folder / "segmentation" / "Prostate", PROSTATE, 1, 3)
    write_lists(folder / "segmentation" / "LN-INT", ["a.png", "b.png", "c.png"], 1, 1)
    write_captions(folder / "finetune" / "medpix_dataset", [f"MPX100{i}_synpic{i}.png" for i in range(3)])
    write_captions(folder / "finetune" / "pmc_curd_dataset", [f"PMC77{i}_fig.jpg" for i in range(4)])
    return folder
