"""A metric of masks: how much the areas agree, wherever they lie."""

from htunet.evaluation.metrics import HIGHER, Kind, Metric
from htunet.evaluation.overlap import Counts


def volume_similarity(counts: Counts) -> float:
    """1 - |predicted - reference| / (predicted + reference), 0 to 1."""
    return 1 - abs(counts.n_pred - counts.n_ref) / (counts.n_pred + counts.n_ref)


VOLUME_SIMILARITY = Metric(
    name="volume_similarity",
    key="VolumeSimilarity",
    label="Volume similarity",
    short="VS",
    kind=Kind.OVERLAP,
    better=HIGHER,
    definition="1 - |predicted - reference| / (predicted + reference), in pixels",
    of=volume_similarity,
)
