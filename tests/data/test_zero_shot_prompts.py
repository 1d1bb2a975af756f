"""Our sentences, and those that users write."""

import json
from pathlib import Path
from typing import Any

import pytest

from htunet.data.zero_shot_prompts import find_prompts, own_prompts
from htunet.errors import HtunetError, UsageError


def written(folder: Path, **classes: Any) -> str:
    path = folder / "prompts.json"
    path.write_text(json.dumps({"format": 1, "classes": classes}), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["breast", "lymph node", "thyroid", "prostate"])
def test_each_set_has_ten_different_sentences_a_class_each_with_its_sign_and_source(name: str) -> None:
    prompts, _ = own_prompts()[name]
    assert list(prompts.classes) == ["benign", "malignant"]
    texts = [prompt.text for sentences in prompts.classes.values() for prompt in sentences]
    assert [len(sentences) for sentences in prompts.classes.values()] == [10, 10]
    assert len(set(texts)) == 20
    for sentences in prompts.classes.values():
        for prompt in sentences:
            assert prompt.sign
            assert prompts.sources[prompt.source]


def test_every_published_data_set_has_its_set() -> None:
    found = {name: find_prompts(name).name for name in ("BUSI", "LN-INT", "LN-EXT", "DDTI", "TN3K", "Prostate")}
    assert list(found.values()) == ["breast", "lymph node", "lymph node", "thyroid", "thyroid", "prostate"]


def test_pairs_come_in_the_order_of_the_data_sets_classes() -> None:
    pairs = find_prompts("BUSI").in_order(["malignant", "benign"])
    assert [name for name, _ in pairs] == ["malignant"] * 10 + ["benign"] * 10


def test_a_users_file_holds_texts_or_objects(tmp_path: Path) -> None:
    path = written(tmp_path, a=["one", {"text": "two", "sign": "shape", "source": "us"}], b=["three"])
    prompts = find_prompts("Mine", path)
    assert [prompt.text for _, prompt in prompts.in_order(["b", "a"])] == ["three", "one", "two"]
    assert prompts.classes["a"][1].sign == "shape"


def test_a_class_that_the_data_set_lacks_is_one_clear_error(tmp_path: Path) -> None:
    prompts = find_prompts("Mine", written(tmp_path, benign=["one"], normal=["two"]))
    with pytest.raises(HtunetError, match="describe normal, which the data set lacks; its classes: benign, malignant"):
        prompts.in_order(["benign", "malignant"])
    with pytest.raises(HtunetError, match="do not describe extra"):
        prompts.in_order(["benign", "normal", "extra"])


def test_a_data_set_without_prompts_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"no prompts for Mine\. Choose a set with --prompts \(breast"):
        find_prompts("Mine")
    assert find_prompts("Mine", "thyroid").name == "thyroid"
    with pytest.raises(UsageError, match="Did you mean 'breast'"):
        find_prompts("Mine", "brest")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"classes": {}}, "format None"),
        ({"format": 1, "classes": {"a": ["x"]}}, "describes 1 class"),
        ({"format": 1, "classes": {"a": ["x"], "b": []}}, "at least one sentence"),
        ({"format": 1, "classes": {"a": ["x"], "b": [" "]}}, "sentence 1 is empty"),
        ({"format": 1, "classes": {"a": ["x"], "b": [{"sign": "y"}]}}, "text"),
        ({"format": 1, "classes": {"a": ["x"], "b": [3]}}, "sentence 1 must be a JSON object"),
        ({"format": 1, "classes": {"a": ["x"], "b": [{"text": "y", "sgin": "z"}]}}, "Did you mean 'sign'"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, content: dict[str, Any], error: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HtunetError, match=error):
        find_prompts("Mine", str(path))
