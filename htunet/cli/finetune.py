"""Stage 1: fine-tune a method's adapter on images with captions. The same command again continues where the run was.

Images and captions of all data sets are joined and split 9:1; a batch's images are told apart by their captions, and
its captions by their images (symmetric InfoNCE). htunet_train --adapter finetuned starts from the result.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

from htunet.cli.arguments import add_settings, settings_from
from htunet.cli.command import make_parser, run_command
from htunet.cli.train import show_log
from htunet.training.settings import FinetuneSettings


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_finetune CLIP_HT -d PMC-OA CURD MedPix``."""
    parser = make_parser("htunet_finetune", __doc__)
    parser.add_positional("method", "-m", help="such as CLIP_HT or BiomedCLIP_LoRA; LoRAVT trains the text tower too")
    parser.add_argument("-d", "--datasets", nargs="+", required=True, help="caption data sets, such as MedPix or 510")
    add_settings(parser, FinetuneSettings)
    parser.add_argument(
        "--split-by",
        choices=("image", "group"),
        help="image: as the paper; group: patients, cases and articles stay together (default: as before, first image)",
    )
    parser.add_argument(
        "--shuffle-captions",
        action="store_true",
        help="a control: each training image gets the caption of another one, so nothing can be learnt",
    )
    parser.add_argument("--restart", action="store_true", help="forget an earlier run of the same name")
    return run_command(parser, _finetune, argv)


def _finetune(options: argparse.Namespace) -> None:
    settings = settings_from(FinetuneSettings, options)
    from htunet.training.finetuning import finetune

    show_log()
    outcome = finetune(
        options.method,
        options.datasets,
        settings,
        split_by=options.split_by,
        shuffle=options.shuffle_captions,
        restart=options.restart,
    )
    if outcome.rank > 0:
        return
    if outcome.status == "stopped":
        print(f"Stopped and saved. The same command continues: {outcome.run.folder}")
        if outcome.signal == signal.SIGINT:
            raise KeyboardInterrupt
        return
    best = f"lowest validation loss in epoch {outcome.best_epoch}, with {outcome.metric} {outcome.best_metric:.4f}"
    print(f"{outcome.status.capitalize()}: {outcome.run.label}, {best}.")
    print(f"Adapter, curves and log: {outcome.run.folder}")
    if not options.shuffle_captions:
        print(f"Next: htunet_train DATASET {options.method} fold0 --adapter finetuned")


if __name__ == "__main__":  # as torchrun -m htunet.cli.finetune starts it
    sys.exit(main())
