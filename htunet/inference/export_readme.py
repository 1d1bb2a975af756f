"""The page that goes with an exported model: how to use it, and what one must know of it."""

from htunet.data.class_probabilities import class_order
from htunet.data.postprocessing import in_words
from htunet.data.raw import label_names
from htunet.files import escape_markdown
from htunet.inference.exported import BACKBONE, ModelCard, needed_weights
from htunet.inference.to_onnx import MODEL
from htunet.models.build import has_frozen_part
from htunet.paths import PHANTOM


def readme(card: ModelCard) -> str:
    """Markdown; ``card.files`` says what the export holds."""
    sections = [
        f"# {card.name}",
        f"{card.method} for the task `{card.task}`, trained with htunet on {card.dataset} ({_runs(card)}, plan "
        f"`{card.plan['name']}`). {_gives(card)}",
        "## With htunet",
        f"```bash\nhtunet_import FOLDER_OR_ZIP\nhtunet_predict -i IMAGES -o OUT --model {card.name}\n```",
        _frozen(card),
        "".join(f"Training images: {text}." for text in [card.plan.get("because", {}).get("channels")] if text),
        *_onnx(card),
        "## Figures",
        _figures(card),
        "## Licences and citations",
        "\n".join(f"- {what}: {text}" for what, text in card.licences.items()),
        "Please cite:",
        "\n".join(f"- {what}: {text}" for what, text in card.citations.items()),
        "For research. It is not a medical device and must not decide about patients.",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _runs(card: ModelCard) -> str:
    """``fold 0, seed 1``; of an ensemble every one of its networks."""
    own = f"fold {card.fold}, seed {card.seed}"
    others = [f"{member['method']}, fold {member['fold']}, seed {member['seed']}" for member in card.members]
    return f"the mean of {len(others) + 1} networks: {'; '.join([own, *others])}" if others else own


def _gives(card: ModelCard) -> str:
    labels = label_names(card.plan["labels"])
    classes = class_order(card.plan["classes"])
    tasks = card.task.split("+")
    parts = [f"Masks: {', '.join(f'{number} {name}' for number, name in enumerate(labels, start=1))}."]
    if steps := in_words(card.quality.get("postprocessing", {})):
        parts.append(f"They are post-processed: {steps}.")
    parts = parts if "seg" in tasks else []
    return escape_markdown(" ".join([*parts, *([f"Classes: {', '.join(classes)}."] if "cls" in tasks else [])]))


def _frozen(card: ModelCard) -> str:
    """Where the frozen weights come from."""
    if not has_frozen_part(card.method):
        return ""
    if BACKBONE in card.files:
        return (
            f"`{BACKBONE}` holds the frozen weights: the image tower of the published file `{card.weights['file']}`, "
            "in another file format and otherwise as it was."
        )
    if card.weights["source"] == PHANTOM:
        return "The frozen weights, pre-trained on simulated images, come with htunet."
    return needed_weights(card) or "The frozen weights are random ones, which htunet draws again."


def _onnx(card: ModelCard) -> list[str]:
    if MODEL not in card.files:
        return []
    scipy = " scipy" * bool({"field_of_view.py", "postprocessing.py"} & {*card.files})
    return [
        "## Without htunet",
        f"```bash\npip install numpy pillow onnxruntime{scipy}\npython run_onnx.py OUT IMAGE...\n```",
        "`preprocessing.json` describes what goes into `model.onnx` and how to turn its scores into masks and classes.",
    ]


def _figures(card: ModelCard) -> str:
    figures, of_first = card.figures, " of the first network alone" * bool(card.members)
    best = ", ".join(f"{name} {value:g}" for name, value in figures.get("validation", {}).items())
    tested = "`model.json`, `figures`, `test`" if figures.get("test") else "not evaluated on test images"
    return f"Best epoch{of_first}, validation images: {best or 'not known'}. Test images{of_first}: {tested}."
