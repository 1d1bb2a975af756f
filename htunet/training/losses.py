"""Losses, one value an image, so that parts of a batch add up to exactly the loss of the whole batch.

And the figures that watch a training; test figures come from ``htunet.evaluation``.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

SMOOTHING = 1e-5
GAMMA = 2.0


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


def focal_loss(scores_BN: Tensor, classes_B: Tensor, weights: Sequence[float] = (), gamma: float = GAMMA) -> Tensor:
    """-w (1 - p)^gamma log p with the softmax probability p of the true class, one value an image, (B,).

    ``weights`` has one w for each class; empty: 1. With ``gamma`` 0 it is the cross-entropy. Source: Lin et al. 2017,
    Focal Loss for Dense Object Detection, whose gamma of 2 is taken because arXiv 2506.08849 names none.
    """
    classes_B = classes_B.long()
    logarithm_B = torch.log_softmax(scores_BN, dim=1).gather(1, classes_B[:, None])[:, 0]
    loss_B = -((-torch.expm1(logarithm_B)) ** gamma) * logarithm_B
    return loss_B * scores_BN.new_tensor(weights)[classes_B] if weights else loss_B


def hard_dice(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Dice of the most probable labels, mean over the foreground labels, one value an image, (B,) in [0, 1].

    1 where a label is neither in the prediction nor in the reference.
    """
    predicted_BHW = scores_BKHW.argmax(dim=1)
    values = []
    for label in range(1, scores_BKHW.shape[1]):
        p, r = predicted_BHW == label, labels_BHW == label
        total_B = p.sum(dim=(1, 2)) + r.sum(dim=(1, 2))
        overlap_B = (p & r).sum(dim=(1, 2))
        values.append(torch.where(total_B == 0, 1.0, 2 * overlap_B / total_B.clamp(min=1)))
    return torch.stack(values).mean(dim=0)


def ranking_auc(scores_NK: Tensor, classes_N: Tensor) -> float:
    """Area under the ROC curve over all cases, in [0, 1]: the last of two classes against the other one.

    More than two classes: mean over those that have cases, each against all others. Raises ValueError where only one
    class has cases, because there is then nothing to rank.
    """
    truth_N = classes_N.cpu().numpy()
    if len(present := np.unique(truth_N)) < 2:
        raise ValueError(f"The AUC needs cases of two classes; all are of class {present.tolist()}.")
    probabilities_NK = torch.softmax(scores_NK.double(), dim=1).cpu().numpy()  # float32 would make ties near 1
    ranked = [1] if scores_NK.shape[1] == 2 else present
    return float(np.mean([roc_auc_score(truth_N == k, probabilities_NK[:, k]) for k in ranked]))
