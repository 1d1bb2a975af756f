import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from dataset_conversion.captions.translation import LanguageModel, is_whole, translate_all
from htunet.errors import HtunetError

WORDS = ("<|end|>", "<unk>", "<think>", "</think>", "A", "node", "system", "user", "结", "节", "\n")
TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}{% if not enable_thinking %}</think>{% endif %}"


class Numbered:
    """Translates to a number, and can break off."""

    def __init__(self, breaks_after: int = 1000) -> None:
        self.texts: list[str] = []
        self.breaks_after = breaks_after

    def translate(self, texts: Sequence[str]) -> list[str]:
        if len(self.texts) >= self.breaks_after:
            raise KeyboardInterrupt
        self.texts += texts
        return [f"text {text}" for text in texts]


def test_each_text_is_translated_once_in_batches(tmp_path: Path) -> None:
    translator = Numbered()
    texts = [str(number) for number in range(20)] * 2
    assert translate_all(texts, translator, tmp_path / "r.jsonl", "m") == {text: f"text {text}" for text in texts}
    assert sorted(translator.texts) == sorted(set(texts))


def test_an_interrupted_translation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    texts, record = [f"{number:02d}" for number in range(30)], tmp_path / "r.jsonl"
    first = Numbered(breaks_after=16)
    with pytest.raises(KeyboardInterrupt):
        translate_all(texts, first, record, "m")
    with record.open("a", encoding="utf-8") as stream:
        stream.write('{"model": "m", "sou')  # a killed process
    second = Numbered()
    assert len(translate_all(texts, second, record, "m")) == 30
    assert not set(first.texts) & set(second.texts)
    third = Numbered()
    translate_all(texts, third, record, "m")
    assert len(third.texts) <= 8
    assert Numbered().texts == []


def test_a_translator_that_loses_a_text_is_a_bug(tmp_path: Path) -> None:
    class Losing(Numbered):
        def translate(self, texts: Sequence[str]) -> list[str]:
            return []

    with pytest.raises(ValueError, match="0 answers for 1 text"):
        translate_all(["a"], Losing(), tmp_path / "r.jsonl", "m")


@pytest.fixture(scope="module")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 of two narrow layers with random weights and a vocabulary of eleven words."""
    pytest.importorskip("accelerate")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("qwen")
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>", unk_token="<unk>", chat_template=TEMPLATE
    )
    config = Qwen3Config(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        eos_token_id=0,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_qwen3_on_disk_answers_the_same_alone_and_in_a_batch(
    tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataset_conversion.captions.translation.LONGEST_ANSWER", 6)
    monkeypatch.setattr("dataset_conversion.captions.translation.is_whole", lambda tokens, ends: True)
    model = LanguageModel(str(tiny_qwen))
    texts = ["结 节", "结", "节 结 节 A node"]
    answers = model.translate(texts)
    assert len(answers) == 3
    assert answers == [model.translate([text])[0] for text in texts]
    assert all("</think>" not in answer and not answer.startswith(" ") for answer in answers)


def test_an_answer_that_was_cut_off_is_none(tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset_conversion.captions.translation.LONGEST_ANSWER", 3)
    assert is_whole([5, 6], {0})
    assert is_whole([5, 0, 0], {0})
    assert is_whole([5, 6, 1], {0, 1})
    assert not is_whole([5, 6, 7], {0})
    assert not is_whole([5, 6, 7], {None})
    monkeypatch.setattr("dataset_conversion.captions.translation.is_whole", lambda tokens, ends: {*ends} != {0})
    assert LanguageModel(str(tiny_qwen)).translate(["结"]) == [""]


def test_a_model_that_is_nowhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HtunetError, match=r"The language model .* cannot be loaded .*Name a folder"):
        LanguageModel(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no such"}), encoding="utf-8")
    with pytest.raises(HtunetError, match="cannot be loaded"):
        LanguageModel(str(tmp_path))


def test_without_accelerate_the_way_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset_conversion.captions.translation.find_spec", lambda name: None)
    with pytest.raises(HtunetError, match=r"pip install 'htunet\[translate\]'"):
        LanguageModel("anything")
