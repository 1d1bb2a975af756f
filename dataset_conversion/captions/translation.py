"""Texts into English: from a table that someone has made, or by a language model on this machine."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from htunet.errors import HtunetError, UsageError, counted
from htunet.files import lines, parse_json, read_csv

PROMPT = (
    "Translate the findings of this ultrasound report from Chinese into English. Keep every finding and every number, "
    "add nothing, and answer with the translation alone."
)
LONGEST_ANSWER = 1024
"""Tokens; the longest findings have about 400."""
BATCH = 8


class Translator(Protocol):
    """Whatever gives one English text for each text, in their order."""

    def translate(self, texts: Sequence[str]) -> list[str]:
        """Chinese texts -> English ones, as many and in their order."""
        ...


def read_translations(path: Path) -> dict[str, str]:
    """A CSV with a column ``english`` and a column ``source`` (the text as distributed) or ``uid``: key to English.

    Raises UsageError when the file does not exist, HtunetError when a column is missing, and for a key with two
    different translations.
    """
    if not path.is_file():
        raise UsageError(f"--translations {path} does not exist. Name a CSV with the columns source (or uid), english.")
    rows = read_csv(path, ("english",))
    names = {name.removeprefix("\ufeff"): name for name in (rows[0] if rows else ())}  # spreadsheets write the mark
    column = names.get("source") or names.get("uid")
    if column is None:
        raise HtunetError(f"{path} needs rows, and a column source (the text as distributed) or uid beside english.")
    table: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        key, english = row[column].strip(), row["english"].strip()
        if table.setdefault(key, english) != english:
            raise HtunetError(f"{path}, row {number} below the header: {key[:40]!r} has another translation above it.")
    return {key: english for key, english in table.items() if english}


class LanguageModel:
    """A causal language model of the library transformers, such as Qwen3; loaded when it is made.

    ``model`` is a folder, or a name that transformers finds or fetches. Greedy decoding, so that a text has one
    translation. Raises HtunetError when transformers or the model cannot be had.
    """

    def __init__(self, model: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if find_spec("accelerate") is None:
            raise HtunetError(
                "--translate needs the library accelerate, which places a large model on the machine's devices. "
                "Install it: pip install 'htunet[translate]'"
            )
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
            self._model = AutoModelForCausalLM.from_pretrained(model, dtype="auto", device_map="auto").eval()
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise HtunetError(
                f"The language model {model!r} cannot be loaded ({reason}). Name a folder that holds one, or a model "
                "that transformers can fetch, such as Qwen/Qwen3-8B."
            ) from None

    def translate(self, texts: Sequence[str]) -> list[str]:
        """One English text for each text."""
        # Qwen3's templates know enable_thinking; others pass over it
        options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        messages = [[{"role": "system", "content": PROMPT}, {"role": "user", "content": text}] for text in texts]
        prompts = [str(self._tokenizer.apply_chat_template(one, **options)) for one in messages]
        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True).to(self._model.device)
        answers = self._model.generate(
            **inputs,
            max_new_tokens=LONGEST_ANSWER,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id,
        )
        new = answers[:, inputs["input_ids"].shape[1] :]
        return [
            text.rpartition("</think>")[2].strip()
            for text in self._tokenizer.batch_decode(new, skip_special_tokens=True)
        ]


def translate_all(texts: Sequence[str], translator: Translator, record: Path, model: str) -> dict[str, str]:
    """Text to English for all different ``texts``, in batches; what was translated before is taken from ``record``.

    ``record`` (JSON lines: model, source, english) grows with each batch, so that an interrupted translation resumes
    where it stopped. Lines of other models are not used, and a line that a killed process left unfinished is not read.
    Raises ValueError for a translator that does not answer each text.
    """
    done = dict(_recorded(record, model))
    todo = sorted({text for text in texts if text not in done}, key=lambda text: (len(text), text))
    record.parent.mkdir(parents=True, exist_ok=True)
    batches = [todo[start : start + BATCH] for start in range(0, len(todo), BATCH)]
    with record.open("a", encoding="utf-8") as stream:
        for batch in tqdm(batches, desc="translate", unit="batch", disable=None):
            answers = translator.translate(batch)
            if len(answers) != len(batch):
                raise ValueError(
                    f"The translator gave {counted(len(answers), 'answer')} for {counted(len(batch), 'text')}."
                )
            for source, english in zip(batch, answers, strict=True):
                done[source] = english
                stream.write(json.dumps({"model": model, "source": source, "english": english}) + "\n")
            stream.flush()
    return {text: done[text] for text in texts}


def _recorded(record: Path, model: str) -> Iterator[tuple[str, str]]:
    if not record.exists():
        return
    for _, line in lines(record):
        try:
            content = parse_json(line, record)
        except HtunetError:  # the last line of a killed process
            continue
        if isinstance(content, Mapping) and content.get("model") == model:
            yield str(content.get("source")), str(content.get("english"))
