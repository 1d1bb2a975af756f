"""Draw the figures of a paper from all results, as PNG and as PDF with selectable text.

It reads the results of htunet_train and htunet_evaluate, and writes into htunet_results/figures/. The
figures features, filter and noise run the networks. If the results for a figure are missing, the command says so, and
what provides them.
"""

import argparse
import sys
from collections.abc import Sequence

from htunet.cli.command import make_parser, run_command, tell
from htunet.errors import HtunetError
from htunet.paths import find_dataset
from htunet.reporting.figures import FIGURES


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``htunet_figures``; returns the exit code."""
    parser = make_parser("htunet_figures", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures, such as figure4 or roc (default: all)")
    parser.add_argument("--list", action="store_true", help="list the figures and what each shows, and draw none")
    parser.add_argument("-d", "--datasets", nargs="+", help="only these data sets, such as BUSI (default: all)")
    parser.add_argument("-m", "--methods", nargs="+", help="only these methods, such as CLIP CLIP_HT (default: all)")
    seed = "seed of the run, if a figure shows only one, and of the random choice of images (default: the smallest)"
    parser.add_argument("--seed", type=int, help=seed)
    parser.lists["Figures"] = FIGURES
    return run_command(parser, _draw, argv)


def _draw(options: argparse.Namespace) -> None:
    from htunet.experiments.make_figures import find_results, make_figures

    if options.list:
        for name, figure in FIGURES.items(broken=tell):
            print(f"{name}: {(figure.__doc__ or 'no description').splitlines()[0]}")
        return
    names = list(dict.fromkeys(options.names)) or FIGURES.names()
    for name in names:
        FIGURES.check(name)
    datasets = None if options.datasets is None else [find_dataset(name) for name in options.datasets]
    made = make_figures(names, find_results(datasets, options.methods, options.seed, tell), tell)
    for name, paths in made.written.items():
        print(f"{name}: " + ", ".join(str(path) for path in paths if path.suffix == ".png") + " and .pdf")
    for name, reason in made.excluded.items():
        print(f"Skipped {name}: {reason}", file=sys.stderr)
    if made.failed:
        raise HtunetError("Not drawn: " + " ".join(f"{name}: {text}" for name, text in made.failed.items()))
    if missing := [name for name in options.names if name in made.excluded]:
        raise HtunetError(f"There is nothing to draw yet for {', '.join(missing)}; see above for what provides it.")
    if not made.written:
        raise HtunetError("There are no results to draw yet. Train and evaluate first: htunet_train BUSI UNet fold0")


if __name__ == "__main__":
    raise SystemExit(main())
