"""The jobs that a table of the paper needs: prepare, fine-tune, train, test, ask in words; each of them once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from htunet.data.captions import read_captions
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits
from htunet.data.splits import split_sizes
from htunet.data.zero_shot_prompts import find_prompts
from htunet.errors import HtunetError, UsageError
from htunet.experiments.jobs import Job, JobCost
from htunet.experiments.products import Answered, Prepared, Tested, Trained
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
from htunet.reporting.tables.paper_runs import Training, ZeroShotRun, trainings, zero_shot_runs

TRAINER_OF_TASK = {task: trainer for trainer, task in TASK_OF_TRAINER.items()}
PAPER_EPOCHS, FINETUNE_EPOCHS = 200, 32
PHANTOM = "Phantom"
PHANTOM_CAPTIONS = ("PhantomCaptions",)
"""What adapters are fine-tuned on where only the simulated images are asked for: nothing has to be downloaded."""


@dataclass(frozen=True, kw_only=True)
class ReproductionConfig:
    """A table, and what is otherwise than in the paper."""

    table: PaperTable
    """With the wanted data sets and methods alone."""
    seeds: tuple[int, ...]
    num_epochs: int | None = None
    """None: those of the plans, and 32 of a fine-tuning."""
    plan: str | None = None
    """None: the one that the paper trains each method with."""
    weights: str = PRETRAINED
    captions: tuple[str, ...] | None = None
    """Data sets that adapters are fine-tuned on first; empty: they start anew; None: the paper's, or the phantom's."""


def wanted_captions(config: ReproductionConfig) -> tuple[str, ...]:
    """The caption data sets of a wish by their short names."""
    if config.captions is not None:
        return config.captions
    datasets = {dataset for part in config.table.parts for dataset in part.datasets}
    return PHANTOM_CAPTIONS if datasets == {PHANTOM} else CAPTIONS


def plan_jobs(config: ReproductionConfig) -> list[Job]:
    """All jobs of a table, in an order in which they could be done.

    Raises, before anything starts, UsageError for names that do not exist and tasks that are not possible, HtunetError
    for data sets and weights that are not here and for runs that were begun with other settings.
    """
    planner = _Planner(config)
    for part in config.table.parts:
        for dataset in part.datasets:
            for line in config.table.lines:
                for training in trainings(line, dataset, part.kind, config.seeds):
                    planner.add_training(training)
                for asked in zero_shot_runs(line, dataset, config.seeds):
                    planner.add_sentences(asked)
            if part.kind is SEGMENTATION:
                planner.check_masks(dataset)
    return planner.all_jobs()


@dataclass
class _Planner:
    """Collects the jobs of a wish, each by its name."""

    config: ReproductionConfig
    plans: dict[DatasetPaths, list[str]] = field(default_factory=dict)
    finetunings: dict[str, Job] = field(default_factory=dict)
    others: dict[str, Job] = field(default_factory=dict)
    weights_found: set[str] = field(default_factory=set)

    def add_training(self, training: Training) -> None:
        """A run, its test, and whatever it needs."""
        config, method = self.config, training.method
        check_task(method, training.task)
        self._check_weights(method)
        dataset, tested = (_dataset(name) for name in (training.dataset, training.tested_on))
        if training.task == "cls":
            _check_classes(dataset)
        plan = self._plan(dataset, method)
        start = self._finetuning(method)
        place = (dataset, TRAINER_OF_TASK[training.task], plan, method)
        label = start.label_for(training.seed) if start else ""
        run = RunPaths(*place, fold=0, seed=training.seed, ratio=training.ratio, adapter=label)
        options = ["--seed", str(training.seed), "--plan", plan, "--task", training.task, *self._common(method)]
        options += ["--num-epochs", str(config.num_epochs)] * (config.num_epochs is not None)
        options += ["--ratio", repr(training.ratio)] * (training.ratio is not None)
        options += ["--adapter", str(start.checkpoint_best)] if start else []
        train, validation, test = _sizes(dataset, training.ratio)
        product = Trained(run, config.num_epochs, config.weights)
        product.check()
        name = "-".join([dataset.short_name, _run_name(run)])
        work = JobCost(method=method, task=training.task, dataset=dataset.name, plan=plan)
        epochs = config.num_epochs or _epochs(dataset, plan)
        job = Job(
            name=f"train-{name}",
            kind="train",
            arguments=("train", dataset.name, method, "fold0", *options),
            product=product,
            needs=(_prepare_name(dataset), *([_finetune_name(start)] if start else [])),
            work=replace(work, train_images=train, epochs=epochs, other_images=validation),
        )
        self.others[job.name] = job
        test = test if tested == dataset else len(read_raw(tested).cases)
        self._add_test(run, tested, job.name, replace(work, other_images=test))

    def add_sentences(self, asked: ZeroShotRun) -> None:
        """A classification by sentences."""
        dataset, method = _dataset(asked.dataset), asked.method
        find_prompts(dataset.short_name)
        _check_classes(dataset)
        self._check_weights(method)
        if parse_method(method).backbone not in TEXT_TOWERS:
            raise UsageError(f"{method} reads no texts, so it has no zero-shot row. Leave it out of --methods.")
        start = self._finetuning(method)
        if start is None and parse_method(method).adapter:
            raise UsageError(
                f"The zero-shot row of {method} needs a fine-tuned adapter: name caption data sets with --captions, or "
                "leave the method out."
            )
        plan = self._plan(dataset, method)
        label = start.label_for(asked.seed) if start else ""
        options = ["--seed", str(asked.seed), "--plan", plan, *self._common(method)]
        options += ["--adapter", str(start.checkpoint_best)] if start else []
        needs = [_prepare_name(dataset), *([_finetune_name(start)] if start else [])]
        job = Job(
            name=f"ask-{dataset.short_name}-{method}",
            kind="ask",
            arguments=("zero_shot", dataset.name, method, *options),
            product=Answered(
                dataset.text_side("zero_shot", towers_name(method, label, self.config.weights), "all"),
                plan,
                self.config.weights,
                start.checkpoint_best if start else None,
            ),
            needs=tuple(needs),
            work=JobCost(
                method=method,
                task="cls",
                dataset=dataset.name,
                plan=plan,
                other_images=len(read_raw(dataset).cases),
            ),
        )
        self.others[job.name] = job

    def check_masks(self, name: str) -> None:
        """Raise HtunetError for a data set from which no masks can be learnt."""
        if not read_raw(_dataset(name)).info.has_masks:
            raise HtunetError(f"{name} has no masks, which this table is about. Take table3 or table6.")

    def all_jobs(self) -> list[Job]:
        """Preparations, fine-tunings, and the rest as it was added."""
        prepare = []
        for dataset, plans in self.plans.items():
            cases = len(read_raw(dataset).cases)
            prepare.append(
                Job(
                    name=_prepare_name(dataset),
                    kind="prepare",
                    arguments=("plan_and_preprocess", "-d", dataset.name, "--plan", *plans),
                    product=Prepared(dataset, tuple(plans)),
                    work=JobCost(other_images=cases * len(plans)),
                )
            )
        return [*prepare, *self.finetunings.values(), *self.others.values()]

    def _add_test(self, run: RunPaths, tested: DatasetPaths, train: str, work: JobCost) -> None:
        other = [] if tested == run.dataset else [tested.name]
        product = Tested(replace(run, dataset=tested, trained_on=run.dataset.name) if other else run)
        job = Job(
            name=f"test-{tested.short_name}-{_run_name(product.run)}",
            kind="test",
            arguments=("evaluate", *other, "--run", str(run.folder)),
            product=product,
            needs=(train,),
            work=work,
        )
        self.others[job.name] = job

    def _finetuning(self, method: str) -> FinetuningPaths | None:
        """The fine-tuning that a method's adapter starts from; one for all runs, with the first seed."""
        config, parsed = self.config, parse_method(method)
        captions = wanted_captions(config)
        if not captions or parsed.adapter is None or parsed.backbone not in TEXT_TOWERS:
            return None
        datasets = [_captions(name) for name in captions]
        start = FinetuningPaths(tuple(sorted(paths.name for paths in datasets)), method, config.seeds[0])
        if _finetune_name(start) not in self.finetunings:
            options = ["--seed", str(config.seeds[0]), "--input-size", str(self._side()), *self._common(method)]
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
                    side=self._side(),
                ),
            )
        return start

    def _side(self) -> int:
        """Of the images of stage 1: as those of stage 2, where the user's own plan says how large they are."""
        if self.config.plan is None or self.config.plan in PLANNERS:
            return BASE_SIDE
        names = {dataset for part in self.config.table.parts for dataset in part.datasets}
        sizes = {load_plans(_dataset(name).plans_json)[self.config.plan].input_size for name in names}
        if len(sizes) > 1 or len(set(next(iter(sizes)))) > 1:
            raise UsageError(
                f"The plan {self.config.plan} has other input sizes than one square: {sorted(sizes)}. Fine-tune the "
                "adapters yourself with htunet_finetune, or take --captions none."
            )
        return next(iter(sizes))[0]

    def _plan(self, dataset: DatasetPaths, method: str) -> str:
        """The plan's name, noted for the preparation of the data set."""
        plan = self.config.plan or paper_plan(method)
        if plan not in PLANNERS and (not dataset.plans_json.exists() or plan not in load_plans(dataset.plans_json)):
            raise UsageError(
                f"{dataset.plans_json} has no plan {plan!r}. The planner makes {', '.join(PLANNERS)}; put your own "
                f"into the file first, after htunet_plan_and_preprocess -d {dataset.short_name}."
            )
        noted = self.plans.setdefault(dataset, [])
        if plan not in noted:
            noted.append(plan)
        return plan

    def _common(self, method: str) -> list[str]:
        return ["--weights", self.config.weights] if self.config.weights != PRETRAINED else []

    def _check_weights(self, method: str) -> None:
        parsed, entry = parse_method(method), published_weights(method)
        name = parsed.backbone or method
        if self.config.weights == PRETRAINED and entry is not None and name not in self.weights_found:
            find_pretrained(name)
            self.weights_found.add(name)


def _dataset(name: str) -> DatasetPaths:
    """A converted data set; UsageError that names the command otherwise."""
    try:
        dataset = find_dataset(name)
    except UsageError:
        raise UsageError(f"{name} is not converted yet. Convert it first: htunet_convert {name} SOURCE.") from None
    if not dataset.dataset_json.exists():
        raise HtunetError(f"{dataset.raw} has no dataset.json. Convert {name} first: htunet_convert {name} SOURCE.")
    return dataset


def _captions(name: str) -> DatasetPaths:
    try:
        dataset = find_dataset(name)
    except UsageError:
        dataset = None
    if dataset is None or not dataset.captions_json.exists():
        raise UsageError(
            f"Adapters are fine-tuned on captions first, and {name} is not converted. Convert it: htunet_convert "
            f"{name} SOURCE; or name other caption data sets with --captions; or start adapters anew: --captions none."
        )
    return dataset


def _check_classes(dataset: DatasetPaths) -> None:
    if len(read_raw(dataset).info.classes) < 2:
        raise HtunetError(f"The images of {dataset.short_name} have no classes, which this table is about.")


def _sizes(dataset: DatasetPaths, ratio: float | None) -> tuple[int, int, int]:
    """Training, validation and test images of fold 0; as the rule of the data set has it before it is split."""
    if dataset.splits_json.exists():
        fold = load_splits(dataset.splits_json)[0]
        train, validation, test = (len(fold[split]) for split in ("train", "val", "test"))
    else:
        raw = read_raw(dataset)
        own = sum(case.split == "test" for case in raw.cases)
        train, validation, test = split_sizes(len(raw.cases) - own, raw.info.split_rule)
        test += own
    return max(1, round(train * ratio)) if ratio else train, validation, test


def _epochs(dataset: DatasetPaths, plan: str) -> int:
    plans = load_plans(dataset.plans_json) if dataset.plans_json.exists() else {}
    return plans[plan].num_epochs if plan in plans else PAPER_EPOCHS


def _run_name(run: RunPaths) -> str:
    ratio = [] if run.ratio is None else [f"ratio{run.ratio!r}"]
    other = [] if run.trained_on is None else [f"by-{run.source.dataset.short_name}"]
    adapter = [f"from-{run.adapter}"] if run.adapter else []
    return "-".join([run.method, run.task, run.plan, *ratio, *adapter, *other, f"seed{run.seed}"])


def _prepare_name(dataset: DatasetPaths) -> str:
    return f"prepare-{dataset.short_name}"


def _finetune_name(start: FinetuningPaths) -> str:
    return f"finetune-{start.method}-{start.name}-seed{start.seed}"


def tested_runs(jobs: Sequence[Job]) -> Iterator[RunPaths]:
    """The runs whose figures the table shows."""
    yield from (job.product.run for job in jobs if isinstance(job.product, Tested))
