"""Losses of classes: (B, N) scores before the softmax and (B,) classes -> one value an image, (B,).

``weights`` has one weight for each class; empty: 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

TINY = 1e-9
"""Below this the probability of an error counts as this: at 0 a power below 1 has no finite gradient."""


def focal_term(logarithm: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p, elementwise, from log p. Raises ValueError for a negative ``gamma``."""
    if gamma < 0:
        raise ValueError(f"gamma must be 0 or larger, got {gamma}.")
    return -((-torch.expm1(logarithm)).clamp(min=TINY) ** gamma) * logarithm


def focal(scores_BN: Tensor, classes_B: Tensor, weights: Sequence[float] = (), *, gamma: float = 2.0) -> Tensor:
    """-w (1 - p)^gamma log p with the softmax probability p of the true class.

    With ``gamma`` 0 it is the cross-entropy. Source: Lin et al. 2017, Focal Loss for Dense Object Detection, whose
    gamma of 2 is the default because arXiv 2506.08849 names none. Raises ValueError for a negative ``gamma``.
    """
    classes_B = classes_B.long()
    logarithm_B = torch.log_softmax(scores_BN, dim=1).gather(1, classes_B[:, None])[:, 0]
    loss_B = focal_term(logarithm_B, gamma)
    return loss_B * scores_BN.new_tensor(weights)[classes_B] if weights else loss_B


def sigmoid_focal(scores_BN: Tensor, classes_B: Tensor, weights: Sequence[float] = (), *, gamma: float = 2.0) -> Tensor:
    """The mean over the classes of -w (1 - q)^gamma log q with q the sigmoid probability that the class is right.

    Each class is a yes or no of its own: q is the sigmoid of the true class's score, and that of the negated score of
    each other class; w is the weight of the image's true class. Source: Lin et al. 2017, and MONAI's FocalLoss, which
    the public code of arXiv 2506.08849 takes. Raises ValueError for a negative ``gamma``.
    """
    classes_B = classes_B.long()
    signs_BN = 2 * F.one_hot(classes_B, scores_BN.shape[1]).to(scores_BN.dtype) - 1
    logarithm_BN = F.logsigmoid(signs_BN * scores_BN)
    loss_B = focal_term(logarithm_BN, gamma).mean(dim=1)
    return loss_B * scores_BN.new_tensor(weights)[classes_B] if weights else loss_B


def cross_entropy(
    scores_BN: Tensor, classes_B: Tensor, weights: Sequence[float] = (), *, smoothing: float = 0.0
) -> Tensor:
    """-w log p of the true class; ``smoothing`` moves that part of its probability to all classes alike.

    Source of the smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    class_weights = scores_BN.new_tensor(weights) if weights else None
    return F.cross_entropy(
        scores_BN, classes_B.long(), weight=class_weights, label_smoothing=smoothing, reduction="none"
    )
