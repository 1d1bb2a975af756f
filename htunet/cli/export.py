"""Export a trained run as one folder or zip, to predict on another machine without the data set; also as ONNX."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from htunet.cli.arguments import add_run_options, chosen_folds, fold_or_all
from htunet.cli.command import log_on_terminal, make_parser, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_export BUSI CLIP_HT fold0 -o busi.zip``."""
    parser = make_parser("htunet_export", __doc__)
    parser.add_positional("dataset", "-d", help="data set that the run was trained on, such as BUSI")
    parser.add_positional("method", "-m", help="method, such as CLIP_HT")
    parser.add_positional(
        "fold",
        "-f",
        nargs="+",
        type=fold_or_all,
        help="fold, such as fold0 or paper; several folds, or all-folds, become one model that averages their "
        "probabilities",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="new folder, or FILE.zip")
    add_run_options(parser, several_seeds=True)
    text = "include the frozen weights, if their licence allows it"
    parser.add_argument("--with-backbone", action="store_true", help=text)
    text = "also write model.onnx, and a script that runs it without htunet"
    parser.add_argument("--onnx", action="store_true", help=text)
    text = "without the post-processing that htunet_run chose for this method"
    parser.add_argument("--no-postprocessing", action="store_true", help=text)
    parser.add_argument("--weights", help="path of the frozen weights, if they have moved since the training")
    return run_command(parser, _export, argv)


def _export(options: argparse.Namespace) -> None:
    from htunet import api
    from htunet.evaluation.freshness import are_of_earlier_files
    from htunet.files import read_object
    from htunet.inference.export import export_run
    from htunet.inference.find_model import find_trained
    from htunet.schemas import SUMMARY

    folds, seeds = chosen_folds(options.fold), options.seed or []
    about = {name: getattr(options, name) for name in ("task", "plan", "ratio", "adapter")}
    if len(folds) == 1 and len(seeds) <= 1:
        one = about | {"method": options.method, "fold": folds[0], "seed": seeds[0] if seeds else None}
        model = api.Model(find_trained(options.dataset, one)[0])
    else:
        with log_on_terminal("htunet.inference.find_model"):  # which folds are not trained
            model = api.load(options.dataset, options.method, folds=folds, seed=seeds or None, **about)
    if options.no_postprocessing:
        model.postprocessing = {}
    card = export_run(
        model.run,
        options.output,
        others=model.others,
        with_backbone=options.with_backbone,
        onnx=options.onnx,
        weights=options.weights,
        quality=model.quality,
    )
    print(f"Exported {model.name} as {card.name}: {options.output}")
    for run in (model.run, *model.others):
        if run.summary_json.exists() and are_of_earlier_files(run, read_object(run.summary_json, SUMMARY)["htunet"]):
            print(f"Images or masks have changed since {run.label} was evaluated; the export has its earlier results. "
                  f"Run htunet_evaluate {run.dataset.short_name} {run.method} and export again.")  # fmt: skip
    print(f"Licence of the weights: {card.licences['weights']}")
    print(f"Licence of the data: {card.licences['data']}")
    print(f"Elsewhere: htunet_import {options.output.name}, then htunet_predict -i IMAGES -o OUT --model {card.name}")


if __name__ == "__main__":
    sys.exit(main())
