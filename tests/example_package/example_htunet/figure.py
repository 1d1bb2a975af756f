"""A figure: the Dice of each test case against the size of its lesion."""

from htunet.reporting.figures.base import Drawing, NotYetError, Results, random_weights_note
from htunet.reporting.figures.style import DOUBLE_MM, add_note, in_style, new_figure


def lesion_sizes(results: Results) -> list[Drawing]:
    """The Dice of each test case against the size of its lesion, all methods in one panel."""
    found = results.evaluated("means")
    if not found:
        raise NotYetError("no run that learns masks is evaluated. Provide one: htunet_evaluate.")
    with in_style():
        figure = new_figure(DOUBLE_MM, 80)
        panel = figure.subplots()
        for run, content in found.items():
            labels = [label for case in content["metric_per_case"] for label in case["metrics"].values()]
            shown = [label for label in labels if label["Dice"] is not None]
            pixels, dice = ([label[key] for label in shown] for key in ("n_ref", "Dice"))
            panel.scatter(pixels, dice, label=run.label)
        panel.set(xlabel="Pixels of the lesion", ylabel="Dice")
        panel.legend()
        add_note(figure, random_weights_note(list(found)))
    return [Drawing("lesion_sizes", figure)]
