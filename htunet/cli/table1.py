"""Print Table I of the paper: the split sizes of each data set, yours beside the paper's.

It reads fold 0 of the split of each data set or, if there is no split yet, computes the sizes from the split rule. It
writes htunet_results/tables/table1.csv and table1.md.
"""

import argparse
from collections.abc import Sequence

from htunet.cli.command import make_parser, run_command, written_text
from htunet.paths import root


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``htunet_table1``; returns the exit code."""
    return run_command(make_parser("htunet_table1", __doc__), _print_table, argv)


def _print_table(_: argparse.Namespace) -> None:
    from htunet.reporting.tables.table1 import sizes_table, table1_rows, write_table1
    from htunet.reporting.tables.write import as_text

    rows = table1_rows()
    print(as_text(sizes_table(rows, narrow=True)))
    print("\n" + written_text(write_table1(root("htunet_results") / "tables", rows)))


if __name__ == "__main__":
    raise SystemExit(main())
