"""Both towers of a method, ready to embed images and texts: for zero-shot classification and retrieval."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.errors import UsageError
from htunet.files import file_hash
from htunet.models.build import PAPER_PLAN, check_input_size, parse_method
from htunet.models.dual_encoder import DualEncoder, build_dual_encoder
from htunet.models.embeddings import embed_images, embed_texts
from htunet.models.finetuned import FINETUNED, StartingAdapter, described_adapter, find_adapter, load_adapter
from htunet.models.precision import find_device
from htunet.models.text import TEXT_TOWERS
from htunet.models.weights.formats import weights_file
from htunet.models.weights.load import PRETRAINED, RANDOM, WeightsRecord
from htunet.paths import ADAPTER, PHANTOM
from htunet.planning.plans import Plan

Embeddings = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which towers a user asks for."""

    method: str
    adapter: str | None = None
    """``finetuned``, the path of a checkpoint, or None: ``finetuned`` where the method has an adapter."""
    weights: str = "pretrained"
    seed: int = 1
    device: str = "auto"


class TextSide:
    """A method's towers on a device, in fp32. Dimension key: N of all, E embedding."""

    def __init__(
        self, method: str, network: DualEncoder, weights: WeightsRecord, start: StartingAdapter | None
    ) -> None:
        self.method = method
        self.network = network
        self.weights = weights
        self.start = start

    @property
    def logit_scale(self) -> float:
        """What similarities in [-1, 1] are multiplied by before a softmax, as the towers were trained."""
        return float(self.network.logit_scale)

    @property
    def record(self) -> dict[str, Any]:
        """What results say of the towers; ``seed`` is the adapter's own, where it has one."""
        adapter = self.start.record if self.start else None
        seed = (adapter or {}).get("seed")
        return {"weights": self.weights.content(), "adapter": adapter} | ({} if seed is None else {"seed": seed})

    def images(self, arrays_NCHW: NDArray[np.uint8], rows: Sequence[int]) -> Embeddings:
        """(len(rows), E) of unit length."""
        return embed_images(self.network, arrays_NCHW, rows)

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """(len(texts), E) of unit length."""
        return embed_texts(self.network, texts)


def towers_name(method: str, adapter: str, weights: str, plan: str = PAPER_PLAN, **more: str) -> str:
    """For a folder: the method, and what is not as usual.

    That is where its adapter started (empty: it has none), other frozen ``weights`` than the published ones, as a user
    names them, another plan of images, and ``more`` by name, where it is not empty. Files may share a name, and are
    told apart by their hash.
    """
    own = "" if weights in (RANDOM, PRETRAINED, PHANTOM) else named_by_content(Path(weights))
    parts = {f"{ADAPTER}{adapter}": adapter, RANDOM: weights == RANDOM, f"weights_{own}": own}
    parts |= {f"plan_{plan}": plan != PAPER_PLAN, **{f"{name}_{value}": value for name, value in more.items()}}
    return "__".join([method, *(text for text, named in parts.items() if named)])


def named_by_content(path: Path) -> str:
    """The name of a file (of a folder of weights: of the folder) with eight digits of its hash, for a folder's name."""
    return f"{path.stem}-{file_hash(weights_file(path))[:8]}"


def find_start(choice: Choice, plan: Plan | None = None) -> StartingAdapter | None:
    """The adapter that a choice means, looked for before anything heavy starts; it fits the plan of the images.

    Its label says its own seed, whichever was asked for: results of two adapters never share a folder.
    Raises UsageError for a method without a text tower, and as ``find_adapter``: an adapter that nobody has trained
    would only disturb its backbone.
    """
    parsed = parse_method(choice.method)
    if parsed.backbone not in TEXT_TOWERS:
        able = ", ".join(TEXT_TOWERS.names())
        raise UsageError(f"{choice.method} has no text encoder. Backbones that have one: {able}.")
    requested = choice.adapter or (FINETUNED if parsed.adapter else None)
    if not requested:
        return None
    normalise = plan.normalise if plan else None
    start = find_adapter(requested, choice.method, seed=choice.seed, weights=choice.weights, normalise=normalise)
    if plan:
        start.check(choice.method, normalise=plan.normalise, settings=plan.adapter)
    return described_adapter(start.path)


def load_text_side(
    choice: Choice, start: StartingAdapter | None, input_size: tuple[int, int], *, normalise: bool = True
) -> TextSide:
    """Build the towers for images of ``input_size`` (height, width), and fill the adapter.

    With an adapter images are normalised as they were when it was trained; else as ``normalise`` says.
    Raises HtunetError for weights that cannot be had or do not fit the adapter, UsageError for a missing device.
    """
    device = find_device(choice.device)
    check_input_size(choice.method, input_size, adapter_settings={"input_size": input_size})
    network, weights = build_dual_encoder(
        choice.method,
        seed=choice.seed,
        weights=choice.weights,
        adapter_settings={"input_size": input_size} | (dict(start.settings) if start else {}),
        normalise=start.normalise if start else normalise,
    )
    if start:
        load_adapter(network, weights, start)
    network.merge_for_inference()
    return TextSide(choice.method, network.to(device).eval(), weights, start)
