"""Verify raw data sets, measure them, make their plans and splits, and preprocess their images for training."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from htunet.cli.command import log_on_terminal, make_parser, print_next, run_command
from htunet.errors import UsageError, option
from htunet.paths import find_dataset

OF_PLANNING = ("split_by", "splits", "num_folds")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``htunet_plan_and_preprocess``."""
    parser = make_parser("htunet_plan_and_preprocess", __doc__)
    datasets = "data sets: BUSI, 503 or Dataset503_BUSI"
    parser.add_argument("-d", "--datasets", metavar="NAME", nargs="+", required=True, help=datasets)
    plans = (
        "plans to preprocess: paper (as the paper's text says), public (as the paper's public code does), adaptive "
        "(derived from the data set), paper_518 and public_518 (for DINOv2), or a plan of your own (default: paper "
        "adaptive)"
    )
    parser.add_argument("-p", "--plan", "--plans", dest="plans", metavar="NAME", nargs="+", help=plans)
    split_by = (
        "image: split by image, as the paper does; group: keep all images of a patient, and duplicates, in one split "
        "(default: as in the last call, at first image)"
    )
    parser.add_argument("--split-by", choices=("image", "group"), help=split_by)
    splits = (
        "use this split: JSON like splits_final.json, a folder with train.txt, val.txt, test.txt, or a table (CSV, "
        "Excel), also as FILE:COLUMN"
    )
    parser.add_argument("--splits", type=Path, metavar="FILE", help=splits)
    folds = (
        "cross-validation with this number of folds, in which each image is tested once (default: as in the last call, "
        "at first the split rule of the data set)"
    )
    parser.add_argument("--num-folds", type=int, metavar="K", help=folds)
    parser.add_argument(
        "--workers", type=int, help="number of processes or threads (default: chosen by the number of images)"
    )
    memory = (
        "memory of the device that will train, in GB; plan adaptive takes smaller images if it is small (default: 24)"
    )
    parser.add_argument("--memory-gb", type=float, help=memory)
    parser.add_argument("--verify-only", action="store_true", help="check the raw folder and write nothing")
    return run_command(parser, _run, argv)


def _run(options: argparse.Namespace) -> None:
    from htunet import api
    from htunet.models.weights.store import find_any
    from htunet.preprocessing.prepare import PrepareRequest, verify_raw
    from htunet.reproducibility import record_command

    if options.splits and len(options.datasets) > 1:
        raise UsageError(f"--splits is the split of one data set; --datasets names {len(options.datasets)}.")
    if options.verify_only and (given := [name for name in OF_PLANNING if getattr(options, name) is not None]):
        raise UsageError(f"{', '.join(map(option, given))}: --verify-only plans and writes nothing. Omit one of both.")
    names = ("plans", "split_by", "num_folds", "splits", "workers", "memory_gb")
    request = PrepareRequest(**{name: getattr(options, name) for name in names})
    for dataset in [find_dataset(name) for name in options.datasets]:
        print(dataset.name, flush=True)
        with log_on_terminal("htunet.preprocessing"):
            if options.verify_only:
                verify_raw(dataset, request)
            else:
                prepared = api.plan(dataset.name, request)
                if "CLIP_HT" in prepared.following and find_any("CLIP") is None:
                    print_next(f"  {'weights':<12} those of CLIP are not on this machine: htunet_weights download CLIP")
                    print_next(f"  {'':<12} (those of PhantomCLIP_HT come with htunet)")
                print_next(f"  {'next':<12} {prepared.following}")
                record_command(dataset.planning_json, options.typed)


if __name__ == "__main__":
    sys.exit(main())
