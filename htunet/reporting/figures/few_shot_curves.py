"""Dice and AUC against the share of the training images."""

from htunet.data.few_shot import RATIOS
from htunet.reporting.figures.base import Drawing, NotYetError, Results, random_weights_note
from htunet.reporting.figures.few_shot import few_shot_figure
from htunet.reporting.tables.kinds import KINDS
from htunet.reporting.tables.rows import table_rows

POINTS = "Points: means over seeds; bars: ± one standard deviation."
PAPER = "Dotted: the paper's Table IV, the mean of its data sets."


def few_shot(results: Results) -> list[Drawing]:
    """Dice and AUC against the share of the training images, with the paper's Table IV."""
    drawings = []
    for kind in KINDS:
        members = {run: content for run, content in results.contents.items() if kind.key in content["htunet"]}
        few = [run for run in members if run.ratio is not None]
        published = PAPER if any(kind.paper_few_shot(ratio, run.method) for run in few for ratio in RATIOS) else ""
        notes = (POINTS, published, random_weights_note(few))
        figure = few_shot_figure(table_rows(members.values(), kind=kind), kind, *notes)
        if figure is not None:
            drawings.append(Drawing(f"few_shot_{kind.name}", figure))
    if not drawings:
        raise NotYetError(
            "no few-shot run is evaluated. Provide one: htunet_train BUSI BiomedCLIP_HT fold0 --ratio 0.05, then "
            "htunet_evaluate."
        )
    return drawings
