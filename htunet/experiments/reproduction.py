"""The jobs that a table of the paper needs: prepare, fine-tune, train, test, classify zero-shot; each of them once.

What is missing on this machine (data, weights, captions) leaves rows out, and is named.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from htunet.data.captions import read_captions
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits, paper_fold
from htunet.data.splits import split_sizes
from htunet.data.zero_shot_prompts import find_prompts
from htunet.errors import HtunetError, UsageError
from htunet.experiments.jobs import Job, Workload
from htunet.experiments.products import NotYet, PreparedDataset, Tested, Trained, ZeroShotClassified
from htunet.inference.text_side import towers_name
from htunet.models.build import PAPER_PLAN, PUBLIC_PLAN, check_task, paper_plan, parse_method, published_weights
from htunet.models.catalogue import CATALOGUE
from htunet.models.text import TEXT_TOWERS
from htunet.models.weights.load import PRETRAINED
from htunet.models.weights.store import find_any, find_pretrained, size_text
from htunet.paths import (
    TRAINER_OF_TASK,
    DatasetPaths,
    FinetuningPaths,
    RunPaths,
    all_datasets,
    find_dataset,
    is_name_of,
)
from htunet.planning.planner import PLANNERS
from htunet.planning.plans import load_plans
from htunet.planning.rules import BASE_SIDE
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import SEGMENTATION
from htunet.reporting.tables.paper_layouts import Line, PaperTable, Part
from htunet.reporting.tables.paper_runs import SupervisedRun, ZeroShotRun, trainings, zero_shot_runs

PAPER_EPOCHS, FINETUNE_EPOCHS = 200, 32
PHANTOM = "Phantom"
PHANTOM_CAPTIONS = ("PhantomCaptions",)
"""What adapters are fine-tuned on where only the simulated images are requested: nothing has to be downloaded."""
JOINED_CAPTIONS = ("PMC-CURD", "MedPix")
"""The same captions as the paper's, as its authors have released them."""
DATA, CAPTIONS, WEIGHTS, RUN = "data set", "captions", "weights", "run"


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
        if self.datasets == {PHANTOM}:
            return PHANTOM_CAPTIONS
        here = {name.split("_", 1)[1] for name in all_datasets()}
        return JOINED_CAPTIONS if "PMC-CURD" in here and not {"PMC-OA", "CURD"} & here else paper.CAPTIONS

    def plan_of(self, method: str) -> str:
        """The plan of a method's runs."""
        usual = paper_plan(method)
        return usual.replace(PAPER_PLAN, PUBLIC_PLAN) if self.plan == PUBLIC_PLAN else self.plan or usual

    def start_seed(self, seed: int) -> int:
        """The seed of the fine-tuning that a run with ``seed`` starts from: one for all; in plan ``public`` its own."""
        return seed if self.plan == PUBLIC_PLAN else self.seeds[0]


@dataclass(frozen=True)
class Obstacle:
    """What is missing, so that a row cannot be run."""

    kind: str
    """``data set``, ``captions``, ``weights`` or ``run``."""
    name: str
    command: str = ""
    """Gets what is missing; empty where no command does."""
    note: str = ""
    """What a user should know of it."""


@dataclass
class TablePlan:
    """What a table needs, as far as it can be had here."""

    jobs: list[Job]
    """In an order in which they can be done."""
    excluded: dict[Obstacle, list[str]]
    """What is missing, to the rows that it leaves out: ``CLIP (HT) on BUSI``."""
    later: list[Job]
    """The jobs of the rows that are left out: they are not run, but their time is estimated."""
    rows: int
    """The number of all requested rows."""
    other_images: dict[str, str]
    """Data sets of the paper's names that are not its images, and how they differ."""

    @property
    def rows_excluded(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys(row for rows in self.excluded.values() for row in rows))


def plan_table(config: ReproductionConfig) -> TablePlan:
    """All jobs of the rows of a table that can be run, and what is missing for the others.

    Raises UsageError for names that do not exist and for tasks that are not possible.
    """
    planner = _Planner(config)
    excluded: dict[Obstacle, list[str]] = {}
    later: list[Job] = []
    rows = 0
    for part in config.table.parts:
        for dataset in part.datasets:
            for line in config.table.lines:
                runs = trainings(line, dataset, part.kind, config.seeds)
                asked = zero_shot_runs(line, dataset, config.seeds)
                rows += bool(runs or asked)
                if found := planner.obstacles(line, part, dataset):
                    later += [*planner.later_finetunings(line.method), *_later(config, runs, asked)]
                    task = f", {part.kind.name}" if len(config.table.parts) > 1 else ""
                    group = f" ({line.group})" if config.table.grouped else ""
                    for obstacle in found:
                        excluded.setdefault(obstacle, []).append(f"{line.name}{group} on {dataset}{task}")
                    continue
                for training in runs:
                    planner.add_training(training)
                for run in asked:
                    planner.add_zero_shot(run)
    sizes = {dataset.short_name: len(read_raw(dataset).cases) for dataset in planner.plans}
    others = {name: paper.other_images(name, {"total": number}) for name, number in sizes.items()}
    others = {name: text for name, text in others.items() if text not in ("", paper.OTHER)}
    later = list({job.name: job for job in later}.values())
    return TablePlan(planner.all_jobs(), excluded, later, rows, others)


def _later(config: ReproductionConfig, runs: Sequence[SupervisedRun], asked: Sequence[ZeroShotRun]) -> list[Job]:
    """The trainings of a row and its tests with the numbers of images of the paper's Table I."""
    found = []
    for run in runs:
        sizes = paper.sizes(run.dataset)
        if sizes is None:
            continue
        plan, tested = config.plan_of(run.method), paper.sizes(run.tested_on) or sizes
        workload = Workload(method=run.method, task=run.task, plan=plan)
        train = replace(
            workload,
            train_images=max(1, round(sizes["train"] * (run.ratio or 1))),
            epochs=config.num_epochs or PAPER_EPOCHS,
            other_images=sizes["val"],
        )
        name = f"{run.dataset}-{run.method}-{run.task}-{run.tested_on}-{run.ratio}-seed{run.seed}"
        if run.dataset == run.tested_on:
            found.append(Job(name=f"train-{name}", kind="train", arguments=(), product=NotYet(), workload=train))
        test = replace(workload, other_images=tested["test"])
        found.append(Job(name=f"test-{name}", kind="test", arguments=(), product=NotYet(), workload=test))
    for one in asked:
        images = (paper.sizes(one.dataset) or {"total": 0})["total"]
        workload = Workload(method=one.method, task="cls", plan=config.plan_of(one.method), other_images=images)
        name = f"zero-shot-{one.dataset}-{one.method}"
        found.append(Job(name=name, kind="zero-shot", arguments=(), product=NotYet(), workload=workload))
    return found


@dataclass
class _Planner:
    """Collects the jobs of a table, each by its name."""

    config: ReproductionConfig
    plans: dict[DatasetPaths, list[str]] = field(default_factory=dict)
    finetunings: dict[str, Job] = field(default_factory=dict)
    others: dict[str, Job] = field(default_factory=dict)
    missing_weights: Callable[[str], Obstacle | None] = field(default_factory=lambda: cache(_missing_weights))

    def obstacles(self, line: Line, part: Part, dataset: str) -> list[Obstacle]:
        """Everything that a row lacks on this machine."""
        config, found = self.config, list[Obstacle]()
        runs = trainings(line, dataset, part.kind, config.seeds)
        for name in dict.fromkeys([run.dataset for run in runs] + [dataset]):
            converted = any(is_name_of(name, full) for full in all_datasets())
            if not converted or not find_dataset(name).dataset_json.exists():
                found.append(Obstacle(DATA, name, f"htunet_convert {name} SOURCE"))
                continue
            try:
                info = read_raw(find_dataset(name)).info
            except HtunetError as error:
                found.append(Obstacle(DATA, name, note=str(error)))
                continue
            what = "masks" if part.kind is SEGMENTATION else "classes"
            if not (info.has_masks if part.kind is SEGMENTATION else len(info.classes) > 1):
                note = f"the images of {name} have no {what}, which this table is about"
                found.append(Obstacle(DATA, name, note=note))
        backbone = parse_method(line.method).backbone or line.method
        if config.weights == PRETRAINED and published_weights(line.method):
            found += filter(None, [self.missing_weights(backbone)])
        if self._is_fine_tuned(line.method):
            found += filter(None, map(_missing_captions, config.caption_datasets))
        if not found:
            for product in self._started(runs):
                try:
                    product.check()
                except HtunetError as error:
                    found.append(Obstacle(RUN, product.run.label, note=str(error)))
        return found

    def _started(self, runs: Sequence[SupervisedRun]) -> Iterator[Trained]:
        """The runs of a row, and the fine-tunings that they start from."""
        for training in runs:
            if start := self._start(training.method, training.seed):
                yield Trained(start, self.config.num_epochs, self.config.weights, self._finetuning_side())
            yield Trained(self._run(training, start), self.config.num_epochs, self.config.weights, start=start)

    def _run(self, training: SupervisedRun, start: FinetuningPaths | None) -> RunPaths:
        dataset = find_dataset(training.dataset)
        return RunPaths(
            dataset,
            TRAINER_OF_TASK[training.task],
            self.config.plan_of(training.method),
            training.method,
            fold=paper_fold(dataset, training.task),
            seed=training.seed,
            ratio=training.ratio,
            adapter=start.label_for(training.seed) if start else "",
        )

    def _is_fine_tuned(self, method: str) -> bool:
        parsed = parse_method(method)
        return bool(self.config.caption_datasets and parsed.adapter and parsed.backbone in TEXT_TOWERS)

    def later_finetunings(self, method: str) -> Iterator[Job]:
        """The fine-tunings of a method that is left out, with the numbers of pairs of the paper's Table I."""
        config = self.config
        sizes = [size for name in config.caption_datasets if (size := paper.sizes(name))]
        if not self._is_fine_tuned(method) or len(sizes) < len(config.caption_datasets):
            return
        train, validation = (sum(size[part] for size in sizes) for part in ("train", "val"))
        epochs = config.num_epochs or FINETUNE_EPOCHS
        workload = Workload(method=method, task="seg", plan=config.plan_of(method), train_images=train, epochs=epochs)
        workload = replace(workload, other_images=validation, side=BASE_SIDE)
        for seed in dict.fromkeys(map(config.start_seed, config.seeds)):
            name = f"finetune-{method}-seed{seed}"
            yield Job(name=name, kind="finetune", arguments=(), product=NotYet(), workload=workload)

    def _start(self, method: str, seed: int) -> FinetuningPaths | None:
        """The fine-tuning that the run of a method starts from, whose captions are all here."""
        if not self._is_fine_tuned(method):
            return None
        names = sorted(_caption_paths(name).name for name in self.config.caption_datasets)
        plan = PUBLIC_PLAN if self.config.plan == PUBLIC_PLAN else PAPER_PLAN
        return FinetuningPaths(tuple(names), method, self.config.start_seed(seed), plan=plan)

    def add_training(self, training: SupervisedRun) -> None:
        """A run, its test, and whatever it needs."""
        config, method = self.config, training.method
        check_task(method, training.task)
        dataset, tested = find_dataset(training.dataset), find_dataset(training.tested_on)
        plan, start, needs = self._requirements(dataset, method, training.seed)
        run = self._run(training, start)
        options = ["--seed", str(training.seed), "--plan", plan, "--task", training.task, *self._weights_option()]
        options += ["--num-epochs", str(config.num_epochs)] * (config.num_epochs is not None)
        options += ["--ratio", repr(training.ratio)] * (training.ratio is not None)
        options += ["--adapter", str(start.checkpoint_best)] if start else []
        train_images, validation, test = _split_sizes(dataset, training.task)
        if training.ratio:
            train_images = max(1, round(train_images * training.ratio))
        plans = load_plans(dataset.plans_json) if dataset.plans_json.exists() else {}
        epochs = config.num_epochs or (plans[plan].num_epochs if plan in plans else PAPER_EPOCHS)
        workload = Workload(method=method, task=training.task, dataset=dataset.name, plan=plan)
        trained = Trained(run, config.num_epochs, config.weights, start=start)
        train = self._add(
            name=f"train-{dataset.short_name}-{_run_name(run)}",
            kind="train",
            arguments=("train", dataset.name, method, f"fold{run.fold}", *options),
            product=trained,
            needs=needs,
            workload=replace(workload, train_images=train_images, epochs=epochs, other_images=validation),
        )
        elsewhere = [] if tested == dataset else [tested.name]
        result = replace(run, dataset=tested, trained_on=dataset.name) if elsewhere else run
        images = len(read_raw(tested).cases) if elsewhere else test
        self._add(
            name=f"test-{tested.short_name}-{_run_name(result)}",
            kind="test",
            arguments=("evaluate", *elsewhere, "--run", str(run.folder)),
            product=Tested(result, trained),
            needs=(train.name,),
            workload=replace(workload, other_images=images),
        )

    def add_zero_shot(self, run: ZeroShotRun) -> None:
        """A zero-shot classification, and whatever it needs."""
        dataset, method = find_dataset(run.dataset), run.method
        find_prompts(dataset.short_name)
        if parse_method(method).backbone not in TEXT_TOWERS:
            raise UsageError(f"{method} has no text encoder, so it has no zero-shot row. Omit it from --methods.")
        plan, start, needs = self._requirements(dataset, method, run.seed)
        if start is None and parse_method(method).adapter:
            raise UsageError(
                f"The zero-shot row of {method} needs a fine-tuned adapter: name caption data sets with --captions, or "
                "omit the method."
            )
        label, weights = start.label_for() if start else "", self.config.weights
        options = ["--seed", str(run.seed), "--plan", plan, *self._weights_option()]
        options += ["--adapter", str(start.checkpoint_best)] if start else []
        images = len(read_raw(dataset).cases)
        folder = dataset.text_side("zero_shot", towers_name(method, label, weights, plan), "all")
        self._add(
            name=f"zero-shot-{dataset.short_name}-{method}",
            kind="zero-shot",
            arguments=("zero_shot", dataset.name, method, *options),
            product=ZeroShotClassified(folder, plan, weights, start.checkpoint_best if start else None),
            needs=needs,
            workload=Workload(method=method, task="cls", dataset=dataset.name, plan=plan, other_images=images),
        )

    def all_jobs(self) -> list[Job]:
        """Preparations, fine-tunings, and the rest as it was added."""
        prepare = [
            Job(
                name=_prepare_name(dataset),
                kind="prepare",
                arguments=("plan_and_preprocess", "-d", dataset.name, "--plan", *plans),
                product=PreparedDataset(dataset, tuple(plans)),
                workload=Workload(other_images=len(read_raw(dataset).cases) * len(plans)),
            )
            for dataset, plans in self.plans.items()
        ]
        return [*prepare, *self.finetunings.values(), *self.others.values()]

    def _add(self, **job: Any) -> Job:  # noqa: ANN401
        added = Job(**job)
        self.others[added.name] = added
        return added

    def _requirements(
        self, dataset: DatasetPaths, method: str, seed: int
    ) -> tuple[str, FinetuningPaths | None, tuple[str, ...]]:
        """The plan of a run, the fine-tuning that its adapter starts from, and the names of the jobs that it needs."""
        plan = self.config.plan_of(method)
        if plan not in PLANNERS and (not dataset.plans_json.exists() or plan not in load_plans(dataset.plans_json)):
            raise UsageError(
                f"{dataset.plans_json} has no plan {plan!r}. The planner makes {', '.join(PLANNERS)}; put your own "
                f"into the file first, after htunet_plan_and_preprocess -d {dataset.short_name}."
            )
        plans = self.plans.setdefault(dataset, [])
        if plan not in plans:
            plans.append(plan)
        start = self._start(method, seed)
        if start and _finetune_name(start) not in self.finetunings:
            self._add_finetuning(start)
        return plan, start, (_prepare_name(dataset), *([_finetune_name(start)] if start else []))

    def _add_finetuning(self, start: FinetuningPaths) -> None:
        config, method, side = self.config, start.method, self._finetuning_side()
        options = ["--seed", str(start.seed), "--input-size", str(side), *self._weights_option()]
        options += ["--plan", PUBLIC_PLAN] * (start.plan == PUBLIC_PLAN)
        options += ["--num-epochs", str(config.num_epochs)] * (config.num_epochs is not None)
        pairs = sum(len(read_captions(DatasetPaths(name)).pairs) for name in start.datasets)
        self.finetunings[_finetune_name(start)] = Job(
            name=_finetune_name(start),
            kind="finetune",
            arguments=("finetune", method, "-d", *start.datasets, *options),
            product=Trained(start, config.num_epochs, config.weights, side),
            workload=Workload(
                method=method,
                task="seg",
                plan=config.plan_of(method),
                train_images=pairs * 9 // 10,
                epochs=config.num_epochs or FINETUNE_EPOCHS,
                other_images=pairs - pairs * 9 // 10,
                side=side,
            ),
        )

    def _finetuning_side(self) -> int:
        """Side of the images of stage 1: that of stage 2, where the user's own plan says how large they are."""
        plan = self.config.plan
        if plan is None or plan in PLANNERS:
            return BASE_SIDE
        sizes = {load_plans(find_dataset(name).plans_json)[plan].input_size for name in self.config.datasets}
        if len(sizes) > 1 or len(set(next(iter(sizes)))) > 1:
            raise UsageError(
                f"The plan {plan} has other input sizes than one square: {sorted(sizes)}. Fine-tune the adapters "
                "yourself with htunet_finetune, or take --captions none."
            )
        return next(iter(sizes))[0]

    def _weights_option(self) -> list[str]:
        return ["--weights", self.config.weights] if self.config.weights != PRETRAINED else []


def _missing_weights(backbone: str) -> Obstacle | None:
    if find_any(backbone) is None:
        size = size_text(CATALOGUE[backbone].files[0])
        return Obstacle(WEIGHTS, backbone, f"htunet_weights download {backbone}", f"the pre-trained weights, {size}")
    try:
        find_pretrained(backbone)
    except HtunetError as error:
        return Obstacle(WEIGHTS, backbone, note=str(error))
    return None


def _caption_paths(name: str) -> DatasetPaths:
    dataset = find_dataset(name)
    if not dataset.captions_json.exists():
        raise UsageError(f"{name} holds no captions.")
    return dataset


def _missing_captions(name: str) -> Obstacle | None:
    try:
        _caption_paths(name)
    except UsageError:
        return Obstacle(CAPTIONS, name, f"htunet_convert {name} SOURCE")
    return None


def _split_sizes(dataset: DatasetPaths, task: str) -> list[int]:
    """Training, validation and test images of the paper's fold; before the split, what its rule or lists will give."""
    if path := next((path for path in (dataset.splits_json, dataset.paper_splits_json) if path.exists()), None):
        fold = load_splits(path)[paper_fold(dataset, task)]
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
