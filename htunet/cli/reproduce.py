"""Make a table of the paper: do all trainings and tests that it needs and that are not finished, and write the table.

After an interruption the same command continues: finished runs are not repeated, and a run that was killed resumes from
its last saved state. A failed job does not stop the others. Rows whose data, weights or captions are missing are
skipped and named, with the command that gets what is missing.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from htunet.cli.command import make_parser, run_command, written_text
from htunet.errors import HtunetError, StoppedBySignalError, UsageError, check_least, counted, duration
from htunet.files import exclusive
from htunet.paths import find_dataset, reproduced

if TYPE_CHECKING:
    from htunet.experiments.jobs import Job
    from htunet.experiments.reproduction import Obstacle, ReproductionConfig, TablePlan
    from htunet.reporting.tables.paper_layouts import PaperTable

NONE = "none"
KINDS = ("data set", "captions", "weights", "run")
"""The order in which what is missing is printed."""


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_reproduce table2 --datasets BUSI``."""
    parser = make_parser("htunet_reproduce", __doc__)
    parser.add_argument("table", help="table2 to table7 of the paper")
    only = "{} of the table, which may be others than the paper's (default: the paper's)"
    parser.add_argument("-d", "--datasets", nargs="+", help=only.format("data sets"))
    parser.add_argument("-m", "--methods", nargs="+", help=only.format("methods"))
    seeds = (
        "seeds of the runs (default: 1 2 3); adapters are fine-tuned with the first one, with --plan public once for "
        "each seed"
    )
    parser.add_argument("--seeds", nargs="+", type=int, help=seeds)
    epochs = "number of epochs of each training and fine-tuning (default: that of the paper)"
    parser.add_argument("--num-epochs", type=int, help=epochs)
    plan = "plan for all methods, such as adaptive (default: the paper's plan for each method)"
    parser.add_argument("-p", "--plan", help=plan)
    weights = ("pretrained", "random")
    parser.add_argument("--weights", default=weights[0], choices=weights, help="frozen weights (default: %(default)s)")
    captions = (
        "data sets of captions on which adapters are fine-tuned first; none: adapters start untrained (default: PMC-OA "
        "CURD MedPix; the phantom's captions if the phantom is the only data set)"
    )
    parser.add_argument("--captions", nargs="+", metavar="DATASET", help=captions)
    dry = "print the jobs, their estimated times and what is missing, and do nothing"
    parser.add_argument("--dry-run", action="store_true", help=dry)
    group = parser.add_argument_group("where to compute")
    engine = "local, ray (needs htunet[ray]) or slurm (needs htunet[slurm]) (default: %(default)s)"
    group.add_argument("--engine", default="local", help=engine)
    jobs = "number of jobs at a time (default: one for each GPU, or one without a GPU)"
    group.add_argument("--jobs", type=int, help=jobs)
    gpus = "number of GPUs of each job; with ray also a fraction, such as 0.5 (default: 1)"
    group.add_argument("--gpus-per-job", type=float, help=gpus)
    group.add_argument("--cpus-per-job", type=int, help="number of CPU cores of each job")
    address = "ray: address of a running cluster, such as 10.0.0.1:6379 or auto (default: only this machine)"
    group.add_argument("--address", help=address)
    slurm = (
        "slurm: options of sbatch, such as partition=gpu time=08:00:00 gpus=1; cluster=local runs the jobs on this "
        "machine, to try it"
    )
    group.add_argument("--slurm", nargs="+", default=[], metavar="KEY=VALUE", help=slurm)
    return run_command(parser, _reproduce, argv)


def _reproduce(options: argparse.Namespace) -> None:
    for name in ("num_epochs", "jobs", "cpus_per_job"):
        check_least(name, getattr(options, name), 1)
    check_least("gpus_per_job", options.gpus_per_job, 0)
    if any(seed < 0 for seed in options.seeds or ()):
        raise UsageError(f"--seeds are 0 or larger, got {options.seeds}.")
    config = _config(options)
    from htunet.experiments.engines import ENGINES
    from htunet.experiments.engines.engine import EngineOptions
    from htunet.experiments.reproduction import RUN, plan_table

    folder = reproduced(config.table.name)
    given = {name: getattr(options, name) for name in ("jobs", "gpus_per_job", "cpus_per_job", "address")}
    settings = EngineOptions(folder=folder, settings=_slurm_settings(options.slurm), **given)
    engine = ENGINES[options.engine](settings)
    _make_phantom(config)
    plan = plan_table(config)
    jobs = plan.jobs
    if jobs or not plan.excluded:
        _print_jobs(config.table, jobs, options.jobs or 1)
    for name, difference in plan.other_images.items():
        print(f"{name}: {difference}. The paper's figures will not stand beside its results.", flush=True)
    if options.dry_run:
        print("\n".join(_missing_lines(config, plan)))
        return
    if started := [obstacle.note for obstacle in plan.excluded if obstacle.kind == RUN]:
        raise HtunetError(" ".join(started))
    if not jobs:
        raise HtunetError(f"Nothing can be run. {chr(10).join(_missing_lines(config, plan))}")
    print("\n".join(_missing_lines(config, plan)), flush=True)
    with exclusive(folder, f"The reproduction of {config.table.name}"):
        from tqdm import tqdm

        from htunet.experiments.jobs import run_jobs
        from htunet.training.signals import stop_signals

        open_jobs = sum(not job.product.done() for job in jobs)
        with stop_signals() as stop, tqdm(total=open_jobs, unit="job", disable=None, file=sys.stderr) as bar:

            def show(job: "Job", what: str) -> None:
                bar.write(f"{job.name}: {what}", file=sys.stdout)
                sys.stdout.flush()
                bar.update(not what.startswith(("started", "queued", "ended")))

            try:
                results = run_jobs(jobs, engine, folder / "logs", tell=show, stop_requested=stop.requested)
            finally:
                engine.close()
        if any(result.status == "stopped" for result in results.values()):
            print(f"Stopped; the workers have saved. The same command continues. Logs: {folder / 'logs'}")
            if stop.received == signal.SIGINT:
                raise KeyboardInterrupt
            raise StoppedBySignalError(stop.received or signal.SIGTERM)
        _write_table(config, jobs, folder)
    if rows := plan.rows_excluded:
        print(f"Skipped, {len(rows)} of {plan.rows} rows: {'; '.join(rows)}. --dry-run says what they need.")
    if failed := {name: result for name, result in results.items() if result.status == "failed"}:
        never = sum(result.status == "not started" for result in results.values())
        listing = "\n".join(f"  {name}: {result.reason} ({result.log})" for name, result in failed.items())
        more = f" Not started, because they need them: {counted(never, 'job')}." if never else ""
        raise HtunetError(
            f"{len(failed)} of {len(results)} jobs failed.{more} The same command tries them again.\n{listing}"
        )


def _config(options: argparse.Namespace) -> "ReproductionConfig":
    """The table with the requested data sets and methods, and the options; UsageError for names that do not exist."""
    from htunet.experiments.reproduction import ReproductionConfig
    from htunet.models.build import parse_method
    from htunet.reporting.tables.paper_layouts import SEGMENTED, chosen, find_table
    from htunet.reporting.tables.paper_tables import SEEDS

    table = find_table(options.table)
    for method in options.methods or ():
        parse_method(method)
    known = (*SEGMENTED, "Phantom")
    names = [name if name in known else find_dataset(name).short_name for name in options.datasets or ()]
    captions = options.captions
    return ReproductionConfig(
        table=chosen(table, list(dict.fromkeys(names)) or None, options.methods),
        seeds=tuple(dict.fromkeys(options.seeds or SEEDS)),
        num_epochs=options.num_epochs,
        plan=options.plan,
        weights=options.weights,
        captions=captions if captions is None else () if captions == [NONE] else tuple(captions),
    )


def _slurm_settings(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--slurm takes KEY=VALUE, such as partition=gpu; got {pair!r}.")
        found[key.lstrip("-").replace("-", "_")] = value
    return found


def _make_phantom(config: "ReproductionConfig") -> None:
    """The phantom needs no download: where it is requested and missing, it is simulated, with its captions."""
    from htunet.experiments.reproduction import PHANTOM, PHANTOM_CAPTIONS
    from htunet.paths import all_datasets, root

    if PHANTOM not in config.datasets or any(name.split("_", 1)[1] == PHANTOM for name in all_datasets()):
        return
    from htunet.cli import convert
    from htunet.cli.demo import make_phantom
    from htunet.experiments.demo_plan import NUM_IMAGES

    source = root("htunet_raw") / "phantom"
    make_phantom(source, NUM_IMAGES)
    for name in (PHANTOM, *PHANTOM_CAPTIONS):
        if convert.main([name, str(source)]):
            raise HtunetError(f"{name} could not be converted; the message is above.")


def _print_jobs(table: "PaperTable", jobs: "Sequence[Job]", workers: int) -> None:
    """Every job as a command with its estimated time, what the estimates are based on, and their sum."""
    from htunet.experiments.cost import costs_of, wall_time

    print(f"Table {table.number}: {table.title}. {counted(len(jobs), 'job')}. Estimating the times: of each method "
          "that is new here a few steps are measured.", flush=True)  # fmt: skip
    costs = costs_of(jobs)
    for job in jobs:
        time = "finished"
        if cost := costs.get(job.name):
            time = "unknown" if cost.seconds is None else f"about {duration(cost.seconds)}"
        print(f"  {time:>14}  htunet_{' '.join(job.arguments)}")
    for what, because in dict.fromkeys(
        (f"{job.kind} {job.workload.method}", costs[job.name].because) for job in jobs if job.name in costs
    ):
        print(f"  {what.strip()}: {because}")
    known = sum(cost.seconds or 0.0 for cost in costs.values())
    unknown = sum(cost.seconds is None for cost in costs.values())
    more = f"; {duration(wall_time(jobs, costs, workers))} with {workers} at a time" if workers > 1 else ""
    rest = f", and {counted(unknown, 'job')} of unknown time" if unknown else ""
    print(f"{len(costs)} to do, about {duration(known)} one after another{more}{rest}.", flush=True)


def _missing_lines(config: "ReproductionConfig", plan: "TablePlan") -> Iterator[str]:
    """What keeps rows from being run, each with its remedy, and what they would take."""
    if not plan.excluded:
        return
    from htunet.experiments.cost import costs_of
    from htunet.experiments.reproduction import CAPTIONS, DATA, WEIGHTS
    from htunet.reporting.tables.paper_figures import datasets

    missing = sorted(plan.excluded, key=lambda one: KINDS.index(one.kind))
    number = len(plan.rows_excluded)
    yield f"{number} of the {plan.rows} rows of Table {config.table.number} are skipped, because something is missing:"
    for one in missing:
        yield f"  {one.kind:<9} {one.name:<10} {counted(len(plan.excluded[one]), 'row'):>8}  {_remedy(one)}"
    if {one.name for one in missing if one.kind == DATA} & ({*datasets("segmentation")} - {"LN-INT", "LN-EXT"}):
        yield "All data sets but LN-INT, LN-EXT at once, with the authors' own lists: htunet_convert NextGen-UIA SOURCE"
    if any(one.kind == CAPTIONS for one in missing):
        yield "Adapters that start untrained need no captions: --captions none"
    if any(one.kind == WEIGHTS for one in missing):
        yield "htunet_weights list names the addresses; --weights random shows that everything runs, not how good it is"
    costs = costs_of(plan.later, measure=False)
    seconds = [cost.seconds for cost in costs.values() if cost.seconds is not None]
    trainings, tuned = (sum(job.kind == kind for job in plan.later) for kind in ("train", "finetune"))
    stage1 = f" and {counted(tuned, 'fine-tuning')} on captions" * bool(tuned)
    time = f", about {duration(sum(seconds))} by the steps measured here" if seconds else ""
    if unknown := len(costs) - len(seconds):
        time += f"; the time of {counted(unknown, 'job')} is unknown until a step of the method is measured"
    yield f"Then the same command does the rest: {counted(trainings, 'training')} of the paper's sizes{stage1}{time}."


def _remedy(obstacle: "Obstacle") -> str:
    """How to get what is missing; for a data set also what to download."""
    from dataset_conversion import CONVERTERS

    note = obstacle.note
    if obstacle.command and obstacle.name in CONVERTERS:
        note = CONVERTERS[obstacle.name].facts.download
    return f"{obstacle.command}  ({note})" if obstacle.command and note else obstacle.command or note


def _write_table(config: "ReproductionConfig", jobs: "Sequence[Job]", folder: Path) -> None:
    """The table of exactly these runs, beside their logs."""
    from htunet.experiments.products import Tested, ZeroShotClassified
    from htunet.files import read_object
    from htunet.reporting.summaries import evaluated_contents
    from htunet.reporting.tables.paper_print import paper_text
    from htunet.reporting.tables.study_files import write_paper_tables, write_statistics
    from htunet.schemas import ZERO_SHOT

    products = [job.product for job in jobs if job.product.done()]
    runs = {product.run for product in products if isinstance(product, Tested)}  # evaluated as the table needs them
    contents = [content for run, content in evaluated_contents(lambda _: None).items() if run in runs]
    folders = [product.folder for product in products if isinstance(product, ZeroShotClassified)]
    zero_shot = [read_object(path / "summary.json", ZERO_SHOT) for path in folders]
    found, paths = write_statistics(folder, contents)
    written = write_paper_tables(
        folder, contents, found, zero_shot=zero_shot, tables=[config.table], seeds=config.seeds
    )
    for cells, files in written.values():
        print("\n" + paper_text(config.table, cells) + "\n")
        paths = [*files, *paths]
    print(written_text(paths))


if __name__ == "__main__":
    raise SystemExit(main())
