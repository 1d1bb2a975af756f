"""Zero-shot classification by prompts, and retrieval of texts by images and of images by texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from htunet.data.caption_splits import CaptionSplit, groups_in_both, pairs_digest, settle_caption_split
from htunet.data.captions import CaptionDataset, read_captions
from htunet.data.class_probabilities import class_order, write_class_probabilities
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import positive_class, read_raw
from htunet.data.split_files import load_splits, paper_fold
from htunet.data.zero_shot_prompts import find_prompts, own_prompts, unusual_prompts
from htunet.errors import HtunetError, UsageError, counted
from htunet.evaluation.retrieval import Retrieval, retrieval
from htunet.evaluation.zero_shot import ZeroShotResult, zero_shot_result
from htunet.files import write_csv, write_json, write_text
from htunet.inference.text_side import Choice, find_start, load_text_side, named_by_content, towers_name
from htunet.models.embeddings import long_texts_note
from htunet.models.finetuned import StartingAdapter
from htunet.paths import DatasetPaths
from htunet.planning.arrays import check_arrays, raw_sha256
from htunet.planning.planner import PLANNERS, is_edited
from htunet.planning.plans import CENTRE_CROP, STRETCH, load_plan
from htunet.planning.rules import BASE_SIDE
from htunet.preprocessing.caption_arrays import prepare_captions
from htunet.reporting.figures.one_zero_shot import draw_zero_shot
from htunet.reporting.tables.prompt_table import markdown, prompt_columns, prompt_rows
from htunet.reproducibility import provenance
from htunet.training.start import refuse_seen_images

ALL, TEST, VAL = "all", "test", "val"
OTHER_PAIRS = (
    "The adapter was fine-tuned with other captions of this data set, or with another split of them: it may have been "
    "trained on some of these pairs. Fine-tune it again for a result on pairs that it has not seen."
)

TRAINED_PAIRS = (
    "The adapter was fine-tuned on this data set, and so on most of these pairs: the result is too good for new ones. "
    "--split val takes those that it was not trained on."
)
SHARED_GROUPS = (
    "(patients, cases or articles) with pairs in both splits: the adapter was trained on other pairs of them, so that "
    "the result is too good for new ones. htunet_finetune --split-by group keeps each in one split."
)


@dataclass(frozen=True)
class ZeroShot:
    """A result, and the folder that it was written to."""

    result: ZeroShotResult
    folder: Path


def classify_by_prompts(
    dataset: DatasetPaths, choice: Choice, *, split: str = ALL, plan_name: str = "paper", prompts: str | None = None
) -> ZeroShot:
    """Classify all images of a preprocessed data set, or its test split (fold 0), and write the results.

    Images without a class are excluded, and the result says how many. Everything that can be checked is checked first.
    Raises UsageError for a data set without prompts, HtunetError for prompts that do not describe its classes, for
    images of an unknown class or of one class only, and as ``load_text_side``.
    """
    plan = load_plan(dataset.plans_json, plan_name)
    classes = class_order(plan.classes)
    if dataset.dataset_json.exists() and positive_class(read_raw(dataset).info) == next(iter(classes), None):
        classes = classes[::-1]  # the positive one comes last
    if len(classes) < 2:
        raise HtunetError(f"The images of {dataset.name} have no classes that could be distinguished.")
    chosen = find_prompts(dataset.short_name, prompts)
    pairs = chosen.in_order(classes)
    start = find_start(choice, plan)
    if split not in (ALL, TEST):
        raise UsageError(f"--split is {ALL} or {TEST}, got {split!r}.")
    data = PreprocessedDataset(dataset.plan_folder(plan.name), plan.classes)
    check_arrays(dataset, plan)
    all_rows = list(range(len(data.cases)))
    if split == TEST:
        all_rows = data.rows(load_splits(dataset.splits_json)[paper_fold(dataset, "cls")][TEST])
        if not all_rows:
            raise HtunetError(f"{dataset.splits_json} has no test images in fold 0. Take --split {ALL}.")
    what = f"{dataset.short_name} ({split})"
    rows = [row for row in all_rows if data.cases[row].class_name]
    cases = [(data.cases[row].id, data.cases[row].class_name, data.cases[row].group) for row in rows]
    found = {name: case for case, name, _ in cases}
    if strange := sorted(found.keys() - set(classes)):
        names = ", ".join(classes)
        raise HtunetError(
            f"Images of {what} have the class {strange[0]} ({found[strange[0]]}), which is none of {names}."
        )
    if len(found) < 2:
        raise HtunetError(
            f"Every image of {what} with a class ({len(rows)}) is "
            f"{next(iter(found), 'without one')}: with less "
            "than two classes nothing can be distinguished. Take --split all, or another data set."
        )
    if start:
        refuse_seen_images(start.path, {TEST: [case for case, *_ in cases]}, dataset, None)
    encoders = load_text_side(choice, start, plan.input_size, normalise=plan.normalise)
    result = zero_shot_result(
        encoders.images(data.images, rows),
        encoders.texts(sentences := [prompt.text for _, prompt in pairs]),
        pairs,
        cases=cases,
        classes=classes,
        logit_scale=encoders.logit_scale,
    )
    about: dict[str, Any] = {"dataset": dataset.name, "method": choice.method, "plan": plan.name, "part": split}
    about |= {"prompts": chosen.name, "seed": choice.seed, **encoders.record}
    about["images_without_class"] = len(all_rows) - len(rows)
    about["raw_sha256"] = raw_sha256(dataset)
    about["plan_edited"] = plan.name in PLANNERS and is_edited(plan)
    about["long_texts"] = long_texts_note(encoders.network, sentences)
    other = unusual_prompts(dataset.short_name, chosen.name)
    if chosen.name not in own_prompts():
        other = named_by_content(Path(chosen.name))
    towers = towers_name(choice.method, start.label if start else "", choice.weights, plan.name, prompts=other)
    folder = dataset.text_side("zero_shot", towers, split)
    write_class_probabilities(folder / "classes.csv", result.probabilities)
    write_csv(folder / "prompts.csv", prompt_columns(classes), prompt_rows(result))
    write_text(folder / "prompts.md", markdown(result, about, chosen.sources))
    draw_zero_shot(folder / "prompts.png", result, about)
    write_json(folder / "summary.json", about | {"zero_shot": result.content(), "made_by": provenance()})
    return ZeroShot(result, folder)


def _pairs_note(start: StartingAdapter, captions: CaptionDataset, settled: CaptionSplit, split: str) -> str:
    """Why an adapter that was fine-tuned on the data set may know the pairs of a split, or others like them."""
    name = captions.paths.name
    if name not in start.record["datasets"]:
        return ""
    if split == ALL:
        return TRAINED_PAIRS
    if start.pairs_sha256.get(name) not in (None, pairs_digest(captions, settled)):
        return OTHER_PAIRS
    shared = groups_in_both(captions.pairs, settled)
    return f"{counted(len(shared), 'group')} {SHARED_GROUPS}" if shared else ""


@dataclass(frozen=True)
class Retrieved:
    """Both directions, and the folder that they were written to."""

    image_to_text: Retrieval
    text_to_image: Retrieval
    pairs: int
    distinct_captions: int
    folder: Path
    long_texts: str
    """A note where texts fill all that the text encoder reads; else empty."""
    pairs_note: str
    """A note where the adapter may have been trained on the pairs; else empty."""


def retrieve(dataset: DatasetPaths, choice: Choice, *, split: str = VAL, input_size: int | None = None) -> Retrieved:
    """Let the images of a caption data set find their texts among all of the split, and the other way round.

    ``split`` is ``val``, the pairs that fine-tuning does not train on (else the result has a note), or ``all``. Images
    are cropped as when the adapter was trained, and without ``input_size``, the side of a square, of that size. Raises
    as ``load_text_side``, and HtunetError for a data set without captions.
    """
    if split not in (VAL, ALL):
        raise UsageError(f"--split is {VAL} or {ALL}, got {split!r}.")
    captions = read_captions(dataset)
    start = find_start(choice)
    plan = (start.record["plan_content"] if start else None) or {}
    side = input_size or BASE_SIDE
    height, width = (None if input_size else plan.get("input_size")) or (side, side)
    size = (height, width)
    settled = settle_caption_split(captions)
    val = set(settled.val)
    rows = [row for row, pair in enumerate(captions.pairs) if split == ALL or pair.id in val]
    note = _pairs_note(start, captions, settled, split) if start else ""
    texts = [captions.pairs[row].caption for row in rows]
    encoders = load_text_side(choice, start, size)
    centre = plan.get("geometry") == CENTRE_CROP
    prepared = prepare_captions(captions, size, centre_crop=centre)
    images_NE, texts_NE = encoders.images(prepared.images, rows), encoders.texts(texts)
    both = {
        "image_to_text": retrieval(images_NE, texts_NE, texts),
        "text_to_image": retrieval(texts_NE, images_NE, texts),
    }
    other = "" if size == (BASE_SIDE, BASE_SIDE) else f"{height}" if height == width else f"{height}x{width}"
    towers = towers_name(choice.method, start.label if start else "", choice.weights, input_size=other)
    folder = dataset.text_side("retrieval", towers, split)
    about: dict[str, Any] = {"dataset": dataset.name, "method": choice.method, "part": split, "seed": choice.seed}
    about |= {"input_size": list(size), "geometry": CENTRE_CROP if centre else STRETCH, "pairs_note": note}
    about |= {"pairs": len(rows), "distinct_captions": len(set(texts)), **encoders.record}
    about["long_texts"] = long_texts_note(encoders.network, texts)
    about |= {name: found.content() for name, found in both.items()} | {"made_by": provenance()}
    write_json(folder / "summary.json", about)
    return Retrieved(**both, pairs=len(rows), distinct_captions=len(set(texts)), folder=folder,
                     long_texts=about["long_texts"], pairs_note=note)  # fmt: skip
