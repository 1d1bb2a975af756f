"""A loss of masks: one minus the soft Jaccard index."""

import torch
from torch import Tensor
from torch.nn import functional as F


def jaccard(scores_BKHW: Tensor, labels_BHW: Tensor, *, smoothing: float = 1e-5) -> Tensor:
    """(B, K, H, W) scores and (B, H, W) labels -> one value for each image, (B,): the foreground's mean."""
    probabilities = torch.softmax(scores_BKHW, dim=1)[:, 1:]
    reference = F.one_hot(labels_BHW.long(), scores_BKHW.shape[1]).movedim(-1, 1)[:, 1:].to(scores_BKHW.dtype)
    common_BK = (probabilities * reference).sum(dim=(2, 3))
    either_BK = (probabilities + reference).sum(dim=(2, 3)) - common_BK
    return 1 - ((common_BK + smoothing) / (either_BK + smoothing)).mean(dim=1)
