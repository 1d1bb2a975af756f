"""Score the test predictions of a run, or one folder of masks against another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.image_io import READABLE, image_files, read_labels
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import Case, RawDataset
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError
from htunet.evaluation.metrics import PENALISE, check_policy, score
from htunet.evaluation.summary import INPUT, ORIGINAL, CaseScore, Summary
from htunet.files import read_object
from htunet.parallel import parallel_map, suitable_workers
from htunet.paths import DatasetPaths, RunPaths, checked_name

Labels = NDArray[np.uint8]
LOSSY = (".jpg", ".jpeg")
SETTINGS = ("task", "num_epochs", "trainable_parameters", "weights")


@dataclass(frozen=True, kw_only=True)
class MaskPair:
    """One prediction with its reference, and what is known of the case."""

    case: Case
    resolution: str
    prediction: Path
    reference: Path | Labels
    prediction_file: str
    """As the summary names it, like ``reference_file``."""
    reference_file: str
    prediction_labels: Labels | None = None
    """What is in the file ``prediction``; None: it is read when the pair is scored."""


def evaluate_run(run: RunPaths, raw: RawDataset, policy: str = PENALISE) -> Summary:
    """Score a run's test predictions at the network's input size and at the original size.

    ``raw`` is ``run.dataset`` as read. Reads ``test/predictions`` and
    ``test/predictions_at_input_size`` and never writes. Raises HtunetError when a prediction, a label or the test split
    is missing.
    """
    check_policy(policy)
    labels = sorted(set(raw.info.labels.values()) - {0})
    return Summary(
        identity=run_identity(run) | {"labels": raw.info.labels},
        policy=policy,
        scores=tuple(score_pairs(run_pairs(run, raw), labels)),
    )


def evaluate_folders(predictions: Path, references: Path, policy: str = PENALISE) -> Summary:
    """Score the masks of one folder against those of another; files are matched by their stem.

    Masks hold 0..K; a folder whose masks hold 0 and 255 is read as 0 and 1, and lossy JPEG masks are cut at half, and
    the summary says so. A reference without a prediction raises HtunetError that names it.
    """
    check_policy(policy)
    found_p, found_r = _masks(predictions), _masks(references)
    if missing := sorted(set(found_r) - set(found_p)):
        raise HtunetError(
            f"{len(missing)} of {len(found_r)} references in {references} have no prediction in {predictions}: "
            f"{_some(missing)}. Predict them, or take their references out."
        )
    read_p, notes_p = _read_folder(found_p, sorted(found_r), "predictions")
    read_r, notes_r = _read_folder(found_r, sorted(found_r), "references")
    notes = [*notes_p, *notes_r]
    if extra := sorted(set(found_p) - set(found_r)):
        notes.append(f"predictions without a reference, not scored: {_some(extra)}")
    labels = sorted({int(v) for mask in (*read_p.values(), *read_r.values()) for v in np.unique(mask)} - {0}) or [1]
    pairs = [
        MaskPair(
            case=Case(id=stem),
            resolution=ORIGINAL,
            prediction=found_p[stem],
            reference=read_r[stem],
            prediction_file=found_p[stem].name,
            reference_file=found_r[stem].name,
            prediction_labels=read_p[stem],
        )
        for stem in sorted(found_r)
    ]
    identity = {"predictions": str(predictions), "references": str(references)}
    return Summary(identity=identity, policy=policy, scores=tuple(score_pairs(pairs, labels)), notes=tuple(notes))


def run_identity(run: RunPaths) -> dict[str, Any]:
    """Which run it is and what its results rest on; raises HtunetError when settings.json lacks something."""
    settings = read_object(run.settings_json)
    if missing := [name for name in SETTINGS if name not in settings]:
        raise HtunetError(f"{run.settings_json} lacks {missing}: the run was made by another version. Train it again.")
    finished = read_object(run.finished_json) if run.finished_json.exists() else {}
    splits = run.source.dataset.splits_json
    folds = load_splits(splits)[run.fold : run.fold + 1] if splits.exists() else []
    sizes = {split: len(cases) for fold in folds for split, cases in fold.items()}
    return {
        "dataset": run.dataset.name,
        "trainer": run.trainer,
        "method": run.method,
        "plan": run.plan,
        "fold": run.fold,
        "seed": run.seed,
        "ratio": run.ratio,
        "trained_on": settings.get("trained_on"),
        **{name: settings[name] for name in SETTINGS},
        "split_sizes": sizes | ({"test": len(test_cases(run))} if run.trained_on else {}),
        "epochs": finished.get("epochs"),
        "settings": settings,
    }


def split_cases(dataset: DatasetPaths, fold: int, split: str) -> list[str]:
    """The case ids of ``train``, ``val`` or ``test`` of one fold; raises HtunetError when there are none."""
    splits = load_splits(dataset.splits_json)
    if not 0 <= fold < len(splits):
        raise HtunetError(f"{dataset.splits_json} has the folds 0..{len(splits) - 1}, not {fold}.")
    if not splits[fold].get(split):
        raise HtunetError(
            f"Fold {fold} of {dataset.splits_json} has no {split} cases. Plan the data set again with "
            f"htunet_plan_and_preprocess -d {dataset.short_name}."
        )
    return list(splits[fold][split])


def test_cases(run: RunPaths) -> list[str]:
    """The cases that a run is scored on: the test split of its fold, or those that it predicted of another data set."""
    if run.trained_on is None:
        return split_cases(run.dataset, run.fold, "test")
    cases = read_object(run.settings_json).get("trained_on", {}).get("cases", [])
    return [checked_name(str(case), "the id", run.settings_json) for case in cases]


def run_pairs(run: RunPaths, raw: RawDataset) -> list[MaskPair]:
    """The test predictions of a run with their references, for each case at the input size and at the original size.

    The references at the input size are those of the arrays, or lie beside the predictions where the images are another
    data set's. Raises HtunetError for a case or a prediction that is missing.
    """
    ids, known = test_cases(run), {case.id: case for case in raw.cases}
    if unknown := [case for case in ids if case not in known]:
        raise HtunetError(f"{raw.paths.cases_csv} lacks the test cases {_some(unknown)}. Plan the data set again.")
    for folder in (run.predictions, run.predictions_at_input):
        if missing := [case for case in ids if not (folder / f"{case}.png").exists()]:
            raise HtunetError(
                f"{len(missing)} of {len(ids)} test predictions of {run.label} are missing in {folder}: "
                f"{_some(missing)}. Predict them with htunet_evaluate {run.dataset.short_name} {run.method} --force."
            )
    at_input: list[Path | Labels]
    if run.trained_on is not None:
        at_input = [run.references_at_input / f"{case}.png" for case in ids]
    else:
        arrays = PreprocessedDataset(run.dataset.plan_folder(run.plan))
        at_input = [arrays.masks[row].copy() for row in arrays.rows(ids)]
    pairs = []
    for case, reference_at_input in zip(ids, at_input, strict=True):
        label = raw.label_path(known[case])
        for resolution, folder, reference in (
            (INPUT, run.predictions_at_input, reference_at_input),
            (ORIGINAL, run.predictions, label),
        ):
            prediction = folder / f"{case}.png"
            pairs.append(
                MaskPair(
                    case=known[case],
                    resolution=resolution,
                    prediction=prediction,
                    reference=reference,
                    prediction_file=prediction.relative_to(run.test_folder).as_posix(),
                    reference_file=label.relative_to(run.dataset.raw.parent).as_posix(),
                )
            )
    return pairs


def score_pairs(pairs: Sequence[MaskPair], labels: list[int], workers: int | None = None) -> list[CaseScore]:
    """Score every pair, in their order; ``workers`` None: processes where there are many pairs, else none.

    Raises HtunetError for shapes that differ and for values that are no label.
    """
    results = parallel_map(
        partial(_score_pair, labels),
        pairs,
        workers=suitable_workers(len(pairs), workers),
        name=lambda pair: str(pair.prediction),
    )
    return [row for rows in tqdm(results, total=len(pairs), desc="scoring", unit="mask", disable=None) for row in rows]


def _score_pair(labels: list[int], pair: MaskPair) -> list[CaseScore]:
    prediction = read_labels(pair.prediction) if pair.prediction_labels is None else pair.prediction_labels
    reference = read_labels(pair.reference) if isinstance(pair.reference, Path) else pair.reference
    if prediction.shape != reference.shape:
        raise HtunetError(
            f"{pair.prediction} has {prediction.shape[0]} x {prediction.shape[1]} pixels (height x width), its "
            f"reference {reference.shape[0]} x {reference.shape[1]}. Predict it again at the reference's size."
        )
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if strange := sorted(set(np.unique(mask).tolist()) - {0, *labels}):
            raise HtunetError(
                f"The {name} of {pair.prediction} has the values {strange[:8]}; known labels: {[0, *labels]}."
            )
    return [
        CaseScore(
            case=pair.case.id,
            label=label,
            resolution=pair.resolution,
            score=result,
            class_name=pair.case.class_name,
            group=pair.case.group,
            spacing_mm=pair.case.spacing_mm,
            prediction_file=pair.prediction_file,
            reference_file=pair.reference_file,
        )
        for label, result in score(prediction, reference, labels).items()
    ]


def _masks(folder: Path) -> dict[str, Path]:
    """Stem to path of the images in a folder; raises HtunetError when it is missing, empty or ambiguous."""
    if not folder.is_dir():
        raise HtunetError(f"The folder {folder} is missing.")
    found: dict[str, Path] = {}
    for path in image_files(folder):
        if path.stem in found:
            raise HtunetError(f"{folder} has both {found[path.stem].name} and {path.name}. Keep one of them.")
        found[path.stem] = path
    if not found:
        raise HtunetError(f"The folder {folder} holds no masks ({', '.join(READABLE)}).")
    return found


def _read_folder(found: Mapping[str, Path], stems: Sequence[str], what: str) -> tuple[dict[str, Labels], list[str]]:
    """The masks as 0..K, and what was done to get there. 0/255 is decided for the folder, not file by file."""
    masks = {stem: read_labels(found[stem]) for stem in stems}
    lossy = [stem for stem in stems if found[stem].suffix.lower() in LOSSY]
    masks |= {stem: np.where(masks[stem] > 127, 255, 0).astype(np.uint8) for stem in lossy}
    notes = []
    if lossy:
        notes.append(f"{what}: {len(lossy)} JPEG masks cut at half of 255, because JPEG does not keep exact values")
    values = {int(value) for mask in masks.values() for value in np.unique(mask)}
    if 255 in values:
        if strange := sorted(values - {0, 255}):
            raise HtunetError(f"The {what} hold 255 and also {strange[:8]}: masks are either 0/255 or 0..K.")
        masks = {stem: (mask // 255).astype(np.uint8) for stem, mask in masks.items()}
        notes.append(f"{what}: values 0 and 255 read as 0 and 1")
    return masks, notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
