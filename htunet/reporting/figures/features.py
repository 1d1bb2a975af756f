"""Features of images before and after the adapter, on a plane, with figures that say how far classes lie apart.

The figures are of the features themselves, not of their places on the plane. Dimension key: N images, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from htunet.data.measurements import Measurement
from htunet.errors import counted
from htunet.evaluation.statistics import percent_text
from htunet.paths import RunPaths
from htunet.reporting.figures.base import Drawing, Results, arm_name, random_weights_note
from htunet.reporting.figures.probed import probed_drawings
from htunet.reporting.figures.style import (
    CLASS_COLOURS,
    DOUBLE_MM,
    SMALL,
    WITHOUT_CLASS,
    add_note,
    in_style,
    new_figure,
)
from htunet.reproducibility import derived_seed

Floats = NDArray[np.float64]
STATES = {"before": "without adapter", "after": "with adapter"}
NEIGHBOURS = 5
PERPLEXITY = 30.0
MARKS = ("o", "^", "s", "D", "v", "P", "X", "*")


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How far groups of images lie apart in the space of the features. None: too few images to say."""

    silhouette: float | None
    """-1 to 1: how much nearer an image lies to its own group than to the nearest other one, on average."""
    neighbours: float | None
    """Fraction of the images whose group is that of most of their nearest neighbours."""
    largest: float
    """Fraction of the images in the largest group: what always guessing that group reaches."""

    @property
    def text(self) -> str:
        """Two short lines."""
        if self.neighbours is None or self.silhouette is None:
            return "too few images\nor groups"
        nearest, largest = percent_text(self.neighbours, 0), percent_text(self.largest, 0)
        return f"{NEIGHBOURS}-NN {nearest} (largest {largest})\nsilhouette {self.silhouette:.2f}"


def features(results: Results) -> list[Drawing]:
    """PCA and t-SNE of image features before and after the adapter, coloured by class and by data set."""
    return probed_drawings(results, "features", lambda run, found: _draw(run, found, results.draw_seed))


def separation(features_ND: Floats, groups: Sequence[str]) -> Separation:
    """Silhouette and nearest neighbours (leave one out) of standardised features, of the images with a group."""
    known = np.array([bool(group) for group in groups])
    names = np.array(groups)[known]
    values, counts = np.unique(names, return_counts=True)
    largest = float(counts.max() / counts.sum()) if len(counts) else 0.0
    if len(values) < 2 or len(names) <= max(NEIGHBOURS, len(values)):
        return Separation(silhouette=None, neighbours=None, largest=largest)
    points_ND = standardised(features_ND[known])
    near_NK = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(points_ND).kneighbors(points_ND, return_distance=False)
    numbers = np.searchsorted(values, names)
    votes = [np.bincount(numbers[[n for n in row if n != own][:NEIGHBOURS]]) for own, row in enumerate(near_NK)]
    right = [vote.argmax() == own for vote, own in zip(votes, numbers, strict=True)]
    silhouette = float(silhouette_score(points_ND, numbers))
    return Separation(silhouette=silhouette, neighbours=float(np.mean(right)), largest=largest)


def standardised(features_ND: Floats) -> Floats:
    """Each feature with mean 0 and deviation 1 over the images; one that never changes is 0."""
    deviation_D = features_ND.std(axis=0)
    steady_D = deviation_D < 1e-12
    return np.where(steady_D, 0.0, (features_ND - features_ND.mean(axis=0)) / np.where(steady_D, 1.0, deviation_D))


def planes(features_ND: Floats, seed: int) -> dict[str, Floats]:
    """(N, 2) places of the images by PCA and by t-SNE, of standardised features; equal seeds give equal places."""
    points_ND = standardised(features_ND)
    perplexity = min(PERPLEXITY, (len(points_ND) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=derived_seed(seed, "t-SNE"), max_iter=1000)
    return {
        "PCA": PCA(2, svd_solver="full").fit_transform(points_ND),
        f"t-SNE, perplexity {perplexity:.3g}": tsne.fit_transform(points_ND.astype(np.float32)).astype(np.float64),
    }


def _draw(run: RunPaths, found: Measurement, seed: int) -> Figure:
    classes = [str(name) for name in found.arrays["classes"]]
    datasets = [str(name) for name in found.arrays["datasets"]]
    values = {state: found.arrays[state].astype(np.float64) for state in STATES}
    placed = {state: planes(value, seed) for state, value in values.items()}
    kinds = list(placed["before"])
    both = {"class": classes, "data set": datasets}
    colourings = {what: groups for what, groups in both.items() if what == "class" or len(set(groups)) > 1}
    with in_style():
        figure = new_figure(DOUBLE_MM, 24 + 42 * len(colourings))
        panels = figure.subplots(len(colourings), 4, squeeze=False)
        for row, (what, groups) in enumerate(colourings.items()):
            columns = [(kind, state) for kind in kinds for state in STATES]
            for column, (kind, state) in enumerate(columns):
                panel = panels[row, column]
                _scatter(panel, placed[state][kind], groups)
                title = separation(values[state], groups).text
                head = f"{kind}\n" if column % 2 == 0 else "\n"
                above = f"{head}{STATES[state]}\n" if row == 0 else ""
                panel.set_title(f"{above}{title}", fontsize=SMALL, loc="left", linespacing=1.25)
            panels[row, 0].set_ylabel(f"Coloured by {what}")
            handles, labels = panels[row, 0].get_legend_handles_labels()
            panels[row, 3].legend(handles, labels, loc="center left", bbox_to_anchor=(1.02, 0.5), handletextpad=0.2)
        figure.suptitle(
            f"{arm_name(run)}, trained on {run.dataset.unique_name}: {counted(len(classes), 'image')}",
            x=0.01,
            ha="left",
        )
        add_note(figure, *_notes(found), random_weights_note([run]))
    return figure


def _notes(found: Measurement) -> list[str]:
    about = found.about
    parts = ", ".join(f"{name} {text}" for name, text in about["parts"].items())
    return [
        f"Mean patch token after block {about['block']}, none of these images was trained on: {parts}.",
        f"{NEIGHBOURS}-NN: fraction of images whose group is that of most of their {NEIGHBOURS} nearest neighbours, by "
        "all features, not in the picture.",
    ]


def _scatter(panel: Axes, places_N2: Floats, groups: Sequence[str]) -> None:
    names = sorted(set(groups) - {""})
    size = 12 if len(groups) <= 150 else 5
    for name in [name for name in ["", *names] if name in groups]:
        chosen = np.array([group == name for group in groups])
        number = names.index(name) if name else 0
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)] if name else WITHOUT_CLASS
        x, y = places_N2[chosen].T
        mark, height = MARKS[number % len(MARKS)], 3 - chosen.mean()  # small groups on top
        panel.scatter(
            x, y, s=size, color=colour, marker=mark, alpha=0.8, linewidth=0, label=name or "no class", zorder=height
        )
    panel.set(xticks=[], yticks=[])
    panel.margins(0.08)
    for side in ("top", "right"):
        panel.spines[side].set_visible(True)
    for spine in panel.spines.values():
        spine.set_color("0.7")
