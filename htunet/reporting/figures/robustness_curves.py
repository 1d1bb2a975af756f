"""Figures and files of robustness: curves of several methods, and what the artefacts look like."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from htunet.data.artefacts import ARTEFACTS
from htunet.data.image_io import UInt8
from htunet.errors import counted
from htunet.evaluation.case_table import write_table
from htunet.evaluation.metrics import METRICS
from htunet.evaluation.robustness import RobustnessCurve, artefacts_in, compare_drops, curve, metrics_in
from htunet.files import write_json
from htunet.reporting.figures.style import (
    DOUBLE_MM,
    GRAY,
    MM_PER_INCH,
    add_note,
    in_style,
    legend_columns,
    look_of,
    new_figure,
    save_figure,
)
from htunet.reporting.overlays.run_pictures import RANDOM_WEIGHTS
from htunet.reproducibility import provenance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

COLUMNS = 3
"""Panels side by side."""
ROW_MM = 68.0
OUTLINE = "#FFC107"

Pictures = Mapping[str, Sequence[UInt8]]
"""Artefact to one test case's images (H, W): unchanged, then each strength."""


def curves_of(table: pd.DataFrame) -> list[RobustnessCurve]:
    """Every curve of one run's table."""
    return [curve(table, artefact, metric) for metric in metrics_in(table) for artefact in artefacts_in(table)]


def write_summary(path: Path, about: Mapping[str, Any], curves: Sequence[RobustnessCurve]) -> None:
    """robustness.json: of each figure and artefact the points with intervals and drops, and the relative area."""
    figures: dict[str, dict[str, Any]] = {}
    for one in curves:
        content = {
            "quantity": ARTEFACTS[one.artefact].quantity,
            "unit": one.unit,
            "n_cases": one.n_cases,
            "area_under_relative_curve": asdict(one.area),
        }
        content["points"] = [
            {"strength": point.strength, "value": point.value, "figure": asdict(point.estimate)}
            | {"drop": asdict(point.drop), "n_cases": point.n_cases}
            for point in one.points
        ]
        figures.setdefault(one.metric, {})[one.artefact] = content
    write_json(path, {**about, "figures": figures, "evaluated_with": provenance()})


def write_comparison(folder: Path, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Write ``comparisons.csv`` (each pair of methods) and ``curves.csv`` (all points); return the former."""
    rows = [
        {"method": method, "artefact": one.artefact, "figure": one.metric, "unit": one.unit}
        | {"strength": point.strength, "value": point.value}
        | {"mean": point.estimate.value, "low": point.estimate.low, "high": point.estimate.high}
        | {"drop": point.drop.value, "drop_low": point.drop.low, "drop_high": point.drop.high}
        | {"n_cases": point.n_cases}
        for method, table in tables.items()
        for one in curves_of(table)
        for point in one.points
    ]
    write_table(folder / "curves.csv", pd.DataFrame(rows))
    found = compare_drops(tables)
    write_table(folder / "comparisons.csv", found)
    return found


def draw_curves(
    folder: Path, curves: Mapping[str, Sequence[RobustnessCurve]], pictures: Pictures, *, title: str, random: bool
) -> list[Path]:
    """Write ``robustness_dice`` and ``robustness_auc`` as PNG and PDF: a panel an artefact, a line a method, its band.

    ``curves`` by the method's name. Below each panel are pictures of one test case at the same strengths.
    """
    paths = []
    measured = {one.metric for found in curves.values() for one in found}
    for metric in (name for name in METRICS if name in measured and METRICS[name].higher_is_better):
        of_methods = {method: [one for one in found if one.metric == metric] for method, found in curves.items()}
        chosen = {method: found for method, found in of_methods.items() if found}
        with in_style():
            paths += _draw_figure(folder, metric, chosen, pictures, (title, RANDOM_WEIGHTS if random else ""))
    return paths


def _draw_figure(
    folder: Path,
    figure: str,
    curves: Mapping[str, Sequence[RobustnessCurve]],
    pictures: Pictures,
    notes: tuple[str, str],
) -> list[Path]:
    artefacts = list(dict.fromkeys(one.artefact for found in curves.values() for one in found))
    columns = min(COLUMNS, len(artefacts))
    rows = -(-len(artefacts) // columns)
    canvas = new_figure(DOUBLE_MM * columns / COLUMNS if columns > 1 else DOUBLE_MM / 2, ROW_MM * rows + 12)
    panels = canvas.subfigures(rows, columns, squeeze=False).ravel()
    figures = [point.estimate for found in curves.values() for one in found for point in one.points]
    edges = [edge for one in figures for edge in (one.low, one.value, one.high) if edge is not None]
    # the same for all panels, so that artefacts can be compared
    limits = max(0.0, min(edges, default=0.0) - 0.03), min(1.0, max(edges, default=1.0) + 0.03)
    for place, artefact in zip(panels, artefacts, strict=False):
        members = {method: one for method, found in curves.items() for one in found if one.artefact == artefact}
        _draw_panel(place, members, pictures.get(artefact, ()), limits)
    handles, labels = panels[0].axes[0].get_legend_handles_labels()
    across = legend_columns(canvas.get_figwidth() * MM_PER_INCH, labels)
    canvas.legend(handles, labels, loc="outside upper center", ncols=across)
    n_cases = sorted({point.n_cases for found in curves.values() for one in found for point in one.points})
    of = counted(n_cases[-1], "test image")
    if len(n_cases) > 1:
        of = f"the {n_cases[0]} to {of} that have a value at a strength"
    band = f"Mean of {of} and 95 % bootstrap interval. Strength 0: unchanged."
    add_note(canvas, f"{notes[0]}. {band}", notes[1])
    return save_figure(canvas, folder, f"robustness_{figure}")


def _draw_panel(
    place: "SubFigure", members: Mapping[str, RobustnessCurve], pictures: Sequence[UInt8], limits: tuple[float, float]
) -> None:
    first = next(iter(members.values()))
    strengths = [point.strength for point in first.points]
    axes, small = place.subplots(2, 1, height_ratios=(4.6, 1))
    for method, one in members.items():
        _draw_line(axes, method, one)
    axes.set(ylim=limits, xlim=_middles(strengths), ylabel=METRICS[first.metric].label)
    axes.set_xticks(strengths, [f"{point.value:.3g}" for point in first.points])
    unit = f", {first.unit}" if first.unit else ""
    axes.set_xlabel(f"{ARTEFACTS[first.artefact].quantity}{unit}")
    axes.set_title(first.artefact.replace("_", " "), fontweight="bold")
    axes.grid(visible=True)
    small.set_axis_off()
    if pictures:
        small.imshow(_strip(pictures), cmap="gray", vmin=0, vmax=255)


def _strip(pictures: Sequence[UInt8]) -> UInt8:
    """The pictures side by side, a little white around each."""
    gap = max(1, pictures[0].shape[1] // 30)
    return np.hstack([np.pad(picture, ((0, 0), (gap, gap)), constant_values=255) for picture in pictures])


def _middles(strengths: Sequence[float]) -> tuple[float, float]:
    """Limits that put evenly spaced strengths over the middles of the pictures below."""
    half = (strengths[-1] - strengths[0]) / max(len(strengths) - 1, 1) / 2 or 0.5
    return strengths[0] - half, strengths[-1] + half


def _draw_line(axes: "Axes", method: str, one: RobustnessCurve) -> None:
    look = look_of(method)
    strengths = [point.strength for point in one.points]
    values, low, high = (
        np.array([getattr(point.estimate, name) for point in one.points], dtype=float)
        for name in ("value", "low", "high")
    )
    axes.plot(strengths, values, label=method, marker=look.marker, **look.line())
    axes.fill_between(strengths, low, high, color=look.colour, alpha=0.13, linewidth=0)


def draw_artefacts(
    folder: Path, pictures: Pictures, mask_HW: UInt8 | None, values: Mapping[str, Sequence[float]], *, case: str
) -> list[Path]:
    """Write ``artefacts.png`` and ``.pdf``: a row an artefact, a column a strength, of one test case.

    ``mask_HW`` is outlined, so that one sees what the artefact does to the lesion. ``values`` are the physical ones.
    """
    columns = max(len(found) for found in pictures.values())
    height, width = next(iter(pictures.values()))[0].shape
    with in_style():
        canvas = new_figure(DOUBLE_MM, 6 + len(pictures) * (DOUBLE_MM / columns * height / width + 5))
        grid = canvas.subplots(len(pictures), columns, squeeze=False)
        for line, (artefact, images) in zip(grid, pictures.items(), strict=True):
            line[0].set_ylabel(artefact.replace("_", " "))
            for axes, image, value in zip(line, images, values[artefact], strict=True):
                axes.imshow(image, cmap="gray", vmin=0, vmax=255)
                if mask_HW is not None and mask_HW.any():
                    axes.contour(mask_HW > 0, levels=[0.5], colors=OUTLINE, linewidths=0.5)
                axes.set_title(f"{value:.3g} {ARTEFACTS[artefact].unit}".strip(), color=GRAY)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
        add_note(canvas, f"{case}; the line is the true outline, which no artefact changes. Left: unchanged.")
        return save_figure(canvas, folder, "artefacts")
