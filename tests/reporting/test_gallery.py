import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from htunet.reporting.overlays.contact_sheet import (
    GalleryItem,
    contact_sheet,
    telling,
    thumbnail,
    worst_first,
    write_gallery,
)

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects what the tests ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.headings: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def item(number: int, dice: float | None = None, **changes: object) -> GalleryItem:
    picture = np.full((60, 90, 3), 40 + number, np.uint8)
    fields = {
        "case": f"case_{number:04d}",
        "jpeg": thumbnail(picture),
        "dice": dice,
        "hd95": 12.34,
        "class_name": "benign",
    }
    return GalleryItem(**(fields | changes))  # type: ignore[arg-type]


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_the_page_holds_every_case_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    items = [item(number, number / 30) for number in range(20)]
    write_gallery(tmp_path / "gallery.html", items, title="BUSI <CLIP> & more", facts=["Random weights."])
    page = read(tmp_path / "gallery.html")
    assert page.headings == ["Worst", "Median", "Best", "All cases, worst first"]
    alts = [image["alt"] or "" for image in page.images if image.get("src")]
    assert alts[-20:] == [f"case_{n:04d}: Dice {100 * n / 30:.1f} % · HD95 12.3 px · benign" for n in range(20)]
    assert alts[:4] == alts[12:16]
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    text = (tmp_path / "gallery.html").read_text()
    assert "http" not in re.sub(r"base64,[^\"]+", "", text)
    assert "BUSI &lt;CLIP&gt; &amp; more" in text
    assert "Random weights." in text


def test_few_cases_stand_once(tmp_path: Path) -> None:
    write_gallery(tmp_path / "gallery.html", [item(1, 0.5)], title="t")
    assert read(tmp_path / "gallery.html").headings == ["All cases, worst first"]


def test_a_page_without_cases_is_a_page(tmp_path: Path) -> None:
    write_gallery(tmp_path / "gallery.html", [], title="t")
    assert read(tmp_path / "gallery.html").images == [{"alt": ""}]


def test_embedded_pictures_can_be_read_and_are_small() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (900, 1200, 3)).astype(np.uint8)
    with Image.open(io.BytesIO(thumbnail(picture))) as image:
        assert image.size == (480, 360)
    assert base64.b64encode(thumbnail(picture[:20, :20]))


def test_worst_comes_first_and_no_value_before_all() -> None:
    items = [item(1, 0.9), item(2, 0.0, hd95=5.0), item(3, 0.0, hd95=50.0), item(4, None)]
    assert [i.case[-1] for i in worst_first(items)] == ["4", "3", "2", "1"]


def test_telling_cases_are_the_ends_and_the_middle() -> None:
    found = telling([item(number, number / 10) for number in range(9)], 3)
    assert {name: [i.case[-1] for i in members] for name, members in found.items()} == {
        "Worst": ["0", "1", "2"],
        "Median": ["3", "4", "5"],
        "Best": ["6", "7", "8"],
    }


@pytest.mark.parametrize(
    ("changes", "caption"),
    [
        ({"dice": 0.5, "empty": "prediction"}, "Dice 50.0 % · HD95 12.3 px · benign · prediction empty"),
        ({"dice": 1.0, "empty": "both", "class_name": ""}, "Dice 100.0 % · HD95 12.3 px · both masks empty"),
        ({"dice": None, "hd95": None}, "no Dice · no HD95 · benign"),
    ],
)
def test_captions(changes: dict[str, object], caption: str) -> None:
    assert item(1, **changes).caption == caption  # type: ignore[arg-type]


def test_the_sheet_has_three_rows() -> None:
    sheet = contact_sheet([item(number, number / 20) for number in range(20)], 4)
    assert sheet.shape[1] == 4 * 300
    assert sheet.shape[0] % 3 == 0
    assert contact_sheet([item(1, 0.5), item(2, 0.6)], 4).shape[1] == 2 * 300


def test_few_cases_stand_once_on_the_sheet() -> None:
    row = contact_sheet([item(1, 0.5)], 4).shape[0]
    assert contact_sheet([item(number, number / 20) for number in range(6)], 4).shape[:2] == (2 * row, 4 * 300)
