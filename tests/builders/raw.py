"""Small raw folders in the layout that the converters write."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from htunet.data.raw import TEST, TRAIN, Case, DatasetInfo, write_raw_index
from htunet.paths import DatasetPaths


def speckled(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Gray noise (H, W) that is nowhere black."""
    return rng.integers(60, 200, size).astype(np.uint8)


def blob(size: tuple[int, int], centre: tuple[float, float] = (0.5, 0.5), radius: float = 0.25) -> np.ndarray:
    """A filled ellipse (H, W) of ones; centre and radius as parts of the sides."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    distance = ((rows + 0.5) / size[0] - centre[0]) ** 2 + ((columns + 0.5) / size[1] - centre[1]) ** 2
    return (distance <= radius**2).astype(np.uint8)


def build_raw(
    n: int = 30,
    classes: Sequence[str] = ("benign", "malignant"),
    sizes: Sequence[tuple[int, int]] = ((40, 50), (60, 44)),
    groups: int = 0,
    seed: int = 0,
    *,
    test: int = 0,
    rule: str = "8:1:1",
    name: str = "Dataset903_Tiny",
) -> DatasetPaths:
    """A raw folder of ``n`` training and ``test`` test cases below the environment's roots.

    Classes and sizes are dealt in turn; ``groups`` (0: none) are dealt in turn, too.
    """
    paths, rng, cases = DatasetPaths(name), np.random.default_rng(seed), []
    for folder in ("imagesTr", "labelsTr", *(("imagesTs", "labelsTs") if test else ())):
        (paths.raw / folder).mkdir(parents=True, exist_ok=True)
    for index in range(n + test):
        split = TRAIN if index < n else TEST
        case = Case(
            id=f"case_{index:04d}",
            split=split,
            class_name=classes[index % len(classes)] if classes else "",
            group=f"group_{index % groups:03d}" if groups else "",
            source=f"{index}.png",
        )
        size = sizes[index % len(sizes)]
        mask = blob(size, (rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6)), rng.uniform(0.15, 0.3))
        image = np.where(mask, 30, speckled(size, rng)).astype(np.uint8)
        ending = "Tr" if split == TRAIN else "Ts"
        Image.fromarray(image).save(paths.raw / f"images{ending}" / f"{case.id}_0000.png")
        Image.fromarray(mask).save(paths.raw / f"labels{ending}" / f"{case.id}.png")
        cases.append(case)
    info = DatasetInfo(classes={name: index for index, name in enumerate(classes)}, split_rule=rule)
    write_raw_index(paths.raw, name, info, cases, [])
    return paths
