"""Losses of masks: (B, K, H, W) scores before the softmax and (B, H, W) labels -> one value an image, (B,).

Dimension key: B images, K labels, H W pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTHING = 1e-5


def dice_cross_entropy(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Soft Dice loss plus cross-entropy, each with weight 1.

    Source: arXiv 2506.08849, section IV-B, which names both without a formula.
    """
    entropy_B = cross_entropy(scores_BKHW, labels_BHW)
    return entropy_B + 1 - _soft_dice(scores_BKHW, labels_BHW)


def cross_entropy(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """-log p of the true label, the mean over the pixels."""
    return F.cross_entropy(scores_BKHW, labels_BHW.long(), reduction="none").mean(dim=(1, 2))


def dice(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Soft Dice loss, 0 to 1: 1 minus the mean over the foreground labels of 2 |P R| / (|P| + |R|).

    P are softmax probabilities; both are summed over one image. Source: Milletari et al. 2016, arXiv:1606.04797, with
    plain sums in the denominator, as nnU-Net has them.
    """
    return 1 - _soft_dice(scores_BKHW, labels_BHW)


def dice_focal(scores_BKHW: Tensor, labels_BHW: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Soft Dice loss plus the focal loss, the mean over the pixels of -(1 - p)^gamma log p of the true label.

    Sources: as ``dice``; Lin et al. 2017, arXiv:1708.02002; their sum: Zhu et al. 2019, AnatomyNet, arXiv:1808.05238.
    Raises ValueError for a negative ``gamma``.
    """
    if gamma < 0:
        raise ValueError(f"gamma must be 0 or larger, got {gamma}.")
    logarithm_BHW = -F.cross_entropy(scores_BKHW, labels_BHW.long(), reduction="none")
    focal_B = (-((-torch.expm1(logarithm_BHW)) ** gamma) * logarithm_BHW).mean(dim=(1, 2))
    return focal_B + dice(scores_BKHW, labels_BHW)


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


def _soft_dice(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    hit_BK, predicted_BK, reference_BK = _overlap(scores_BKHW, labels_BHW)
    return ((2 * hit_BK + SMOOTHING) / (predicted_BK + reference_BK + SMOOTHING)).mean(dim=1)


def _overlap(scores_BKHW: Tensor, labels_BHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each foreground label in each image, (B, K - 1): what is hit, what is predicted, what is there; in pixels."""
    probabilities_BKHW = torch.softmax(scores_BKHW, dim=1)[:, 1:]
    reference_BKHW = F.one_hot(labels_BHW.long(), scores_BKHW.shape[1]).movedim(-1, 1)[:, 1:].to(scores_BKHW.dtype)
    hit_BK = (probabilities_BKHW * reference_BKHW).sum(dim=(2, 3))
    return hit_BK, probabilities_BKHW.sum(dim=(2, 3)), reference_BKHW.sum(dim=(2, 3))
