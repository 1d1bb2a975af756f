"""One look for all figures: sizes of a journal's columns, readable type, a colour for each method that never changes.

Figures are made through matplotlib's objects, never through pyplot, so that nothing is left behind in the process.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from htunet.files import whole_file
from htunet.reproducibility import derived_seed

SINGLE_MM, DOUBLE_MM, PAGE_MM = 88.0, 181.0, 230.0
"""Widths of one and of two columns, and the most that a figure may be high; IEEE journals."""
MM_PER_INCH = 25.4
DOTS_PER_INCH = 300
TEXT, SMALL = 8.0, 7.0
"""Points; nothing in a figure is smaller."""
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures are the same on every machine
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "figure.titlesize": TEXT,
    "figure.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "grid.linewidth": 0.4,
    "grid.color": "0.88",
    "axes.axisbelow": True,
    "pdf.fonttype": 42,  # TrueType, as publishers ask for: text stays text
    "svg.fonttype": "none",
}
CHARACTER_MM = 1.36
"""Mean width of a character of the small text."""
GRAY = "0.35"
REFERENCE: dict[str, Any] = {"color": "0.6", "linestyle": "--", "linewidth": 0.8, "zorder": 0}
"""Of the line that says chance, or the beginning."""

OWN_HUES = {"UNet": "#000000", "CLIPSeg": "#808080", "DINOv2": "#E69F00", "ResNet18": "#7A4419"}
BACKBONE_HUES = {"CLIP": "#0072B2", "MetaCLIP": "#009E73", "UniMedCLIP": "#CC79A7", "BiomedCLIP": "#D55E00"}
ADAPTER_HUES = {
    "LoRA": "#332288",
    "LoRAVT": "#882255",
    "Mona": "#117733",
    "HTNE": "#8C6D1F",
    "HTFF": "#44AA99",
    "HTSpectral": "#7A5195",
    "FullFT": "#999933",
}
OTHER_HUES = ("#4477AA", "#AA3377", "#228833", "#BB5566", "#66574D", "#004488")
"""After Okabe and Ito, and Paul Tol: told apart with red-green blindness too; marks and dashes help."""
MARKERS = {"CLIP": "o", "MetaCLIP": "s", "UniMedCLIP": "D", "BiomedCLIP": "^"}
OWN_MARKERS = {"UNet": "X", "CLIPSeg": "P", "DINOv2": "v", "ResNet18": "p"}
DASHES: dict[str, Any] = {
    "": (0, (4, 1.6)),
    "HT": "solid",
    "LoRA": (0, (1, 1)),
    "LoRAVT": (0, (4, 1, 1, 1)),
    "Mona": (0, (4, 1, 1, 1, 1, 1)),
    "HTNE": (0, (2, 1)),
    "HTFF": (0, (7, 1)),
    "HTSpectral": (0, (7, 1, 2, 1)),
    "FullFT": (0, (3, 3)),
}
OTHER_DASHES = (0, (10, 2))
PALER = 0.45
"""How far the colour of a backbone without an adapter lies towards white."""
CLASS_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Of classes, data sets and kernels, in their order."""
WITHOUT_CLASS = "0.75"


@dataclass(frozen=True)
class Look:
    """How one method is drawn in every figure."""

    colour: str
    marker: str
    dashes: Any

    def line(self) -> dict[str, Any]:
        """Keywords of ``Axes.plot``."""
        return {"color": self.colour, "linestyle": self.dashes}


def look_of(method: str) -> Look:
    """Depends on the method's name alone: a backbone's hue, pale without an adapter; other adapters have their own.

    A method that is not known here gets one of the other hues, always the same.
    """
    if method in OWN_HUES:
        return Look(OWN_HUES[method], OWN_MARKERS[method], "solid")
    backbone, _, adapter = method.partition("_")
    marker = MARKERS.get(backbone, "h")
    dashes = DASHES.get(adapter, OTHER_DASHES)
    if adapter in ADAPTER_HUES:
        return Look(ADAPTER_HUES[adapter], marker, dashes)
    if backbone in BACKBONE_HUES and adapter in ("", "HT"):
        hue = BACKBONE_HUES[backbone]
        return Look(hue if adapter else paler(hue), marker, dashes)
    return Look(OTHER_HUES[derived_seed("colour", method) % len(OTHER_HUES)], marker, dashes)


def looks_of(methods: Sequence[str]) -> list[Look]:
    """One for each line of a figure: of a method with several, such as of several plans, those after its first differ.

    They are paler one after another, and have other dashes.
    """
    found = [look_of(method) for method in methods]
    for k, look in enumerate(found):
        if nth := methods[:k].count(methods[k]):
            dashes = [one for one in (*DASHES.values(), OTHER_DASHES) if one != look.dashes]
            found[k] = Look(paler(look.colour, nth / (nth + 1.5)), look.marker, dashes[nth % len(dashes)])
    return found


def paler(colour: str, share: float = PALER) -> str:
    """The colour, mixed with white."""
    red, green, blue = ((1 - share) * part + share for part in to_rgb(colour))
    return to_hex((red, green, blue)).upper()


def method_name(method: str) -> str:
    """As the paper writes it: ``CLIP (HT)`` for CLIP_HT, ``BiomedCLIP (LoRA V+T)`` for BiomedCLIP_LoRAVT."""
    backbone, _, adapter = method.partition("_")
    return f"{backbone} ({adapter.replace('LoRAVT', 'LoRA V+T')})" if adapter else backbone


@contextmanager
def in_style() -> Iterator[None]:
    """Inside the block matplotlib draws and writes in our style; afterwards everything is as it was."""
    with mpl.rc_context(STYLE):
        yield


def new_figure(width_mm: float, height_mm: float) -> Figure:
    """An empty figure of this size whose parts make room for each other."""
    figure = Figure(figsize=(width_mm / MM_PER_INCH, height_mm / MM_PER_INCH), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel_grid(figure: Figure, n: int, columns: int, *, shared: bool = False) -> NDArray[Any]:
    """(lines, columns) of panels for ``n`` drawings; ``shared``: with one scale; those that are over are empty."""
    panels = figure.subplots(-(-n // columns), columns, squeeze=False, sharex=shared, sharey=shared)
    for panel in panels.ravel()[n:]:
        panel.set_axis_off()
    return np.asarray(panels)


def add_note(figure: Figure, *sentences: str, below: int = 0) -> None:
    """Small lines below everything, as long as the figure is wide: what a reader must know of it.

    ``below`` lines stay empty, for a legend at the lower edge.
    """
    if text := "\n".join(note_lines(figure.get_figwidth() * MM_PER_INCH, sentences)):
        text += "\n " * below
        figure.supxlabel(text, fontsize=SMALL, color=GRAY, x=0.01, ha="left")


def note_lines(width_mm: float, sentences: Iterable[str]) -> list[str]:
    """The sentences, without empty ones, in lines of small text that are no longer than ``width_mm``."""
    return [line for sentence in sentences for line in wrap(sentence, int(width_mm / CHARACTER_MM))]


def legend_columns(width_mm: float, labels: Sequence[str], beside_mm: float = 12.0) -> int:
    """How many entries of a legend, each with ``beside_mm`` for what stands beside its text, fit side by side.

    >>> legend_columns(181, ["UNet"] * 4), legend_columns(181, ["UNet"] * 4 + ["PhantomCLIP (Mona), plan mine"])
    (4, 3)
    """
    return max(1, min(len(labels), int(width_mm / (max(map(len, labels), default=1) * CHARACTER_MM + beside_mm))))


def in_lines(text: str, characters: int) -> str:
    """The text in lines of at most so many characters, broken at blanks and after plus signs.

    >>> print(in_lines("CLIP (HT), adapter of MedPix+PMC-OA", 20))
    CLIP (HT), adapter
    of MedPix+PMC-OA
    """
    lines = wrap(text.replace("+", "+ "), characters, break_on_hyphens=False)
    return "\n".join(line.replace("+ ", "+") for line in lines)


def without_formulas(figure: Figure) -> None:
    """Two dollar signs in a name begin no formula; the ticks of logarithmic axes, which matplotlib writes, stay."""
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis) if axis.get_scale() == "log"]
    powers = {id(text) for axis in axes for text in axis.findobj(Text)} - {id(axis.label) for axis in axes}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and id(text) not in powers:
            text.set_parse_math(False)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``name.png`` and ``name.pdf``, each whole or not at all; equal figures give equal files."""
    paths = []
    without_formulas(figure)
    for ending, about in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Creator": "htunet"})):
        path = folder / f"{name}.{ending}"
        with whole_file(path) as part, in_style():
            figure.savefig(part, format=ending, dpi=DOTS_PER_INCH, metadata=about)
        paths.append(path)
    return paths
