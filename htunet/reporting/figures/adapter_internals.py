"""What the parts of the hybrid adapter have learnt: the frequency filter, and the noise estimator as speckle grows.

Dimension key: L blocks, R channels, H rows of frequencies, F columns of them, V levels of speckle, S scales.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from htunet.data.measurements import Measurement
from htunet.errors import counted
from htunet.paths import RunPaths
from htunet.reporting.figures.base import Drawing, Results, arm_name, random_weights_note
from htunet.reporting.figures.probed import probed_drawings
from htunet.reporting.figures.style import (
    CLASS_COLOURS,
    DOUBLE_MM,
    REFERENCE,
    SMALL,
    add_note,
    in_lines,
    in_style,
    new_figure,
    panel_grid,
)

Floats = NDArray[np.float64]
DEPTHS, AROUND_ONE = "viridis", "PuOr"
SMALLEST_RANGE = 1e-6
BESIDE_LEGEND = 62
"""Characters of a title that leave room for the key at its right."""
BLOCKS_ACROSS = 5


def frequency_filter(results: Results) -> list[Drawing]:
    """The adapter's frequency filter: its response in each block, as it began and as it was learnt."""
    return probed_drawings(results, "filter", _draw_filter)


def noise_estimator(results: Results) -> list[Drawing]:
    """The noise estimator's weights of the kernels 3, 5 and 7 as the speckle of the test images grows."""
    return probed_drawings(results, "noise", _draw_noise)


def radial_response(theta_LRHF: Floats, rows: int, columns: int) -> tuple[Floats, Floats]:
    """Frequencies in cycles per patch, and the mean response of each block and channel at them, (bins,), (L, R, bins).

    ``rows`` and ``columns`` are those of the grid of patches. A frequency belongs to the bin that is nearest to its
    distance from 0; the half of the plane that a real map does not store counts, too.
    """
    across_F = np.fft.rfftfreq(columns)
    distance_HF = np.hypot(np.fft.fftfreq(rows)[:, None], across_F)
    weight_F = np.where((across_F == 0) | (2 * across_F == 1), 1.0, 2.0)
    step = 1 / max(rows, columns)
    bin_HF = np.rint(distance_HF / step).astype(int)
    weight_HF = np.broadcast_to(weight_F, distance_HF.shape)
    bins = int(np.rint(0.5 / step)) + 1  # beyond half a cycle per patch there are only the corners
    means = []
    for b in range(bins):
        share_HF = weight_HF * (bin_HF == b)
        means.append((theta_LRHF * share_HF).sum(axis=(2, 3)) / share_HF.sum())
    return step * np.arange(bins, dtype=np.float64), np.stack(means, axis=-1)


def as_responses(theta: Floats, grid_hw: Sequence[int]) -> Floats:
    """(L, R, H, F) factors: as they are, or, (L, R), the same at all frequencies."""
    if theta.ndim == 4:
        return theta
    rows, columns = grid_hw
    return np.broadcast_to(theta[:, :, None, None], (*theta.shape, rows, columns // 2 + 1))


def _draw_filter(run: RunPaths, found: Measurement) -> Figure:
    theta, initial = (found.arrays[name].astype(np.float64) for name in ("theta", "initial"))
    grid_hw = tuple(int(side) for side in found.about["grid_hw"])
    blocks = [int(number) for number in found.arrays["blocks"]]
    change = theta - initial
    spectral = theta.ndim == 4
    frequencies, learned_LRb = radial_response(as_responses(theta, grid_hw), *grid_hw)
    _, initial_LRb = radial_response(as_responses(initial, grid_hw), *grid_hw)
    with in_style():
        figure = new_figure(DOUBLE_MM, 82)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _add_responses(left, frequencies, learned_LRb, initial_LRb, blocks)
        per_channel_LR = np.sqrt((change**2).mean(axis=(2, 3))) if spectral else change
        _add_channels(figure, right, per_channel_LR, blocks, spectral=spectral)
        title = f"{arm_name(run)}, {run.dataset.unique_name}: mean |θ - initial θ| = {np.abs(change).mean():.2g}"
        figure.suptitle(f"{title}, largest {np.abs(change).max():.2g}", x=0.01, ha="left")
        flat = "One factor for each channel, equal for all frequencies: the response is flat (equation 2 of the paper)."
        own = "A factor for each channel and frequency."
        add_note(
            figure, own if spectral else flat, _start(found), _dead(found, change, blocks), random_weights_note([run])
        )
    return figure


def _add_responses(
    panel: Axes, frequencies: Floats, learned_LRb: Floats, initial_LRb: Floats, blocks: Sequence[int]
) -> None:
    """A line a block: the mean over the channels; dashed the mean at the beginning of all blocks."""
    from matplotlib import colormaps

    norm = Normalize(min(blocks), max(max(blocks), min(blocks) + 1))
    for number, response_Rb in zip(blocks, learned_LRb, strict=True):
        panel.plot(frequencies, response_Rb.mean(axis=0), color=colormaps[DEPTHS](0.92 * norm(number)), linewidth=1.1)
    panel.plot(frequencies, initial_LRb.mean(axis=(0, 1)), "--", color="black", linewidth=0.9, label="initial")
    panel.set(xlabel="Spatial frequency, cycles per patch", ylabel="Response, mean over channels", xlim=(0, 0.5))
    panel.ticklabel_format(axis="y", useOffset=False)
    panel.grid(axis="y")
    panel.legend(loc="best")
    colours = ScalarMappable(norm, colormaps[DEPTHS].resampled(256))
    bar = panel.figure.colorbar(colours, ax=panel, location="top", aspect=40, pad=0.02)
    bar.set_label("Block", labelpad=2)
    bar.outline.set_linewidth(0.4)


def _add_channels(figure: Figure, panel: Axes, values_LR: Floats, blocks: Sequence[int], *, spectral: bool) -> None:
    """A row a block, its channels from the smallest to the largest value."""
    ordered_LR = np.sort(values_LR, axis=1)
    if spectral:
        shown = panel.imshow(ordered_LR, aspect="auto", cmap="viridis", interpolation="none")
    else:
        limit = max(float(np.abs(ordered_LR).max()), SMALLEST_RANGE)
        norm = TwoSlopeNorm(0.0, -limit, limit)
        shown = panel.imshow(ordered_LR, aspect="auto", cmap=AROUND_ONE, norm=norm, interpolation="none")
    panel.set_yticks(range(len(blocks)), list(map(str, blocks)))
    panel.set(xlabel="Channels of a block, sorted", ylabel="Block", xticks=[])
    for side in ("left", "bottom"):
        panel.spines[side].set_visible(False)
    bar = figure.colorbar(shown, ax=panel, location="top", aspect=40, pad=0.02)
    bar.set_label("RMS over frequencies of θ - initial θ" if spectral else "θ - initial θ", labelpad=2)
    bar.outline.set_linewidth(0.4)
    bar.ax.locator_params(nbins=5)
    bar.ax.ticklabel_format(useMathText=False, scilimits=(-2, 3))


def _start(found: Measurement) -> str:
    adapter = found.about["adapter"]
    return "" if adapter is None else f"This adapter was fine-tuned first ({adapter}); initial is where that began."


def _dead(found: Measurement, change: Floats, blocks: Sequence[int]) -> str:
    """Which blocks feed nothing: after the last one whose features the heads take."""
    last = int(found.about["last_block"])
    after = [number for number, moved in zip(blocks, change, strict=True) if number > last and not np.abs(moved).any()]
    return f"Blocks after {last} are used by no head in this task: they keep their initial values." if after else ""


def _draw_noise(run: RunPaths, found: Measurement) -> Figure:
    levels_V = found.arrays["levels"].astype(np.float64)
    mean_VLS, std_VLS = (found.arrays[name].astype(np.float64) for name in ("mean", "std"))
    blocks = [int(number) for number in found.arrays["blocks"]]
    kernels = [int(side) for side in found.about["kernels"]]
    across = min(BLOCKS_ACROSS, len(blocks))
    lines = -(-len(blocks) // across)
    with in_style():
        figure = new_figure(DOUBLE_MM, 26 + 36 * lines)
        panels = panel_grid(figure, len(blocks), across, shared=True)
        for panel, number, mean_VS, std_VS in zip(
            panels.ravel(), blocks, mean_VLS.transpose(1, 0, 2), std_VLS.transpose(1, 0, 2), strict=False
        ):
            _add_weights(panel, levels_V, mean_VS, std_VS, kernels)
            panel.set_title(f"Block {number}", fontsize=SMALL, loc="left")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(kernels) + 1)
        for panel in panels[:, 0]:
            panel.set_ylabel("Weight")
        for panel in panels[-1]:
            panel.set_xlabel("Speckle exponent")
        title = f"{arm_name(run)}, {run.dataset.unique_name}: {largest_change(mean_VLS, blocks)}"
        figure.suptitle(in_lines(title, BESIDE_LEGEND), x=0.01, ha="left")
        about = found.about
        note = (
            f"Lines: means over {counted(about['n_images'], 'test image')}; bands: ± one standard deviation over them."
        )
        add_note(figure, note, str(about["speckle"]), random_weights_note([run]))
    return figure


def largest_change(mean_VLS: Floats, blocks: Sequence[int]) -> str:
    """How far the mean weights move between the first and the last level at most, and where."""
    moved_L = np.abs(mean_VLS[-1] - mean_VLS[0]).max(axis=1)
    block = int(moved_L.argmax())
    return f"weights move by at most {moved_L[block]:.2g} (block {blocks[block]})"


def _add_weights(panel: Axes, levels_V: Floats, mean_VS: Floats, std_VS: Floats, kernels: Sequence[int]) -> None:
    panel.axhline(1 / len(kernels), **REFERENCE, label="equal")
    for number, side in enumerate(kernels):
        colour, mean_V, std_V = CLASS_COLOURS[number], mean_VS[:, number], std_VS[:, number]
        panel.plot(levels_V, mean_V, color=colour, marker="os^"[number % 3], label=f"{side} x {side}")
        low_V, high_V = (np.clip(mean_V + sign * std_V, 0, 1) for sign in (-1, 1))
        panel.fill_between(levels_V, low_V, high_V, color=colour, alpha=0.15, linewidth=0)
    panel.grid(axis="y")
    ends = np.array([levels_V.min(), levels_V.mean(), levels_V.max()])
    panel.set_xticks(ends, [f"{level:.2g}" for level in ends])
    panel.set_xlim(ends[0] - 0.03 * np.ptp(ends), ends[2] + 0.03 * np.ptp(ends))
