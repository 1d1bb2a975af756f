"""How far the simulated images are from real ones, measured on the training split of preprocessed data sets.

python -m benchmarks.simulation_gap preprocessed/Dataset503_BUSI/public [more folders] [--organ breast] [--images 400]

For each statistic: quantiles of the real and of the simulated images, and the share of the real ones that lie between
the 2.5th and the 97.5th percentile of the simulated ones (``covered``; about 95 % where both agree). At the end the
area under the ROC curve of a logistic regression that tells real from simulated by these statistics, cross-validated:
0.5 where it cannot, 1 where it always can. Only images of the training split of fold 0 are opened.
``--figure FILE`` draws histograms of twelve of the statistics, for one folder.
``--sheet FILE`` writes simulated images of all organs instead, their lesions outlined.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, label
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from htunet.simulation.settings import SimulationSettings
from htunet.simulation.simulate import simulate

Array = NDArray[np.float32]
DRAWN = (
    *("mean", "spread", "black outside", "upper third to lower", "detail", "detail, 1 pixel across"),
    *("lesion area", "inside", "ring minus inside", "detail inside", "slope on the outline", "below minus ring"),
)
"""The statistics that ``--figure`` draws."""
STYLES: tuple[dict[str, Any], ...] = (
    {"label": "real", "color": "#E69F00", "alpha": 0.6},
    {"label": "simulated", "color": "#0072B2", "histtype": "step", "linewidth": 1.6},
)


def training_images(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(N, H, W) images and masks of the training split of fold 0 in a plan's preprocessed folder."""
    with (folder / "cases.csv").open(encoding="utf-8") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    training = set(json.loads((folder.parent / "splits_final.json").read_text(encoding="utf-8"))[0]["train"])
    rows = [number for number, case in enumerate(ids) if case in training]
    images = np.load(folder / "images.npy", mmap_mode="r")[rows]
    return images[:, 0], np.load(folder / "masks.npy", mmap_mode="r")[rows]


def simulated_images(organ: str, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first ``count`` images of the organ that have a lesion."""
    settings = SimulationSettings(**{name: float(name == organ) for name in SimulationSettings().organs}, no_lesion=0.0)
    made = [simulate(settings, seed, index) for index in range(count)]
    return np.stack([one.image for one in made]), np.stack([one.lesion for one in made])


def correlation(detail: Array, inside: NDArray[np.bool_], down: int, across: int) -> float:
    """Of the fine detail with itself, ``down`` and ``across`` pixels away."""
    rows, columns = detail.shape
    first, second = detail[: rows - down, : columns - across], detail[down:, across:]
    both = inside[: rows - down, : columns - across] & inside[down:, across:]
    return float((first * second)[both].mean() / ((detail**2)[inside].mean() + 1e-6)) if both.any() else 0.0


def statistics(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> dict[str, float]:
    """Of one image with a lesion; gray values 0..255, positions and areas as shares of the picture."""
    gray = image.astype(np.float32)
    field = gaussian_filter(gray, 4) > 6
    shown = gray[field] if field.sum() > 100 else gray.ravel()
    detail = gray - gaussian_filter(gray, 3)
    lesion = mask > 0
    ring = binary_dilation(lesion, iterations=12) & ~binary_dilation(lesion, iterations=2) & field
    core = binary_erosion(lesion, iterations=3)
    core = core if core.any() else lesion
    around = float(gray[ring].mean()) if ring.any() else float(shown.mean())
    rows, columns = np.nonzero(lesion)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    slope = np.hypot(*np.gradient(gaussian_filter(gray, 1.5)))
    edge = binary_dilation(lesion, iterations=2) & ~binary_erosion(lesion, iterations=2)
    below = np.zeros_like(lesion)
    below[rows.max() + 3 : rows.max() + 3 + max(height // 2, 6), columns.min() : columns.max() + 1] = True
    below &= field
    return {
        "mean": float(shown.mean()),
        "spread": float(shown.std()),
        "5th percentile": float(np.percentile(shown, 5)),
        "95th percentile": float(np.percentile(shown, 95)),
        "black outside": 1 - float(field.mean()),
        "upper third to lower": float(gray[:75].mean() - gray[150:].mean()),
        "detail": float(detail[field].std()),
        "detail, 1 pixel across": correlation(detail, field, 0, 1),
        "detail, 3 pixels across": correlation(detail, field, 0, 3),
        "detail, 1 pixel down": correlation(detail, field, 1, 0),
        "detail, 3 pixels down": correlation(detail, field, 3, 0),
        "coarse structure": float(gaussian_filter(gray, 6)[field].std()),
        "lesion area": float(lesion.mean()),
        "lesion row": float(rows.mean() / len(gray)),
        "lesion column": float(abs(columns.mean() / gray.shape[1] - 0.5)),
        "lesion height to width": float(height / width),
        "lesions": float(label(lesion)[1]),
        "inside": float(gray[core].mean()),
        "ring minus inside": around - float(gray[core].mean()),
        "detail inside": float(detail[core].std()),
        "coarse inside": float(gaussian_filter(gray, 3)[core].std()),
        "slope on the outline": float(slope[edge].mean() / (slope[field].mean() + 1e-6)),
        "below minus ring": float(gray[below].mean()) - around if below.any() else 0.0,
        "compactness": float(4 * np.pi * lesion.sum() / max((edge.sum() / 4) ** 2, 1)),
    }


def table(real: list[dict[str, float]], made: list[dict[str, float]]) -> list[str]:
    """One line for each statistic."""
    lines = [f"{'':24} {'real 5, 50, 95 %':>28} {'simulated 5, 50, 95 %':>28} covered"]
    for name in real[0]:
        columns = [np.array([row[name] for row in rows]) for rows in (real, made)]
        low, high = np.percentile(columns[1], [2.5, 97.5])
        covered = float(((columns[0] >= low) & (columns[0] <= high)).mean())
        quantiles = ["".join(f"{value:9.3f}" for value in np.percentile(one, [5, 50, 95])) for one in columns]
        lines.append(f"{name:24} {quantiles[0]:>28} {quantiles[1]:>28} {100 * covered:5.0f} %")
    features = np.array([list(row.values()) for row in (*real, *made)])
    truth = np.repeat([0, 1], [len(real), len(made)])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    area = cross_val_score(model, features, truth, cv=5, scoring="roc_auc").mean()
    return [*lines, f"Told apart by logistic regression: AUC {area:.3f}"]


def draw(file: Path, title: str, real: list[dict[str, float]], made: list[dict[str, float]]) -> None:
    """Histograms of real and simulated images over each other; no real image can be seen in them."""
    figure, panels = plt.subplots(3, 4, figsize=(10, 6), layout="constrained")
    for name, panel in zip(DRAWN, panels.flat, strict=True):
        columns = [np.array([row[name] for row in rows]) for rows in (real, made)]
        bins = np.linspace(*np.percentile(np.concatenate(columns), [0.5, 99.5]), 25)
        for values, style in zip(columns, STYLES, strict=True):
            panel.hist(
                np.clip(values, bins[0], bins[-1]), bins, weights=np.full(len(values), 100 / len(values)), **style
            )
        panel.set_title(name, fontsize=10)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[:, 0]:
        panel.set_ylabel("% of the images", fontsize=9)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(file, dpi=110, metadata={"Software": None})
    Image.open(file).convert("RGB").quantize(64).save(file, optimize=True)


def write_sheet(file: Path, rows: int = 5, columns: int = 8, side: int = 112) -> None:
    """One picture of ``rows`` times ``columns`` simulated images in 32 gray values; lesions are outlined in white."""
    tiles = []
    for index in range(rows * columns):
        made = simulate(SimulationSettings(), 0, index)
        inside = np.asarray(Image.fromarray(made.lesion * np.uint8(255)).resize((side, side))) > 127
        tile = np.array(Image.fromarray(made.image).resize((side, side)))
        tile[binary_dilation(inside) & ~inside] = 255
        tiles.append(tile // 8 * 8)
    sheet = np.concatenate([np.concatenate(tiles[row * columns : (row + 1) * columns], 1) for row in range(rows)])
    Image.fromarray(sheet).quantize(32).save(file, optimize=True)


def main() -> None:
    """Print one table for each folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="*", type=Path, help="preprocessed folders of plans")
    parser.add_argument("--organ", default="breast", help="which simulated images to compare with")
    parser.add_argument("--images", type=int, default=400, help="how many images of each kind at most")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulated images")
    parser.add_argument("--figure", type=Path, help="draw the statistics into this PNG")
    parser.add_argument("--sheet", type=Path, help="write a sheet of simulated images to this PNG, and stop")
    arguments = parser.parse_args()
    if arguments.sheet:
        write_sheet(arguments.sheet)
        return
    made = simulated_images(arguments.organ, arguments.images, arguments.seed)
    simulated = [statistics(*pair) for pair in zip(*made, strict=True) if pair[1].any()]
    for folder in arguments.folders:
        images, masks = training_images(folder)
        chosen = np.random.default_rng(0).permutation(len(images))[: arguments.images]
        real = [statistics(images[number], masks[number]) for number in chosen if masks[number].any()]
        print(f"{folder}: {len(real)} real, {len(simulated)} simulated images of the {arguments.organ}")
        print("\n".join(table(real, simulated)))
        if arguments.figure:
            numbers = f"{len(real)} real and {len(simulated)} simulated images of the {arguments.organ}"
            draw(arguments.figure, f"{folder.parent.name}: {numbers}", real, simulated)


if __name__ == "__main__":
    main()
