"""One look: colours that stay, can be told apart by everybody, and text that is large enough and stays text."""

import re
import zlib
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from skimage.color import rgb2lab

from htunet.reporting.figures.style import (
    DOUBLE_MM,
    STYLE,
    add_note,
    in_style,
    legend_columns,
    look_of,
    new_figure,
    save_figure,
)
from htunet.reporting.tables.paper_figures import CLASSIFICATION_METHODS, METHODS

RED_BLIND = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
GREEN_BLIND = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
"""Linear RGB as people without red or green cones see it. Source: Machado et al. 2009, severity 1."""
ADAPTERS = [f"BiomedCLIP_{name}" for name in ("FullFT", "HT", "HTFF", "HTNE", "HTSpectral", "LoRA", "LoRAVT", "Mona")]


def seen(colour: str, matrix: np.ndarray) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(matrix @ linear, 0, 1)
    return rgb2lab(np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("matrix", [np.eye(3), RED_BLIND, GREEN_BLIND], ids=["all", "red-blind", "green-blind"])
@pytest.mark.parametrize("methods", [list(METHODS), list(CLASSIFICATION_METHODS), ["BiomedCLIP", *ADAPTERS]])
def test_methods_that_stand_in_one_figure_can_be_told_apart(methods: list[str], matrix: np.ndarray) -> None:
    for first, second in combinations(methods, 2):
        a, b = look_of(first), look_of(second)
        distance = np.linalg.norm(seen(a.colour, matrix) - seen(b.colour, matrix))
        same_line = (a.marker, a.dashes) == (b.marker, b.dashes)
        assert distance > (15 if same_line else 5), f"{first} {a.colour} and {second} {b.colour}: {distance:.1f}"


def test_a_method_has_the_same_look_whatever_stands_beside_it() -> None:
    assert look_of("CLIP_HT") == look_of("CLIP_HT")
    assert look_of("CLIP_HT").colour == "#0072B2"
    assert look_of("CLIP").colour != look_of("CLIP_HT").colour
    assert look_of("MyNet_MyAdapter") == look_of("MyNet_MyAdapter")


def test_nothing_is_smaller_than_seven_points() -> None:
    assert (
        min(value for name, value in STYLE.items() if name.endswith(("size", "fontsize")) and "marker" not in name) >= 7
    )


def test_the_style_is_gone_after_the_block() -> None:
    before = mpl.rcParams["pdf.fonttype"], mpl.rcParams["font.size"]
    with in_style():
        assert mpl.rcParams["pdf.fonttype"] == 42
    assert (mpl.rcParams["pdf.fonttype"], mpl.rcParams["font.size"]) == before


def write(folder: Path, name: str) -> list[Path]:
    with in_style():
        figure = new_figure(DOUBLE_MM, 50)
        figure.subplots().plot([0, 1], [0, 1])
        add_note(figure, "A note", "")
    return save_figure(figure, folder, name)


def test_both_files_are_written_in_the_size_of_two_columns_with_truetype_fonts(tmp_path: Path) -> None:
    png, pdf = write(tmp_path, "one")
    width, height = Image.open(png).size
    assert (width, height) == (int(181 / 25.4 * 300), int(50 / 25.4 * 300))
    content = pdf.read_bytes()
    streams = [zlib.decompress(part) for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)]
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content or b"/TrueType" in content
    assert any(b"Tj" in stream or b"TJ" in stream for stream in streams)  # text, not outlines


def test_equal_figures_give_equal_files(tmp_path: Path) -> None:
    for first, second in zip(write(tmp_path, "one"), write(tmp_path, "two"), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_a_legend_has_as_many_columns_as_its_longest_entry_leaves_room_for() -> None:
    labels = ["UNet, plan mine", "CLIP (HT), plan mine", "PhantomCLIP (Mona), plan mine"]
    figure = new_figure(181, 40)
    panel = figure.subplots()
    for label in labels * 2:
        panel.plot([0, 1], [0, 1], label=label)
    with in_style():
        legend = figure.legend(*panel.get_legend_handles_labels(), ncols=legend_columns(181, labels * 2))
    figure.canvas.draw()
    extent = legend.get_window_extent()
    assert 0 <= extent.x0 < extent.x1 <= figure.bbox.x1
    assert legend_columns(181, labels * 2) == 3  # 29 letters of 1.36 mm and 12 mm beside them: 51.4 mm each


def test_dollar_signs_in_a_name_begin_no_formula_and_powers_of_ten_stay(tmp_path: Path) -> None:
    figure = new_figure(60, 40)
    panel = figure.subplots()
    panel.plot([1, 1000], [0, 1], label="50 $ x_$1")
    panel.set(xscale="log", xlabel="US$ 1 and US$ 2")
    panel.legend()
    save_figure(figure, tmp_path, "prices")
    assert not panel.xaxis.label.get_parse_math()
    ticks = [text for text in panel.get_xticklabels() if text.get_text()]
    assert ticks
    assert all(text.get_parse_math() for text in ticks)
