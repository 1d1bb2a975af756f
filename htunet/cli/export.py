"""Write a trained run as one folder or zip that predicts elsewhere, without the data set; on request also as ONNX."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from htunet.cli.arguments import add_run_options, fold_number
from htunet.cli.command import make_parser, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_export BUSI CLIP_HT fold0 -o busi.zip``."""
    parser = make_parser("htunet_export", __doc__)
    parser.add_positional("dataset", "-d", help="data set that the run was trained on, such as BUSI")
    parser.add_positional("method", "-m", help="such as CLIP_HT")
    parser.add_positional(
        "fold",
        "-f",
        type=fold_number,
        help="fold0, or its name: paper, the authors' own lists",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to make, or FILE.zip")
    add_run_options(parser)
    parser.add_argument("--with-backbone", action="store_true", help="also the frozen weights, if their licence allows")
    parser.add_argument("--onnx", action="store_true", help="also model.onnx and a runner that needs no htunet")
    parser.add_argument("--weights", help="frozen weights, where they have moved since the training")
    return run_command(parser, _export, argv)


def _export(options: argparse.Namespace) -> None:
    from htunet.inference.export import export_run
    from htunet.inference.find_model import find_trained

    run, _ = find_trained(options.dataset, vars(options))

    card = export_run(
        run, options.output, with_backbone=options.with_backbone, onnx=options.onnx, weights=options.weights
    )
    print(f"Exported {run.label} as {card.name}: {options.output}")
    if not run.finished_json.exists():
        print("The training is not finished: this is its best epoch so far.")
    print(f"Licence of the weights: {card.licences['weights']}")
    print(f"Licence of the data: {card.licences['data']}")
    print(f"Elsewhere: htunet_import {options.output.name}, then htunet_predict -i IMAGES -o OUT --model {card.name}")


if __name__ == "__main__":
    sys.exit(main())
