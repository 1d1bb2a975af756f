"""The jobs that a table of the paper needs: prepare, fine-tune, train, test, classify zero-shot; each of them once."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from htunet.data.captions import read_captions
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits
from htunet.data.splits import split_sizes
from htunet.data.zero_shot_prompts import find_prompts
from htunet.errors import HtunetError, UsageError
from htunet.experiments.jobs import Job, JobCost
from htunet.experiments.products import PreparedDataset, Tested, Trained, ZeroShotClassified
from htunet.inference.text_side import towers_name
from htunet.models.build import check_task, paper_plan, parse_method, published_weights
from htunet.models.text import TEXT_TOWERS
from htunet.models.weights.load import PRETRAINED
from htunet.models.weights.store import find_pretrained
from htunet.paths import TASK_OF_TRAINER, DatasetPaths, FinetuningPaths, RunPaths, find_dataset
from htunet.planning.planner import PLANNERS
from htunet.planning.plans import load_plans
from htunet.planning.rules import BASE_SIDE
from htunet.reporting.tables.kinds import SEGMENTATION
from htunet.reporting.tables.paper_figures import CAPTIONS
from htunet.reporting.tables.paper_layouts import PaperTable
from htunet.reporting.tables.paper_runs import SupervisedRun, ZeroShotRun, trainings, zero_shot_runs

TRAINER_OF_TASK = {task: trainer for trainer, task in TASK_OF_TRAINER.items()}
PAPER_EPOCHS, FINETUNE_EPOCHS = 200, 32
PHANTOM = "Phantom"
PHANTOM_CAPTIONS = ("PhantomCaptions",)
"""What adapters are fine-tuned on where only the simulated images are requested: nothing has to be downloaded."""


@dataclass(frozen=True, kw_only=True)
class ReproductionConfig:
    """A table of the paper, and what is to differ from the paper."""

    table: PaperTable
    """With the requested data sets and methods only."""
    seeds: tuple[int, ...]
    num_epochs: int | None = None
    """None: those of the plans, and 32 for fine-tuning."""
    plan: str | None = None
    """None: the one that the paper trains each method with."""
    weights: str = PRETRAINED
    captions: tuple[str, ...] | None = None
    """Data sets that adapters are fine-tuned on first; empty: adapters start untrained; None: the paper's data sets,
    or the phantom's captions where the phantom is the only data set."""

    @property
    def datasets(self) -> set[str]:
        """The data sets of the table by their short names."""
        return {dataset for part in self.table.parts for dataset in part.datasets}

    @property
    def caption_datasets(self) -> tuple[str, ...]:
        """The caption data sets by their short names."""
        if self.captions is not None:
            return self.captions
        return PHANTOM_CAPTIONS if self.datasets == {PHANTOM} else CAPTIONS


def plan_jobs(config: ReproductionConfig) -> list[Job]:
    """All jobs of a table, in an order in which they can be done.

    Raises, before anything starts, UsageError for names that do not exist and tasks that are not possible, HtunetError
    for data sets and weights that are missing and for runs that were started with other settings.
    """
    planner = _Planner(config)
    for part in config.table.parts:
        for dataset in part.datasets:
            for line in config.table.lines:
                for training in trainings(line, dataset, part.kind, config.seeds):
                    planner.add_training(training)
                for run in zero_shot_runs(line, dataset, config.seeds):
                    planner.add_zero_shot(run)
            if part.kind is SEGMENTATION and not read_raw(converted(dataset)).info.has_masks:
                raise HtunetError(f"{dataset} has no masks, which this table is about. Take table3 or table6.")
    return planner.all_jobs()


def tested_runs(jobs: Sequence[Job]) -> Iterator[RunPaths]:
    """The runs whose results the table shows."""
    yield from (job.product.run for job in jobs if isinstance(job.product, Tested))


@dataclass
class _Planner:
    """Collects the jobs of a table, each by its name."""

    config: ReproductionConfig
    plans: dict[DatasetPaths, list[str]] = field(default_factory=dict)
    finetunings: dict[str, Job] = field(default_factory=dict)
    others: dict[str, Job] = field(default_factory=dict)
    weights_found: set[str] = field(default_factory=set)

    def add_training(self, training: SupervisedRun) -> None:
        """A run, its test, and whatever it needs."""
        config, method = self.config, training.method
        check_task(method, training.task)
        dataset, tested = converted(training.dataset), converted(training.tested_on)
        plan, start, needs = self._requirements(dataset, method, classes=training.task == "cls")
        run = RunPaths(
            dataset,
            TRAINER_OF_TASK[training.task],
            plan,
            method,
            fold=0,
            seed=training.seed,
            ratio=training.ratio,
            adapter=start.label_for(training.seed) if start else "",
        )
        options = ["--seed", str(training.seed), "--plan", plan, "--task", training.task, *self._weights_option()]
        options += ["--num-epochs", str(config.num_epochs)] * (config.num_epochs is not None)
        options += ["--ratio", repr(training.ratio)] * (training.ratio is not None)
        options += ["--adapter", str(start.checkpoint_best)] if start else []
        product = Trained(run, config.num_epochs, config.weights)
        product.check()
        train_images, validation, test = _split_sizes(dataset)
        if training.ratio:
            train_images = max(1, round(train_images * training.ratio))
        plans = load_plans(dataset.plans_json) if dataset.plans_json.exists() else {}
        epochs = config.num_epochs or (plans[plan].num_epochs if plan in plans else PAPER_EPOCHS)
        cost = JobCost(method=method, task=training.task, dataset=dataset.name, plan=plan)
        train = self._add(
            name=f"train-{dataset.short_name}-{_run_name(run)}",
            kind="train",
            arguments=("train", dataset.name, method, "fold0", *options),
            product=product,
            needs=needs,
            work=replace(cost, train_images=train_images, epochs=epochs, other_images=validation),
        )
        elsewhere = [] if tested == dataset else [tested.name]
        result = replace(run, dataset=tested, trained_on=dataset.name) if elsewhere else run
        images = len(read_raw(tested).cases) if elsewhere else test
        self._add(
            name=f"test-{tested.short_name}-{_run_name(result)}",
            kind="test",
            arguments=("evaluate", *elsewhere, "--run", str(run.folder)),
            product=Tested(result),
            needs=(train.name,),
            work=replace(cost, other_images=images),
        )

    def add_zero_shot(self, run: ZeroShotRun) -> None:
        """A zero-shot classification, and whatever it needs."""
        dataset, method = converted(run.dataset), run.method
        find_prompts(dataset.short_name)
        if parse_method(method).backbone not in TEXT_TOWERS:
            raise UsageError(f"{method} has no text encoder, so it has no zero-shot row. Omit it from --methods.")
        plan, start, needs = self._requirements(dataset, method, classes=True)
        if start is None and parse_method(method).adapter:
            raise UsageError(
                f"The zero-shot row of {method} needs a fine-tuned adapter: name caption data sets with --captions, or "
                "omit the method."
            )
        label, weights = start.label_for(run.seed) if start else "", self.config.weights
        options = ["--seed", str(run.seed), "--plan", plan, *self._weights_option()]
        options += ["--adapter", str(start.checkpoint_best)] if start else []
        images = len(read_raw(dataset).cases)
        folder = dataset.text_side("zero_shot", towers_name(method, label, weights), "all")
        self._add(
            name=f"zero-shot-{dataset.short_name}-{method}",
            kind="zero-shot",
            arguments=("zero_shot", dataset.name, method, *options),
            product=ZeroShotClassified(folder, plan, weights, start.checkpoint_best if start else None),
            needs=needs,
            work=JobCost(method=method, task="cls", dataset=dataset.name, plan=plan, other_images=images),
        )

    def all_jobs(self) -> list[Job]:
        """Preparations, fine-tunings, and the rest as it was added."""
        prepare = [
            Job(
                name=_prepare_name(dataset),
                kind="prepare",
                arguments=("plan_and_preprocess", "-d", dataset.name, "--plan", *plans),
                product=PreparedDataset(dataset, tuple(plans)),
                work=JobCost(other_images=len(read_raw(dataset).cases) * len(plans)),
            )
            for dataset, plans in self.plans.items()
        ]
        return [*prepare, *self.finetunings.values(), *self.others.values()]

    def _add(self, **job: Any) -> Job:  # noqa: ANN401
        added = Job(**job)
        self.others[added.name] = added
        return added

    def _requirements(
        self, dataset: DatasetPaths, method: str, *, classes: bool
    ) -> tuple[str, FinetuningPaths | None, tuple[str, ...]]:
        """The plan of a run, the fine-tuning that its adapter starts from, and the names of the jobs that it needs."""
        name = parse_method(method).backbone or method
        if self.config.weights == PRETRAINED and published_weights(method) and name not in self.weights_found:
            find_pretrained(name)
            self.weights_found.add(name)
        if classes and len(read_raw(dataset).info.classes) < 2:
            raise HtunetError(f"The images of {dataset.short_name} have no classes, which this table is about.")
        plan = self.config.plan or paper_plan(method)
        if plan not in PLANNERS and (not dataset.plans_json.exists() or plan not in load_plans(dataset.plans_json)):
            raise UsageError(
                f"{dataset.plans_json} has no plan {plan!r}. The planner makes {', '.join(PLANNERS)}; put your own "
                f"into the file first, after htunet_plan_and_preprocess -d {dataset.short_name}."
            )
        plans = self.plans.setdefault(dataset, [])
        if plan not in plans:
            plans.append(plan)
        start = self._finetuning(method)
        return plan, start, (_prepare_name(dataset), *([_finetune_name(start)] if start else []))

    def _finetuning(self, method: str) -> FinetuningPaths | None:
        """The fine-tuning that a method's adapter starts from; one for all runs, with the first seed."""
        config, parsed = self.config, parse_method(method)
        if not config.caption_datasets or parsed.adapter is None or parsed.backbone not in TEXT_TOWERS:
            return None
        datasets = [_converted_captions(name) for name in config.caption_datasets]
        start = FinetuningPaths(tuple(sorted(paths.name for paths in datasets)), method, config.seeds[0])
        if _finetune_name(start) not in self.finetunings:
            side = self._finetuning_side()
            options = ["--seed", str(config.seeds[0]), "--input-size", str(side), *self._weights_option()]
            options += ["--num-epochs", str(config.num_epochs)] * (config.num_epochs is not None)
            pairs = sum(len(read_captions(paths).pairs) for paths in datasets)
            product = Trained(start, config.num_epochs, config.weights)
            product.check()
            self.finetunings[_finetune_name(start)] = Job(
                name=_finetune_name(start),
                kind="finetune",
                arguments=("finetune", method, "-d", *start.datasets, *options),
                product=product,
                work=JobCost(
                    method=method,
                    task="seg",
                    plan=config.plan or paper_plan(method),
                    train_images=pairs * 9 // 10,
                    epochs=config.num_epochs or FINETUNE_EPOCHS,
                    other_images=pairs - pairs * 9 // 10,
                    side=side,
                ),
            )
        return start

    def _finetuning_side(self) -> int:
        """Side of the images of stage 1: that of stage 2, where the user's own plan says how large they are."""
        plan = self.config.plan
        if plan is None or plan in PLANNERS:
            return BASE_SIDE
        sizes = {load_plans(converted(name).plans_json)[plan].input_size for name in self.config.datasets}
        if len(sizes) > 1 or len(set(next(iter(sizes)))) > 1:
            raise UsageError(
                f"The plan {plan} has other input sizes than one square: {sorted(sizes)}. Fine-tune the adapters "
                "yourself with htunet_finetune, or take --captions none."
            )
        return next(iter(sizes))[0]

    def _weights_option(self) -> list[str]:
        return ["--weights", self.config.weights] if self.config.weights != PRETRAINED else []


def converted(name: str) -> DatasetPaths:
    """A converted data set; UsageError with the command that converts it otherwise."""
    try:
        dataset = find_dataset(name)
    except UsageError:
        raise UsageError(f"{name} is not converted yet. Convert it first: htunet_convert {name} SOURCE.") from None
    if not dataset.dataset_json.exists():
        raise HtunetError(f"{dataset.raw} has no dataset.json. Convert {name} first: htunet_convert {name} SOURCE.")
    return dataset


def _converted_captions(name: str) -> DatasetPaths:
    with contextlib.suppress(UsageError):
        dataset = find_dataset(name)
        if dataset.captions_json.exists():
            return dataset
    raise UsageError(
        f"Adapters are fine-tuned on captions first, and {name} is not converted. Convert it: htunet_convert {name} "
        "SOURCE; or name other caption data sets with --captions; or start with untrained adapters: --captions none."
    )


def _split_sizes(dataset: DatasetPaths) -> list[int]:
    """Training, validation and test images of fold 0; before the data set is split, what its rule will give."""
    if dataset.splits_json.exists():
        fold = load_splits(dataset.splits_json)[0]
        return [len(fold[name]) for name in ("train", "val", "test")]
    raw = read_raw(dataset)
    own = sum(case.split == "test" for case in raw.cases)
    train, validation, test = split_sizes(len(raw.cases) - own, raw.info.split_rule)
    return [train, validation, test + own]


def _run_name(run: RunPaths) -> str:
    ratio = [] if run.ratio is None else [f"ratio{run.ratio!r}"]
    other = [] if run.trained_on is None else [f"by-{run.source.dataset.short_name}"]
    adapter = [f"from-{run.adapter}"] if run.adapter else []
    return "-".join([run.method, run.task, run.plan, *ratio, *adapter, *other, f"seed{run.seed}"])


def _prepare_name(dataset: DatasetPaths) -> str:
    return f"prepare-{dataset.short_name}"


def _finetune_name(start: FinetuningPaths) -> str:
    return f"finetune-{start.method}-{start.name}-seed{start.seed}"
