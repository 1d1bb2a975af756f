"""List, download, verify or import pre-trained weights. Only `download` uses the network."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from htunet.cli.command import make_parser, run_command
from htunet.errors import HtunetError, UsageError, did_you_mean

ALL = "all"


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_weights download CLIP``."""
    parser = make_parser("htunet_weights", __doc__)
    parser.add_argument("action", choices=("list", "download", "verify", "import"), help="what to do")
    targets = "models, such as CLIP, or all; for import a file, or a folder of the Hugging Face hub"
    parser.add_argument("targets", metavar="NAME_OR_FILE", nargs="*", help=targets)
    parser.add_argument("--as", dest="model", metavar="NAME", help="for import: the model that the weights belong to")
    return run_command(parser, _act, argv)


def _act(options: argparse.Namespace) -> None:
    if options.model and options.action != "import":
        raise UsageError("--as is an option of htunet_weights import.")
    {"list": _list, "download": _download, "verify": _verify, "import": _import}[options.action](options)


def _names(targets: Sequence[str]) -> list[str]:
    """The names of the models; UsageError for an unknown one."""
    from htunet.models.catalogue import CATALOGUE

    known = list(CATALOGUE)
    for name in targets:
        if name not in (*known, ALL):
            raise UsageError(f"No weights are called {name!r}; known: {', '.join(known)}." + did_you_mean(name, known))
    return known if not targets or ALL in targets else list(dict.fromkeys(targets))


def _list(options: argparse.Namespace) -> None:
    from htunet.models.catalogue import CATALOGUE
    from htunet.models.weights.store import find_any, folder_of, size_text

    for name in _names(options.targets):
        entry = CATALOGUE[name]
        there = find_any(name)
        place = f"here: {there}" if there else f"not here ({entry.files[0].name}, {size_text(entry.files[0])})"
        print(f"{name:11s} {place}")
        print(f"{'':11s} {entry.architecture}, {entry.activation}, {entry.input_size} x {entry.input_size} pixels")
        if entry.tokenizer:
            print(f"{'':11s} texts: {entry.tokenizer}")
        print(f"{'':11s} {entry.statement}")
    print(f"\nFolder: {folder_of(ALL).parent}. To download: htunet_weights download NAME")


def _download(options: argparse.Namespace) -> None:
    from htunet.models.catalogue import CATALOGUE
    from htunet.models.weights.download import download

    if not options.targets:
        raise UsageError(f"Name what to download: {', '.join(CATALOGUE)}, or all.")
    failed = []
    for name in _names(options.targets):
        print(f"{name}: {CATALOGUE[name].statement}", flush=True)
        try:
            print("\n".join(f"  {path}" for path in download(name)))
        except HtunetError as error:
            failed.append(str(error))
    if failed:
        raise HtunetError("\n".join(failed))


def _verify(options: argparse.Namespace) -> None:
    from htunet.models.weights.check import verify

    failed = []
    for name in _names(options.targets):
        try:
            checked = verify(name)
        except HtunetError as error:
            failed.append(f"{name}: {error}")
            continue
        print(f"{name}: " + (", ".join(f"{path} is complete and fits" for path in checked) or "not here"))
    if failed:
        raise HtunetError("\n".join(failed))


def _import(options: argparse.Namespace) -> None:
    from htunet.models.catalogue import CATALOGUE
    from htunet.models.weights.check import install_weights

    if len(options.targets) != 1:
        raise UsageError("htunet_weights import takes one file: htunet_weights import FILE [--as NAME].")
    path = install_weights(Path(options.targets[0]), options.model)
    name = path.parent.name
    print(f"{name}: {path}\n{CATALOGUE[name].statement}")


if __name__ == "__main__":
    sys.exit(main())
