"""What makes runs repetitions of each other: equal content of plan and settings, as far as it changes results.

Names do not, because a plan may be edited under its name. Whatever is not listed here with its reason counts, and so
does a field that is added later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from htunet.data.raw import DatasetInfo
from htunet.errors import UsageError, some
from htunet.files import as_read, json_hash, read_object
from htunet.paths import RunPaths
from htunet.planning.planner import PLANNERS
from htunet.planning.plans import comparable
from htunet.planning.rules import AUGMENTATION, MEMORY_GB
from htunet.reproducibility import training_command
from htunet.schemas import SETTINGS

BESIDE = "compared beside the configuration, in columns of its own"
MACHINE = "follows the machine that trained, and changes results by rounding and the random numbers of dropout only"
PLAN_APART = {
    "name": BESIDE,
    "dataset": BESIDE,
    "num_epochs": "a run's own number of epochs counts, " + BESIDE,
    "accumulation": MACHINE,
    "workers": MACHINE,
    "because": "the reasons of the values, in words",
}
"""Fields of a plan that are no part of a configuration, each with the reason."""
SETTINGS_APART = {
    **dict.fromkeys(("dataset", "method", "task", "trainer", "plan", "num_epochs", "trained_on"), BESIDE),
    **dict.fromkeys(("device", "devices", "processor", "workers", "parts", "threads", "continued_with"), MACHINE),
    "plan_content": "its fields count one by one",
    "trainable_parameters": BESIDE,
    "fold": "repetitions differ in it",
    "seed": "repetitions differ in it",
    "few_shot": "the fraction is compared beside; which images it is follows from the seed",
    "split_sha256": "of one fold; results of another split than that in use are told apart when they are read",
    "start_checkpoint": "of one fold; its data set, configuration and epochs count",
    "images_without_class": "follows from the data and the task",
    **dict.fromkeys(("weights_argument", "adapter_argument", "start_argument"), "the hash of the tensors counts"),
    "start_licence": "follows from the weights",
    "plan_edited": "follows from the plan",
    "format": "how the file is written",
    "made_by": "the versions, which the report shows",
}
"""Settings of a run, keys of settings.json, that are no part of a configuration, each with the reason."""
ADAPTER_APART = {
    "seed": "of the fine-tuning: one for all runs, or one for each seed",
    "sha256": "follows from its seed",
    "run": "of one fold; its data set counts",
}
FACTS = ("labels", "classes", "channels", "prompts", "split_by")
"""Fields of a plan that describe the data set, whatever the plan is."""
WITH_DEFAULTS = (
    *("augmentation", "adapter", "loss_parameters", "class_loss_parameters", "head_parameters"),
    "class_head_parameters",
)
"""Fields of a plan that hold settings with defaults."""
MOST, LONGEST = 4, 30
"""Of the values that differ: how many are named, with how many characters each."""
DATA_DRIVEN = ("adaptive",)
"""The planner's plans whose content follows the data; the content of the others is known beforehand."""


def configuration(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values that count, nested ones as ``augmentation.mirror``; None where the settings hold no plan."""
    plan = settings.get("plan_content")
    if not isinstance(plan, Mapping):
        return None
    others = {name: value for name, value in settings.items() if name not in SETTINGS_APART}
    others["weights"] = _without(others.get("weights"), ("file",))
    if tested := (settings.get("trained_on") or {}).get("cases"):
        others["tested_cases"] = _hash({"cases": sorted(tested)})
    if before := settings.get("start_checkpoint"):
        others["started_from"] = {name: before.get(name) for name in ("configuration", "num_epochs")}
    if start := _without(others.pop("adapter", None), ADAPTER_APART):
        others["starting_adapter"] = start | {"plan_content": _plan_values(start.get("plan_content") or {})}
    if "parts" not in settings and (plan.get("accumulation") or 1) > 1:
        others["accumulation"] = plan["accumulation"]  # of an earlier version, which cut batches of BatchNorm, too
    return _plan_values(plan) | _flat(others)


def digest(settings: Mapping[str, Any]) -> str:
    """The configuration as eight characters; empty where it is not known."""
    found = configuration(settings)
    return "" if found is None else _hash(found)


def of_any_dataset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``configuration`` without the values that describe the data set: equal for runs that one mean may combine.

    The content of a plan that follows the data is left out, too, unless it was edited.
    """
    found, plan = configuration(settings) or {}, settings.get("plan_content") or {}
    follows = settings.get("plan") in DATA_DRIVEN and not settings.get("plan_edited")
    of_data = {*FACTS, "data_sha256", "tested_cases", *(plan if follows else ())}
    return {name: value for name, value in found.items() if name.split(".")[0] not in of_data}


def edits(settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where a run's plan differs from the planner's plan of the same name: field to (as planned, in the run)."""
    name, content = settings.get("plan"), settings.get("plan_content")
    if name not in PLANNERS or name in DATA_DRIVEN or not isinstance(content, Mapping):
        return {}
    facts = {key: content[key] for key in ("labels", "classes", "channels") if key in content}
    of_dataset: Any = SimpleNamespace(dataset=content.get("dataset", ""))
    named = PLANNERS[str(name)](of_dataset, DatasetInfo(**facts), MEMORY_GB)
    return plan_differences(_without(asdict(named), FACTS), _without(content, FACTS))


def plan_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The values of two plans, as JSON objects, that differ and count: field to (then, now)."""
    before, after = _plan_values(then), _plan_values(now)
    both = {key: (before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())}
    return {key: values for key, values in both.items() if values[0] != values[1]}


def with_usual_augmentation(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan of images with labels, as a JSON object, with the augmentation that it does not name."""
    return {**plan, "augmentation": AUGMENTATION | dict(plan.get("augmentation") or {})}


def words_of(values: Mapping[str, Any]) -> str:
    """The values that differ, as a text for people; what is not named in a group of settings has its default.

    >>> words_of({"learning_rate": 0.01, "patience": None, "augmentation.mirror": None})
    'learning_rate 0.01, patience none, augmentation.mirror default'
    """
    absent = {key: "default" if key.partition(".")[0] in WITH_DEFAULTS else "none" for key in values}
    texts = [f"{key} {absent[key] if value is None else str(value)[:LONGEST]}" for key, value in values.items()]
    return some(texts, MOST)


def plan_name(settings: Mapping[str, Any], name: str) -> str:
    """The plan's name; of one whose content is not what it was planned as ``paper, edited 3f2a``."""
    changed = edits(settings)
    if changed:
        return f"{name}, edited {_hash({key: now for key, (_, now) in changed.items()})[:4]}"
    return f"{name}, edited {digest(settings)[:4]}" if settings.get("plan_edited") else name


def _plan_values(plan: Mapping[str, Any]) -> dict[str, Any]:
    return _flat(comparable(_without(as_read(plan), PLAN_APART)))


def _without(content: object, names: Mapping[str, str] | tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in names} if isinstance(content, Mapping) else {}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values as ``group.name``, without empty ones; whole numbers as int."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        elif value is not None and value != []:
            found[before + key] = int(value) if isinstance(value, float) and value.is_integer() else value
    return found


def _hash(values: Mapping[str, Any]) -> str:
    return json_hash(values, sort_keys=True)[:8]


def check_alike(runs: Sequence[RunPaths]) -> None:
    """Raise UsageError where runs of one method that are to be combined were trained differently.

    Raises HtunetError where the settings of a run are missing or broken.
    """
    firsts: dict[str, tuple[RunPaths, dict[str, Any]]] = {}
    for run in runs:
        settings = read_object(run.settings_json, SETTINGS)
        mine = {"task": run.task, "start": run.adapter or None, "num_epochs": settings.get("num_epochs")}
        mine |= configuration(settings) or {}
        first, its = firsts.setdefault(run.method, (run, mine))
        names = [name for name in {**mine, **its} if mine.get(name) != its.get(name)]
        if names:
            here, there = (words_of({name: values.get(name) for name in names}) for values in (mine, its))
            raise UsageError(
                f"{run.label} was trained otherwise than {first.label}, so that they cannot be taken together: {here}; "
                f"the other {there}. Name runs that are alike (by fold, --plan or --adapter), or train one of them "
                f"again as the other: {training_command(run)} --restart"
            )
