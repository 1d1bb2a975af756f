"""Losses of images that are small enough to compute on paper."""

import math
from typing import Any

import pytest
import torch
from builders.plan import plan_of
from torch import Tensor

from htunet.errors import UsageError
from htunet.training.losses import CLASS_LOSSES, LOSSES
from htunet.training.losses.classification import focal, sigmoid_focal
from htunet.training.losses.from_plan import classification_loss, segmentation_loss
from htunet.training.losses.segmentation import SMOOTHING, cross_entropy, dice, dice_cross_entropy, dice_focal, tversky
from htunet.training.validation_metrics import hard_dice, mean_dice, ranking_auc

SURE = 50.0


def scores_for(labels: Tensor, labels_in_all: int = 2) -> Tensor:
    """Scores that are as good as certain of ``labels`` (B, H, W)."""
    return SURE * torch.nn.functional.one_hot(labels, labels_in_all).movedim(-1, 1).float()


def test_one_undecided_pixel_of_a_lesion() -> None:
    loss = dice_cross_entropy(torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1))
    # cross-entropy ln 2; Dice 2 * 0.5 / (0.5 + 1) = 2 / 3
    assert loss.tolist() == pytest.approx([math.log(2) + 1 / 3], abs=1e-5)


def test_two_pixels_of_which_one_is_right() -> None:
    scores = scores_for(torch.tensor([[[1, 1]]]))
    loss = dice_cross_entropy(scores, torch.tensor([[[1, 0]]]))
    # cross-entropy (0 + 50) / 2; Dice 2 * 1 / (2 + 1)
    assert loss.tolist() == pytest.approx([25 + 1 / 3], abs=1e-4)


def test_nothing_is_lost_where_all_is_right() -> None:
    labels = torch.tensor([[[0, 1], [1, 0]]])
    assert dice_cross_entropy(scores_for(labels), labels).item() == pytest.approx(0, abs=1e-6)


def test_all_wrong_costs_the_whole_dice_and_the_scores_difference() -> None:
    labels = torch.tensor([[[0, 1], [1, 0]]])
    loss = dice_cross_entropy(scores_for(1 - labels), labels)
    assert loss.item() == pytest.approx(SURE + 1, abs=1e-4)


def test_an_empty_reference_that_is_predicted_empty_costs_nothing() -> None:
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    assert dice_cross_entropy(scores_for(labels), labels).item() == pytest.approx(0, abs=1e-6)


def test_an_empty_reference_with_half_of_the_probability_elsewhere() -> None:
    loss = dice_cross_entropy(torch.zeros(1, 2, 1, 4), torch.zeros(1, 1, 4))
    dice = SMOOTHING / (2 + SMOOTHING)
    assert loss.item() == pytest.approx(math.log(2) + 1 - dice, abs=1e-6)


def test_foreground_labels_count_alike_whatever_their_area() -> None:
    labels = torch.tensor([[[1, 1, 1, 1, 1, 1, 1, 2]]])
    loss = dice_cross_entropy(scores_for(torch.ones_like(labels), 3), labels)
    # label 1: 2 * 7 / (8 + 7), label 2: 0; one pixel in eight costs 50
    assert loss.item() == pytest.approx(SURE / 8 + 1 - (14 / 15 + 0) / 2, abs=1e-4)


def test_the_losses_of_parts_are_those_of_the_whole_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 3, 6, 7, generator=generator)
    labels = torch.randint(0, 3, (5, 6, 7), generator=generator)
    whole = dice_cross_entropy(scores, labels)
    parts = [dice_cross_entropy(scores[chosen], labels[chosen]) for chosen in (slice(0, 2), slice(2, 5))]
    assert whole.shape == (5,)
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)
    assert sum(part.sum() for part in parts).item() == pytest.approx(whole.sum().item(), abs=1e-5)


def test_labels_may_be_bytes_as_they_come_from_the_disk() -> None:
    labels = torch.tensor([[[0, 1], [1, 0]]])
    scores = torch.zeros(1, 2, 2, 2)
    assert torch.equal(dice_cross_entropy(scores, labels.byte()), dice_cross_entropy(scores, labels))


@pytest.mark.parametrize(
    ("predicted", "reference", "dice"),
    [
        pytest.param([1, 1, 0, 0], [1, 1, 0, 0], 1.0, id="all right"),
        pytest.param([1, 1, 0, 0], [1, 0, 0, 0], 2 / 3, id="2 * 1 / (2 + 1)"),
        pytest.param([1, 1, 0, 0], [0, 0, 1, 1], 0.0, id="nothing in common"),
        pytest.param([0, 0, 0, 0], [0, 0, 0, 0], math.nan, id="both empty"),
        pytest.param([0, 0, 0, 0], [1, 0, 0, 0], 0.0, id="missed"),
        pytest.param([1, 0, 0, 0], [0, 0, 0, 0], 0.0, id="false alarm"),
    ],
)
def test_hard_dice_of_one_row(predicted: list[int], reference: list[int], dice: float) -> None:
    scores = scores_for(torch.tensor([[predicted]]))
    assert hard_dice(scores, torch.tensor([[reference]])).tolist() == pytest.approx([dice], nan_ok=True)


def test_hard_dice_is_the_mean_over_the_foreground_labels_of_each_image() -> None:
    predicted = torch.tensor([[[1, 1, 2, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]])
    reference = torch.tensor([[[1, 0, 2, 2]], [[0, 0, 0, 2]], [[0, 0, 0, 0]]])
    values = hard_dice(scores_for(predicted, 3), reference)
    # image 1: 2/3 and 2/3; image 2: label 1 in neither, label 2 missed; image 3: neither mask has a label
    assert values.tolist() == pytest.approx([2 / 3, 0, math.nan], nan_ok=True)
    assert mean_dice(values) == pytest.approx(1 / 3)
    assert mean_dice(values[2:]) == 0.0


def two_labels() -> tuple[Tensor, Tensor]:
    """Four pixels, of which two are lesion; probabilities of lesion 1/2, 3/4, 1/4 and 1/2."""
    lesion = torch.tensor([[[[0.0, math.log(3), -math.log(3), 0.0]]]])
    return torch.cat([torch.zeros_like(lesion), lesion], dim=1), torch.tensor([[[1, 1, 0, 0]]])


def test_the_cross_entropy_is_the_mean_over_the_pixels() -> None:
    scores, labels = two_labels()
    expected = (math.log(2) + math.log(4 / 3) + math.log(4 / 3) + math.log(2)) / 4
    assert cross_entropy(scores, labels).tolist() == pytest.approx([expected], rel=1e-6)


def test_the_dice_loss_of_soft_overlap() -> None:
    scores, labels = two_labels()
    # hit 1/2 + 3/4, predicted 2, there 2
    assert dice(scores, labels).tolist() == pytest.approx([1 - 2 * 1.25 / 4], abs=1e-5)


def test_the_tversky_loss_weighs_wrong_and_missed_pixels() -> None:
    scores, labels = two_labels()
    # hit 1.25, wrongly marked 0.75, missed 0.75
    assert tversky(scores, labels).tolist() == pytest.approx([1 - 1.25 / (1.25 + 0.3 * 0.75 + 0.7 * 0.75)], abs=1e-5)
    more = tversky(scores, labels, alpha=0.0, beta=2.0)
    assert more.tolist() == pytest.approx([1 - 1.25 / (1.25 + 2 * 0.75)], abs=1e-5)


def test_with_equal_halves_the_tversky_loss_is_the_dice_loss() -> None:
    scores = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(0, 4, (3, 5, 6), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(tversky(scores, labels, alpha=0.5, beta=0.5), dice(scores, labels))


def test_dice_and_focal_loss_of_pixels() -> None:
    scores, labels = two_labels()
    pixels = [0.25 * math.log(2), 0.0625 * math.log(4 / 3), 0.0625 * math.log(4 / 3), 0.25 * math.log(2)]
    expected = sum(pixels) / 4 + 1 - 2 * 1.25 / 4
    assert dice_focal(scores, labels).tolist() == pytest.approx([expected], abs=1e-5)
    plain = dice_focal(scores, labels, gamma=0)
    torch.testing.assert_close(plain, dice_cross_entropy(scores, labels))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_masks_gives_one_value_an_image_of_its_own(name: str) -> None:
    loss = LOSSES[name]
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 3, 6, 7, generator=generator).requires_grad_()
    labels = torch.randint(0, 3, (5, 6, 7), generator=generator, dtype=torch.uint8)
    whole = loss(scores, labels)
    assert whole.shape == (5,)
    torch.testing.assert_close(torch.cat([loss(scores[:2], labels[:2]), loss(scores[2:], labels[2:])]), whole)
    whole.sum().backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert loss(scores_for(labels.long(), 3), labels).tolist() == pytest.approx([0] * 5, abs=1e-4)
    assert (loss(scores_for(labels.long(), 3), labels) < loss(scores_for((labels.long() + 1) % 3, 3), labels)).all()
    assert loss.__doc__


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_every_loss_of_classes_gives_one_value_an_image_of_its_own(name: str) -> None:
    loss = CLASS_LOSSES[name]
    scores = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    classes, weights = torch.tensor([0, 1, 2, 0, 1, 2]), [0.5, 1.0, 2.0]
    whole = loss(scores, classes, weights)
    assert whole.shape == (6,)
    torch.testing.assert_close(
        torch.stack([loss(scores[i : i + 1], classes[i : i + 1], weights)[0] for i in range(6)]), whole
    )
    torch.testing.assert_close(whole, loss(scores, classes, []) * torch.tensor(weights)[classes])
    whole.sum().backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert loss(SURE * (2 * torch.eye(3)[classes] - 1), classes, []).tolist() == pytest.approx([0] * 6, abs=1e-6)
    assert loss.__doc__


def test_smoothing_moves_a_part_of_the_probability_to_all_classes() -> None:
    found = CLASS_LOSSES["cross_entropy"](CLASS_SCORES[2:], torch.tensor([1]), smoothing=0.2)
    assert found.tolist() == pytest.approx([-(0.9 * math.log(0.9) + 0.1 * math.log(0.1))], rel=1e-5)


def test_a_plan_chooses_its_losses_and_their_parameters() -> None:
    scores, labels = two_labels()
    plan = plan_of(loss="tversky", loss_parameters={"alpha": 0.0, "beta": 2.0})
    assert torch.equal(segmentation_loss(plan)(scores, labels), tversky(scores, labels, alpha=0.0, beta=2.0))
    assert torch.equal(segmentation_loss(plan_of())(scores, labels), dice_cross_entropy(scores, labels))
    weights = {"malignant": 2.0, "benign": 0.5}
    chosen = classification_loss(plan_of(class_loss_parameters={"gamma": 0.0}, class_weights=weights))
    classes = torch.tensor([0, 1, 1])
    assert torch.equal(chosen(CLASS_SCORES, classes), focal(CLASS_SCORES, classes, [0.5, 2.0], gamma=0.0))
    assert torch.equal(classification_loss(plan_of())(CLASS_SCORES, classes), focal(CLASS_SCORES, classes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "tverski"}, "No loss is called 'tverski'; known: .*Did you mean 'tversky'"),
        ({"loss": "tversky", "loss_parameters": {"aplha": 1}}, "no parameter 'aplha'; it has: alpha, beta.*'alpha'"),
        ({"loss_parameters": {"alpha": 1}}, "'dice_cross_entropy' has no parameter 'alpha'; it has: background"),
        ({"loss": "tversky", "loss_parameters": {"alpha": -1}}, "cannot be computed .*0 or larger.*got -1"),
        ({"loss": "tversky", "loss_parameters": {"alpha": "x"}}, "cannot be computed"),
    ],
)
def test_what_a_loss_cannot_take_is_said_before_anything_is_trained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        segmentation_loss(plan_of(**changes))


def test_a_loss_without_a_value_for_each_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES._entries, "mean", lambda scores, labels: scores.mean())
    with pytest.raises(UsageError, match=r"'mean' must return a value for each image, \(3,\), got \(\)"):
        segmentation_loss(plan_of(loss="mean"))


CLASS_SCORES = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(9)]])
"""Probabilities of the last class: 1/2, 1/4, 9/10."""


def test_the_focal_loss_weighs_each_cross_entropy_with_the_square_of_what_is_missing() -> None:
    loss = focal(CLASS_SCORES, torch.tensor([1, 1, 1]))
    expected = [0.25 * math.log(2), (3 / 4) ** 2 * math.log(4), 0.01 * math.log(10 / 9)]
    assert loss.tolist() == pytest.approx(expected, rel=1e-5)


def test_without_gamma_the_focal_loss_is_the_cross_entropy_and_weights_are_those_of_the_true_classes() -> None:
    classes = torch.tensor([0, 1, 0])
    plain = torch.nn.functional.cross_entropy(CLASS_SCORES, classes, reduction="none")
    torch.testing.assert_close(focal(CLASS_SCORES, classes, gamma=0), plain)
    weighted = focal(CLASS_SCORES, classes, [0.5, 2.0], gamma=0)
    torch.testing.assert_close(weighted, plain * torch.tensor([0.5, 2.0, 0.5]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("score", [0.0, 60.0, -60.0, 1e4])
def test_the_focal_losses_of_sure_scores_and_their_gradients_are_finite(score: float, gamma: float) -> None:
    scores = torch.tensor([[0.0, score]], requires_grad=True)
    one, of_masks = torch.tensor([1]), torch.tensor([[[1]]])
    for loss in (
        focal(scores, one, gamma=gamma),
        sigmoid_focal(scores, one, gamma=gamma),
        dice_focal(scores[..., None, None], of_masks, gamma=gamma),
    ):
        (gradient,) = torch.autograd.grad(loss.sum(), scores)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()


def test_the_ranking_counts_pairs_in_the_right_order() -> None:
    # true classes 0 1 0 1 with growing scores: 3 of 4 pairs are in order
    scores = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0]])
    assert ranking_auc(scores, torch.tensor([0, 1, 0, 1])) == 0.75


def test_the_ranking_of_more_classes_is_the_mean_over_those_that_have_cases() -> None:
    scores = torch.eye(4)[[0, 1, 2, 0, 1, 2]]
    assert ranking_auc(scores, torch.tensor([0, 1, 2, 0, 1, 2])) == 1.0
    # class 0 in order; class 1: the first of two is not above the one of class 0 that is equal to it
    assert ranking_auc(torch.eye(4)[[0, 0, 1]], torch.tensor([0, 1, 1])) == pytest.approx((0.75 + 0.75) / 2)


def test_one_class_alone_cannot_be_ranked() -> None:
    with pytest.raises(ValueError, match=r"all are of class \[1\]"):
        ranking_auc(torch.zeros(2, 2), torch.tensor([1, 1]))


def test_dice_cross_entropy_of_the_public_code_by_hand() -> None:
    """Background counted, squares in the denominator: MONAI's DiceCELoss with squared_pred."""
    scores = torch.tensor([[[[0.0, math.log(3)]], [[0.0, 0.0]]]])  # p of the background 1/2 and 3/4
    labels = torch.tensor([[[1, 0]]])
    loss = dice_cross_entropy(scores, labels, background=True, squared=True, smoothing=1e-8)
    background = 2 * (3 / 4) / (1 / 4 + 9 / 16 + 1)
    lesion = 2 * (1 / 2) / (1 / 4 + 1 / 16 + 1)
    entropy = (math.log(2) + math.log(4 / 3)) / 2
    assert loss.tolist() == pytest.approx([entropy + 1 - (background + lesion) / 2], abs=1e-6)


def test_the_sigmoid_focal_loss_asks_yes_or_no_of_every_class() -> None:
    scores = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])  # sigmoids 3/4 and 1/2
    loss = sigmoid_focal(scores, torch.tensor([0, 0]))
    right = -((1 / 4) ** 2 * math.log(3 / 4) + (1 / 2) ** 2 * math.log(1 / 2)) / 2
    wrong = -((1 / 2) ** 2 * math.log(1 / 2) + (3 / 4) ** 2 * math.log(1 / 4)) / 2
    assert loss.tolist() == pytest.approx([right, wrong], abs=1e-6)
    assert sigmoid_focal(scores, torch.tensor([0, 0]), [2.0, 1.0]).tolist() == pytest.approx([2 * right, 2 * wrong])
    binary = torch.nn.functional.binary_cross_entropy_with_logits(scores, torch.tensor([[1.0, 0], [1, 0]]))
    assert sigmoid_focal(scores, torch.tensor([0, 0]), gamma=0.0).mean().item() == pytest.approx(binary.item())


def test_a_smoothing_of_zero_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(UsageError, match="smoothing must be above 0, got 0"):
        segmentation_loss(plan_of(loss="dice", loss_parameters={"smoothing": 0}))
