from pathlib import Path

import pytest

from htunet.evaluation.robustness import Point, RobustnessCurve
from htunet.evaluation.statistics import Estimate
from htunet.reporting.figures import style
from htunet.reporting.figures.robustness_curves import draw_curves


def curve_of(metric: str) -> RobustnessCurve:
    known = Estimate(0.5, 0.4, 0.6)
    points = tuple(Point(strength=s, value=4 * s, estimate=known, drop=known, n_cases=3) for s in (0.0, 1.0))
    return RobustnessCurve(artefact="gain", metric=metric, unit="dB", points=points, area=known, n_cases=3)


def test_methods_of_masks_and_of_classes_have_a_figure_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DOTS_PER_INCH", 60)
    curves = {"ResNet18": [curve_of("auc")], "UNet": [curve_of("dice")]}
    paths = draw_curves(tmp_path, curves, {}, title="BUSI", random=False)
    assert {path.name for path in paths if path.suffix == ".png"} == {"robustness_dice.png", "robustness_auc.png"}
