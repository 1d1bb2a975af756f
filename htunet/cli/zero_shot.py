"""Zero-shot classification: assign images to classes by their similarity to text prompts, without training.

Writes summary.json, classes.csv, and the result of each prompt as prompts.csv, prompts.md and prompts.png.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from htunet.cli.arguments import add_device
from htunet.cli.command import make_parser, run_command
from htunet.paths import find_dataset

if TYPE_CHECKING:
    from htunet.inference.text_side import Choice


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_zero_shot BUSI CLIP_HT``."""
    parser = make_parser("htunet_zero_shot", __doc__)
    parser.add_positional("dataset", "-d", help="preprocessed data set with classes, such as BUSI or 503")
    parser.add_positional("method", "-m", help="method, such as CLIP or, with a fine-tuned adapter, CLIP_HT")
    split = "all: all images, as in the paper; test: the test split of fold 0 (default: %(default)s)"
    parser.add_argument("--split", default="all", choices=("all", "test"), help=split)
    parser.add_argument("-p", "--plan", default="paper", help="plan of the preprocessed images (default: %(default)s)")
    prompts = (
        "one of the built-in sets of prompts (breast, lymph node, thyroid, prostate) or a JSON file of your own "
        "(default: the set for the data set)"
    )
    parser.add_argument("--prompts", help=prompts)
    add_text_side(parser)
    return run_command(parser, _zero_shot, argv)


def add_text_side(parser: argparse.ArgumentParser) -> None:
    """The options that choose the image and the text encoder."""
    adapter = (
        "finetuned (the result of htunet_finetune) or the path of a checkpoint (default: finetuned, if the method has "
        "an adapter)"
    )
    parser.add_argument("--adapter", help=adapter)
    weights = "frozen weights: pretrained, phantom (PhantomCLIP), random, or the path of a file (default: %(default)s)"
    parser.add_argument("--weights", default="pretrained", help=weights)
    seed = "seed of the fine-tuning, if there are several (default: %(default)s)"
    parser.add_argument("--seed", type=int, default=1, help=seed)
    add_device(parser)


def chosen_encoders(options: argparse.Namespace) -> "Choice":
    """What ``add_text_side`` and the method say."""
    from htunet.inference.text_side import Choice

    names = ("method", "adapter", "weights", "seed", "device")
    return Choice(**{name: getattr(options, name) for name in names})


def _zero_shot(options: argparse.Namespace) -> None:
    dataset = find_dataset(options.dataset)
    from htunet.evaluation.statistics import percent_text
    from htunet.experiments.zero_shot_retrieval import classify_by_prompts
    from htunet.files import read_json
    from htunet.reporting.tables.prompt_table import CHOSEN_HERE, best_first, summary_lines

    choice = chosen_encoders(options)
    found = classify_by_prompts(dataset, choice, split=options.split, plan_name=options.plan, prompts=options.prompts)
    print(f"{dataset.short_name} {options.method}, zero-shot classification:")
    for line in summary_lines(found.result, read_json(found.folder / "summary.json")):
        print(f"  {line}")
    best = best_first(found.result.prompts)[0]
    if best.auc is not None:
        print(f"  best prompt alone, AUC {percent_text(best.auc, 2)}: {best.prompt.text}\n  {CHOSEN_HERE}")
    print(f"All prompts: {found.folder / 'prompts.md'}")


if __name__ == "__main__":
    sys.exit(main())
