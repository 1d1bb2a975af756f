"""Losses, as sums over images, so that parts of a batch add up to exactly the loss of the whole batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTHING = 1e-5


def dice_and_cross_entropy(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Soft Dice loss plus cross-entropy, each with weight 1, one value an image, (B,).

    The Dice loss is 1 minus the mean over the foreground labels of 2 |P R| / (|P| + |R|), with softmax probabilities P,
    computed in each image. Source: arXiv 2506.08849, section IV-B, which names both without a formula.
    """
    labels_BHW = labels_BHW.long()
    entropy_B = F.cross_entropy(scores_BKHW, labels_BHW, reduction="none").mean(dim=(1, 2))
    probabilities_BKHW = torch.softmax(scores_BKHW, dim=1)[:, 1:]
    reference_BKHW = F.one_hot(labels_BHW, scores_BKHW.shape[1]).movedim(-1, 1)[:, 1:].to(scores_BKHW.dtype)
    overlap_BK = (probabilities_BKHW * reference_BKHW).sum(dim=(2, 3))
    total_BK = probabilities_BKHW.sum(dim=(2, 3)) + reference_BKHW.sum(dim=(2, 3))
    dice_B = ((2 * overlap_BK + SMOOTHING) / (total_BK + SMOOTHING)).mean(dim=1)
    return entropy_B + 1 - dice_B


def hard_dice(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Dice of the most probable labels, mean over the foreground labels, one value an image, (B,) in [0, 1].

    1 where a label is neither in the prediction nor in the reference. It watches the training; test figures come
    from ``htunet.evaluation``.
    """
    predicted_BHW = scores_BKHW.argmax(dim=1)
    values = []
    for label in range(1, scores_BKHW.shape[1]):
        p, r = predicted_BHW == label, labels_BHW == label
        total_B = p.sum(dim=(1, 2)) + r.sum(dim=(1, 2))
        overlap_B = (p & r).sum(dim=(1, 2))
        values.append(torch.where(total_B == 0, 1.0, 2 * overlap_B / total_B.clamp(min=1)))
    return torch.stack(values).mean(dim=0)
