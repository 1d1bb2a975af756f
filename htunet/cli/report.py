"""Write report.html: all evaluated results, or those of some data sets, on one page that needs no other file.

The page shows the missed, worst, median and best cases of each method, all tables with intervals and the paper's
results, training curves, plans with their reasons, licences, versions, and the commands that reproduce the results. The
results are those of htunet_evaluate.
"""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from htunet.cli.command import make_parser, run_command, tell
from htunet.errors import HtunetError, UsageError, check_least, counted
from htunet.files import write_text
from htunet.paths import find_dataset, root

NAME = "report.html"


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``htunet_report``; returns the exit code."""
    parser = make_parser("htunet_report", __doc__)
    parser.add_positional(
        "datasets",
        "-d",
        required=False,
        nargs="*",
        metavar="DATASET",
        help="data sets, such as BUSI (default: all that are evaluated)",
    )
    output = f"file to write (default: {NAME} in the results folder, for one data set in its results folder)"
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=output)
    cases = "number of cases shown for each method and group (default: as many as keep the page small)"
    parser.add_argument("--cases", type=int, metavar="N", help=cases)
    return run_command(parser, _write_report, argv)


def _write_report(options: argparse.Namespace) -> None:
    check_least("cases", options.cases, 1)
    from htunet.models.catalogue import CATALOGUE
    from htunet.reporting.report.collect import collect
    from htunet.reporting.report.page import render
    from htunet.reporting.report.study_results import Terms, study_of
    from htunet.reporting.summaries import evaluated_contents, zero_shot_contents

    datasets = [find_dataset(name) for name in options.datasets]
    names = [dataset.name for dataset in datasets]
    messages: list[str] = []
    contents = evaluated_contents(messages.append, datasets)
    for text in messages:
        tell(text)
    if not contents:
        which = ", ".join(dataset.short_name for dataset in datasets) or "any data set"
        raise HtunetError(f"No run on {which} is evaluated. Evaluate what is trained first: htunet_evaluate")
    path = options.output or ((datasets[0].results if len(datasets) == 1 else root("htunet_results")) / NAME)
    if path.is_dir():
        raise UsageError(f"-o names the file to write, {path} is a folder. Write {path / NAME}.")
    cases = [] if options.cases is None else ["--cases", str(options.cases)]
    output = [] if options.output is None else ["-o", str(options.output)]
    study = study_of(
        contents,
        terms={name: Terms(entry.licence, entry.citation) for name, entry in CATALOGUE.items()},
        command=shlex.join(["htunet_report", *options.datasets, *cases, *output]),
        per_group=options.cases,
        zero_shot=[found for found in zero_shot_contents(tell) if not names or found["dataset"] in names],
    )
    report = collect(replace(study, notes=(*study.notes, *messages)))
    write_text(path, render(report))
    print(f"Written: {path} ({path.stat().st_size / 1e6:.1f} MB, shown: {counted(len(report.gallery.items), 'case')})")


if __name__ == "__main__":
    raise SystemExit(main())
