"""Test finished runs on test images with artefacts of five strengths: speckle, shadow, reverberation, gain and others.

It writes the metrics of all cases and the curves with their intervals into each run and, for all methods together, the
curves, pictures of the artefacts and a comparison of the methods. What is already measured is not measured again.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from htunet.cli.arguments import add_device, add_run_options, fold_number
from htunet.cli.command import make_parser, run_command
from htunet.data.artefacts import ARTEFACTS
from htunet.errors import UsageError
from htunet.paths import ADAPTER, RATIO, RunPaths

if TYPE_CHECKING:
    import pandas as pd

    from htunet.evaluation.robustness import RobustnessCurve
    from htunet.experiments.robustness_study import Alter, RobustnessConfig

SHOWN = ("fold", "seed", "plan", "ratio", "adapter")
"""What a title says of the runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_robustness BUSI UNet CLIP CLIP_HT``."""
    parser = make_parser("htunet_robustness", __doc__)
    parser.add_positional("dataset", "-d", help="data set, such as BUSI, 503 or Dataset503_BUSI")
    methods = "one or more methods, such as UNet CLIP CLIP_HT"
    parser.add_positional("methods", "-m", nargs="+", metavar="METHOD", help=methods)
    parser.add_argument("--artefacts", nargs="+", metavar="NAME", help="only these artefacts (default: all)")
    strengths = "strengths of the artefacts, above 0 and at most 5 (default: 1 2 3 4 5)"
    parser.add_argument("--strengths", nargs="+", type=float, metavar="S", help=strengths)
    rendered = "folder of the phantom: simulate its test images again with each artefact, instead of altering them"
    parser.add_argument("--rendered", type=Path, metavar="PHANTOM", help=rendered)
    parser.add_argument("-f", "--fold", type=fold_number, help="fold of the runs (default: 0)")
    add_run_options(parser)
    seed = "seed of the random part of the artefacts (default: %(default)s)"
    parser.add_argument("--artefact-seed", type=int, default=0, help=seed)
    add_device(parser)
    parser.add_argument("--force", action="store_true", help="measure again what is already measured")
    parser.lists["Artefacts"] = ARTEFACTS
    return run_command(parser, _robustness, argv)


def _robustness(options: argparse.Namespace) -> None:
    if repeated := {name for name in options.methods if options.methods.count(name) > 1}:
        raise UsageError(f"Each method is named once, got {', '.join(sorted(repeated))} more than once.")
    from htunet.data.artefacts import ARTEFACTS, STRENGTHS
    from htunet.experiments.robustness_study import (
        ALTERED,
        RENDERED,
        RobustnessConfig,
        alter_images,
        check_finished,
        measure,
    )
    from htunet.inference.find_model import find_trained

    offered = ARTEFACTS.names()
    if options.rendered:
        from dataset_conversion.phantom.changes import CHANGES

        offered = CHANGES.names()
    config = RobustnessConfig(
        artefacts=tuple(dict.fromkeys(options.artefacts or offered)),
        strengths=tuple(sorted(options.strengths or STRENGTHS)),
        seed=options.artefact_seed,
    )
    runs = {method: find_trained(options.dataset, vars(options) | {"method": method})[0] for method in options.methods}
    for run in runs.values():
        check_finished(run)
    source, alter = ALTERED, alter_images(config.seed)
    if options.rendered:
        from dataset_conversion.phantom.rendering import RenderedPhantom

        source, alter = RENDERED, RenderedPhantom(options.rendered, config.seed)
    tables = {}
    for method, run in runs.items():
        print(run.label)
        tables[method], new = measure(
            run, config, source=source, alter=alter, device=options.device, force=options.force
        )
        if not new:
            print("Already measured.", file=sys.stderr)
    _report(runs, tables, config, alter, source)


def _report(
    runs: Mapping[str, RunPaths],
    tables: "Mapping[str, pd.DataFrame]",
    config: "RobustnessConfig",
    alter: "Alter",
    source: str,
) -> None:
    """Write the summaries, the curves of all methods, their comparison and the pictures; print the results."""
    from htunet.evaluation.comparisons import opposes_mean, p_text
    from htunet.experiments.robustness_study import example, identity, unlike_sizes
    from htunet.reporting.figures.robustness_curves import (
        curves_of,
        draw_artefacts,
        draw_curves,
        write_comparison,
        write_summary,
    )

    first, note = next(iter(runs.values())), unlike_sizes(runs)
    pictures = example(first, config, alter)
    curves, random_weights = {}, False
    for method, run in runs.items():
        curves[method] = curves_of(tables[method])
        about = identity(run, config, source)
        random = about["random_weights"]
        random_weights = random_weights or random
        folder = run.robustness(source)
        write_summary(folder / "robustness.json", about, curves[method])
        draw_curves(folder, {method: curves[method]}, pictures.squares, title=run.label, random=random)
        _print_curves(run, curves[method])
    together, of_all = first.dataset.robustness(source) / folder_of(runs.values()), shared(runs.values())
    title = f"{first.dataset.short_name}, {', '.join(f'{name} {of_all[name]}' for name in SHOWN if of_all[name])}"
    title += f"; images {source}"
    title += f". {note}" * bool(note)
    paths = draw_curves(together, curves, pictures.squares, title=title, random=random_weights)
    paths += draw_artefacts(together, pictures.images, pictures.mask_HW, pictures.values, case=pictures.case)
    found = write_comparison(together, tables)
    for row in found[found["more_robust"] != ""].to_dict("records"):
        opposed = opposes_mean(row, row["more_robust"], higher_is_better=False)  # less is lost
        but = " in most images, not by the mean" * opposed
        print(f"{row['more_robust']} loses less under {row['artefact']}{but} ({row['figure']}): {row['a']} against "
              f"{row['b']}, {row['mean_difference']:+.3f}, corrected p {p_text(row['p_holm'])}")  # fmt: skip
    if note:
        print(f"{note}.")
    print("Written: " + ", ".join(str(path) for path in paths if path.suffix == ".png"))
    print(f"         {together / 'curves.csv'}, {together / 'comparisons.csv'}")


def shared(runs: Iterable[RunPaths]) -> dict[str, str]:
    """What all the runs are of, by name; several values with ``+``, empty where none of them has one."""
    names, members = ("trainer", *SHOWN), list(runs)
    found = {name: [str(value) for run in members if (value := getattr(run, name)) not in (None, "")] for name in names}
    return {name: "+".join(dict.fromkeys(values)) for name, values in found.items()}


def folder_of(runs: Iterable[RunPaths]) -> str:
    """The name of the folder of several runs together."""
    about = shared(runs)
    more = [mark + about[name] for mark, name in ((RATIO, "ratio"), (ADAPTER, "adapter")) if about[name]]
    return "__".join([about["trainer"], about["plan"], *more, f"fold_{about['fold']}", f"seed_{about['seed']}"])


def _print_curves(run: RunPaths, curves: "Sequence[RobustnessCurve]") -> None:
    """A line for each metric and artefact: unchanged, strongest, and the area under the relative curve."""
    for one in curves:
        clean, last = one.points[0].estimate, one.points[-1]
        if clean.value is None or last.estimate.value is None:
            continue
        area = "" if one.area.value is None else f", relative area {one.area.value:.3f}"
        unit = f" {one.unit}" if one.unit else ""
        print(f"  {run.method} {one.metric} {one.artefact}: {clean.value:.3f} unchanged, {last.estimate.value:.3f} at "
              f"{last.value:g}{unit}{area}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
