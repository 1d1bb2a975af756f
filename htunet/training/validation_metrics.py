"""The metrics that watch a training on its validation images; those of the test images are in ``htunet.evaluation``."""

import numpy as np
import torch
from torch import Tensor


def hard_dice(scores_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Dice of the most probable labels, mean over the foreground labels, one value an image, (B,) in [0, 1].

    A label that is neither in the prediction nor in the reference is not in the mean; NaN where there is no other.
    """
    predicted_BHW = scores_BKHW.argmax(dim=1)
    values = []
    for label in range(1, scores_BKHW.shape[1]):
        p, r = predicted_BHW == label, labels_BHW == label
        total_B = p.sum(dim=(1, 2)) + r.sum(dim=(1, 2))
        overlap_B = (p & r).sum(dim=(1, 2))
        values.append(torch.where(total_B == 0, torch.nan, 2 * overlap_B / total_B.clamp(min=1)))
    return torch.stack(values).nanmean(dim=0)


def mean_dice(dice_N: Tensor) -> float:
    """Mean over the images that have a value, in [0, 1]; 0 where none has: then the loss chooses the epoch."""
    return float(dice_N.double().nanmean().nan_to_num(0.0))


def ranking_auc(scores_NK: Tensor, classes_N: Tensor) -> float:
    """Area under the ROC curve over all cases, in [0, 1]: the last of two classes against the other one.

    More than two classes: mean over those that have cases, each against all others. Raises ValueError where only one
    class has cases, because there is then nothing to rank.
    """
    from sklearn.metrics import roc_auc_score

    truth_N = classes_N.cpu().numpy()
    if len(present := np.unique(truth_N)) < 2:
        raise ValueError(f"The AUC needs cases of two classes; all are of class {present.tolist()}.")
    probabilities_NK = torch.softmax(scores_NK.double(), dim=1).cpu().numpy()  # float32 would make ties near 1
    ranked = [1] if scores_NK.shape[1] == 2 else present
    return float(np.mean([roc_auc_score(truth_N == k, probabilities_NK[:, k]) for k in ranked]))
