"""Figures 4 and 5 of the paper: masks of some test images, by method, and by the fraction of the training images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from htunet.data.image_io import channels_last, read_image, read_labels
from htunet.data.raw import label_names, read_raw
from htunet.errors import some
from htunet.evaluation.predicted_run import test_cases
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.figures.base import (
    Drawing,
    NotYetError,
    Results,
    by_arm,
    by_dataset,
    one_run,
    random_weights_note,
    tested_as_in_the_paper,
)
from htunet.reporting.figures.style import (
    DOTS_PER_INCH,
    DOUBLE_MM,
    MM_PER_INCH,
    PAGE_MM,
    SMALL,
    TEXT,
    add_note,
    in_style,
    legend_columns,
    new_figure,
    note_lines,
)
from htunet.reporting.overlays.draw import EXTRA, LEGEND, MISSED, RIGHT, Colour, legend_of, overlay
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.rows import percent
from htunet.reproducibility import generator

UInt8 = NDArray[np.uint8]
SAMPLES, FEW_SHOT_SAMPLES = 3, 2
"""Images of each data set; the paper's figure 4 shows three."""
LARGEST_MM, NARROWEST_MM, GAP_MM = 34.0, 76.0, 0.25
"""Of a picture, of the page, and around each picture."""
GROUP_MM, MOST_AROUND_MM, LINE_MM, PATCH_MM = 7.0, 35.0, 3.6, 8.0
"""For the names of the groups, for all that is above and below, for a line of it, and for a colour of the key."""
MEANING = {MISSED: "ground truth, missed", EXTRA: "false positive", RIGHT: "true positive"}


@dataclass(frozen=True)
class MaskRow:
    """One row of pictures: an image, and a run for each column; None where a column has none."""

    group: str
    """Rows of one group have one name at their left."""
    case: str
    runs: tuple[RunPaths | None, ...]


@dataclass(frozen=True, kw_only=True)
class MaskGrid:
    """A figure of masks before anything is drawn."""

    columns: tuple[str, ...]
    rows: tuple[MaskRow, ...]
    bold: frozenset[str] = frozenset()
    """Columns with bold names: the paper's hybrid-tuned models."""


def figure4(results: Results) -> list[Drawing]:
    """The paper's figure 4: three test images of each data set in rows, methods in columns."""
    grid = comparison_grid(results)
    return [Drawing("figure4", draw_masks(grid, _excluded(results, grid)))]


def figure5(results: Results) -> list[Drawing]:
    """The paper's figure 5: the same test images after training on more and more images, for each data set."""
    grids = few_shot_grids(results)
    return [Drawing(f"figure5_{dataset.unique_name}", draw_masks(grid)) for dataset, grid in grids.items()]


def comparison_grid(results: Results) -> MaskGrid:
    """Which images and runs figure 4 shows. Images are drawn from those that all shown runs of a data set predicted.

    Methods: those that the user named, else the paper's, else all. Raises NotYetError without predicted masks.
    """
    runs = [run for run in _predicted(results.runs) if run.ratio is None and tested_as_in_the_paper(run)]
    if results.methods is None:
        runs = [run for run in runs if run.method in paper.METHODS] or runs
    arms = by_arm(runs)
    chosen = {
        dataset: {
            arm: one_run([run for run in members if run.dataset == dataset], results.seed)
            for arm, members in arms.items()
        }
        for dataset in by_dataset(runs)
    }
    columns = tuple(arm for arm in arms if any(of_dataset[arm] for of_dataset in chosen.values()))
    if not columns:
        raise NotYetError(
            "no test split is predicted by a run that learns masks. Provide one: htunet_train BUSI PhantomCLIP_HT "
            "fold0, then htunet_evaluate."
        )
    rows = []
    for dataset, of_dataset in chosen.items():
        shown = tuple(of_dataset[arm] for arm in columns)
        cases = sampled_cases(dataset, [run for run in shown if run], SAMPLES, results.draw_seed)
        rows += [MaskRow(dataset.unique_name, case, shown) for case in cases]
    hybrid = frozenset(arm for arm in columns if "_HT" in arms[arm][0].method)
    return MaskGrid(columns=columns, rows=tuple(rows), bold=hybrid)


def few_shot_grids(results: Results) -> dict[DatasetPaths, MaskGrid]:
    """Which images and runs figure 5 shows: fractions of the training images in columns, methods in rows, by image.

    Raises NotYetError where there is no such run.
    """
    few = _predicted(results.own("seg", few_shot=True))
    if not few:
        raise NotYetError(
            "no few-shot run that learns masks has predicted its test split. Provide one: htunet_train BUSI "
            "PhantomCLIP_HT fold0 --ratio 0.05, then htunet_evaluate."
        )
    grids = {}
    for dataset, own in by_dataset(few).items():
        whole = [run for run in _predicted(results.own("seg")) if run.dataset == dataset]
        arms = {arm: runs for arm, runs in by_arm([*own, *whole], by_epochs=False).items() if {*runs} & {*own}}
        steps = sorted({run.ratio for runs in arms.values() for run in runs}, key=lambda ratio: ratio or 1.0)
        shown = {
            arm: tuple(one_run([run for run in runs if run.ratio == step], results.seed) for step in steps)
            for arm, runs in arms.items()
        }
        everything = [run for runs in shown.values() for run in runs if run]
        cases = sampled_cases(dataset, everything, FEW_SHOT_SAMPLES, results.draw_seed)
        rows = tuple(MaskRow(arm, case, runs) for case in cases for arm, runs in shown.items())
        columns = tuple("100 %" if step is None else percent(step) for step in steps)
        grids[dataset] = MaskGrid(columns=columns, rows=rows)
    return grids


def sampled_cases(dataset: DatasetPaths, runs: Sequence[RunPaths], n: int, seed: int) -> list[str]:
    """``n`` cases, drawn at random among those that all these runs have predicted, in the order of their names."""
    common = set.intersection(*(set(test_cases(run)) for run in runs)) if runs else set()
    drawn = generator(seed, "pictured cases", dataset.name).permutation(sorted(common))[:n]
    return sorted(map(str, drawn))


def draw_masks(grid: MaskGrid, note: str = "") -> Figure:
    """The figure: the input image first, then an overlay a column, all pictures square as the network sees them."""
    rows, columns, key = len(grid.rows), 1 + len(grid.columns), _key(grid)
    side = min((DOUBLE_MM - GROUP_MM) / columns, (PAGE_MM - MOST_AROUND_MM) / rows, LARGEST_MM)
    width = max(NARROWEST_MM, GROUP_MM + columns * side)
    across = legend_columns(width, [name for _, name in key], PATCH_MM)
    notes = (note, random_weights_note([run for row in grid.rows for run in row.runs if run]))
    heads = max(1 + _in_lines(name).count("\n") for name in grid.columns)
    lines = heads - (-len(key) // across) + len(note_lines(width, notes))
    pads = dict.fromkeys(("w_pad", "h_pad"), GAP_MM / MM_PER_INCH)
    with in_style():
        figure = new_figure(width, rows * (side + GAP_MM) + LINE_MM * (lines + 2))
        figure.set_layout_engine("compressed", wspace=0, hspace=0, **pads)
        panels = figure.subplots(rows, columns, squeeze=False)
        pictures = _Pictures(round(side / MM_PER_INCH * DOTS_PER_INCH))
        for line, row in zip(panels, grid.rows, strict=True):
            shown = [pictures.image(row), *(pictures.overlay(row, run) for run in row.runs)]
            for panel, picture in zip(line, shown, strict=True):
                panel.set(xticks=[], yticks=[])
                panel.spines[:].set_visible(False)
                if picture is None:
                    panel.set(facecolor="0.93", box_aspect=1, xlim=(0, 1), ylim=(0, 1))
                    panel.text(0.5, 0.5, "-", ha="center", va="center", color="0.6")
                else:
                    panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="none")
        size = SMALL if side < 24 else TEXT
        for panel, name in zip(panels[0], ("Input", *grid.columns), strict=True):
            panel.set_title(_in_lines(name), fontsize=size, fontweight="bold" if name in grid.bold else "normal")
        for name, members in groupby(zip(panels[:, 0], grid.rows, strict=True), key=lambda pair: pair[1].group):
            first = [panel for panel, _ in members]
            first[(len(first) - 1) // 2].set_ylabel(_in_lines(name))
        handles = [Patch(color=f"#{red:02x}{green:02x}{blue:02x}", label=name) for (red, green, blue), name in key]
        style = {"handlelength": 1.0, "handleheight": 1.0}
        figure.legend(handles=handles, loc="outside lower center", ncols=across, **style)
        add_note(figure, *notes, below=2 * -(-len(key) // across))
    return figure


class _Pictures:
    """Reads images and masks at their own size and makes squares of ``side`` pixels of them."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.raw = cache(read_raw)
        self.pixels: dict[tuple[DatasetPaths, str], UInt8] = {}

    def image(self, row: MaskRow) -> UInt8:
        """(side, side) or (side, side, 3)."""
        dataset = next(run.dataset for run in row.runs if run)
        if (dataset, row.case) not in self.pixels:
            raw = self.raw(dataset)
            image = read_image(raw.image_path(raw.by_id[row.case]), raw.info.channels)
            self.pixels[dataset, row.case] = self._square(channels_last(image), Image.Resampling.LANCZOS)
        return self.pixels[dataset, row.case]

    def overlay(self, row: MaskRow, run: RunPaths | None) -> UInt8 | None:
        """(side, side, 3) in the overlays' colours; None without a run."""
        if run is None:
            return None
        raw = self.raw(run.dataset)
        masks = (run.predictions / f"{row.case}.png", raw.label_path(raw.by_id[row.case]))
        prediction, reference = (self._square(read_labels(path), Image.Resampling.NEAREST) for path in masks)
        return overlay(self.image(row), prediction, reference, num_labels=raw.info.num_labels - 1)

    def _square(self, pixels: UInt8, how: Image.Resampling) -> UInt8:
        return np.asarray(Image.fromarray(pixels).resize((self.side, self.side), how))


def _in_lines(name: str) -> str:
    """``BiomedCLIP (HT), adapter of MedPix+CURD`` in four lines."""
    return name.replace(" (", "\n(").replace(", ", ",\n").replace("+", "+\n")


def _key(grid: MaskGrid) -> list[tuple[Colour, str]]:
    """What the colours mean; of data sets with several labels, the labels."""
    key: dict[Colour, str] = {}
    for dataset in dict.fromkeys(run.dataset for row in grid.rows for run in row.runs if run):
        found = legend_of(label_names(read_raw(dataset).info.labels))
        short = dataset.unique_name
        key |= dict(MEANING if found is LEGEND else {colour: f"{short}: {name}" for colour, name in found})
    return list(key.items())


def _predicted(runs: Sequence[RunPaths]) -> list[RunPaths]:
    """Those that learn masks and have predicted all their test cases."""
    learning = [run for run in runs if "seg" in run.tasks and run.predictions.is_dir()]
    return [run for run in learning if all((run.predictions / f"{case}.png").exists() for case in test_cases(run))]


def _excluded(results: Results, grid: MaskGrid) -> str:
    """Which predicted methods have no column."""
    arms = by_arm([run for run in _predicted(results.runs) if run.ratio is None and tested_as_in_the_paper(run)])
    missing = [arm for arm in arms if arm not in grid.columns]
    if not missing:
        return ""
    return f"Not shown, because not in the paper's figure: {some(missing, 4)}; --methods names others."
