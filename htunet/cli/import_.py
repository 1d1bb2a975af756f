"""Import a model that htunet_export wrote. It is checked and copied; no program in it is executed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from htunet.cli.command import make_parser, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_import busi.zip``."""
    parser = make_parser("htunet_import", __doc__)
    parser.add_positional("source", "-i", type=Path, help="the exported zip or folder")
    parser.add_argument("--name", help="name for the model on this machine (default: its own name)")
    return run_command(parser, _import, argv)


def _import(options: argparse.Namespace) -> None:
    from htunet.errors import counted
    from htunet.inference.exported import needed_weights
    from htunet.inference.import_model import import_model

    taken = import_model(options.source, options.name)
    card = taken.model.card
    others = f" and {counted(len(card.members), 'more network')}" if card.members else ""
    print(f"Imported {taken.model.run.label}{others}: {taken.model.folder}")
    if taken.left:
        print(f"Not copied, as htunet does not need them: {', '.join(taken.left)}")
    for what, licence in card.licences.items():
        print(f"Licence of the {what}: {licence}")
    if needed := needed_weights(card):
        print(needed)
    print(f"Next: htunet_predict -i IMAGES -o OUT --model {taken.model.folder.name}")


if __name__ == "__main__":
    sys.exit(main())
