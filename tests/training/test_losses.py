"""Losses of images that are small enough to compute on paper."""

import math

import pytest
import torch
from torch import Tensor

from htunet.training.losses import SMOOTHING, dice_and_cross_entropy, hard_dice

SURE = 50.0


def scores_for(labels: Tensor, labels_in_all: int = 2) -> Tensor:
    """Scores that are as good as certain of ``labels`` (B, H, W)."""
    return SURE * torch.nn.functional.one_hot(labels, labels_in_all).movedim(-1, 1).float()


def test_one_undecided_pixel_of_a_lesion() -> None:
    loss = dice_and_cross_entropy(torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1))
    # cross-entropy ln 2; Dice 2 * 0.5 / (0.5 + 1) = 2 / 3
    assert loss.tolist() == pytest.approx([math.log(2) + 1 / 3], abs=1e-5)


def test_two_pixels_of_which_one_is_right() -> None:
    scores = scores_for(torch.tensor([[[1, 1]]]))
    loss = dice_and_cross_entropy(scores, torch.tensor([[[1, 0]]]))
    # cross-entropy (0 + 50) / 2; Dice 2 * 1 / (2 + 1)
    assert loss.tolist() == pytest.approx([25 + 1 / 3], abs=1e-4)


def test_nothing_is_lost_where_all_is_right() -> None:
    labels = torch.tensor([[[0, 1], [1, 0]]])
    assert dice_and_cross_entropy(scores_for(labels), labels).item() == pytest.approx(0, abs=1e-6)


def test_all_wrong_costs_the_whole_dice_and_the_scores_difference() -> None:
    labels = torch.tensor([[[0, 1], [1, 0]]])
    loss = dice_and_cross_entropy(scores_for(1 - labels), labels)
    assert loss.item() == pytest.approx(SURE + 1, abs=1e-4)


def test_an_empty_reference_that_is_predicted_empty_costs_nothing() -> None:
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    assert dice_and_cross_entropy(scores_for(labels), labels).item() == pytest.approx(0, abs=1e-6)


def test_an_empty_reference_with_half_of_the_probability_elsewhere() -> None:
    loss = dice_and_cross_entropy(torch.zeros(1, 2, 1, 4), torch.zeros(1, 1, 4))
    dice = SMOOTHING / (2 + SMOOTHING)
    assert loss.item() == pytest.approx(math.log(2) + 1 - dice, abs=1e-6)


def test_foreground_labels_count_alike_whatever_their_area() -> None:
    labels = torch.tensor([[[1, 1, 1, 1, 1, 1, 1, 2]]])
    loss = dice_and_cross_entropy(scores_for(torch.ones_like(labels), 3), labels)
    # label 1: 2 * 7 / (8 + 7), label 2: 0; one pixel in eight costs 50
    assert loss.item() == pytest.approx(SURE / 8 + 1 - (14 / 15 + 0) / 2, abs=1e-4)


def test_the_losses_of_parts_are_those_of_the_whole_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 3, 6, 7, generator=generator)
    labels = torch.randint(0, 3, (5, 6, 7), generator=generator)
    whole = dice_and_cross_entropy(scores, labels)
    parts = [dice_and_cross_entropy(scores[chosen], labels[chosen]) for chosen in (slice(0, 2), slice(2, 5))]
    assert whole.shape == (5,)
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)
    assert sum(part.sum() for part in parts).item() == pytest.approx(whole.sum().item(), abs=1e-5)


def test_labels_may_be_bytes_as_they_come_from_the_disk() -> None:
    labels = torch.tensor([[[0, 1], [1, 0]]])
    scores = torch.zeros(1, 2, 2, 2)
    assert torch.equal(dice_and_cross_entropy(scores, labels.byte()), dice_and_cross_entropy(scores, labels))


@pytest.mark.parametrize(
    ("predicted", "reference", "dice"),
    [
        pytest.param([1, 1, 0, 0], [1, 1, 0, 0], 1.0, id="all right"),
        pytest.param([1, 1, 0, 0], [1, 0, 0, 0], 2 / 3, id="2 * 1 / (2 + 1)"),
        pytest.param([1, 1, 0, 0], [0, 0, 1, 1], 0.0, id="nothing in common"),
        pytest.param([0, 0, 0, 0], [0, 0, 0, 0], 1.0, id="both empty"),
        pytest.param([0, 0, 0, 0], [1, 0, 0, 0], 0.0, id="missed"),
        pytest.param([1, 0, 0, 0], [0, 0, 0, 0], 0.0, id="false alarm"),
    ],
)
def test_hard_dice_of_one_row(predicted: list[int], reference: list[int], dice: float) -> None:
    scores = scores_for(torch.tensor([[predicted]]))
    assert hard_dice(scores, torch.tensor([[reference]])).tolist() == pytest.approx([dice])


def test_hard_dice_is_the_mean_over_the_foreground_labels_of_each_image() -> None:
    predicted = torch.tensor([[[1, 1, 2, 0]], [[0, 0, 0, 0]]])
    reference = torch.tensor([[[1, 0, 2, 2]], [[0, 0, 0, 2]]])
    values = hard_dice(scores_for(predicted, 3), reference)
    # image 1: 2/3 and 2/3; image 2: label 1 in neither, label 2 missed
    assert values.tolist() == pytest.approx([2 / 3, 1 / 2])
