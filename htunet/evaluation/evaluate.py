"""Score the test predictions of a run, or one folder of masks against another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.image_io import READABLE, read_labels
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import Case, RawDataset, read_raw
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError
from htunet.evaluation.metrics import PENALISE, LabelScore, check_policy, score
from htunet.evaluation.summary import INPUT, ORIGINAL, CaseScore, Summary
from htunet.files import read_object
from htunet.parallel import parallel_map, suitable_workers
from htunet.paths import DatasetPaths, RunPaths

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
    reference_file: str


def evaluate_run(run: RunPaths, policy: str = PENALISE) -> Summary:
    """Score a run's test predictions at the network's input size and at the original size.

    Reads ``test/predictions`` and ``test/predictions_at_input_size`` and never writes. Raises HtunetError when a
    prediction, a label or the test part of the split is missing.
    """
    check_policy(policy)
    raw = read_raw(run.dataset)
    pairs = _run_pairs(run, raw, test_cases(run))
    labels = sorted(set(raw.info.labels.values()) - {0})
    return Summary(
        identity=run_identity(run) | {"labels": raw.info.labels},
        policy=policy,
        scores=tuple(score_pairs(pairs, labels)),
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
    extra = sorted(set(found_p) - set(found_r))
    notes = [*notes_p, *notes_r, *([f"predictions without a reference, not scored: {_some(extra)}"] if extra else [])]
    labels = sorted({int(v) for mask in (*read_p.values(), *read_r.values()) for v in np.unique(mask)} - {0}) or [1]
    rows = [
        row
        for stem in tqdm(sorted(found_r), desc="scoring", unit="case", disable=None)
        for row in _folder_rows(stem, read_p[stem], read_r[stem], labels, (found_p[stem], found_r[stem]))
    ]
    identity = {"predictions": str(predictions), "references": str(references)}
    return Summary(identity=identity, policy=policy, scores=tuple(rows), notes=tuple(notes))


def run_identity(run: RunPaths) -> dict[str, Any]:
    """Which run it is and what its figures rest on; raises HtunetError when settings.json lacks something."""
    settings = read_object(run.settings_json)
    if missing := [name for name in SETTINGS if name not in settings]:
        raise HtunetError(f"{run.settings_json} lacks {missing}: the run was made by another version. Train it again.")
    finished = read_object(run.finished_json) if run.finished_json.exists() else {}
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
        "epochs": finished.get("epochs"),
        "settings": settings,
    }


def split_part(dataset: DatasetPaths, fold: int, part: str) -> list[str]:
    """The case ids of ``train``, ``val`` or ``test`` of one fold; raises HtunetError when there are none."""
    splits = load_splits(dataset.splits_json)
    if not 0 <= fold < len(splits):
        raise HtunetError(f"{dataset.splits_json} has the folds 0..{len(splits) - 1}, not {fold}.")
    if not splits[fold].get(part):
        raise HtunetError(
            f"Fold {fold} of {dataset.splits_json} has no {part} cases. Plan the data set again with "
            f"htunet_plan_and_preprocess -d {dataset.short_name}."
        )
    return list(splits[fold][part])


def test_cases(run: RunPaths) -> list[str]:
    """The cases that a run is scored on: the test part of its fold, or those that it predicted of another data set."""
    if run.trained_on is None:
        return split_part(run.dataset, run.fold, "test")
    return list(read_object(run.settings_json).get("trained_on", {}).get("cases", []))


def score_pairs(pairs: Sequence[MaskPair], labels: list[int], workers: int | None = None) -> list[CaseScore]:
    """Score every pair, in their order; ``workers`` None: processes where there are many pairs, else none."""
    results = parallel_map(
        partial(_score_pair, labels),
        pairs,
        workers=suitable_workers(len(pairs), workers),
        name=lambda pair: str(pair.prediction),
    )
    return [row for rows in tqdm(results, total=len(pairs), desc="scoring", unit="mask", disable=None) for row in rows]


def _run_pairs(run: RunPaths, raw: RawDataset, ids: list[str]) -> list[MaskPair]:
    known = {case.id: case for case in raw.cases}
    if unknown := [case for case in ids if case not in known]:
        raise HtunetError(f"{raw.paths.cases_csv} lacks the test cases {_some(unknown)}. Plan the data set again.")
    for folder in (run.predictions, run.predictions_at_input):
        if missing := [case for case in ids if not (folder / f"{case}.png").exists()]:
            raise HtunetError(
                f"{len(missing)} of {len(ids)} test predictions of {run.label} are missing in {folder}: "
                f"{_some(missing)}. Predict them with htunet_evaluate {run.dataset.short_name} {run.method} --force."
            )
    pairs = []
    for case, reference in zip(ids, _references_at_input(run, ids), strict=True):
        label = raw.label_path(known[case])
        pairs.append(_pair(run, known[case], INPUT, reference, label))
        pairs.append(_pair(run, known[case], ORIGINAL, label, label))
    return pairs


def _references_at_input(run: RunPaths, ids: list[str]) -> Iterator[Path | Labels]:
    """The true masks at the input size: of the arrays, or beside the predictions of another data set's images."""
    if run.trained_on is not None:
        yield from (run.references_at_input / f"{case}.png" for case in ids)
        return
    arrays = PreprocessedDataset(run.dataset.plan_folder(run.plan))
    yield from (arrays.masks[row].copy() for row in arrays.rows(ids))


def _pair(run: RunPaths, case: Case, resolution: str, reference: Path | Labels, label: Path) -> MaskPair:
    folder = run.predictions if resolution == ORIGINAL else run.predictions_at_input
    path = folder / f"{case.id}.png"
    return MaskPair(
        case=case,
        resolution=resolution,
        prediction=path,
        reference=reference,
        prediction_file=path.relative_to(run.test_folder).as_posix(),
        reference_file=label.relative_to(run.dataset.raw.parent).as_posix(),
    )


def _score_pair(labels: list[int], pair: MaskPair) -> list[CaseScore]:
    prediction = read_labels(pair.prediction)
    reference = read_labels(pair.reference) if isinstance(pair.reference, Path) else pair.reference
    found = _checked_score(prediction, reference, labels, pair.prediction)
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
        for label, result in found.items()
    ]


def _checked_score(prediction: Labels, reference: Labels, labels: list[int], path: Path) -> Mapping[int, LabelScore]:
    if prediction.shape != reference.shape:
        raise HtunetError(
            f"{path} has {prediction.shape[0]} x {prediction.shape[1]} pixels (height x width), its reference "
            f"{reference.shape[0]} x {reference.shape[1]}. Predict it again at the reference's size."
        )
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if strange := sorted(set(np.unique(mask).tolist()) - {0, *labels}):
            raise HtunetError(f"The {name} of {path} has the values {strange[:8]}; known labels: {[0, *labels]}.")
    return score(prediction, reference, labels)


def _masks(folder: Path) -> dict[str, Path]:
    """Stem to path of the images in a folder; raises HtunetError when it is missing, empty or ambiguous."""
    if not folder.is_dir():
        raise HtunetError(f"The folder {folder} is missing.")
    found: dict[str, Path] = {}
    for path in sorted(child for child in folder.iterdir() if child.suffix.lower() in READABLE):
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
    notes = [f"{what}: {len(lossy)} JPEG masks cut at half of 255, because JPEG does not keep exact values"] * bool(
        lossy
    )
    values = {int(value) for mask in masks.values() for value in np.unique(mask)}
    if 255 in values:
        if strange := sorted(values - {0, 255}):
            raise HtunetError(f"The {what} hold 255 and also {strange[:8]}: masks are either 0/255 or 0..K.")
        masks = {stem: (mask // 255).astype(np.uint8) for stem, mask in masks.items()}
        notes.append(f"{what}: values 0 and 255 read as 0 and 1")
    return masks, notes


def _folder_rows(
    stem: str, prediction: Labels, reference: Labels, labels: list[int], paths: tuple[Path, Path]
) -> list[CaseScore]:
    found = _checked_score(prediction, reference, labels, paths[0])
    return [
        CaseScore(
            case=stem,
            label=label,
            resolution=ORIGINAL,
            score=result,
            prediction_file=paths[0].name,
            reference_file=paths[1].name,
        )
        for label, result in found.items()
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
