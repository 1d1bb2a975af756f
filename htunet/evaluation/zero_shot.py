"""What sentences say of images: a decision from all of them together, and how well each one works alone.

Source: arXiv 2506.08849, section IV: the cosine similarities of an image with a class's prompts are averaged.
Dimension key: N images, K classes, P prompts, E embedding.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from htunet.data.class_probabilities import ClassProbabilities
from htunet.data.zero_shot_prompts import Prompt
from htunet.evaluation.class_summary import decision_estimates, ranking_estimates
from htunet.evaluation.classification import auc, confusion_counts, decide
from htunet.evaluation.statistics import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PromptResult:
    """One sentence alone."""

    class_name: str
    prompt: Prompt
    auc: float | None
    """Of its similarity alone, its class against the others: above 0.5 where its class's images are more similar. None
    where its class, or all others, have no image."""
    similarity: dict[str, float]
    """Mean cosine similarity with the images of each class."""


@dataclass(frozen=True, kw_only=True)
class ZeroShotResult:
    """All sentences together, and each alone."""

    probabilities: ClassProbabilities
    rankings: dict[str, Estimate]
    """The metrics of the ranking by name, such as ``auc``."""
    decision: dict[str, Estimate]
    """Accuracy, recall, precision, F1 and specificity, deciding for the class with the highest mean similarity; of two
    classes those of the last one."""
    confusion: list[list[int]]
    prompts: tuple[PromptResult, ...]

    @property
    def auc(self) -> Estimate:
        """Area under the ROC curve."""
        return self.rankings["auc"]

    def content(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "classes": list(self.probabilities.classes),
            "positive": self.probabilities.classes[1] if len(self.probabilities.classes) == 2 else None,
            "n_cases": len(self.probabilities.cases),
            **{name: asdict(estimate) for name, estimate in self.rankings.items()},
            **{name: asdict(estimate) for name, estimate in self.decision.items()},
            "confusion_matrix": self.confusion,
            "prompts": [
                {"class": one.class_name, **asdict(one.prompt), "auc": one.auc, "mean_similarity": one.similarity}
                for one in self.prompts
            ],
        }


def zero_shot_result(
    images_NE: NDArray[np.float32],
    prompts_PE: NDArray[np.float32],
    prompts: Sequence[tuple[str, Prompt]],
    *,
    cases: Sequence[tuple[str, str, str]],
    classes: Sequence[str],
    logit_scale: float,
) -> ZeroShotResult:
    """Classify by embeddings of unit length. ``cases`` are (id, class, group) of the images.

    ``logit_scale`` turns mean similarities into probabilities, as in the towers' training; it changes no decision.
    Raises HtunetError for a case without one of the classes.
    """
    similarity_NP = images_NE.astype(np.float64) @ prompts_PE.astype(np.float64).T
    of_class = np.array([classes.index(name) for name, _ in prompts])
    mean_NK = np.stack([similarity_NP[:, of_class == k].mean(axis=1) for k in range(len(classes))], axis=1)
    ids, truth, groups = zip(*cases, strict=True)
    found = ClassProbabilities(
        classes=tuple(classes), cases=ids, truth=truth, values_NK=softmax(logit_scale * mean_NK, axis=1)
    )
    truth_N, decided_N = found.truth_indices, decide(mean_NK)
    return ZeroShotResult(
        probabilities=found,
        rankings=ranking_estimates(found.values_NK, truth_N, groups),
        decision=decision_estimates(truth_N, decided_N, len(classes), groups),
        confusion=confusion_counts(truth_N, decided_N, len(classes)),
        prompts=tuple(
            _alone(similarity_NP[:, p], name, prompt, truth_N, classes) for p, (name, prompt) in enumerate(prompts)
        ),
    )


def _alone(
    similarity_N: Floats, name: str, prompt: Prompt, truth_N: NDArray[np.intp], classes: Sequence[str]
) -> PromptResult:
    own_N = (truth_N == classes.index(name)).astype(np.intp)
    area = auc(np.stack([-similarity_N, similarity_N], axis=1)[None], own_N, np.ones((1, len(own_N))))[0]
    present = [(k, other) for k, other in enumerate(classes) if (truth_N == k).any()]
    return PromptResult(
        class_name=name,
        prompt=prompt,
        auc=None if np.isnan(area) else float(area),
        similarity={other: float(similarity_N[truth_N == k].mean()) for k, other in present},
    )
