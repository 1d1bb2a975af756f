"""Which folds learn from corrected cases, and when a corrected data set is made anew."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.raw import build_raw
from builders.training import tiny_plan

from htunet.data.image_io import read_labels, write_png
from htunet.data.raw import read_raw, write_raw_index
from htunet.data.review_case import Correction
from htunet.data.split_files import save_splits
from htunet.errors import HtunetError
from htunet.experiments.corrections import RECORD, compared_dice, corrected_dataset, describe, with_corrections
from htunet.files import read_json, write_csv, write_json
from htunet.paths import DatasetPaths, RunPaths
from htunet.planning.plans import save_plans


def test_a_correction_is_never_trained_on_where_its_group_is_tested() -> None:
    folds = [
        {"name": "x", "train": ["a1", "a2"], "val": ["b1"], "test": ["c1", "c2"]},
        {"train": ["b1", "c1", "c2"], "val": [], "test": ["a1", "a2"]},
    ]
    groups = {"a1": "A", "a2": "A", "b1": "B", "c1": "C", "c2": "C"}
    new_groups = {"a1_corrected": "A", "c2_corrected": "C", "new": "new", "b_again": "B"}
    corrects = {"a1_corrected": "a1", "c2_corrected": "c2", "new": "", "b_again": ""}
    assert with_corrections(folds, groups, new_groups, corrects) == [
        {"name": "x", "train": ["a2", "a1_corrected", "new"], "val": ["b1"], "test": ["c1", "c2"]},
        {"train": ["b1", "c1", "c2_corrected", "new", "b_again"], "val": [], "test": ["a1", "a2"]},
    ]


@pytest.mark.usefixtures("home")
def test_a_corrected_data_set_is_made_anew_where_masks_or_folds_have_changed() -> None:
    dataset = build_raw(6)
    raw, ids = read_raw(dataset), [case.id for case in read_raw(dataset).cases]
    save_plans(dataset.plans_json, {"tiny": tiny_plan()})
    save_splits(dataset.splits_json, [{"train": ids[:4], "val": ids[4:5], "test": ids[5:]}])
    facts = {"case": ids[0], "group": "", "class": "", "spacing_mm": ""}
    labels = np.zeros_like(read_labels(raw.label_path(raw.cases[0])))
    found = [Correction(name=ids[0], image=raw.image_path(raw.cases[0]), labels=labels, facts=facts, form="mask")]
    first = corrected_dataset(dataset, found, "tiny")
    assert corrected_dataset(dataset, found, "tiny") == first
    write_png(raw.label_path(raw.cases[1]), np.zeros_like(read_labels(raw.label_path(raw.cases[1]))))
    second = corrected_dataset(dataset, found, "tiny")
    assert (first.short_name, second.short_name) == ("Tiny_corrected", "Tiny_corrected2")
    assert not read_labels(second.raw / "labelsTr" / f"{ids[1]}.png").any()
    save_splits(dataset.splits_json, [{"train": ids[:4], "val": ids[5:], "test": ids[4:5]}])
    assert corrected_dataset(dataset, found, "tiny").short_name == "Tiny_corrected3"
    content = read_json(first.raw / RECORD)
    write_json(first.raw / RECORD, {name: content[name] for name in ("sha256", "dataset", "corrects")})
    assert corrected_dataset(dataset, found, "tiny") == first  # an earlier version recorded no more


@pytest.mark.usefixtures("home")
def test_corrections_of_another_data_set_with_cases_of_the_same_names_are_refused() -> None:
    dataset, other = build_raw(6), read_raw(build_raw(6, name="Dataset904_Other", seed=1))
    case = other.cases[0]
    assert case.id in read_raw(dataset).by_id
    facts = {"case": case.id, "group": "", "class": "", "spacing_mm": ""}
    labels = read_labels(other.label_path(case))
    found = Correction(name=case.id, image=other.image_path(case), labels=labels, facts=facts, form="mask")
    with pytest.raises(HtunetError, match=f"does not show the case {case.id} of {dataset.name}"):
        corrected_dataset(dataset, [found], "tiny")


@pytest.mark.parametrize("policy", ["penalise", "exclude"])
def test_before_and_after_are_compared_under_any_policy(home: Path, policy: str) -> None:
    """Before: 0.4, a false alarm, nothing rightly found. After: 0.6, nothing rightly found, nothing rightly found."""
    before, after = (RunPaths(DatasetPaths(name), "SegmentationTrainer", "run", "UNet", 0, 1)
                     for name in ("Dataset903_Tiny", "Dataset904_Tiny_corrected"))  # fmt: skip
    alarm = {"dice": "0.0" if policy == "penalise" else "", "missed": "reference"}
    nothing = {"dice": "", "missed": "both"}
    for run, values in ((before, ({"dice": "0.4", "missed": ""}, alarm, nothing)),
                        (after, ({"dice": "0.6", "missed": ""}, nothing, nothing))):  # fmt: skip
        rows = [{"case": f"case{number}", "label": "1", "resolution": "original_size", **row}
                for number, row in enumerate(values)]  # fmt: skip
        write_csv(run.test_folder / "per_case.csv", [*rows[0]], rows)
    assert compared_dice([before], [after]) == pytest.approx((0.2, 0.8))


@pytest.mark.usefixtures("home")
def test_a_typed_group_is_that_of_the_data_set_without_its_zeros_blanks_and_letter_case(tmp_path: Path) -> None:
    """The last case, of the tested patient P007, must keep its patient's new images out of the training."""
    dataset = build_raw(6)
    raw = read_raw(dataset)
    ids = [case.id for case in raw.cases]
    named = [replace(case, group=f"P00{number}") for number, case in enumerate(raw.cases, start=2)]
    named[0] = replace(named[0], group="p2")  # beside P2 below: which of them "p02" is cannot be told
    named[1] = replace(named[1], group="P2")
    write_raw_index(dataset.raw, dataset.short_name, raw.info, named, [])
    save_plans(dataset.plans_json, {"tiny": tiny_plan()})
    save_splits(dataset.splits_json, [{"train": ids[:4], "val": ids[4:5], "test": ids[5:]}])
    labels, found = np.zeros((64, 64), np.uint8), []
    for number, group in enumerate(("p7 ", "P007", "P8", "")):
        image, facts = tmp_path / f"new{number}.png", {"case": "", "class": "", "spacing_mm": "", "source": "x"}
        write_png(image, np.random.default_rng(number + 90).integers(0, 256, (64, 64), dtype=np.uint8))
        found.append(Correction(name=f"new{number}", image=image, labels=labels, facts=facts | {"group": group},
                                form="mask"))  # fmt: skip
    target = corrected_dataset(dataset, found, "tiny")
    assert [case.group for case in read_raw(target).cases if "_corrected" in case.id] == ["P007", "P007", "P8", "new3"]
    assert read_json(target.splits_json)[0]["train"] == [*ids[:4], "new2_corrected", "new3_corrected"]
    assert describe(target)[0] == "groups of review.csv that the data set does not have: P8"
    assert corrected_dataset(dataset, found, "tiny") == target
    spelled = [
        replace(one, facts=one.facts | {"group": group})
        for one, group in zip(found, ("P007", "7", "P8", ""), strict=True)
    ]
    assert corrected_dataset(dataset, [spelled[0], *found[1:]], "tiny") == target
    digest = hashlib.sha256(dataset.name.encode())  # of a version that took the group as it was typed
    for one in found:
        digest.update(repr((one.name, "", one.facts["group"], "", one.spacing_mm)).encode())
        digest.update(one.labels.tobytes())
    record = read_json(target.raw / RECORD)
    write_json(target.raw / RECORD, record | {"sha256": digest.hexdigest()})
    assert corrected_dataset(dataset, found, "tiny").short_name == "Tiny_corrected2"
    assert corrected_dataset(dataset, found[1:], "tiny").short_name == "Tiny_corrected3"
    unclear = replace(found[0], facts=found[0].facts | {"group": "p02"})
    with pytest.raises(HtunetError, match="the group 'p02'; is it P2 or p2"):
        corrected_dataset(dataset, [unclear], "tiny")
