"""Make a table of the paper: work out the runs that it needs, do those that are not done, and write the table.

The same command again continues. Runs that are finished are left alone, workers that were killed begin again where they
saved last, and a job that fails does not stop the others.
"""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from htunet.cli.command import make_parser, run_command
from htunet.errors import HtunetError, UsageError
from htunet.files import exclusive
from htunet.paths import find_dataset, reproduced

if TYPE_CHECKING:
    from htunet.experiments.cost import Cost
    from htunet.experiments.jobs import Job, Result
    from htunet.experiments.plan_of_table import ReproductionConfig
    from htunet.reporting.tables.paper_layouts import PaperTable

NONE = "none"


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_reproduce table2 --datasets BUSI``."""
    parser = make_parser("htunet_reproduce", __doc__)
    parser.add_argument("table", help="table2 to table7 of the paper")
    parser.add_argument(
        "-d", "--datasets", nargs="+", help="only these, or others than the paper's; default: the table's"
    )
    parser.add_argument(
        "-m", "--methods", nargs="+", help="only these, or others than the paper's; default: the table's"
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="default: 1 2 3; adapters are fine-tuned with the first")
    parser.add_argument("--num-epochs", type=int, help="of every training and fine-tuning; default: the paper's")
    parser.add_argument(
        "-p", "--plan", help="for all methods, such as adaptive or your own; default: the paper's of each"
    )
    parser.add_argument(
        "--weights",
        default="pretrained",
        choices=("pretrained", "random"),
        help="frozen weights (default: %(default)s)",
    )
    parser.add_argument(
        "--captions",
        nargs="+",
        metavar="DATASET",
        help="what adapters are fine-tuned on first; none: they start anew; default: PMC-OA CURD MedPix, and the "
        "phantom's own captions where only the phantom is asked for",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the jobs and their cost, and stop")
    _add_engine_options(parser)
    return run_command(parser, _reproduce, argv)


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where to compute")
    group.add_argument(
        "--engine",
        default="local",
        help="local, ray (needs htunet[ray]) or slurm (needs htunet[slurm]); default: local",
    )
    group.add_argument("--jobs", type=int, help="workers at a time; default: one for each GPU, and one on a CPU")
    group.add_argument("--gpus-per-job", type=float, help="with ray also a part of one, such as 0.5; default: 1")
    group.add_argument("--cpus-per-job", type=int, help="cores of each worker")
    group.add_argument(
        "--address", help="ray: of a running cluster, such as 10.0.0.1:6379 or auto; default: this machine"
    )
    group.add_argument(
        "--slurm",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="slurm: partition=gpu time=08:00:00 gpus=1, and any other option of sbatch; cluster=local tries it here",
    )


def _reproduce(options: argparse.Namespace) -> None:
    _check_numbers(options)
    table = _table(options)
    settings = _slurm_settings(options.slurm)
    from htunet.experiments.engines import ENGINES
    from htunet.experiments.engines.base import EngineOptions
    from htunet.experiments.plan_of_table import plan_jobs

    folder = reproduced(table.name)
    engine = ENGINES[options.engine](
        EngineOptions(
            folder=folder,
            jobs=options.jobs,
            gpus_per_job=options.gpus_per_job,
            cpus_per_job=options.cpus_per_job,
            address=options.address,
            settings=settings,
        )
    )
    _make_phantom(table)
    config = _config_from(options, table)
    jobs = plan_jobs(config)
    _print_plan(table, jobs, options)
    if options.dry_run:
        return
    with exclusive(folder, f"The reproduction of {table.name}"):
        from htunet.experiments.jobs import by_status, run_jobs
        from htunet.training.signals import stop_signals

        with stop_signals() as stop, _Progress(jobs) as progress:
            try:
                results = run_jobs(jobs, engine, folder / "logs", tell=progress.tell, stop_requested=stop.requested)
            finally:
                engine.close()
        if by_status(results).get("stopped"):
            print(f"Stopped; the workers have saved. The same command continues. Logs: {folder / 'logs'}")
            if stop.received == signal.SIGINT:
                raise KeyboardInterrupt
            raise HtunetError("stopped by a signal.")
        _write_table(config, jobs, folder)
    _raise_failures(results)


def _check_numbers(options: argparse.Namespace) -> None:
    for name in ("num_epochs", "jobs", "cpus_per_job"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}.")
    if options.gpus_per_job is not None and not options.gpus_per_job >= 0:
        raise UsageError(f"--gpus-per-job must be 0 or larger, got {options.gpus_per_job}.")
    if any(seed < 0 for seed in options.seeds or ()):
        raise UsageError(f"--seeds are 0 or larger, got {options.seeds}.")


def _table(options: argparse.Namespace) -> "PaperTable":
    """The table with the wanted data sets and methods; UsageError for names that do not exist."""
    from htunet.models.build import parse_method
    from htunet.reporting.tables.paper_layouts import SEGMENTED, chosen, find_table

    table = find_table(options.table)
    for method in options.methods or ():
        parse_method(method)
    datasets = None
    if options.datasets:
        known = (*SEGMENTED, "Phantom")
        datasets = [name if name in known else find_dataset(name).short_name for name in options.datasets]
    return chosen(table, None if datasets is None else list(dict.fromkeys(datasets)), options.methods)


def _config_from(options: argparse.Namespace, table: "PaperTable") -> "ReproductionConfig":
    from htunet.experiments.plan_of_table import ReproductionConfig
    from htunet.reporting.tables.paper_tables import SEEDS

    captions = options.captions
    if captions is not None:
        captions = () if captions == [NONE] else tuple(captions)
    seeds = tuple(dict.fromkeys(options.seeds or SEEDS))
    return ReproductionConfig(
        table=table,
        seeds=seeds,
        num_epochs=options.num_epochs,
        plan=options.plan,
        weights=options.weights,
        captions=captions,
    )


def _slurm_settings(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--slurm takes KEY=VALUE, such as partition=gpu; got {pair!r}.")
        found[key.lstrip("-").replace("-", "_")] = value
    return found


def _make_phantom(table: "PaperTable") -> None:
    """The phantom needs no download: where it is asked for and not there, it is simulated, with its captions."""
    from htunet.experiments.plan_of_table import PHANTOM
    from htunet.paths import all_datasets, root

    wanted = {dataset for part in table.parts for dataset in part.datasets}
    if PHANTOM not in wanted or any(name.split("_", 1)[1] == PHANTOM for name in all_datasets()):
        return
    from htunet.cli import convert
    from htunet.cli.demo import make_phantom
    from htunet.experiments.demo import NUM_IMAGES
    from htunet.experiments.plan_of_table import PHANTOM_CAPTIONS

    source = root("htunet_raw") / "phantom"
    make_phantom(source, NUM_IMAGES)
    for name in (PHANTOM, *PHANTOM_CAPTIONS):
        if convert.main([name, str(source)]):
            raise HtunetError(f"{name} could not be converted; the message is above.")


def _print_plan(table: "PaperTable", jobs: "Sequence[Job]", options: argparse.Namespace) -> None:
    from htunet.experiments.cost import costs_of, duration, wall_time

    print(f"Table {table.number}: {table.title}. {len(jobs)} jobs.", flush=True)
    costs = costs_of(jobs)
    for job in jobs:
        cost = costs.get(job.name)
        print(f"  {_cost_text(cost):>14}  htunet_{' '.join(job.arguments)}")
    for what, because in dict.fromkeys(
        (f"{job.kind} {job.work.method}", costs[job.name].because) for job in jobs if job.name in costs
    ):
        print(f"  {what.strip()}: {because}")
    known = sum(cost.seconds or 0.0 for cost in costs.values())
    unknown = sum(cost.seconds is None for cost in costs.values())
    workers = options.jobs or 1
    more = f"; {duration(wall_time(jobs, costs, workers))} with {workers} at a time" if workers > 1 else ""
    rest = f", and {unknown} jobs whose time is not known" if unknown else ""
    print(f"{len(costs)} to do, about {duration(known)} one after another{more}{rest}.", flush=True)


def _cost_text(cost: "Cost | None") -> str:
    from htunet.experiments.cost import duration

    if cost is None:
        return "finished"
    return "not known" if cost.seconds is None else f"about {duration(cost.seconds)}"


class _Progress:
    """A bar over the jobs, and a line for each change."""

    def __init__(self, jobs: "Sequence[Job]") -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=sum(not job.product.done() for job in jobs), unit="job", disable=None, file=sys.stderr)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def tell(self, job: "Job", what: str) -> None:
        """One line above the bar."""
        self.bar.write(f"{job.name}: {what}", file=sys.stdout)
        sys.stdout.flush()
        if not what.startswith(("started", "queued", "ended")):
            self.bar.update()


def _write_table(config: "ReproductionConfig", jobs: "Sequence[Job]", folder: Path) -> None:
    """The table of exactly these runs, beside their logs."""
    from htunet.experiments.plan_of_table import tested_runs
    from htunet.experiments.products import Answered
    from htunet.files import read_object
    from htunet.reporting.summaries import evaluated_contents
    from htunet.reporting.tables.study_files import write_paper_tables, write_statistics
    from htunet.reporting.tables.write_paper import as_text

    wanted = set(tested_runs(jobs))
    contents = [content for run, content in evaluated_contents(lambda _: None).items() if run in wanted]
    answers = [job.product for job in jobs if isinstance(job.product, Answered) and job.product.done()]
    asked = [read_object(answer.folder / "summary.json") for answer in answers]
    found, paths = write_statistics(folder, contents)
    written = write_paper_tables(folder, contents, found, zero_shot=asked, tables=[config.table], seeds=config.seeds)
    for cells, files in written.values():
        print("\n" + as_text(config.table, cells) + "\n")
        paths = [*files, *paths]
    print("Written: " + ", ".join(map(str, paths)))


def _raise_failures(results: "Mapping[str, Result]") -> None:
    failed = {name: result for name, result in results.items() if result.status == "failed"}
    if not failed:
        return
    never = sum(result.status == "not started" for result in results.values())
    listing = "\n".join(f"  {name}: {result.reason} ({result.log})" for name, result in failed.items())
    more = f" {never} jobs that need them did not start." if never else ""
    raise HtunetError(
        f"{len(failed)} of {len(results)} jobs failed.{more} The same command tries them again.\n{listing}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
