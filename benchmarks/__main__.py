"""One table of what users wait for, beside what they would use otherwise.

    OMP_NUM_THREADS=1 python -m benchmarks [--sections steps predictions ...] [--rounds 5] [--write]
        [--monai PYTHON] [--nnunet PYTHON]

With one thread the figures are processor time, which other programs hardly change; with more, wall-clock time. --write
puts the sections that were measured into benchmarks/results/performance.json, and makes
documentation/explanation/performance.md from it. --monai and --nnunet name the Python interpreters of environments
with these (or HTUNET_BENCH_MONAI and HTUNET_BENCH_NNUNET do); without one, its rows say that it was not measured.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

HOME = Path(__file__).parent
RESULTS, PAGE = HOME / "results" / "performance.json", HOME.parent / "documentation" / "explanation" / "performance.md"
HEAD = """# Performance

What a user waits for, beside what they would use otherwise, measured in the same run and in turn: the ratio counts,
absolute figures are of the machine that is named. A ratio above 1 means that htunet is faster; in brackets are the
smallest and the largest of the rounds. Peak memory is that of htunet's largest process, and its ratio to the other's.
`make bench ARGS=--write` measures all of it again and makes this page; what the figures come from is in
`benchmarks/rows.py`, and how MONAI and nnU-Net are had in `benchmarks/README.md`. Operations written for speed are on
the page on [kernels](kernels.md); `python -m benchmarks.gpu` measures a GPU.
"""


def page(found: dict[str, Any]) -> str:
    """The page for the content of performance.json."""
    parts = [HEAD]
    for section in found.values():
        parts.append(f"\n## {section['title']}\n\n{section['machine']}\n")
        parts.append("\n| what | htunet | otherwise | ratio | peak memory |\n|---|---|---|---|---|\n")
        parts += [f"| {' | '.join(cells(row))} |\n" for row in section["rows"]]
    return "".join(parts)


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of a row."""
    unit = row["unit"]
    other = row["alternative"] if row["other"] is None else f"{row['other']:.3g} {unit}: {row['alternative']}"
    ratio = ""
    if row["ratios"]:
        median, low, high = row["ratios"]
        ratio = f"{median:.2f}" + (f" ({low:.2f}-{high:.2f})" if low != high else "")
    memory = f"{row['memory_gb']:.2f} GB" if row["memory_gb"] is not None else ""
    if row.get("other_memory_gb"):
        memory += f", {row['memory_gb'] / row['other_memory_gb']:.2f} times"
    return [row["what"], f"{row['ours']:.3g} {unit}", other, ratio, memory]


def main() -> None:
    """Measure, print, and write where that is asked for."""
    import torch

    from benchmarks.rows import SECTIONS
    from benchmarks.side import VARIABLES, option_of
    from htunet.errors import counted

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    for name in VARIABLES:
        parser.add_argument(option_of(name), metavar="PYTHON", help=f"of an environment with {name}")
    options = parser.parse_args()
    for name, variable in VARIABLES.items():
        if python := getattr(options, option_of(name)[2:]):
            os.environ[variable] = python
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    threads = torch.get_num_threads()
    kind = "processor time of one thread" if threads == 1 else f"wall-clock time, {threads} threads"
    for name in options.sections:
        print(f"\n{name}", flush=True)
        machine = f"{processor()}, torch {torch.__version__}, {kind}, {counted(options.rounds, 'round')}."
        title = f"{name[0].upper()}{name[1:].replace('-', ' ')}"
        rows: list[dict[str, Any]] = []
        found[name] = {"title": title, "machine": machine, "rows": rows}
        for row in SECTIONS[name](options.rounds):
            rows.append(asdict(row))
            print("  ".join(cells(rows[-1])), flush=True)
            if options.write:  # after each row: a run that is cut short keeps what it has
                RESULTS.write_text(json.dumps(found, indent=1) + "\n")
                PAGE.write_text(page(found))


def processor() -> str:
    """The processor's name, as Linux has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"


if __name__ == "__main__":
    main()
