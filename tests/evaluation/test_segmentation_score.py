"""What an empty mask means, and that no rule rewards a miss."""

import math

import numpy as np
import pytest

from htunet.errors import UsageError
from htunet.evaluation.metrics import EXCLUDE, PENALISE, score, score_mask
from htunet.evaluation.summary import ORIGINAL, CaseScore, Summary, summary_content
from htunet.reporting.result_lines import mask_lines

NONE = math.nan
EMPTY = np.zeros((6, 8), dtype=bool)
SQUARE = EMPTY.copy()
SQUARE[1:3, 1:3] = True
DIAGONAL = 10.0  # hypot(6, 8)


@pytest.mark.parametrize(
    ("prediction", "reference", "policy", "dice", "hd95", "empty"),
    [
        pytest.param(EMPTY, SQUARE, PENALISE, 0.0, DIAGONAL, "prediction", id="missed, penalised"),
        pytest.param(SQUARE, EMPTY, PENALISE, 0.0, DIAGONAL, "reference", id="false alarm, penalised"),
        pytest.param(EMPTY, EMPTY, PENALISE, NONE, NONE, "both", id="rightly nothing, penalised"),
        pytest.param(EMPTY, SQUARE, EXCLUDE, 0.0, NONE, "prediction", id="missed, excluded"),
        pytest.param(SQUARE, EMPTY, EXCLUDE, NONE, NONE, "reference", id="false alarm, excluded"),
        pytest.param(EMPTY, EMPTY, EXCLUDE, NONE, NONE, "both", id="rightly nothing, excluded"),
        pytest.param(SQUARE, SQUARE, PENALISE, 1.0, 0.0, "", id="same"),
        pytest.param(SQUARE, SQUARE, EXCLUDE, 1.0, 0.0, "", id="same, other policy"),
    ],
)
def test_truth_table_of_empty_masks(
    prediction: np.ndarray, reference: np.ndarray, policy: str, dice: float, hd95: float, empty: str
) -> None:
    found = score_mask(prediction, reference)
    values = found.values(policy)
    assert found.empty == empty
    assert (values["dice"], values["iou"]) == pytest.approx((dice, dice), nan_ok=True)
    assert [values["hd95"], values["asd"]] == pytest.approx([hd95] * 2, nan_ok=True)
    of_paper = NONE if empty else hd95  # as the paper's public code: no policy gives an empty mask a distance
    assert [values["hd95_max"], values["asd_directed"]] == pytest.approx([of_paper] * 2, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_missing_a_case_is_never_better_than_the_worst_drawing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, drawn = EMPTY.copy(), EMPTY.copy()
    reference[tuple(rng.integers((6, 8)))] = drawn[tuple(rng.integers((6, 8)))] = True
    bad, missed = (score_mask(p, reference).values(PENALISE) for p in (drawn, EMPTY))
    assert missed["dice"] <= bad["dice"]
    assert all(missed[name] > bad[name] for name in ("hd95", "asd"))


def test_each_label_is_scored_on_its_own() -> None:
    reference = np.array([[1, 1, 2, 2]], dtype=np.uint8)
    prediction = np.array([[1, 2, 2, 0]], dtype=np.uint8)
    found = score(prediction, reference, [1, 2])
    assert found[1].values(PENALISE)["dice"] == pytest.approx(2 / 3)
    assert found[2].values(PENALISE)["dice"] == pytest.approx(0.5)


def test_an_unknown_policy_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="penalise, exclude; got 'forgive'"):
        score_mask(SQUARE, SQUARE).values("forgive")


def test_anything_found_is_counted_over_images_whatever_the_label() -> None:
    """Four images with a lesion, one of them missed and one found under another label; three normal ones."""
    other = np.roll(SQUARE, 2, axis=1)
    masks = {
        "found": (1 * SQUARE, 1 * SQUARE),
        "other label": (2 * other, 1 * SQUARE),
        "missed": (0 * SQUARE, 1 * SQUARE),
        "found, too": (1 * SQUARE, 2 * SQUARE),
        "normal": (0 * SQUARE, 0 * SQUARE),
        "also normal": (0 * SQUARE, 0 * SQUARE),
        "false alarm": (2 * SQUARE, 0 * SQUARE),
    }
    scores = [
        CaseScore(case=name, label=label, resolution=ORIGINAL, score=result)
        for name, (found, true) in masks.items()
        for label, result in score(found.astype(np.uint8), true.astype(np.uint8), [1, 2]).items()
    ]
    summary = Summary(identity={"labels": {"background": 0, "a": 1, "b": 2}}, policy=PENALISE, scores=tuple(scores))
    found = summary.detection(ORIGINAL)
    assert (found["sensitivity"].mean, found["sensitivity"].n_used) == (0.75, 4)
    assert (found["specificity"].mean, found["specificity"].n_used) == (pytest.approx(2 / 3), 3)
    assert summary_content(summary)["htunet"]["detection"][ORIGINAL]["sensitivity"]["mean"] == 0.75
    line = next(line for line in mask_lines(summary) if "anything found" in line)
    assert line.startswith("    anything found: sensitivity 75.00 % [")
    assert line.endswith(" of 3 without")


def test_a_mean_says_over_how_many_cases_it_is() -> None:
    """Two cases, one of them without anything; then one whose distances have no value under ``exclude``."""
    cases = {"found": (SQUARE, SQUARE), "nothing": (EMPTY, EMPTY)}
    scores = [
        CaseScore(case=name, label=1, resolution=ORIGINAL, score=score_mask(*masks)) for name, masks in cases.items()
    ]
    line = next(mask_lines(Summary(identity={}, policy=PENALISE, scores=tuple(scores))))
    assert line.startswith("  original size, 2 cases: Dice 100.00 % (of 1 of them) · ")
    missed = CaseScore(case="missed", label=1, resolution=ORIGINAL, score=score_mask(EMPTY, SQUARE))
    line = next(mask_lines(Summary(identity={}, policy=EXCLUDE, scores=(missed,))))
    assert line.startswith("  original size, 1 case: Dice 0.00 % · ")
    assert "HD95 has no value in any of them" in line
