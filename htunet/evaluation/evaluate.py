"""Score the test predictions of a run, or one folder of masks against another."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.formats.medical_file import check_place
from htunet.data.formats.stacks import TRANSPOSED, may_be_transposed, open_stack
from htunet.data.image_io import read_labels
from htunet.data.label_maps import LabelMap
from htunet.data.mask_names import frame_of
from htunet.data.names import FRAME, without_ending
from htunet.data.outlines import is_outline
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import Case
from htunet.errors import HtunetError, counted, some
from htunet.evaluation.mask_folders import Files, match_folders, read_masks
from htunet.evaluation.metrics import PENALISE, check_policy, score
from htunet.evaluation.predicted_run import PredictedRun
from htunet.evaluation.summary import INPUT, ORIGINAL, CaseScore, Summary
from htunet.parallel import parallel_map, suitable_workers

Labels = NDArray[np.uint8]
OUTLINE = (
    "prediction or reference, not both, is a closed outline, of which the line alone counts, not what it encloses: "
    "if it surrounds a lesion, fill it"
)
FAR = 0.3
"""Of Dice: labels that gain more by an exchange seem to be exchanged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskPair:
    """One prediction with its reference, and what is known of the case."""

    case: Case
    resolution: str
    prediction: Files
    """One file, or one for each frame of the reference; the reference likewise."""
    reference: Files | Labels
    prediction_file: str
    """As the summary names it, like ``reference_file``."""
    reference_file: str
    maps: tuple[LabelMap | None, LabelMap | None] | None = None
    """How both files are read where they are people's masks of any format; None: masks as htunet writes them."""


def evaluate_run(predicted: PredictedRun, policy: str = PENALISE) -> Summary:
    """Score a run's test predictions at the network's input size and at the original size.

    Reads ``test/predictions`` and ``test/predictions_at_input_size`` and never writes. Raises HtunetError when a
    prediction or a label is missing.
    """
    check_policy(policy)
    labels = predicted.raw.info.labels
    scores = tuple(score_pairs(run_pairs(predicted), sorted(set(labels.values()) - {0})))
    summary = Summary(identity=predicted.identity | {"labels": labels}, policy=policy, scores=scores)
    return replace(summary, notes=(*_vanished(summary), *_exchanged(summary), *_on_headers(summary)))


def _vanished(summary: Summary) -> Iterator[str]:
    """One note of the labels that a reference has at the original size and no longer at the network's input size."""
    held = {
        name: {(row.case, row.label) for row in summary.at(name) if row.score.counts.n_ref}
        for name in (INPUT, ORIGINAL)
    }
    if gone := sorted(held[ORIGINAL] - held[INPUT]):
        names = [f"{case} ({summary.label_name(label)})" for case, label in gone]
        yield (
            f"without a pixel at the input size, and so not there, but at the original size: "
            f"{counted(len(gone), 'label')} of references: {some(names)}"
        )


def evaluate_folders(predictions: Path, references: Path, policy: str = PENALISE) -> Summary:
    """Score the masks of one folder against those of another; files are matched by their names without endings.

    Labels are inferred as ``htunet_convert`` does: 0..K, 0 and 255, one gray value or colour for each label, by alpha;
    the summary says what was read as what. HtunetError names a reference without a prediction, and says so where the
    folders have no label in common.
    """
    check_policy(policy)
    found = match_folders(predictions, references)
    groups, frames = _frames(found.pairs)
    pairs = [
        MaskPair(
            case=Case(id=name, group=groups.get(name, "")),
            resolution=ORIGINAL,
            prediction=prediction,
            reference=reference,
            prediction_file=prediction[0].relative_to(predictions).as_posix(),
            reference_file=reference[0].relative_to(references).as_posix(),
            maps=found.maps,
        )
        for name, (prediction, reference) in found.pairs.items()
    ]
    identity = {"predictions": str(predictions), "references": str(references)}
    scores = tuple(score_pairs(pairs, found.labels))
    summary = Summary(identity=identity, policy=policy, scores=scores)
    return replace(summary, notes=(*found.notes, *frames, *_exchanged(summary), *_on_headers(summary)))


def _frames(pairs: Mapping[str, tuple[Files, Files]]) -> tuple[dict[str, str], list[str]]:
    """The image of each mask whose name, or a file of it, ends in the number of a frame; and a note on them.

    One image alone may be the name of the data set, ``BUSI__001``: it counts as one only where its numbers are those
    that ``htunet_predict`` writes, 0001, 0002, ....
    """
    groups, as_written = dict[str, str](), set[str]()
    for name, pair in pairs.items():
        names = (f"{name}.png", *(_beside(name, files[0]) for files in pair if len(files) == 1))
        if found := next(((frame, one) for one in names if (frame := frame_of(one))), None):
            (image, number), one = found
            groups[name] = without_ending(image)
            as_written |= {f"{number:04d}"} if f"{FRAME}{number:04d}" in one else set()
    images, of_one = {*groups.values()}, {f"{number:04d}" for number in range(1, len(groups) + 1)}
    text = f"{counted(len(groups), 'mask')} numbered as frames, such as {next(iter(groups), '')}"
    if len(images) == 1 and as_written != of_one:
        return {}, [f"{text}, are counted as images of their own: if all are of one video, intervals are too narrow"]
    return groups, [f"{text}: intervals are over the {counted(len(images), 'image')} that they are of"] * bool(groups)


def _exchanged(summary: Summary) -> Iterator[str]:
    """A note for each two labels of which each fits the other far better, by Dice over all pixels of all cases."""
    predicted, true, both = Counter[int](), Counter[int](), Counter[tuple[int, int]]()
    for row in summary.at(ORIGINAL):
        predicted[row.label] += row.score.counts.n_pred
        true[row.label] += row.score.counts.n_ref
        both.update({(row.label, other): n for other, n in row.predicted_as.items()})
    for a, b in combinations(sorted(true), 2):
        now, then = (sum(both[t, p] / max(1, predicted[p] + true[t]) for t, p in pairs)
                     for pairs in (((a, a), (b, b)), ((a, b), (b, a))))  # fmt: skip
        if then > now + FAR:
            names = " and ".join(summary.label_name(label).removeprefix("label ") for label in (a, b))
            yield (
                f"labels {names} seem to be exchanged between predictions and references: Dice over all pixels is "
                f"{100 * now:.1f} % now, and would be {100 * then:.1f} % if they were exchanged"
            )


def _on_headers(summary: Summary) -> Iterator[str]:
    """Where millimetres are those of some cases only, and where the headers of two files do not say the same."""
    spacing = {row.case: row.spacing_mm for row in summary.at(ORIGINAL)}
    unknown = [case for case, sides in spacing.items() if sides is None]
    if 0 < len(unknown) < len(spacing):
        known = f"{len(spacing) - len(unknown)} of {counted(len(spacing), 'case')}"
        yield f"millimetres are of {known}; no pixel size is known of {some(unknown)}"
    if unlike := list(dict.fromkeys(row.case for row in summary.scores if row.unlike_spacing)):
        yield (
            f"prediction and reference say unlike pixel sizes, millimetres are those of the reference: "
            f"{counted(len(unlike), 'case')}: {some(unlike)}"
        )
    for remark in dict.fromkeys(row.remark for row in summary.scores if row.remark):
        cases = list(dict.fromkeys(row.case for row in summary.scores if row.remark == remark))
        yield f"{remark}: {counted(len(cases), 'case')}: {some(cases)}"


def run_pairs(predicted: PredictedRun) -> list[MaskPair]:
    """The test predictions of a run with their references, for each case at the input size and at the original size.

    The references at the input size are those of the arrays, or lie beside the predictions where the images are another
    data set's. Raises HtunetError for a case or a prediction that is missing.
    """
    run, raw, ids = predicted.run, predicted.raw, predicted.cases
    if unknown := [case for case in ids if case not in raw.by_id]:
        raise HtunetError(f"{raw.paths.cases_csv} lacks the test cases {some(unknown)}. Plan the data set again.")
    for folder in (run.predictions, run.predictions_at_input):
        if missing := [case for case in ids if not (folder / f"{case}.png").exists()]:
            raise HtunetError(
                f"{len(missing)} of {len(ids)} test predictions of {run.label} are missing in {folder}: "
                f"{some(missing)}. Predict them with htunet_evaluate {run.dataset.short_name} {run.method} --force."
            )
    at_input: list[Files | Labels]
    if run.trained_on is not None:
        at_input = [(run.references_at_input / f"{case}.png",) for case in ids]
    else:
        arrays = PreprocessedDataset(run.dataset.plan_folder(run.plan))
        at_input = [arrays.masks[row].copy() for row in arrays.rows(ids)]
    pairs = []
    for case, reference_at_input in zip(ids, at_input, strict=True):
        label = raw.label_path(raw.by_id[case])
        for resolution, folder, reference in (
            (INPUT, run.predictions_at_input, reference_at_input),
            (ORIGINAL, run.predictions, (label,)),
        ):
            prediction = folder / f"{case}.png"
            pairs.append(
                MaskPair(
                    case=raw.by_id[case],
                    resolution=resolution,
                    prediction=(prediction,),
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
        name=lambda pair: str(pair.prediction[0]),
    )
    return [row for rows in tqdm(results, total=len(pairs), desc="scoring", unit="mask", disable=None) for row in rows]


def _score_pair(labels: list[int], pair: MaskPair) -> list[CaseScore]:
    """Every label of every frame; a file of one frame has the case's own id."""
    if isinstance(pair.reference, np.ndarray):
        return _score_frame(labels, pair, read_labels(pair.prediction[0]), pair.reference)
    if pair.maps is None:
        return _score_frame(labels, pair, read_labels(pair.prediction[0]), read_labels(pair.reference[0]))
    predictions = list(read_masks(pair.prediction, pair.maps[0]))
    references = list(read_masks(pair.reference, pair.maps[1]))
    if len(predictions) != len(references):
        raise HtunetError(
            f"{pair.prediction[0]} has {counted(len(predictions), 'frame')}, its reference {len(references)}."
        )
    first, other = (open_stack(files[0]) for files in (pair.prediction, pair.reference))
    height, width = references[0][1].shape
    unsure = height == width and (may_be_transposed(first, other) or may_be_transposed(other, first))
    drawn = [any(is_outline(labels > 0) for _, labels, _ in some if labels.any()) for some in (predictions, references)]
    joined = dict.fromkeys(remark for _, _, remark in (*predictions, *references))
    place = check_place(f"The prediction {first.path}", first, "its reference", other)
    remark = "; ".join(filter(None, (place, TRANSPOSED * unsure, OUTLINE * (drawn[0] != drawn[1]), *joined)))
    spacing = other.spacing_mm or first.spacing_mm
    unlike = bool(first.sides_mm and other.sides_mm and not np.allclose(first.sides_mm, other.sides_mm, rtol=0.01))
    rows = list[CaseScore]()
    for number, (found, true) in enumerate(zip(predictions, references, strict=True), start=1):
        frame = replace(
            pair,
            case=replace(pair.case, spacing_mm=spacing),
            prediction=(found[0],),
            prediction_file=_beside(pair.prediction_file, found[0]),
            reference_file=_beside(pair.reference_file, true[0]),
        )
        if len(references) > 1:
            case = replace(frame.case, id=f"{pair.case.id}{FRAME}{number:04d}", group=pair.case.id)
            frame = replace(frame, case=case)
        rows += [replace(row, unlike_spacing=unlike, remark=remark) for row in
                 _score_frame(labels, frame, found[1], true[1])]  # fmt: skip
    return rows


def _beside(name: str, path: Path) -> str:
    """The name of another file in the folder of the file ``name``."""
    return str(PurePosixPath(name).with_name(path.name))


def _score_frame(labels: list[int], pair: MaskPair, prediction: Labels, reference: Labels) -> list[CaseScore]:
    if prediction.shape != reference.shape:
        raise HtunetError(
            f"{pair.prediction[0]} has {prediction.shape[0]} x {prediction.shape[1]} pixels (height x width), its "
            f"reference {reference.shape[0]} x {reference.shape[1]}. Predict it again at the reference's size."
        )
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if strange := sorted(set(np.unique(mask).tolist()) - {0, *labels}):
            raise HtunetError(
                f"The {name} of {pair.prediction[0]} has the values {strange[:8]}; known labels: {[0, *labels]}."
            )
    spacing = pair.case.spacing_mm
    oblong = pair.resolution == ORIGINAL and isinstance(spacing, tuple)
    in_mm = score(prediction, reference, labels, spacing) if oblong and isinstance(spacing, tuple) else {}
    return [
        CaseScore(
            case=pair.case.id,
            label=label,
            resolution=pair.resolution,
            score=result,
            class_name=pair.case.class_name,
            group=pair.case.group,
            spacing_mm=spacing,
            score_mm=in_mm.get(label),
            predicted_as=dict(enumerate(np.bincount(prediction[reference == label]).tolist())),
            prediction_file=pair.prediction_file,
            reference_file=pair.reference_file,
        )
        for label, result in score(prediction, reference, labels).items()
    ]
