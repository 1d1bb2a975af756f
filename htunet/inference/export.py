"""Write a trained run as one folder or zip that predicts elsewhere, without its data set."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_bytes

from htunet.archives import pack
from htunet.data.raw import read_raw
from htunet.errors import HtunetError, UsageError
from htunet.files import file_hash, read_object, scratch_folder, whole_file, whole_folder, write_json, write_text
from htunet.inference.export_readme import readme
from htunet.inference.exported import BACKBONE, CHECKPOINT, FORMAT, MODEL_JSON, README, ModelCard
from htunet.inference.to_onnx import check_packages, write_onnx
from htunet.inference.trained import TrainedModel, check_together
from htunet.models import checkpoint
from htunet.models.build import has_frozen_part, paper_plan, parse_method, published_weights
from htunet.models.catalogue import CATALOGUE
from htunet.models.tasks import SEGMENTATION
from htunet.models.weights.formats import read_state
from htunet.models.weights.load import RANDOM, WeightsRecord, image_state, locate
from htunet.paths import RunPaths
from htunet.reproducibility import provenance
from htunet.schemas import SUMMARY

PAPER = "Qu et al. 2025, arXiv:2506.08849"
FEWEST_VALIDATED = 20
"""Images; the temperature of fewer is chance."""
NOT_KNOWN = "not known: the raw folder of the data set was not there"


def export_run(
    run: RunPaths,
    target: Path,
    *,
    others: Sequence[RunPaths] = (),
    with_backbone: bool = False,
    onnx: bool = False,
    weights: str | None = None,
    quality: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Write the best checkpoint of a run with all that predicting needs into ``target``, a folder or a ``.zip``.

    Args:
        run: Has a best checkpoint.
        others: The other members of an ensemble, trained with the same plan.
        target: Must not exist, unless it is this very model, as after a call that was killed at its end.
        with_backbone: Also the frozen weights, as they were published, the image tower alone.
        onnx: Also the merged network for programs without htunet.
        weights: The frozen weights, where they have moved since the training.
        quality: See ``ModelCard``.

    Raises:
        UsageError: ``target`` exists and is something else, or there are no frozen weights to go with the model.
        HtunetError: The licence does not let the frozen weights be passed on, they cannot be had or are others than
            those of the training, or a package for ONNX is missing.
    """
    exists = UsageError(f"{target} exists already, and is not this model. Name another file or folder, or remove it.")
    if target.exists() and not (target.is_file() if target.suffix == ".zip" else (target / MODEL_JSON).is_file()):
        raise exists
    runs = [run, *others]
    members = [TrainedModel.of_run(one, weights) for one in runs]
    check_together(members)
    _check_one_plan(members)
    for one, trained in zip(runs, members, strict=True):
        record = WeightsRecord(**checkpoint.read_about(one.checkpoint_best)["weights"])
        _check_options(trained, record, with_backbone=with_backbone, onnx=onnx)
    with scratch_folder(target.parent) as temporary:
        folder = temporary / "model"
        folder.mkdir()
        names = [CHECKPOINT, *(f"checkpoint_{number}.safetensors" for number in range(2, len(runs) + 1))]
        for one, name in zip(runs, names, strict=True):
            shutil.copyfile(one.checkpoint_best, folder / name)
        if with_backbone:
            _write_backbone(members[0], folder / BACKBONE)
            members = [replace(trained, weights=str(folder / BACKBONE)) for trained in members]
        if with_backbone or onnx:
            networks = [trained.network() for trained in members]  # which proves that these are the training's weights
        if onnx:
            write_onnx(networks, members[0].plan, members[0].task, folder, (quality or {}).get("postprocessing"))
        card = replace(card_of_run(run, members[0], folder), quality=dict(quality or {}))
        if others:
            of_members = [{"method": one.method, "fold": one.fold, "seed": one.seed, "checkpoint": name,
                           "weights": checkpoint.read_about(one.checkpoint_best)["weights"]}
                          for one, name in zip(others, names[1:], strict=True)]  # fmt: skip
            card = replace(card, members=of_members, name=_name_of(runs))
        write_text(folder / README, readme(card))
        card = replace(card, files=_hashes(folder))
        write_json(folder / MODEL_JSON, asdict(card))
        if target.suffix == ".zip":
            packed = temporary / "model.zip"
            pack(folder, packed, card.name)
            if not target.exists():
                with whole_file(target) as part:
                    packed.replace(part)
            elif file_hash(target) != file_hash(packed):
                raise exists
        elif not target.exists():
            with whole_folder(target) as part:
                for path in folder.iterdir():
                    path.replace(part / path.name)
        elif _hashes(target) != _hashes(folder):
            raise exists
    return card


def _check_one_plan(members: Sequence[TrainedModel]) -> None:
    """Raise UsageError where networks are not built alike: an export has the plan of the first for all of them."""
    of_members = [asdict(one.plan.outputs(one.task)) | {"adapter": one.plan.adapter} for one in members]
    for one, values in zip(members, of_members, strict=True):
        if different := [name for name, value in values.items() if value != of_members[0][name]]:
            raise UsageError(
                f"{one.checkpoint.parent} and {members[0].checkpoint.parent} were trained with another "
                f"{', '.join(different)} in their plans, and an export has one plan for all its networks. Train them "
                "with one plan, or export them one by one."
            )


def _check_options(trained: TrainedModel, record: WeightsRecord, *, with_backbone: bool, onnx: bool) -> None:
    """Before anything is written."""
    if onnx:
        check_packages()
    entry = published_weights(trained.method)
    if with_backbone and not has_frozen_part(trained.method):
        raise UsageError(f"All of {trained.method} is in its checkpoint: omit --with-backbone.")
    if (with_backbone or onnx) and entry and entry.withheld:
        option = "--with-backbone" if with_backbone else "--onnx"
        raise HtunetError(
            f"The weights of {trained.method} may not be passed on ({entry.withheld}), and {option} would put them "
            f"into the export. Omit it: the model then needs htunet_weights download {trained.method} where it "
            "is used."
        )
    if with_backbone and record.source == RANDOM:
        raise UsageError("The frozen weights are random, and drawn again wherever they are used: leave "
                         "--with-backbone out.")  # fmt: skip


def _write_backbone(trained: TrainedModel, path: Path) -> None:
    """The published tensors that the image tower needs, under their published names and in their published type."""
    name = parse_method(trained.method).backbone or trained.method
    source = locate(name, trained.weights)
    assert source is not None  # random ones have been refused
    state = image_state(read_state(source), CATALOGUE.get(name), str)
    content = {key: value.contiguous() for key, value in state.items()}
    path.write_bytes(to_bytes(content))  # so that a full disk is an OSError


def card_of_run(run: RunPaths, trained: TrainedModel, folder: Path | None = None) -> ModelCard:
    """What a run is: the content of the model.json of its export; ``folder`` holds the files that go with it.

    Raises HtunetError where the checkpoint is missing or broken.
    """
    about = checkpoint.read_about(run.checkpoint_best)
    entry, weights = published_weights(trained.method), WeightsRecord(**about["weights"])
    licence = reference = NOT_KNOWN
    if run.dataset.dataset_json.exists():
        info = read_raw(run.dataset).info
        licence, reference = info.licence or "not stated", info.reference or "not stated"
    citations = {"method": PAPER, "data": reference} | ({"weights": entry.citation} if entry else {})
    validation = dict(about.get("figures", {}))
    if "epoch" in validation:
        validation["epoch"] += 1  # counted from 1
    return ModelCard(
        format=FORMAT,
        name=_name_of([run]),
        dataset=run.dataset.name,
        method=run.method,
        task=run.task,
        fold=run.fold,
        seed=run.seed,
        ratio=run.ratio,
        adapter=run.adapter,
        plan=asdict(trained.plan),
        precision=trained.precision,
        weights=weights.content(),
        backbone=asdict(entry) if entry else {},
        licences={"weights": about.get("licence") or checkpoint.licence_of(trained.method, weights), "data": licence},
        citations=citations,
        figures={"validation": validation, "test": _test_metrics(run)},
        trained_by=about.get("made_by", {}),
        exported_by=provenance(),
        files=_hashes(folder) if folder else {},
    )


def _name_of(runs: Sequence[RunPaths]) -> str:
    """``BUSI_CLIP_HT_fold0_seed1``; of several ``BUSI_CLIP_HT_folds0-1-2_seed1``; all that a run's folder spells."""
    run = runs[0]
    methods, folds, seeds = ("-".join(dict.fromkeys(str(getattr(one, key)) for one in runs))
                             for key in ("method", "fold", "seed"))  # fmt: skip
    name = [run.dataset.short_name, methods]
    name += [f"{key}{'s' * ('-' in values)}{values}" for key, values in (("fold", folds), ("seed", seeds))]
    name += [run.plan.replace("+", "-")] * (run.plan != paper_plan(run.method))
    if starts := "-".join(dict.fromkeys(one.adapter for one in runs if one.adapter)).replace("+", "-"):
        name.append(f"from-{starts}")
    name += [f"ratio{run.ratio!r}"] * (run.ratio is not None)
    return "_".join(name + [run.task.replace("+", "-")] * (run.task != SEGMENTATION))


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_hash(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _test_metrics(run: RunPaths) -> dict[str, Any]:
    """Means and intervals of the test split, where the run has been evaluated since its best epoch; else nothing."""
    if not run.summary_json.exists() or run.summary_json.stat().st_mtime < run.checkpoint_best.stat().st_mtime:
        return {}
    own = read_object(run.summary_json, SUMMARY).get("htunet", {})
    classes = own.get("classification", {})
    found = {"masks": own.get("means")}
    found |= {key: classes.get(key) for key in ("auc", "average_precision", "decisions")}
    if classes.get("validation_cases", 0) >= FEWEST_VALIDATED:
        found["temperature"] = classes.get("calibration", {}).get("temperature")
    return {key: value for key, value in found.items() if value is not None}
