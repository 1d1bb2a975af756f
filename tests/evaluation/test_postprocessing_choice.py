"""Post-processing is chosen where it gains on tested folds, and only there."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from htunet.data.image_io import write_png
from htunet.data.postprocessing import in_words, postprocess
from htunet.evaluation.postprocessing_choice import PostprocessingChoice, choose_postprocessing

Mask = NDArray[np.uint8]


def square(row: int, column: int, side: int, label: int = 1) -> Mask:
    mask = np.zeros((24, 30), np.uint8)
    mask[row : row + side, column : column + side] = label
    return mask


def test_each_step_by_hand() -> None:
    mask = square(2, 2, 8)
    mask[4:6, 4:6] = 0  # a hole of 4 pixels
    mask |= square(16, 20, 3)
    mask |= square(2, 24, 2, label=2)
    assert (postprocess(mask, fill_holes=True) - mask == np.where(square(4, 4, 2), 1, 0)).all()
    largest = postprocess(mask, largest_component=True)
    assert not largest[16:].any()
    assert (largest == 2).sum() == 4  # the largest of its label
    assert (postprocess(mask, smallest_share=5 / 720) == np.where(mask == 2, 0, mask)).all()
    assert (postprocess(mask, smallest_share=4 / 720) == mask).all()  # exactly as large stays
    assert (postprocess(mask) == mask).all()
    corner = square(2, 2, 3) | square(5, 5, 3)  # they touch at a corner: one component
    assert (postprocess(corner, largest_component=True) == corner).all()
    assert not postprocess(np.zeros((4, 4), np.uint8), largest_component=True, fill_holes=True).any()
    assert in_words({"largest_component": True, "fill_holes": True}) == "the largest component alone, holes filled"


def chosen(folder: Path, cases: list[tuple[Mask, Mask]]) -> PostprocessingChoice:
    files = []
    for number, masks in enumerate(cases):
        paths = folder / f"{number}.png", folder / f"{number}_true.png"
        for path, mask in zip(paths, masks, strict=True):
            write_png(path, mask)
        files.append(paths)
    return choose_postprocessing(
        files, [f"patient {n // 2}" for n in range(len(cases))], [n % 3 for n in range(len(cases))]
    )


def test_false_islands_ask_for_the_largest_component(tmp_path: Path) -> None:
    found = chosen(tmp_path, [(square(2, 2, 8) | square(15, 15 + n % 3, 4), square(2, 2, 8)) for n in range(12)])
    assert found.steps in ({"largest_component": True}, {"smallest_share": pytest.approx(32 / 720)})
    assert found.before.mean == pytest.approx(2 * 64 / (64 + 80))
    assert found.expected.mean == pytest.approx(1.0)


def test_a_false_alarm_that_a_step_removes_is_a_gain(tmp_path: Path) -> None:
    """Every second image shows no lesion, and has a false island: Dice 0 before, none afterwards."""
    cases = [(square(2, 2, 8), square(2, 2, 8)) if n % 2 else (square(9, 9, 3), square(0, 0, 0)) for n in range(12)]
    found = chosen(tmp_path, cases)
    assert found.steps == {"smallest_share": pytest.approx(32 / 720)}
    assert (found.before.mean, found.before.n_used) == (0.5, 12)
    assert (found.expected.mean, found.expected.n_used) == (1.0, 6)


def test_a_label_that_no_reference_has_is_in_no_mean(tmp_path: Path) -> None:
    """As in the evaluation: else removing islands of label 2 would gain what no reported figure shows."""
    spurious = np.maximum(square(2, 2, 8), square(18, 24, 2, label=2))
    found = chosen(tmp_path, [(spurious, square(2, 2, 8))] * 9)
    assert found.before.mean == 1
    assert found.steps == {}
    only = chosen(tmp_path, [(square(18, 24, 2, label=2), np.zeros((24, 30), np.uint8))] * 9)
    assert only.before.mean == 0


def test_where_lesions_are_several_nothing_is_done(tmp_path: Path) -> None:
    two = [square(2, 2, 8) | square(15, 15 + n % 3, 4) for n in range(12)]
    found = chosen(tmp_path, [(mask, mask) for mask in two])
    assert found.steps == {}
    assert found.expected.mean == found.before.mean == 1.0


def test_a_gain_by_luck_is_not_taken(tmp_path: Path) -> None:
    """Half of the images gain by the largest component, half lose as much."""
    true, island = square(2, 2, 8), square(15, 15, 8)
    cases = [(true | island, true) if n % 4 < 2 else (true | island, island) for n in range(12)]
    assert "largest_component" not in chosen(tmp_path, cases).steps


def test_what_helps_the_images_of_one_fold_alone_is_not_taken(tmp_path: Path) -> None:
    """Over all folds it gains; judged by the choice of the other folds no fold does."""
    island = square(15, 15, 4)
    found = chosen(tmp_path, [(square(2, 2, 8) | (island if n % 3 == 0 else 0), square(2, 2, 8)) for n in range(12)])
    assert found.steps == {}
    assert found.expected == found.before


def test_each_fold_is_judged_by_the_method_that_the_others_choose(tmp_path: Path) -> None:
    """Of the chosen method an island of 16 pixels goes everywhere; fold 0 is judged by masks that nothing mends."""
    true, island = square(2, 2, 8), square(15, 15, 4)
    files, others = [], []
    for number in range(12):
        paths = [tmp_path / f"{number}_{name}.png" for name in ("chosen", "other", "true")]
        for path, mask in zip(paths, (true | island, square(2, 2, 4), true), strict=True):
            write_png(path, mask)
        files.append((paths[0], paths[2]))
        others.append((paths[1], paths[2]))
    folds = [number % 3 for number in range(12)]
    found = choose_postprocessing(files, [""] * 12, folds, {0: others})
    half, with_island = 2 * 16 / (64 + 16), 2 * 64 / (64 + 80)
    assert found.steps
    assert found.before.mean == pytest.approx((half + 2 * with_island) / 3)
    assert found.expected.mean == pytest.approx((half + 2 * 1.0) / 3)


def test_holes_and_islands_are_both_mended_and_images_without_lesions_count_where_found(tmp_path: Path) -> None:
    ring, whole = square(2, 2, 9), square(2, 2, 9)
    ring[4:8, 4:8] = 0
    cases = [(ring | square(16, 16, 2 + n % 2), whole) for n in range(12)]
    empty = np.zeros_like(whole)
    found = chosen(tmp_path, [*cases, (empty, empty), (square(3, 3, 2), empty)])
    assert found.steps.get("fill_holes")
    assert len(found.steps) >= 2
    assert found.before.n_used == 13  # of 14; both masks of one are empty


def test_the_smallest_size_for_a_fold_comes_from_the_others_too(tmp_path: Path) -> None:
    """One fold has a lesion that is smaller than the false islands; the others do not know of it."""
    true, island, tiny = square(2, 2, 8) | square(2, 15, 6), square(15, 15, 3), square(20, 2, 2)
    cases = [(true | island | tiny, true | tiny) if n == 0 else (true | island, true) for n in range(12)]
    found = chosen(tmp_path, cases)
    assert found.steps == {}  # with that lesion known, nothing that removes the islands is left
    fold_0 = [2 * 100 / (100 + 104), 1.0, 1.0, 1.0]
    assert found.expected.mean == pytest.approx(np.mean([*fold_0, *[2 * 100 / 209] * 8]))
