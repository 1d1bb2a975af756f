"""Stage 1: fine-tune the adapter of a method on images with captions. The same command resumes an interrupted run.

The pairs of all data sets are combined; each data set is split 9:1. Within a batch the loss matches each image with its
caption and each caption with its image (symmetric InfoNCE). htunet_train --adapter finetuned starts from the result.
"""

import argparse
import sys
from collections.abc import Sequence

from htunet.cli.arguments import add_settings, settings_from
from htunet.cli.command import make_parser, run_command
from htunet.cli.train import is_finished, training_log
from htunet.training.settings import FinetuneSettings


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_finetune CLIP_HT -d PMC-OA CURD MedPix``."""
    parser = make_parser("htunet_finetune", __doc__)
    method = "method with an adapter, such as CLIP_HT or BiomedCLIP_LoRA; LoRAVT also trains the text encoder"
    parser.add_positional("method", "-m", help=method)
    datasets = "data sets of captions, such as MedPix or 510"
    parser.add_argument("-d", "--datasets", nargs="+", required=True, help=datasets)
    add_settings(parser, FinetuneSettings)
    split_by = (
        "image: split by image, as the paper does; group: keep each patient, case and article in one split (default: "
        "as in the last call, at first image)"
    )
    parser.add_argument("--split-by", choices=("image", "group"), help=split_by)
    shuffle = "control experiment: each training image gets the caption of another image"
    parser.add_argument("--shuffle-captions", action="store_true", help=shuffle)
    parser.add_argument(
        "--restart", action="store_true", help="delete an earlier run of the same name and start from scratch"
    )
    return run_command(parser, _finetune, argv)


def _finetune(options: argparse.Namespace) -> None:
    settings = settings_from(FinetuneSettings, options)
    from htunet.training.finetuning import finetune

    control = {"split_by": options.split_by, "shuffle": options.shuffle_captions}
    with training_log():
        outcome = finetune(options.method, options.datasets, settings, **control, restart=options.restart)
    if not is_finished(outcome):
        return
    from htunet.evaluation.metrics import label_of

    metric = f"{label_of(outcome.metric)} {outcome.best_metric:.4f}"
    best = f"lowest validation loss in epoch {outcome.best_epoch}, with {metric}"
    print(f"{outcome.status.capitalize()}: {outcome.run.label}, {best}.")
    print(f"Adapter, curves and log: {outcome.run.folder}")
    if not options.shuffle_captions:
        print(f"Next: htunet_train DATASET {options.method} fold0 --adapter finetuned")


if __name__ == "__main__":  # as torchrun -m htunet.cli.finetune starts it
    sys.exit(main())
