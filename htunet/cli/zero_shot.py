"""Classify images without training: by their similarity with sentences that describe each class.

Writes summary.json, classes.csv and, for every single sentence, prompts.csv and prompts.md.
"""

import argparse
import sys
from collections.abc import Sequence

from htunet.cli.command import make_parser, run_command
from htunet.paths import find_dataset


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_zero_shot BUSI CLIP_HT``."""
    parser = make_parser("htunet_zero_shot", __doc__)
    parser.add_positional("dataset", "-d", help="preprocessed, with classes, such as BUSI or 503")
    parser.add_positional("method", "-m", help="such as CLIP or, with a fine-tuned adapter, CLIP_HT")
    parser.add_argument("--split", default="all", choices=("all", "test"), help="all images, as in the paper (default)")
    parser.add_argument(
        "-p", "--plan", default="paper", help="whose preprocessed images to take (default: %(default)s)"
    )
    parser.add_argument(
        "--prompts",
        help="one of our sets (breast, lymph node, thyroid, prostate) or a file of your own; default: the data set's",
    )
    add_text_side(parser)
    return run_command(parser, _zero_shot, argv)


def add_text_side(parser: argparse.ArgumentParser) -> None:
    """The options that choose the two towers."""
    parser.add_argument("--adapter", help="finetuned (default where the method has an adapter), or a checkpoint's path")
    parser.add_argument("--weights", default="pretrained", help="pretrained, random, or a path (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the fine-tuning, where there are several (default: 1)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute")


def _zero_shot(options: argparse.Namespace) -> None:
    dataset = find_dataset(options.dataset)
    from htunet.experiments.text_side import classify_by_prompts
    from htunet.files import read_json
    from htunet.inference.text_side import Choice
    from htunet.reporting.tables.prompt_table import best_first, summary_lines

    choice = Choice(
        method=options.method,
        adapter=options.adapter,
        weights=options.weights,
        seed=options.seed,
        device=options.device,
    )
    found = classify_by_prompts(dataset, choice, split=options.split, plan_name=options.plan, prompts=options.prompts)
    print(f"{dataset.short_name} {options.method}, classes by sentences:")
    for line in summary_lines(found.result, read_json(found.folder / "summary.json")):
        print(f"  {line}")
    best = best_first(found.result.prompts)[0]
    assert best.auc is not None
    print(f"  best sentence alone, AUC {100 * best.auc:.2f} %: {best.prompt.text}")
    print(f"Every sentence: {found.folder / 'prompts.md'}")


if __name__ == "__main__":
    sys.exit(main())
