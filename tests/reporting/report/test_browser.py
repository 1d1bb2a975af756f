"""The page in a real browser: Chromium without a window, where playwright and a browser are installed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders.report import AWKWARD_CASE, AWKWARD_CLASS, build_study, page_of

from htunet.paths import ROOTS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
INSTALLED = os.environ.get("HTUNET_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
DECODED = "image => image.decode().then(() => image.naturalWidth)"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        for variable, name in ROOTS.items():
            patch.setenv(variable, str(folder / name))
        yield page_of(build_study(), folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install htunet[browser]"
    )
    with playwright.sync_playwright() as library:
        try:
            launched = library.chromium.launch(executable_path=INSTALLED, args=["--no-sandbox", "--disable-gpu"])
        except playwright.Error as error:
            pytest.skip(f"no browser can be started; set HTUNET_BROWSER to one: {str(error).splitlines()[0]}")
        yield launched
        launched.close()


class Opened:
    """A page, and everything that it complained of or asked the network for."""

    def __init__(self, browser: Any, file: Path, width: int, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", **options)
        self.page = self.context.new_page()
        self.console: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Opened]:
    found = Opened(browser, file, 1280)
    yield found
    assert found.console == []
    asked = [url for url in found.requests if not url.startswith("data:")]
    assert asked == [file.as_uri()]
    found.context.close()


@pytest.fixture
def page(opened: Opened) -> Any:
    return opened.page


def column(page: Any, table: str, place: int) -> list[str]:
    """The first lines of the cells of a column."""
    return [text.split("\n")[0] for text in page.locator(f"#{table} tbody tr > :nth-child({place})").all_inner_texts()]


def groups(page: Any) -> list[str]:
    return page.locator("#grid .badge").all_inner_texts()


def test_the_tables_and_the_warning_are_there(page: Any) -> None:
    for table in ("segmentation", "by_size", "by_class", "comparisons"):
        assert page.locator(f"#{table} tbody tr").count() > 0, table
    assert "random" in page.locator(".warning").first.inner_text()
    assert page.locator(".chart svg polyline").count() == 4 * 3
    assert "htunet_train BUSI CLIP_HT fold0 --seed 2" in page.locator("#commands").inner_text()


def test_a_heading_sorts_both_ways_and_says_so(page: Any) -> None:
    heading = page.locator("#segmentation thead th", has_text="Dice %")
    heading.locator("button").click()
    down = [float(text.split()[0]) for text in column(page, "segmentation", 3)]
    assert down == sorted(down, reverse=True)
    assert len(set(down)) == 3
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").press("Enter")
    assert [float(text.split()[0]) for text in column(page, "segmentation", 3)] == sorted(down)
    assert heading.get_attribute("aria-sort") == "ascending"


def test_rows_without_a_value_stay_last(page: Any) -> None:
    page.locator("#segmentation td.n:nth-child(3)").first.evaluate("cell => cell.removeAttribute('data-sort')")
    first = column(page, "segmentation", 3)[0]
    heading = page.locator("#segmentation thead th", has_text="Dice %").first.locator("button")
    for _ in range(2):
        heading.click()
        assert column(page, "segmentation", 3)[-1] == first


def test_rows_are_narrowed_down(page: Any) -> None:
    page.locator("#rows-dataset").select_option("Tiny")
    assert page.locator("#segmentation tbody tr:visible").count() == 1
    page.locator("#rows-dataset").select_option("")
    page.locator("#rows-text").fill("UNet")
    assert page.locator("#segmentation tbody tr:visible th").all_inner_texts() == ["UNet"]


def test_filters_change_what_is_shown(page: Any) -> None:
    everything = page.locator("#grid .tile").count()
    page.locator("#filter-group").select_option("missed")
    assert groups(page) == ["Missed", "Missed"]
    assert "2 of 2 cases shown" in page.locator("#shown-count").inner_text()
    page.locator("#filter-method").select_option("UNet")
    assert groups(page) == []
    page.locator("#filter-group").select_option("")
    names = page.locator("#grid figcaption").all_inner_texts()
    assert 0 < len(names) < everything
    assert all("UNet" in name for name in names)
    page.locator("#filter-method").select_option("")
    page.locator("#filter-dataset").select_option("Tiny")
    assert all("Tiny" in name for name in page.locator("#grid figcaption").all_inner_texts())
    page.locator("#filter-dataset").select_option("BUSI")
    page.locator("#filter-class").select_option(AWKWARD_CLASS)
    assert all(AWKWARD_CLASS in name for name in page.locator("#grid figcaption").all_inner_texts())
    page.locator("#filter-size").select_option("small")
    assert all("small lesion" in name for name in page.locator("#grid figcaption").all_inner_texts())


def test_every_image_decodes_and_has_words(page: Any) -> None:
    images = page.locator("#grid img")
    assert images.count() > 20
    widths = page.eval_on_selector_all("#grid img", f"images => Promise.all(images.map({DECODED}))")
    assert min(widths) > 0
    assert all(page.locator("#grid img:not(.layer)").nth(0).get_attribute("alt").split(", ")[:1])
    assert page.eval_on_selector_all("img", "images => images.every(image => image.hasAttribute('alt'))")


def test_a_case_is_enlarged_stepped_through_and_closed_by_keys(page: Any) -> None:
    tiles = page.locator("#grid .tile button")
    tiles.nth(0).focus()
    page.keyboard.press("Enter")
    viewer, name = page.locator("#viewer"), page.locator("#viewer-name")
    assert viewer.is_visible()
    assert page.locator("#viewer .stack img").count() == 4  # the image, filled areas, two outlines
    first = name.inner_text()
    page.keyboard.press("ArrowRight")
    assert name.inner_text() != first
    page.keyboard.press("ArrowLeft")
    assert name.inner_text() == first
    assert page.locator("#viewer-previous").is_disabled()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert page.evaluate("document.activeElement.parentElement === document.querySelectorAll('#grid .tile')[1]")


def test_the_colours_can_be_taken_away(page: Any) -> None:
    layer = page.locator("#grid .layer.reference").first
    assert layer.is_visible()
    page.locator(".filters [data-layer=reference]").uncheck()
    assert not layer.is_visible()
    page.locator("#grid .tile button").first.click()
    assert not page.locator("#viewer [data-layer=reference]").is_checked()
    page.keyboard.press("r")
    assert page.locator("#viewer .layer.reference").is_visible()
    assert page.locator("#viewer .layer.prediction").is_visible()
    assert not page.locator("#viewer .layer.fill").is_visible()
    page.keyboard.press("f")
    page.keyboard.press("p")
    assert page.locator("#viewer .layer.fill").is_visible()
    assert not page.locator("#viewer .layer.prediction").is_visible()


def test_the_same_image_of_another_method_is_a_click_away(page: Any) -> None:
    page.locator("#filter-method").select_option("UNet")
    found = False
    for place in range(page.locator("#grid .tile").count()):
        page.locator("#grid .tile button").nth(place).click()
        if page.locator("#viewer-others button").count():
            page.locator("#viewer-others button").first.click()
            assert "CLIP_HT" in page.locator("#viewer-facts").inner_text()
            found = True
        page.keyboard.press("Escape")
    assert found


def test_awkward_names_are_shown_as_they_are(page: Any) -> None:
    assert any(AWKWARD_CASE in text for text in page.locator("#grid figcaption").all_inner_texts())
    assert page.locator("#by_class td", has_text=AWKWARD_CLASS).count() > 0
    assert page.locator("main b", has_text='&"be').count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_but_boxes_scrolls_sideways_on_a_narrow_screen(browser: Any, file: Path, scheme: str) -> None:
    found = Opened(browser, file, 400, color_scheme=scheme)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 400
    found.page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 400
    assert found.page.locator(".scroll").evaluate_all("all => all.every(one => one.scrollWidth <= one.clientWidth)")
    assert found.page.locator("#segmentation td.n").first.evaluate(
        "cell => getComputedStyle(cell, '::before').content") == '"Dice %"'  # fmt: skip
    found.page.locator("#grid .tile button").first.click()
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 400
    assert found.page.locator("#viewer").evaluate("one => one.scrollWidth <= one.clientWidth + 1")
    assert found.console == []
    found.context.close()


CONTRAST = """
([selector, background]) => {
  const parse = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = values => { const [r, g, b] = values.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const pair = [getComputedStyle(document.querySelector(selector)).color, getComputedStyle(document.querySelector(background)).backgroundColor];
  const [high, low] = pair.map(parse).map(light).sort((a, b) => b - a);
  return (high + .05) / (low + .05);
}
"""  # noqa: E501


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("text", "background"),
    [("main p.note", "body"), ("h1", "body"), (".warning", ".warning"), ("figcaption span:last-child", ".tile"),
     ("td small", ".scroll"), ("nav a", "nav a"), (".badge", ".badge")],
)  # fmt: skip
def test_text_has_enough_contrast(browser: Any, file: Path, scheme: str, text: str, background: str) -> None:
    found = Opened(browser, file, 1280, color_scheme=scheme)
    assert found.page.evaluate(CONTRAST, [text, background]) >= 4.5
    found.context.close()
