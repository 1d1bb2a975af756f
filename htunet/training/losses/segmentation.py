"""Losses of masks: (B, K, H, W) scores before the softmax and (B, H, W) labels -> one value an image, (B,).

Dimension key: B images, K labels, H W pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from htunet.training.losses.classification import focal_term

SMOOTHING = 1e-5


def dice_cross_entropy(
    scores_BKHW: Tensor,
    labels_BHW: Tensor,
    *,
    background: bool = False,
    squared: bool = False,
    smoothing: float = SMOOTHING,
) -> Tensor:
    """Soft Dice loss, with the parameters of ``dice``, plus cross-entropy, each with weight 1.

    Source: arXiv 2506.08849, section IV-B, which names both without a formula. Its public code takes MONAI's, with
    ``background`` and ``squared`` true and ``smoothing`` 1e-8.
    """
    entropy_B = cross_entropy(scores_BKHW, labels_BHW)
    return entropy_B + dice(scores_BKHW, labels_BHW, background=background, squared=squared, smoothing=smoothing)


def cross_entropy(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """-log p of the true label, the mean over the pixels."""
    return F.cross_entropy(scores_BKHW, labels_BHW.long(), reduction="none").mean(dim=(1, 2))


def dice(
    scores_BKHW: Tensor,
    labels_BHW: Tensor,
    *,
    background: bool = False,
    squared: bool = False,
    smoothing: float = SMOOTHING,
) -> Tensor:
    """Soft Dice loss, 0 to 1: 1 minus the mean over the foreground labels of 2 |P R| / (|P| + |R|).

    P are softmax probabilities; both are summed over one image. Source: Milletari et al. 2016, arXiv:1606.04797, with
    plain sums in the denominator, as nnU-Net has them; ``squared`` puts P^2 there, as that article has it.
    ``background`` counts label 0 among the labels; ``smoothing`` is added to both sides of the fraction. Raises
    ValueError where it is not above 0: an image without the label would have no value.
    """
    if not smoothing > 0:
        raise ValueError(f"smoothing must be above 0, got {smoothing}.")
    hit_BK, predicted_BK, reference_BK = _overlap(scores_BKHW, labels_BHW, background=background, squared=squared)
    return 1 - ((2 * hit_BK + smoothing) / (predicted_BK + reference_BK + smoothing)).mean(dim=1)


def dice_focal(scores_BKHW: Tensor, labels_BHW: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Soft Dice loss plus the focal loss, the mean over the pixels of -(1 - p)^gamma log p of the true label.

    Sources: as ``dice``; Lin et al. 2017, arXiv:1708.02002; their sum: Zhu et al. 2019, AnatomyNet, arXiv:1808.05238.
    Raises ValueError for a negative ``gamma``.
    """
    logarithm_BHW = -F.cross_entropy(scores_BKHW, labels_BHW.long(), reduction="none")
    return focal_term(logarithm_BHW, gamma).mean(dim=(1, 2)) + dice(scores_BKHW, labels_BHW)


def tversky(scores_BKHW: Tensor, labels_BHW: Tensor, *, alpha: float = 0.3, beta: float = 0.7) -> Tensor:
    """1 minus the mean over the foreground labels of TP / (TP + alpha FP + beta FN), 0 to 1.

    ``alpha`` weighs pixels that are wrongly marked, ``beta`` those that are missed; with 0.5 each it is ``dice``.
    Source: Salehi et al. 2017, arXiv:1706.05721, with its best pair as the default. Raises ValueError for a negative
    weight, or where both are 0.
    """
    if min(alpha, beta) < 0 or alpha + beta == 0:
        raise ValueError(f"alpha and beta must be 0 or larger, and not both 0, got {alpha} and {beta}.")
    hit_BK, predicted_BK, reference_BK = _overlap(scores_BKHW, labels_BHW)
    wrong_BK = alpha * (predicted_BK - hit_BK) + beta * (reference_BK - hit_BK)
    # half of the smoothing, so that weights of 0.5 give the Dice loss
    return 1 - ((hit_BK + SMOOTHING / 2) / (hit_BK + wrong_BK + SMOOTHING / 2)).mean(dim=1)


def _overlap(
    scores_BKHW: Tensor, labels_BHW: Tensor, *, background: bool = False, squared: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """For each label in each image, (B, K or K - 1), in pixels: overlap, prediction, and reference."""
    first = 0 if background else 1
    probabilities_BKHW = torch.softmax(scores_BKHW, dim=1)[:, first:]
    reference_BKHW = F.one_hot(labels_BHW.long(), scores_BKHW.shape[1]).movedim(-1, 1)[:, first:].to(scores_BKHW.dtype)
    hit_BK = (probabilities_BKHW * reference_BKHW).sum(dim=(2, 3))
    predicted_BKHW = probabilities_BKHW.square() if squared else probabilities_BKHW
    return hit_BK, predicted_BKHW.sum(dim=(2, 3)), reference_BKHW.sum(dim=(2, 3))
