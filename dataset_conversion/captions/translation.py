"""Texts into English: from a table that someone has made, or by a language model on this machine."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from htunet.data.tables import read_table
from htunet.errors import HtunetError, UsageError, counted
from htunet.files import lines, parse_json

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
    """A table with a column ``english`` and a column ``source`` (the text as distributed) or ``uid``: key to English.

    Raises UsageError when the file does not exist, HtunetError when a column is missing, and for a key with two
    different translations.
    """
    if not path.is_file():
        raise UsageError(
            f"--translations {path} does not exist. Name a table with the columns source (or uid) and english."
        )
    rows = [{key.strip().lower(): value for key, value in row.items()} for row in read_table(path)[0]]
    column = next((name for name in ("source", "uid") if rows and name in rows[0]), "")
    if not column or "english" not in rows[0]:
        raise HtunetError(f"{path} needs rows, and a column source (the text as distributed) or uid beside english.")
    table: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        key, english = spaced(row[column]), row["english"].strip()
        key = key.removesuffix(".0") if column == "uid" else key  # as some programs write a number
        if table.setdefault(key, english) != english:
            raise HtunetError(f"{path}, row {number} below the header: {key[:40]!r} has another translation above it.")
    return {key: english for key, english in table.items() if english}


def spaced(text: str) -> str:
    """``text`` with single blanks: programs write the line ends of a cell in their own way."""
    return " ".join(text.split())


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
        """One English text for each text; empty where the answer has no end (see ``is_whole``)."""
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
        new = answers[:, inputs["input_ids"].shape[1] :].tolist()
        ends = self._model.generation_config.eos_token_id
        ends = {*ends} if isinstance(ends, list) else {ends}
        texts = self._tokenizer.batch_decode(new, skip_special_tokens=True)
        return [
            text.rpartition("</think>")[2].strip() if is_whole(tokens, ends) else ""
            for text, tokens in zip(texts, new, strict=True)
        ]


def is_whole(tokens: Sequence[int], ends: Collection[int | None]) -> bool:
    """Whether an answer came to its end; what was cut off has repeated itself, or is still thinking."""
    return len(tokens) < LONGEST_ANSWER or bool({*tokens} & {*ends})


def translate_all(texts: Sequence[str], translator: Translator, record: Path, model: str) -> dict[str, str]:
    """Text to English for all different ``texts``, in batches; what was translated before is taken from ``record``.

    Texts to which the translator gave no answer are absent, and not recorded.

    ``record`` (JSON lines: model, source, english) grows with each batch, so that an interrupted translation resumes
    where it stopped. Lines of other models are not used, and a line that a killed process left unfinished is not read.
    Raises ValueError for a translator that does not answer each text.
    """
    done = dict(_recorded(record, model))
    todo = sorted({text for text in texts if not done.get(text)}, key=lambda text: (len(text), text))
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
                if not english:
                    continue
                done[source] = english
                stream.write(json.dumps({"model": model, "source": source, "english": english}) + "\n")
            stream.flush()
    return {text: done[text] for text in texts if done.get(text)}


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
