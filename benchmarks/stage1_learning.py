"""Whether stage 1 learns: fine-tuning on the phantom's captions, and the same with captions of other images.

    python -m benchmarks.stage1_learning [--images 3000] [--held_out 600] [--epochs 12] [--method SmallCLIP_HT]

All weights are random and frozen but the adapter's. Retrieval and classification by sentences are measured on phantom
images of other patients, drawn from another seed, that no training has seen. ``SmallCLIP`` is CLIP's architecture, in
its own classes, small enough for one core: 12 blocks of width 128 on 7 x 7 patches of 16 x 16 pixels. ``--method
CLIP_HT`` takes the real size.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import open_clip

from dataset_conversion.phantom.examinations import draw_acquisition, draw_patient, patient_of
from dataset_conversion.phantom.scan import CAPTIONS, NORMAL_SHARE, write_phantom
from htunet.cli.convert import main as convert
from htunet.cli.plan_and_preprocess import main as plan_and_preprocess
from htunet.experiments.zero_shot_retrieval import ALL, Retrieved, classify_by_prompts, retrieve
from htunet.files import write_text
from htunet.inference.text_side import Choice
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.clip import ClipVision
from htunet.models.catalogue import OPENAI_STATISTICS
from htunet.models.text import TEXT_TOWERS
from htunet.models.text.clip import ClipText
from htunet.paths import ROOTS, find_dataset
from htunet.planning.plans import load_plans, save_plans
from htunet.reproducibility import generator
from htunet.simulation.sentences import caption
from htunet.training.finetuning import finetune
from htunet.training.settings import FinetuneSettings

SMALL, ARCHITECTURE, PLAN = "SmallCLIP", "htunet-small-clip", "small"
SIDE = 112
CONFIG = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": SIDE, "layers": 12, "width": 128, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4},
}
HELD_OUT = "Dataset611_HeldOut"


@dataclass(frozen=True)
class Measured:
    """Of one adapter, on the held-out phantom."""

    what: str
    retrieved: Retrieved
    auc: float
    accuracy: float
    seconds: float

    def line(self) -> str:
        """A row of a Markdown table."""
        found, chance = self.retrieved, self.retrieved.image_to_text.chance
        directions = (found.image_to_text, found.text_to_image)
        recalls = [
            f"{100 * one.recall[k]:.1f} ({one.recall[k] / chance[k]:.1f} x)" for one in directions for k in (1, 10)
        ]
        ranks = " / ".join(f"{one.median_rank:g}" for one in directions)
        figures = [*recalls, ranks, f"{100 * self.auc:.1f}", f"{100 * self.accuracy:.1f}", f"{self.seconds:.0f}"]
        return f"| {self.what} | {' | '.join(figures)} |"


def main() -> None:
    """Print one line for the untrained adapter, the trained one, and the control."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3000, help="phantom images with captions to learn from")
    parser.add_argument("--held_out", type=int, default=600, help="phantom images of other patients to measure on")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--method", default=f"{SMALL}_HT")
    help_text = "plain: one word for each sign, and every sign; rich: as the phantom writes them, in many words"
    parser.add_argument("--words", choices=("plain", "rich"), default="plain", help=help_text)
    parser.add_argument("--folder", type=Path, help="keep the data and the runs here (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (options.folder or Path(temporary)).resolve()
        for variable, name in ROOTS.items():
            os.environ[variable] = str(home / name)
        register_small(home)
        make_data(home, options.images, options.held_out, plain=options.words == "plain")
        rows = [
            measure(options, epochs, shuffle=shuffle) for epochs, shuffle in ((0, False), (None, False), (None, True))
        ]
    found = rows[0].retrieved
    chance = found.image_to_text.chance
    print(
        f"\n{found.pairs} held-out pairs, {found.distinct_captions} different captions; chance: "
        f"R@1 {100 * chance[1]:.2f} %, R@10 {100 * chance[10]:.2f} %\n"
    )
    heads = (
        "| | image to text R@1 % | R@10 % | text to image R@1 % | R@10 % | median ranks | zero-shot AUC % | Acc % | s |"
    )
    print("\n".join([heads, f"|{'---|' * 9}", *(row.line() for row in rows)]))


def register_small(folder: Path) -> None:
    """Make ``SmallCLIP`` known as a backbone with both towers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{ARCHITECTURE}.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    open_clip.add_model_config(folder / f"{ARCHITECTURE}.json")
    BACKBONES.register(SMALL)(partial(ClipVision, ARCHITECTURE, OPENAI_STATISTICS))
    TEXT_TOWERS.register(SMALL)(lambda _: ClipText(ARCHITECTURE))


def make_data(home: Path, images: int, held_out: int, *, plain: bool) -> None:
    """Captions to learn from (seed 1), and captions and classes of other patients (seed 2)."""
    for name, number, seed in (("learnt", images, 1), ("held_out", held_out, 2)):
        if not (home / name).exists():
            write_phantom(home / name, num_images=number, seed=seed)
            if plain:
                write_plainly(home / name, seed)
    run(convert, "PhantomCaptions", str(home / "learnt"), "--workers", "1")
    run(convert, "PhantomCaptions", str(home / "held_out"), "--name", HELD_OUT, "--workers", "1")
    run(convert, "Phantom", str(home / "held_out"), "--workers", "1")
    run(plan_and_preprocess, "-d", "Phantom", "--plan", "paper", "--workers", "0")
    dataset = find_dataset("Phantom")
    plans = load_plans(dataset.plans_json)
    save_plans(dataset.plans_json, plans | {PLAN: replace(plans["paper"], name=PLAN, input_size=(SIDE, SIDE))})
    run(plan_and_preprocess, "-d", "Phantom", "--plan", PLAN, "--workers", "0")


class FirstWords:
    """Stands for a random generator where a caption is written: always the first words, every sign, in one order."""

    def integers(self, _: int) -> int:
        """The first of some words."""
        return 0

    def random(self) -> float:
        """Whatever is said sometimes is said."""
        return 0.0

    def permutation(self, count: int) -> range:
        """The order in which the signs are drawn."""
        return range(count)


def write_plainly(folder: Path, seed: int) -> None:
    """Replace the captions of a phantom by others that say the same signs in the same words, every sign each time."""
    lines = []
    for line in (folder / CAPTIONS).read_text(encoding="utf-8").splitlines():
        content = json.loads(line)
        index = int(content["id"].rsplit("_", 1)[1])
        number, class_name = patient_of(seed, index, NORMAL_SHARE)
        patient = draw_patient(seed, number, class_name)
        lesions = draw_acquisition(patient, generator(seed, "phantom image", index)).lesions
        words: Any = FirstWords()
        lines.append(json.dumps(content | {"caption": caption(list(lesions), patient.grid.width_mm, words)}) + "\n")
    write_text(folder / CAPTIONS, "".join(lines))


def measure(options: argparse.Namespace, epochs: int | None, *, shuffle: bool) -> Measured:
    """Fine-tune, unless ``epochs`` is 0, and measure on the held-out phantom."""
    started, adapter, method = time.perf_counter(), None, options.method
    if epochs == 0:
        what, method = "frozen towers alone", method.split("_")[0]
    else:
        what = "captions of other images" if shuffle else "fine-tuned on captions"
        settings = FinetuneSettings(num_epochs=options.epochs, lr=options.lr, input_size=SIDE, weights="random")
        outcome = finetune(method, ["PhantomCaptions"], settings, split_by="group", shuffle=shuffle)
        if outcome.status == "stopped":
            raise SystemExit("Stopped and saved; the same command continues.")
        what += f", epoch {outcome.best_epoch} of {options.epochs}"
        adapter = str(outcome.run.checkpoint_best)
    seconds = time.perf_counter() - started
    choice = Choice(method=method, adapter=adapter, weights="random")
    retrieved = retrieve(find_dataset(HELD_OUT), choice, split=ALL, input_size=SIDE)
    found = classify_by_prompts(find_dataset("Phantom"), choice, plan_name=PLAN).result
    area, accuracy = (figure.value or 0.0 for figure in (found.auc, found.decision["accuracy"]))
    return Measured(what, retrieved, area, accuracy, seconds)


def run(command: Callable[[Sequence[str]], int], *arguments: str) -> None:
    """A command as a user types it; ends everything when it fails."""
    if command(arguments):
        raise SystemExit(f"{' '.join(arguments)} failed.")


if __name__ == "__main__":
    main()
