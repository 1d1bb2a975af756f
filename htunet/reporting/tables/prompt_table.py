"""Which prompt works: a table for clinicians, and the same as CSV."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from htunet.errors import counted
from htunet.evaluation.statistics import few_cases, rounded
from htunet.evaluation.zero_shot import PromptResult, ZeroShotResult
from htunet.files import escape_markdown
from htunet.paths import DatasetPaths
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.rows import RANDOM, weights_marks
from htunet.reporting.tables.write import Table, as_markdown, number_columns, word_columns, words

CHOSEN_HERE = "The best prompt is the best of many on these very images: expect a lower AUC of it on others."


def prompt_columns(classes: Sequence[str]) -> list[str]:
    """Of ``prompt_rows``."""
    return ["class", "sign", "text", "auc", *(f"similarity_{name}" for name in classes), "source"]


def prompt_rows(result: ZeroShotResult) -> list[dict[str, Any]]:
    """One row for each prompt, in full precision, in the order of the prompts."""
    return [
        {
            "class": one.class_name,
            "sign": one.prompt.sign,
            "text": one.prompt.text,
            "auc": one.auc,
            **{f"similarity_{name}": value for name, value in one.similarity.items()},
            "source": one.prompt.source,
        }
        for one in result.prompts
    ]


def markdown(result: ZeroShotResult, about: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Estimates of all prompts together, each prompt alone with the best first, and where the signs come from."""
    classes = result.probabilities.classes
    columns = (
        *number_columns("AUC %"),
        *word_columns("Class", "Sign", "Prompt"),
        *number_columns(*(f"Similarity, {name}" for name in classes)),
        *word_columns("Source"),
    )
    rows = []
    for one in best_first(result.prompts):
        similar = [f"{one.similarity[name]:.4f}" if name in one.similarity else "-" for name in classes]
        area = "-" if one.auc is None else rounded(100 * one.auc, 1)
        texts = [area, one.class_name, one.prompt.sign or "-", one.prompt.text, *similar, one.prompt.source or "-"]
        rows.append(tuple(map(words, texts)))
    lines = [
        f"# {DatasetPaths(about['dataset']).short_name}, {about['method']}: zero-shot classification",
        "",
        *(f"- {escape_markdown(line)}" for line in summary_lines(result, about)),
        "",
        "Each prompt alone. **AUC**: how well its similarity ranks images of its own class before the others; 50 % is "
        "chance, below 50 % the prompt misleads. **Similarity**: mean cosine similarity to the images of each class. "
        + CHOSEN_HERE,
        "",
        as_markdown(Table(columns=columns, rows=tuple(rows))),
        *(f"- {short}: {text}" for short, text in sources.items()),
    ]
    return "\n".join(lines) + "\n"


def best_first(prompts: Iterable[PromptResult]) -> list[PromptResult]:
    """By the AUC of each prompt alone; those without one come last."""
    return sorted(prompts, key=lambda one: -1.0 if one.auc is None else one.auc, reverse=True)


def summary_lines(result: ZeroShotResult, about: Mapping[str, Any]) -> Iterator[str]:
    """Accuracy and AUC beside the paper's, and what a reader must know of the encoders."""
    found = {"Acc": result.decision["accuracy"], "AUC": result.auc}
    yield " · ".join(f"{name} {figure.percent()}" for name, figure in found.items()) + (
        f" · {counted(len(result.probabilities.cases), 'image')} ({about['part']})"
    )
    truth = result.probabilities.truth
    if few := few_cases(len(truth), {name: truth.count(name) for name in result.probabilities.classes}):
        yield few
    short, without = DatasetPaths(about["dataset"]).short_name, about.get("images_without_class", 0)
    theirs = paper.classification_figures(short, about["method"], paper.ZERO_SHOT)
    same = not paper.other_images(short, {"total": len(result.probabilities.cases) + without})
    if theirs and same:
        values = f"Acc {theirs['accuracy']:.2f} % · AUC {theirs['auc']:.2f} %"
        yield f"{paper.PAPER}, zero-shot, all images: {values}"
        if footnote := paper.footnote(about["method"], paper.ZERO_SHOT):
            yield footnote
    if about.get("images_without_class"):
        yield f"excluded, without a class: {counted(about['images_without_class'], 'image')}"
    if about.get("long_texts"):
        yield about["long_texts"]
    if about["weights"]["source"] == "random":
        yield "random weights: the results test the program and say nothing about the method"
    yield from (mark for mark, applies in weights_marks(about["weights"]).items() if applies and mark != RANDOM)
    if about["adapter"]:
        names = ", ".join(about["adapter"]["datasets"])
        shuffled = ", captions of other images" * bool(about["adapter"].get("shuffled_captions"))
        yield f"adapter fine-tuned on {names} (seed {about['adapter']['seed']}{shuffled})"
    if about.get("plan_edited"):
        yield f"plan {about['plan']}, edited"
