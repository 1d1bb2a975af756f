"""One table of what users wait for, beside what they would use otherwise.

    OMP_NUM_THREADS=1 python -m benchmarks [--sections steps predictions ...] [--parts UNet ...] [--rounds 5]
        [--write [--resume]] [--monai PYTHON] [--nnunet PYTHON]

With one thread the figures are processor time, which other programs hardly change; with more, wall-clock time. --write
puts what was measured into benchmarks/results/performance.json, and makes documentation/explanation/performance.md
from it; each row has its machine and its date, and rows that were not measured stay as they are. --resume leaves out
what was written in the last 12 hours on this machine with as many rounds. --monai and --nnunet name the Python
interpreters of environments with these (or HTUNET_BENCH_MONAI and HTUNET_BENCH_NNUNET do); without one, its rows say
that it was not measured.
"""

import argparse
import json
import os
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from htunet.files import write_json, write_text

HOME = Path(__file__).parent
RESULTS, PAGE = HOME / "results" / "performance.json", HOME.parent / "documentation" / "explanation" / "performance.md"
HEAD = """# Performance

The time that a user waits, beside that of the usual alternative. Both are measured alternately in the same run, on the
machine and at the date that are named above each table.

- **ratio**: above 1 htunet is faster; in brackets are the smallest and the largest of the rounds. Ratios count more
  than absolute values.
- **ceiling**: what htunet would reach on this machine if only its convolutions and matrix products took time, each
  measured as a single call in the same run. Beside it is the fraction of it that is reached.
- **peak memory**: that of htunet's largest process, and its ratio to that of the alternative.
- Where no instruction set is named, the processor had AVX-512 with bf16. With AVX2 alone bf16 is emulated, and htunet
  takes fp32.

`make bench ARGS=--write` measures all of it and writes this page. [How to repeat it](../../benchmarks/README.md), with
MONAI and nnU-Net; what is measured is in `benchmarks/rows.py`. [Kernels](kernels.md) explains the operations that are
written for speed and what bounds a step of CLIP_HT. `python -m benchmarks.gpu` measures a GPU.
"""
COLUMNS = ("what", "htunet", "otherwise", "ratio", "ceiling of this machine", "peak memory")
RESUMED_HOURS = 12


def page(found: dict[str, Any]) -> str:
    """The page for the content of performance.json; rows of one machine and date have a table."""
    parts = [HEAD]
    for section in found.values():
        parts.append(f"\n## {section['title']}\n")
        for about, rows in groupby(section["rows"], lambda row: f"{row['machine']}, {row['measured'][:10]}"):
            lines = [cells(row) for row in rows]
            kept = [number for number in range(len(COLUMNS)) if any(line[number] for line in lines)]
            parts.append(f"\n{about}.\n\n")
            table = (COLUMNS, ["---"] * len(COLUMNS), *lines)
            parts += [f"| {' | '.join(line[number] for number in kept)} |\n" for line in table]
    return "".join(parts)


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of a row."""
    unit = row["unit"]
    other = row["alternative"] if row["other"] is None else f"{row['other']:.3g} {unit}: {row['alternative']}"
    ratio = ceiling = ""
    if row["ratios"]:
        median, low, high = row["ratios"]
        ratio = f"{median:.2f}" + (f" ({low:.2f}-{high:.2f})" if low != high else "")
    if row.get("ceiling"):
        median, low, high = row["shares"]
        ceiling = f"{row['ceiling']:.3g} {unit}, reached: {median:.0%} ({low:.0%}-{high:.0%})"
    memory = f"{row['memory_gb']:.2f} GB" if row["memory_gb"] is not None else ""
    if row.get("other_memory_gb"):
        memory += f", {row['memory_gb'] / row['other_memory_gb']:.2f} times"
    return [row["what"], f"{row['ours']:.3g} {unit}", other, ratio, ceiling, memory]


def merged(before: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a section after a measurement of some of them.

    A new row takes the place of those of the same thing, and of others that its part measured before; where its
    alternative is not here and was there before, the older ones stay.
    """
    had = {row["what"] for row in before if row["other"] is not None}
    absent = {row["what"] for row in rows if row["other"] is None} & had
    rows = [row for row in rows if row["what"] not in absent]
    measured, parts = {row["what"] for row in rows}, {row["part"] for row in rows}
    kept = [row for row in before if row["what"] in absent or not (row["what"] in measured or row["part"] in parts)]
    return kept + rows


def main() -> None:
    """Measure, print, and write where that is asked for."""
    import torch

    from benchmarks.rows import SECTIONS
    from benchmarks.side import VARIABLES, option_of
    from htunet.errors import counted

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--parts", nargs="+", help="only these parts of the sections (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--resume", action="store_true")
    for name in VARIABLES:
        parser.add_argument(option_of(name), metavar="PYTHON", help=f"of an environment with {name}")
    options = parser.parse_args()
    for name, variable in VARIABLES.items():
        if python := getattr(options, option_of(name)[2:]):
            os.environ[variable] = python
    threads = torch.get_num_threads()
    kind = "processor time of one thread" if threads == 1 else f"wall-clock time, {threads} threads"
    cpu = f"{processor()}, {torch.backends.cpu.get_cpu_capability()}"
    machine = f"{cpu}, torch {torch.__version__}, {kind}, {counted(options.rounds, 'round')}"
    recent = str(datetime.now() - timedelta(hours=RESUMED_HOURS))
    for name in options.sections:
        print(f"\n{name}", flush=True)
        for part, measure in SECTIONS[name].items():
            if options.parts and part not in options.parts:
                continue
            known = read_results().get(name, {"rows": []})["rows"]
            mine = [row for row in known if (row["part"], row["machine"]) == (part, machine)]
            if options.resume and any(row["measured"] > recent for row in mine):
                print(f"{part}: measured in the last {RESUMED_HOURS} hours", flush=True)
                continue
            about = {"part": part, "machine": machine}
            rows = []
            for row in measure(options.rounds):
                rows.append(asdict(row) | about | {"measured": f"{datetime.now():%Y-%m-%d %H:%M}"})
                print("  ".join(cells(rows[-1])), flush=True)
            if options.write:  # after each part: a run that is cut short keeps what it has
                write_results(name, rows)


def read_results() -> dict[str, Any]:
    """Nothing where there is no file."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return found


def write_results(name: str, rows: list[dict[str, Any]]) -> None:
    """Put rows of a section into the file, and make the page of all that it holds."""
    found = read_results()
    before = found.get(name, {"rows": []})["rows"]
    found[name] = {"title": f"{name[0].upper()}{name[1:].replace('-', ' ')}", "rows": merged(before, rows)}
    write_json(RESULTS, found)
    write_text(PAGE, page(found))


def processor() -> str:
    """The processor's name, as Linux has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"


if __name__ == "__main__":
    main()
