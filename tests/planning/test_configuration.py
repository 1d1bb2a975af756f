"""What tells configurations apart: every field of a plan and every setting counts, or is listed with its reason."""

from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from builders.fingerprint import PRINT
from builders.training import build_training, register_tiny_methods, run_of, tiny_settings

from htunet.data.raw import DatasetInfo
from htunet.files import read_json
from htunet.planning.configuration import (
    DATA_DRIVEN,
    PLAN_APART,
    SETTINGS_APART,
    configuration,
    digest,
    edits,
    plan_name,
)
from htunet.planning.planner import PLANNERS, make_plans
from htunet.planning.plans import Plan

INFO = DatasetInfo(labels={"background": 0, "lesion": 1}, classes={"benign": 0, "malignant": 1})
PLANS = make_plans(PRINT, INFO).plans


def settings_of(plan: Plan, **changes: Any) -> dict[str, Any]:
    return {"plan": plan.name, "seed": 1, "precision": "fp32", "parts": 1, "plan_content": asdict(plan)} | changes


def changed(value: object) -> object:
    """Another value of the type."""
    if value is None or isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return {**value, "new": 1} if isinstance(value, dict) else [*value, 1]  # type: ignore[misc]


@pytest.mark.parametrize("name", [field.name for field in fields(Plan)])
def test_every_field_of_a_plan_counts_or_is_listed_with_its_reason(name: str) -> None:
    content = asdict(PLANS["paper"])
    other = settings_of(PLANS["paper"], plan_content=content | {name: changed(content[name])})
    assert (digest(other) == digest(settings_of(PLANS["paper"]))) == (name in PLAN_APART)


def test_every_setting_of_a_run_counts_or_is_listed_with_its_reason(home: object) -> None:
    from htunet.training.run import train

    register_tiny_methods()
    dataset = build_training()
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    settings = read_json(run_of(dataset, "Plain").settings_json)
    settings |= {"adapter": {"datasets": ["a"], "num_epochs": 3, "shuffled_captions": False}, "continued_with": []}
    for name, value in settings.items():
        other = digest(settings | {name: changed(value)})
        assert (other == digest(settings)) == (name in SETTINGS_APART and name != "plan_content"), name
    assert digest(settings | {"a setting of a later version": 1}) != digest(settings)


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"weights": {"source": "file", "file": "b.pt", "sha256": "1"}}, False),
        ({"weights": {"source": "file", "file": "a.pt", "sha256": "2"}}, True),
        ({"adapter": {"seed": 2, "sha256": "b", "num_epochs": 32}}, False),
        ({"adapter": {"seed": 1, "sha256": "a", "num_epochs": 16}}, True),
        ({"adapter": {"seed": 1, "sha256": "a", "num_epochs": 32, "plan_content": {"learning_rate": 1.0}}}, True),
    ],
)
def test_of_weights_and_adapters_their_content_counts(settings: dict[str, Any], counts: bool) -> None:
    start = {"seed": 1, "sha256": "a", "num_epochs": 32}
    first = settings_of(PLANS["paper"], weights={"source": "file", "file": "a.pt", "sha256": "1"}, adapter=start)
    assert (digest(first | settings) != digest(first)) == counts


def test_runs_that_start_from_other_weights_are_told_apart_by_how_these_were_trained() -> None:
    before = {"dataset": "a", "fold": 0, "num_epochs": 20, "configuration": "ab", "sha256": "1"}
    first = settings_of(PLANS["paper"], start_from="a", start_checkpoint=before)
    for name, value in {"fold": 1, "sha256": "2", "num_epochs": 200, "configuration": "cd"}.items():
        other = first | {"start_checkpoint": before | {name: value}}
        assert (digest(other) == digest(first)) == (name in ("fold", "sha256")), name


def test_tests_on_other_cases_of_one_data_set_are_told_apart() -> None:
    first, *others = (
        settings_of(PLANS["paper"], trained_on={"dataset": "a", "part": "all", "cases": cases, "shared_images": {}})
        for cases in (["x", "y"], ["y", "x"], ["x", "y", "z"])
    )
    assert [digest(other) == digest(first) for other in others] == [True, False]


def test_plans_of_all_versions_are_equal_where_they_mean_the_same() -> None:
    content = asdict(PLANS["paper"])
    earlier = {name: content[name] for name in content if name not in ("loss", "resize", "accumulation", "workers")}
    earlier |= {"accumulation": 1, "workers": 3, "betas": [0.9, 0.95], "weight_decay": 1e-2}
    before = settings_of(PLANS["paper"], plan_content=earlier)
    del before["parts"]
    assert digest(before) == digest(settings_of(PLANS["paper"]))
    cut = before | {"plan_content": earlier | {"accumulation": 2}}  # of BatchNorm, too, which changed the result
    assert digest(cut) != digest(before)
    assert configuration({"plan": "paper"}) is None
    assert digest({"plan": "paper"}) == ""


@pytest.mark.parametrize("name", sorted(PLANNERS.keys() - set(DATA_DRIVEN)))
def test_a_plan_as_planned_has_its_plain_name_and_an_edited_one_says_what_differs(name: str) -> None:
    plan = replace(PLANS[name], split_by="group", accumulation=4)
    assert (edits(settings_of(plan)), plan_name(settings_of(plan), name)) == ({}, name)
    other = replace(plan, learning_rate=0.5, augmentation=plan.augmentation | {"mirror": 0.25})
    found = edits(settings_of(other))
    assert found == {"augmentation.mirror": (plan.augmentation["mirror"], 0.25), "learning_rate": (1e-4, 0.5)}
    shown = plan_name(settings_of(other), name)
    assert shown.startswith(f"{name}, edited ")
    assert len(shown) == len(name) + 13
    of_other_data = replace(other, dataset="Dataset504_DDTI", classes={}, labels={"background": 0, "nodule": 1})
    assert plan_name(settings_of(of_other_data), name) == shown


def test_an_edited_plan_that_follows_the_data_is_known_by_what_the_run_recorded() -> None:
    plan = PLANS["adaptive"]
    assert plan_name(settings_of(plan, plan_edited=False), "adaptive") == "adaptive"
    assert (
        plan_name(settings_of(plan, plan_edited=True), "adaptive")
        == f"adaptive, edited {digest(settings_of(plan))[:4]}"
    )
