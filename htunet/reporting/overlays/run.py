"""The pictures of one evaluated run: an overlay for each test case, a page of all, a sheet of the telling ones."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from htunet.data.image_io import read_image, read_labels, write_png
from htunet.data.raw import Case, RawDataset, read_raw
from htunet.evaluation.metrics import mask_metrics
from htunet.evaluation.summary import INPUT, ORIGINAL, Summary
from htunet.files import whole_folder
from htunet.paths import RunPaths
from htunet.reporting.overlays.contact_sheet import GalleryItem, thumbnail, write_contact_sheet, write_gallery
from htunet.reporting.overlays.draw import LEGEND, Colour, legend_of, overlay, with_strip

RANDOM_WEIGHTS = "Made with random weights: the figures test the program and say nothing about the method."


def gallery_path(run: RunPaths) -> Path:
    """Where the page of a run is."""
    return run.test_folder / "gallery.html"


def write_pictures(run: RunPaths, summary: Summary) -> None:
    """Write ``test/overlays/ID.png`` at the original sizes, ``test/contact_sheet.png`` and ``test/gallery.html``."""
    raw = read_raw(run.dataset)
    known = {case.id: case for case in raw.cases}
    rows, values = summary.case_values(ORIGINAL)
    empty = summary.empty_cases(ORIGINAL)
    names = [metric.name for metric in mask_metrics()]
    items = []
    with whole_folder(run.overlays) as folder:
        progress = tqdm(list(zip(rows, values, strict=True)), desc="drawing", unit="case", disable=None)
        for row, numbers in progress:
            figures = dict(zip(names, (_number(number) for number in numbers), strict=True))
            items.append(_draw(run, raw, (known[row.case], empty.get(row.case, "")), figures, folder))
    if items:
        write_contact_sheet(run.test_folder / "contact_sheet.png", items)
    legend = legend_of(_names(raw))
    write_gallery(gallery_path(run), items, title=run.label, facts=_facts(summary, legend), legend=legend)


def _draw(
    run: RunPaths, raw: RawDataset, case_empty: tuple[Case, str], figures: Mapping[str, float | None], folder: Path
) -> GalleryItem:
    """Write one overlay; return what the gallery shows of it."""
    case, empty = case_empty
    image = read_image(raw.image_path(case), raw.info.channels)
    prediction, reference = read_labels(run.predictions / f"{case.id}.png"), read_labels(raw.label_path(case))
    names = _names(raw)
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    picture = overlay(pixels, prediction, reference, num_labels=len(names))
    item = GalleryItem(
        case=case.id,
        jpeg=thumbnail(picture),
        dice=figures["dice"],
        hd95=figures["hd95"],
        class_name=case.class_name,
        empty=empty,
    )
    write_png(folder / f"{case.id}.png", with_strip(picture, case.id, item.dice_text, legend=legend_of(names)))
    return item


def _names(raw: RawDataset) -> list[str]:
    """Of the labels 1, 2, ..."""
    return [name for name, label in sorted(raw.info.labels.items(), key=lambda item: item[1]) if label]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _facts(summary: Summary, legend: Sequence[tuple[Colour, str]]) -> list[str]:
    facts = [
        f"{len({row.case for row in summary.scores})} test cases. Below each picture: Dice and HD95 at its own size."
    ]
    for resolution, name in ((INPUT, "Network's input size"), (ORIGINAL, "Original size")):
        means = summary.means(resolution)
        dice, hd95 = means["dice"].mean, means["hd95"].mean
        shown = f"mean Dice {100 * dice:.2f} %" if dice is not None else "no Dice"
        facts.append(f"{name}: {shown}" + (f", mean HD95 {hd95:.2f} px." if hd95 is not None else "."))
    if legend is not LEGEND:
        facts.append("Figures are means over the labels. Colours: areas are predicted, lines are true.")
    weights = summary.identity.get("weights") or {}
    return [*facts, RANDOM_WEIGHTS] if weights.get("source") == "random" else facts
