"""What an evaluation found, as summary.json (nnU-Net's keys, and ours beside them) and as one tidy CSV.

nnU-Net's keys (``foreground_mean``, ``mean``, ``metric_per_case``) keep nnU-Net's meaning: the original resolution,
and no value (null) where prediction and reference are both empty. All of ours is under the key ``htunet``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.formats.medical_file import Spacing
from htunet.evaluation.metrics import (
    BOTH_EMPTY,
    EMPTY_PREDICTION,
    EMPTY_REFERENCE,
    METRICS,
    POLICIES,
    LabelScore,
    mask_metrics,
)
from htunet.evaluation.overlap import Counts
from htunet.evaluation.statistics import Mean, bootstrap_means, ratio
from htunet.files import write_csv, write_json
from htunet.reproducibility import provenance

FORMAT = 2
READ_FORMATS = (1, FORMAT)
"""1 counted a label that neither mask of an image has as found; see ``upgraded``."""
INPUT, ORIGINAL = "input_size", "original_size"
RESOLUTIONS = {
    INPUT: "the network's input size, distances in its pixels: the paper's figures",
    ORIGINAL: "the original image size, distances in its pixels, and in millimetres (_mm) where the spacing is known",
}
PER_CASE_IDENTITY = ("dataset", "method", "plan", "fold", "seed")
NNUNET_METRICS = ("Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseScore:
    """One label of one case at one resolution."""

    case: str
    label: int
    resolution: str
    score: LabelScore
    class_name: str = ""
    group: str = ""
    spacing_mm: Spacing | None = None
    score_mm: LabelScore | None = None
    """With distances in millimetres, where pixels are not square; else they are those of ``score`` times the side."""
    prediction_file: str = ""
    reference_file: str = ""
    unlike_spacing: bool = False
    """Whether the files of both masks say pixel sizes, and unlike ones."""
    predicted_as: Mapping[int, int] = field(default_factory=dict)
    """Pixels of the reference's label by the labels that are predicted there."""
    remark: str = ""
    """On the places that the headers of both files name; see ``check_place``."""

    def values(self, policy: str) -> dict[str, float]:
        """The metrics of a mask under a policy, in millimetres too; NaN where there is no value."""
        pixels = self.score.values(policy)
        side = self.spacing_mm if self.resolution == ORIGINAL and isinstance(self.spacing_mm, int | float) else math.nan
        measured = self.score_mm.values(policy) if self.score_mm and self.resolution == ORIGINAL else {}
        twins = {METRICS[name].in_millimetres.name: measured.get(name, value * side) for name, value in pixels.items()
                 if METRICS[name].millimetres}  # fmt: skip
        return pixels | twins


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All scores of one run's test split, or of two folders, with the policy for empty masks."""

    identity: Mapping[str, Any]
    """What was evaluated: dataset, method, plan, fold, seed, weights, settings and so on; strict JSON."""
    policy: str
    scores: tuple[CaseScore, ...]
    notes: tuple[str, ...] = field(default=())
    """What a reader should know, such as masks read as 0/1 that were 0/255."""

    @property
    def resolutions(self) -> list[str]:
        """Those of ``RESOLUTIONS`` at which there are scores, in that order."""
        return [name for name in RESOLUTIONS if any(row.resolution == name for row in self.scores)]

    def label_name(self, label: int) -> str:
        """As dataset.json names it, where the identity has that; else ``label 2``."""
        names = {index: name for name, index in (self.identity.get("labels") or {}).items()}
        return str(names.get(label, f"label {label}"))

    def at(self, resolution: str) -> list[CaseScore]:
        """The scores at one resolution, a row for each case and label."""
        return [row for row in self.scores if row.resolution == resolution]

    def case_values(self, resolution: str) -> tuple[list[CaseScore], NDArray[np.float64]]:
        """One row per case: its first score (for names and groups) and the (N, M) means over its labels.

        A label without a value is excluded from its case's mean; NaN where no label has one. A label that no reference
        has is in no mean, unless there is no other: nothing of it can be found.
        """
        scores, columns = self.at(resolution), len(mask_metrics())
        labels = {row.label for row in scores}
        counted = {row.label for row in scores if row.score.counts.n_ref} or labels
        cases: dict[str, list[CaseScore]] = {}
        for row in scores:
            cases.setdefault(row.case, []).append(row)
        of_labels = [[[*row.values(self.policy).values()] for row in rows if row.label in counted]
                     for rows in cases.values()]  # fmt: skip
        values = [mean_over_labels(np.reshape(found, (-1, columns))) for found in of_labels]
        return [rows[0] for rows in cases.values()], np.reshape(values, (-1, columns))

    def means(self, resolution: str, label: int | None = None) -> dict[str, Mean]:
        """Mean over cases with its interval of each metric; of one label, or of the cases' means."""
        if label is None:
            rows, values = self.case_values(resolution)
        else:
            rows = [row for row in self.at(resolution) if row.label == label]
            values = np.array([list(row.values(self.policy).values()) for row in rows])
        groups = [row.group for row in rows]
        return dict(zip([m.name for m in mask_metrics()], bootstrap_means(values, groups), strict=True))

    def empty(self, resolution: str) -> dict[str, list[str]]:
        """The names of the cases with an empty mask, by which one is empty."""
        found: dict[str, list[str]] = {EMPTY_PREDICTION: [], EMPTY_REFERENCE: [], BOTH_EMPTY: []}
        several = len({row.label for row in self.scores}) > 1
        for row in self.at(resolution):
            if row.score.empty:
                name = f"{row.case} (label {row.label})" if several else row.case
                found[row.score.empty].append(name)
        return found

    def without_label(self, resolution: str, label: int) -> dict[str, int]:
        """How many references lack the label, and in how many of them it is predicted nevertheless."""
        found = [row.score.empty for row in self.at(resolution) if row.label == label]
        alarms = found.count(EMPTY_REFERENCE)
        return {"references_without": alarms + found.count(BOTH_EMPTY), "false_alarms": alarms}

    def detection(self, resolution: str) -> dict[str, Mean]:
        """How often anything is found in cases whose reference has a label, and nothing in the others.

        ``sensitivity`` and ``specificity`` with their 95 % intervals; no case of a kind: no value.
        """
        rows = {row.case: row for row in self.at(resolution)}
        empty = self.empty_cases(resolution)
        values = [[which != EMPTY_PREDICTION, math.nan] if which in (None, EMPTY_PREDICTION) else
                  [math.nan, which == BOTH_EMPTY] for which in map(empty.get, rows)]  # fmt: skip
        means = bootstrap_means(np.array(values, dtype=np.float64).reshape(-1, 2), [row.group for row in rows.values()])
        return dict(zip(("sensitivity", "specificity"), means, strict=True))

    def empty_cases(self, resolution: str) -> dict[str, str]:
        """Case to which of its masks is empty of every label: ``prediction``, ``reference`` or ``both``."""
        sizes: dict[str, list[int]] = {}
        for row in self.at(resolution):
            counts = sizes.setdefault(row.case, [0, 0])
            counts[0] += row.score.counts.n_pred
            counts[1] += row.score.counts.n_ref
        names = {(True, True): BOTH_EMPTY, (True, False): EMPTY_PREDICTION, (False, True): EMPTY_REFERENCE}
        empty = {case: names.get((predicted == 0, true == 0)) for case, (predicted, true) in sizes.items()}
        return {case: which for case, which in empty.items() if which}


def write_summary(summary: Summary, folder: Path, also: Mapping[str, Any] | None = None) -> None:
    """Write ``per_case.csv`` and, last, ``summary.json`` into ``folder``; ``also`` is added to our own object."""
    write_csv(folder / "per_case.csv", per_case_columns(), per_case_rows(summary))
    content = summary_content(summary)
    write_json(folder / "summary.json", content | {"htunet": content["htunet"] | dict(also or {})})


def write_own(identity: Mapping[str, Any], folder: Path, also: Mapping[str, Any]) -> None:
    """Write a ``summary.json`` without masks: our own object alone."""
    own = {"format": FORMAT, **identity, **also, "evaluated_with": provenance()}
    write_json(folder / "summary.json", {"htunet": own})


def per_case_columns() -> list[str]:
    """The columns of ``per_case.csv``."""
    names = [metric.name for metric in mask_metrics()]
    return [*PER_CASE_IDENTITY, "case", "class", "group", "label", "resolution", *names, "missed"]


def per_case_rows(summary: Summary) -> Iterator[dict[str, Any]]:
    """One row per case, label and resolution; an empty cell where there is no value."""
    identity = {name: summary.identity.get(name, "") for name in PER_CASE_IDENTITY}
    for row in summary.scores:
        values = {name: "" if math.isnan(v) else repr(v) for name, v in row.values(summary.policy).items()}
        about = {"case": row.case, "class": row.class_name, "group": row.group, "label": row.label}
        yield identity | about | {"resolution": row.resolution} | values | {"missed": row.score.empty}


def summary_content(summary: Summary) -> dict[str, Any]:
    """The content of summary.json: strict JSON, null where there is no value."""
    labels = sorted({row.label for row in summary.scores})
    keys = {metric.name: metric.file_key for metric in mask_metrics()}
    cases: dict[str, dict[str, Any]] = {}
    for row in (*summary.at(ORIGINAL), *summary.at(INPUT)):
        about = {"case": row.case, "class": row.class_name, "group": row.group, "spacing_mm": row.spacing_mm}
        files = {"prediction_file": row.prediction_file, "reference_file": row.reference_file}
        entry = cases.setdefault(row.case, {"metrics": {}, **files, "htunet": about})
        if row.resolution == ORIGINAL:
            entry["metrics"][str(row.label)] = _nnunet_metrics(row.score.counts)
        values = {keys[name]: None if math.isnan(v) else v for name, v in row.values(summary.policy).items()}
        entry["htunet"].setdefault(row.resolution, {})[str(row.label)] = values | {"empty": row.score.empty or None}
    mean = {}
    for label in map(str, labels):
        found = [entry["metrics"][label] for entry in cases.values() if label in entry["metrics"]]
        mean[label] = {name: _mean([one[name] for one in found if one[name] is not None]) for name in NNUNET_METRICS}
    columns = {name: [of_label[name] for of_label in mean.values()] for name in NNUNET_METRICS}

    def means(resolution: str, label: int | None = None) -> dict[str, Any]:
        return {keys[name]: asdict(found) for name, found in summary.means(resolution, label).items()}

    return {
        # as nnU-Net: no value as soon as one label has none
        "foreground_mean": {name: None if None in values else _mean(values) for name, values in columns.items()},
        "mean": mean,
        "metric_per_case": list(cases.values()),
        "htunet": {
            "format": FORMAT,
            **summary.identity,
            "policy": summary.policy,
            "policy_means": POLICIES[summary.policy],
            "n_cases": len({row.case for row in summary.scores}),
            "empty": {name: summary.empty(name) for name in summary.resolutions},
            "without_label": {
                name: {str(label): summary.without_label(name, label) for label in labels}
                for name in summary.resolutions
            },
            "detection": {
                name: {what: asdict(found) for what, found in summary.detection(name).items()}
                for name in summary.resolutions
            },
            "means": {name: means(name) for name in summary.resolutions},
            "means_by_label": {
                name: {str(label): means(name, label) for label in labels} for name in summary.resolutions
            },
            "resolutions": {name: RESOLUTIONS[name] for name in summary.resolutions},
            "notes": list(summary.notes),
            "evaluated_with": provenance(),
        },
    }


def mean_over_labels(values_LM: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., M) means over the labels of (..., L, M), without those that have no value; NaN where no label has one."""
    known = ~np.isnan(values_LM)
    return ratio(np.where(known, values_LM, 0.0).sum(axis=-2), known.sum(axis=-2).astype(np.float64))


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a summary.json of any of ``READ_FORMATS`` as this version means it; changes it in place.

    Format 1 gave Dice 1 and distances of 0 where neither mask of an image has the label, and metrics that leave out
    cases with an empty mask a value of these: those values become null, and the means are taken again without them.
    """
    own = content["htunet"]
    if own.get("format") == FORMAT:
        return content
    if "metric_per_case" not in content:  # what cannot be taken again is absent
        for resolution, means in own.get("means", {}).items():
            empty = own["empty"][resolution]
            for metric in mask_metrics():
                without = {name for which in empty if metric.leaves_out or which == BOTH_EMPTY for name in empty[which]}
                if without and metric.file_key in means:
                    n_cases = means[metric.file_key]["n_cases"]
                    means[metric.file_key] = asdict(Mean(None, None, None, n_cases - len(without), n_cases))
        return content
    metrics, cases = mask_metrics(), [case["htunet"] for case in content["metric_per_case"]]
    for resolution, by_label in own.get("means_by_label", {}).items():
        found = [case for case in cases if resolution in case]
        cells = [case[resolution][label] for case in found for label in by_label]
        if not (with_empty := [values for values in cells if values["empty"]]):
            continue
        for values in with_empty:
            none = [m.file_key for m in metrics if values["empty"] == BOTH_EMPTY or m.leaves_out]
            values |= {key: None for key in none if key in values}
        values_NLM = np.array(
            [[[case[resolution][label].get(m.file_key) for m in metrics] for label in by_label] for case in found],
            dtype=np.float64,
        )
        empty = {label: {case[resolution][label].get("empty") for case in found} for label in by_label}
        counted = [not which <= {EMPTY_REFERENCE, BOTH_EMPTY} for which in empty.values()]
        whole = values_NLM[:, counted] if any(counted) else values_NLM
        groups = [case["group"] for case in found]
        for target, values_NM in (
            (own["means"][resolution], mean_over_labels(whole)),
            *zip(by_label.values(), values_NLM.swapaxes(0, 1), strict=True),
        ):
            means = zip(metrics, bootstrap_means(values_NM, groups), strict=True)
            target.update({metric.file_key: asdict(mean) for metric, mean in means if metric.file_key in target})
        own["policy_means"] = POLICIES[own["policy"]]
    return content


def _nnunet_metrics(counts: Counts) -> dict[str, Any]:
    """nnU-Net's eight metrics of one case with nnU-Net's rule: no Dice and no IoU where both masks are empty."""
    both_empty = counts.n_pred == 0 and counts.n_ref == 0
    return {
        "Dice": None if both_empty else METRICS["dice"].of(counts),
        "FN": counts.fn,
        "FP": counts.fp,
        "IoU": None if both_empty else METRICS["iou"].of(counts),
        "TN": counts.tn,
        "TP": counts.tp,
        "n_pred": counts.n_pred,
        "n_ref": counts.n_ref,
    }


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if values else None
