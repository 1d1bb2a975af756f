"""What a hand-edited JSON object may hold, and how a wrong key or value is named."""

import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from htunet.errors import HtunetError
from htunet.files import read_json, write_json
from htunet.records import NAME, check_schema, record_from


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str
    spoons: int
    grams: float = 1.0
    minutes: int | None = None
    size: tuple[int, int] = (1, 1)
    parts: dict[str, int] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    vegan: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    oven: dict[str, float] | None = None


GOOD = {"name": "soup", "spoons": 3}


def test_lists_become_the_tuples_that_the_fields_ask_for_and_whole_numbers_pass_as_numbers() -> None:
    made = record_from(
        Recipe,
        GOOD | {"size": [2, 3], "grams": 5, "minutes": None, "oven": {"degrees": 200}, "notes": {"a": [1, "b"]}},
        "r.json",
    )
    assert made == Recipe(name="soup", spoons=3, size=(2, 3), grams=5, notes={"a": [1, "b"]}, oven={"degrees": 200})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spoon": 3}, "r.json: the key 'spoon' is not known. Did you mean 'spoons'?"),
        ({"spoons": "3"}, "r.json: spoons must be a whole number, got '3'."),
        ({"spoons": 2.5}, "r.json: spoons must be a whole number, got 2.5."),
        ({"spoons": True}, "r.json: spoons must be a whole number, got True."),
        ({"spoons": None}, "r.json: spoons must be a whole number, got None."),
        ({"grams": "many"}, "r.json: grams must be a number, got 'many'."),
        ({"minutes": "x"}, "r.json: minutes must be a whole number or null, got 'x'."),
        ({"size": 224}, "r.json: size must be a list of 2: a whole number, a whole number, got 224."),
        ({"size": [224]}, "r.json: size must be a list of 2: a whole number, a whole number, got [224]."),
        ({"size": [1, "b"]}, "r.json: size must be a whole number, got 'b'."),
        ({"parts": [1]}, "r.json: parts must be an object {...}, got [1]."),
        ({"parts": {"salt": [1]}}, "r.json: parts.salt must be a whole number, got [1]."),
        ({"steps": "stir"}, "r.json: steps must be a list, got 'stir'."),
        ({"oven": {"degrees": "hot"}}, "r.json: oven.degrees must be a number, got 'hot'."),
        ({"oven": 3}, "r.json: oven must be an object {...} or null, got 3."),
        ({"vegan": "yes"}, "r.json: vegan must be true or false, got 'yes'."),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_expected(change: dict[str, Any], message: str) -> None:
    with pytest.raises(HtunetError, match=re.escape(message)):
        record_from(Recipe, GOOD | change, "r.json")


def test_missing_keys_are_named() -> None:
    with pytest.raises(HtunetError, match=re.escape("r.json: the keys ['spoons'] are missing.")):
        record_from(Recipe, {"name": "soup"}, "r.json")


@pytest.mark.parametrize("content", [None, [], 3, "text"])
def test_anything_but_an_object_is_refused(content: object) -> None:
    with pytest.raises(HtunetError, match=r"r\.json must be a JSON object"):
        record_from(Recipe, content, "r.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "f.json lacks 'seed'"),
        ({"seed": True}, "f.json.seed must be a whole number, got True"),
        ({"seed": 1, "means": []}, "f.json.means must be an object"),
        ({"seed": 1, "means": {"Dice": "x"}}, "f.json.means.Dice must be a number or null, got 'x'"),
        ({"seed": 1, "method": "../x"}, r"f.json.method: the name '\.\./x' has a slash"),
        ({"seed": 1, "cases": [{"case": 3}]}, "f.json.cases, 0.case must be a text, got 3"),
    ],
)
def test_what_does_not_fit_its_schema_is_named_with_its_place(content: object, message: str) -> None:
    schema = {"seed": int, "means?": {str: (float, None)}, "method?": NAME, "cases?": [{"case": str}]}
    check_schema({"seed": 1, "means": {"Dice": None}, "method": "UNet", "more": object()}, schema, "f.json")
    with pytest.raises(HtunetError, match=message):
        check_schema(content, schema, "f.json")


def test_a_key_that_a_file_lacks_is_named_with_the_file_also_in_another_process(tmp_path: Path) -> None:
    write_json(tmp_path / "f.json", {"weights": {"file": None}})
    found = pickle.loads(pickle.dumps(read_json(tmp_path / "f.json")))
    assert (found, found["weights"].get("source")) == ({"weights": {"file": None}}, None)
    with pytest.raises(HtunetError, match=r"f\.json lacks 'source'"):
        found["weights"]["source"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"1": {"Dice": "²", "empty": None}}, "f.json.1.Dice must be a number or null"),
        ({"²": {"Dice": 1.0}}, "f.json must be a whole number"),
        ({"1": {"Dice": 1.0, "empty": 0.0}}, "f.json.1.empty must be a text or null"),
    ],
)
def test_a_named_key_goes_before_the_kind_of_the_others_and_digits_are_keys(content: Any, named: str) -> None:
    schema = {int: {"empty?": (str, None), str: (float, None)}}
    check_schema({"1": {"Dice": 1.0, "empty": "both"}, "12": {}}, schema, "f.json")
    with pytest.raises(HtunetError, match=named):
        check_schema(content, schema, "f.json")
