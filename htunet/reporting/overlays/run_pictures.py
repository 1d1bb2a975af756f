"""The pictures of one evaluated run: an overlay of each test case, and a contact sheet of the representative ones."""

import math
from pathlib import Path

from tqdm import tqdm

from htunet.data.image_io import channels_last, read_image, read_labels, write_png
from htunet.data.raw import label_names
from htunet.errors import counted
from htunet.evaluation.metrics import BOTH_EMPTY, mask_metrics
from htunet.evaluation.predicted_run import PredictedRun
from htunet.evaluation.statistics import percent_text, rounded
from htunet.evaluation.summary import INPUT, ORIGINAL, Summary
from htunet.files import whole_folder
from htunet.paths import RunPaths
from htunet.reporting.overlays.contact_sheet import CaseResult, contact_sheet, representative
from htunet.reporting.overlays.draw import legend_of, overlay, with_strip

RANDOM_WEIGHTS = "Made with random weights: the results test the program and say nothing about the method."


def contact_sheet_path(run: RunPaths) -> Path:
    """Where the contact sheet of a run is."""
    return run.test_folder / "contact_sheet.png"


def write_pictures(predicted: PredictedRun, summary: Summary) -> None:
    """Write ``test/overlays/ID.png`` at the original sizes, and ``test/contact_sheet.png``."""
    run, raw = predicted.run, predicted.raw
    names = label_names(raw.info.labels)
    legend = legend_of(names)
    rows, values = summary.case_values(ORIGINAL)
    empty = summary.empty_cases(ORIGINAL)
    metrics = [metric.name for metric in mask_metrics()]
    results = []
    for row, numbers in zip(rows, values, strict=True):
        found = {metric: float(v) for metric, v in zip(metrics, numbers, strict=True) if not math.isnan(v)}
        results.append(
            CaseResult(
                case=row.case,
                dice=found.get("dice"),
                hd95=found.get("hd95"),
                class_name=raw.by_id[row.case].class_name,
                empty=empty.get(row.case, ""),
            )
        )
    sections = representative(results)
    shown = {one.case for members in sections.values() for one in members}
    pictures = {}
    with whole_folder(run.overlays) as folder:
        for one in tqdm(results, desc="drawing", unit="case", disable=None):
            case = raw.by_id[one.case]
            pixels = channels_last(read_image(raw.image_path(case), raw.info.channels))
            prediction = read_labels(run.predictions / f"{case.id}.png")
            picture = overlay(pixels, prediction, read_labels(raw.label_path(case)), num_labels=len(names))
            write_png(folder / f"{case.id}.png", with_strip(picture, case.id, one.dice_text, legend=legend))
            if case.id in shown:
                pictures[case.id] = picture
    if results:
        facts = [run.label, *_facts(summary, several_labels=len(names) > 1)]
        write_png(contact_sheet_path(run), contact_sheet(sections, pictures, facts, legend=legend))


def _facts(summary: Summary, *, several_labels: bool) -> list[str]:
    """What a reader must know of the pictures: the means, and whether weights were random."""
    facts = [
        f"{counted(len({row.case for row in summary.scores}), 'test case')}. Below each picture: values at its "
        "own size."
    ]
    if nothing := list(summary.empty_cases(ORIGINAL).values()).count(BOTH_EMPTY):
        facts.append(f"Nothing to be found and nothing found, neither worst nor best: {counted(nothing, 'case')}.")
    for resolution, name in ((INPUT, "Network's input size"), (ORIGINAL, "Original size")):
        means = summary.means(resolution)
        dice, hd95 = means["dice"].mean, means["hd95"].mean
        shown = f"mean Dice {percent_text(dice, 2)}" if dice is not None else "no Dice"
        facts.append(f"{name}: {shown}" + (f", mean HD95 {rounded(hd95)} px." if hd95 is not None else "."))
    if several_labels:
        facts.append("Values are means over the labels. Colours: areas are the prediction, lines the reference.")
    weights = summary.identity.get("weights") or {}
    return [*facts, RANDOM_WEIGHTS] if weights.get("source") == "random" else facts
