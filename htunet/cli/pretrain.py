"""Pre-train networks on simulated ultrasound images alone. The same command resumes an interrupted training.

Worker processes simulate the images while the networks train; no image is stored. Several networks can be trained at
the same time on the same images. htunet_train --weights phantom starts from the result.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from htunet.cli.arguments import add_settings, settings_from
from htunet.cli.command import log_on_terminal, make_parser, run_command
from htunet.cli.train import stopped
from htunet.pretraining.settings import PretrainSettings


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_pretrain UNet PhantomCLIP``."""
    parser = make_parser("htunet_pretrain", __doc__)
    parser.add_positional("network", nargs="+", help="UNet, PhantomCLIP or ResNet18; several are trained together")
    add_settings(parser, PretrainSettings)
    text = "folder for the results, with a subfolder for each network (default: the weights folder)"
    parser.add_argument("-o", "--out", type=Path, help=text)
    parser.add_argument("--restart", action="store_true", help="replace an earlier pre-training in that folder")
    return run_command(parser, _pretrain, argv)


def _pretrain(options: argparse.Namespace) -> None:
    settings = settings_from(PretrainSettings, options)
    from htunet.pretraining.pretrain import pretrain

    with log_on_terminal("htunet.pretraining"):
        done = pretrain(options.network, settings, out=options.out, restart=options.restart)
    if done.status == "stopped":
        stopped(next(iter(done.folders.values())), done.signal)
    for name, folder in done.folders.items():
        print(f"{done.status.capitalize()}: {name} in {folder}")
    name, folder = next(iter(done.folders.items()))
    task = " --task cls" * (name == "ResNet18")
    print(f"Next: htunet_train DATASET {name} fold0{task} --weights {folder / 'checkpoint.safetensors'}")


if __name__ == "__main__":
    sys.exit(main())
