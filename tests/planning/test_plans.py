"""``plans.json`` as people edit it."""

import re
from pathlib import Path
from typing import Any

import pytest
from builders.plan import plan_of

from htunet.errors import HtunetError
from htunet.files import read_json, write_json
from htunet.planning.plans import load_plan, load_plans, save_plans, sides_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_plans(tmp_path / "plans.json", {"paper": plan_of()})
    return tmp_path / "plans.json"


def edit(path: Path, **change: Any) -> None:
    content = read_json(path)
    content["plans"]["paper"] |= change
    write_json(path, content)


def test_what_is_saved_is_read_back(path: Path) -> None:
    assert load_plans(path) == {"paper": plan_of()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must hold a JSON object"),
        ({"format": 1}, "plans must be a JSON object"),
        ({"format": 1, "plans": []}, "plans must be a JSON object"),
        ({"format": 1, "plans": {"paper": 3}}, "plan 'paper' must be a JSON object"),
        ({"format": 2}, "has format 2"),
    ],
)
def test_a_file_of_another_shape_is_refused(path: Path, content: object, message: str) -> None:
    write_json(path, content)
    with pytest.raises(HtunetError, match=message):
        load_plans(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": "8"}, "plan 'paper': batch_size must be a whole number, got '8'"),
        ({"batch_size": 2.5}, "plan 'paper': batch_size must be a whole number, got 2.5"),
        ({"input_size": 224}, "plan 'paper': input_size must be a list of 2"),
        ({"betas": [0.9]}, "plan 'paper': betas must be a list of 2"),
        ({"augmentation": {"mirror": "x"}}, "plan 'paper': augmentation.mirror must be a number, got 'x'"),
        ({"patience": "x"}, "plan 'paper': patience must be a whole number or null, got 'x'"),
        ({"because": None}, "plan 'paper': because must be an object"),
        ({"batchsize": 8}, "plan 'paper': the key 'batchsize' is not known. Did you mean 'batch_size'?"),
    ],
)
def test_a_wrong_key_or_type_is_named_with_its_plan(path: Path, change: dict[str, Any], message: str) -> None:
    edit(path, **change)
    with pytest.raises(HtunetError, match=re.escape(message)):
        load_plans(path)


def test_a_plan_to_work_with_has_values_with_a_meaning(path: Path) -> None:
    edit(path, batch_size=-1)
    with pytest.raises(HtunetError, match="batch_size -1"):
        load_plan(path, "paper")


def test_a_copied_entry_has_the_name_that_it_stands_under(path: Path) -> None:
    content = read_json(path)
    content["plans"]["mine"] = content["plans"]["paper"]
    write_json(path, content)
    assert load_plan(path, "mine").name == "mine"


@pytest.mark.parametrize(("one", "other"), [
    ("lobe gauche", "lobe droit"), ("glande gauche", "glande droite"), ("lobo sinistro", "lobo destro"),
    ("ghiandola sinistra", "ghiandola destra"), ("Esquerdo", "Direito"), ("lobo izquierdo", "lobo derecho"),
    ("lobus sinister", "lobus dexter"), ("linker Lappen", "rechter Lappen"), ("kidney_L", "kidney_R"), ("sx", "dx"),
])  # fmt: skip
def test_labels_that_differ_in_their_side_are_recognised(one: str, other: str) -> None:
    assert sides_of(["background", other, one]) == (one, other)


def test_a_side_is_a_word_and_both_must_be_there() -> None:
    assert sides_of(["lobe gauche", "lobe_L", "tumour", "normal", "nodule_R"]) == ()
    assert sides_of(["cyl", "cyr", "tl1", "tr1", "left", "benign"]) == ()
