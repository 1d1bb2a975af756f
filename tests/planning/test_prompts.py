"""What CLIPSeg is asked to find: the paper's data sets by the organ, others by their labels, and the user's words."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders.fingerprint import PRINT
from builders.plan import plan_of

from htunet.data.raw import DatasetInfo
from htunet.errors import HtunetError
from htunet.planning.planner import make_plans
from htunet.planning.plans import Plan, check_plan, load_plan, save_plans
from htunet.planning.prompts import WORDS, prompts

LESION = {"background": 0, "lesion": 1}


def planned(dataset: str, labels: dict[str, int], existing: dict[str, Plan] | None = None) -> dict[str, Plan]:
    return make_plans(replace(PRINT, dataset=dataset), DatasetInfo(labels=labels), existing=existing).plans


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("Dataset501_LN-INT", "lymph node"),
        ("Dataset502_LN-EXT", "lymph node"),
        ("Dataset503_BUSI", "breast lesion"),
        ("Dataset504_DDTI", "thyroid nodule"),
        ("Dataset505_TN3K", "thyroid nodule"),
        ("Dataset506_Prostate", "prostate"),
    ],
)
def test_the_data_sets_of_the_paper_have_words_of_their_own(dataset: str, words: str) -> None:
    assert dataset.partition("_")[2] in WORDS
    for plan in planned(dataset, LESION).values():
        assert (plan.prompts, plan.label_prompts) == ({"lesion": words}, (words,))
        assert "outline" in plan.because["prompts"]


def test_other_data_sets_have_the_names_of_their_labels_in_the_order_of_their_values() -> None:
    labels = {"background": 0, "solid_part": 2, "cyst": 1}
    plan = planned("Dataset600_Mine", labels)["paper"]
    assert plan.label_prompts == ("cyst", "solid part")
    assert prompts("Dataset503_BUSI", labels)[0] == {"solid_part": "solid part", "cyst": "cyst"}
    assert prompts("Dataset600_Mine", {"background": 0}) == ({}, "no masks: nothing to name")
    assert plan_of(labels=labels).label_prompts == ("cyst", "solid part")  # a plan of before there were prompts


def test_words_of_the_user_survive_planning_again_without_those_of_labels_that_went(tmp_path: Path) -> None:
    plans = planned("Dataset600_Mine", LESION | {"cyst": 2})
    plans["mine"] = replace(plans["paper"], prompts={"lesion": "a dark mass", "cyst": "a cyst"})
    save_plans(tmp_path / "plans.json", plans)
    existing = {"mine": load_plan(tmp_path / "plans.json", "mine")}
    again = planned("Dataset600_Mine", LESION, existing)["mine"]
    assert (again.prompts, again.label_prompts) == ({"lesion": "a dark mass"}, ("a dark mass",))


def test_words_for_a_label_that_there_is_not_are_refused() -> None:
    with pytest.raises(HtunetError, match="prompts"):
        check_plan(plan_of(prompts={"nodule": "thyroid nodule"}))
