"""Print Tables II to VII of the paper with your results beside the paper's, and write them and all statistics.

The results are those of htunet_evaluate. The command writes tableN.csv, .md and .tex, cases.csv (all metrics of all
test cases), means.csv, by_size.csv, by_class.csv and comparisons.csv into htunet_results/tables/. Missing results are
shown as missing, with the commands that compute them.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from htunet.cli.command import make_parser, run_command, tell, written_text
from htunet.files import is_writable, scratch_folder
from htunet.paths import find_dataset, root

if TYPE_CHECKING:
    from htunet.reporting.tables.paper_layouts import PaperTable


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``htunet_tables``; returns the exit code."""
    parser = make_parser("htunet_tables", __doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="table2 to table7 (default: all)")
    datasets = "data sets to show, which may be others than the paper's, such as BUSI (default: the paper's)"
    parser.add_argument("-d", "--datasets", nargs="+", help=datasets)
    methods = "methods to show, which may be others than the paper's, such as CLIP_HT (default: the paper's)"
    parser.add_argument("-m", "--methods", nargs="+", help=methods)
    seeds = "seeds of which a complete table has results (default: 1 2 3)"
    parser.add_argument("--seeds", nargs="+", type=int, help=seeds)
    return run_command(parser, _print_tables, argv)


def _print_tables(options: argparse.Namespace) -> None:
    from htunet.reporting.tables.paper_layouts import SEGMENTED, TABLES, find_table

    tables = [find_table(name) for name in options.tables or TABLES]
    datasets = options.datasets  # as the paper calls them, or of data sets that are here
    if datasets is not None:
        datasets = [name if name in SEGMENTED else find_dataset(name).short_name for name in datasets]
    with ExitStack() as stack:
        folder = root("htunet_results") / "tables"
        if read_only := not is_writable(folder):  # the results of somebody else
            folder = stack.enter_context(scratch_folder(Path(gettempdir())))
        paths = _print_into(folder, tables, datasets, options)
    print("Nothing was written: the results are read-only." if read_only else written_text(paths))


def _print_into(
    folder: Path, tables: "Sequence[PaperTable]", datasets: Sequence[str] | None, options: argparse.Namespace
) -> list[Path]:
    """Print the tables and write all files; returns their paths."""
    from htunet.reporting.summaries import evaluated_contents, zero_shot_contents
    from htunet.reporting.tables.paper_layouts import TABLES, chosen
    from htunet.reporting.tables.paper_print import paper_text
    from htunet.reporting.tables.paper_tables import SEEDS
    from htunet.reporting.tables.study_files import write_paper_tables, write_statistics

    contents = list(evaluated_contents(tell).values())
    known = {*(content["htunet"]["method"] for content in contents)}
    if unknown := [method for method in options.methods or () if method not in known]:
        from htunet.models.build import parse_method

        for method in unknown:
            parse_method(method)  # without a result it is at least one that can be trained
    found, paths = write_statistics(folder, contents)
    written = write_paper_tables(
        folder,
        contents,
        found,
        zero_shot=zero_shot_contents(tell),
        tables=[chosen(table, datasets, options.methods) for table in tables],
        seeds=options.seeds or SEEDS,
    )
    for name, (cells, files) in written.items():
        print(paper_text(TABLES[name], cells) + "\n")
        paths += files
    return paths


if __name__ == "__main__":
    raise SystemExit(main())
