"""Where the results of the page come from: plans and their reasons, data sets, weights, versions, commands."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from htunet.data.preprocessed import planning_warnings
from htunet.data.split_files import split_text
from htunet.errors import HtunetError, counted
from htunet.evaluation.case_table import STARTED, weights_source
from htunet.evaluation.configurations import SIMULATED_START, plan_differences, start_text, with_usual_augmentation
from htunet.files import read_object
from htunet.paths import AS_PUBLISHED, PHANTOM, DatasetPaths
from htunet.reporting.report.content import DatasetFacts
from htunet.reporting.report.study_results import Study
from htunet.reporting.tables.write import Table, word_columns, words
from htunet.reproducibility import recorded_commands, training_command
from htunet.schemas import CHOICE

NOT_DECISIONS = ("name", "dataset", "because", "accumulation", "workers")
SOURCES = {
    "pretrained": "pre-trained, as published",
    "none": "none: the network is trained from scratch",
    "phantom": "pre-trained on simulation, without an image of any patient",
    "random": "RANDOM: the results test the program and say nothing about the method",
}
OWN_LICENCES = {
    PHANTOM: "Apache-2.0: weights of htunet's own",
    "none": "none published: the network is trained from scratch",
    "random": "none published: the network is trained from scratch",
}


def collect_origin(study: Study) -> dict[str, tuple[Any, ...]]:
    """The fields of ``ReportContent`` about where the results come from, by their names."""
    return {
        "plans": tuple(collect_plans(study)),
        "planning_warnings": tuple(collect_planning_warnings(study)),
        "datasets": tuple(collect_datasets(study)),
        "weights": tuple(collect_weights(study)),
        "versions": tuple(collect_versions(study)),
        "commands": tuple(collect_commands(study)),
    }


def collect_plans(study: Study) -> list[Table]:
    """For each data set, plan and content of it the decisions and their reasons, as the runs were trained."""
    plans: dict[tuple[DatasetPaths, str], list[Mapping[str, Any]]] = {}
    for run, settings in study.settings.items():
        if isinstance(plan := settings.get("plan_content"), Mapping):
            known = plans.setdefault((run.source.dataset, run.plan), [])
            if all(plan_differences(plan, other) for other in known):
                known.append(plan)
    tables = []
    for (dataset, name), known in plans.items():
        for number, plan in enumerate(known, start=1):
            which = f", content {number} of {len(known)}" if len(known) > 1 else ""
            reasons = _reasons(dataset, name, plan)
            rows = [(words(key.replace("_", " "), strong=True), words(value_text(value)), words(reasons.get(key, "")))
                    for key, value in with_usual_augmentation(plan).items() if key not in NOT_DECISIONS]  # fmt: skip
            table = Table(
                id=f"plan-{dataset.name}-{name}{which}".replace(", ", "-").replace(" ", "-"),
                title=f"{dataset.unique_name}, plan {name}{which}",
                columns=word_columns("Decision", "Value", "Reason"),
                rows=tuple(rows),
            )
            tables.append(table)
    return tables


def collect_planning_warnings(study: Study) -> Iterator[DatasetFacts]:
    """For each data set and plan what planning warned of, where there is anything."""
    for dataset, plan in dict.fromkeys((run.source.dataset, run.plan) for run in study.runs):
        if found := planning_warnings(dataset, plan):
            title = f"{counted(len(found), 'warning')} about {dataset.unique_name}, plan {plan}"
            yield DatasetFacts(title=title, rows=tuple((str(n), text) for n, text in enumerate(found, start=1)))


def _reasons(dataset: DatasetPaths, name: str, plan: Mapping[str, Any]) -> dict[str, str]:
    """Those of the run's own plan; else those of plans.json, of the decisions that are still the same there."""
    if plan.get("because"):
        return dict(plan["because"])
    try:
        entry = read_object(dataset.plans_json).get("plans", {}).get(name.removesuffix(AS_PUBLISHED), {})
    except HtunetError:
        return {}  # the plan may be gone; its decisions are in the run
    return {key: reason for key, reason in entry.get("because", {}).items() if entry.get(key) == plan.get(key)}


def value_text(value: object) -> str:
    """A value of a plan as text.

    >>> value_text([224, 224]), value_text(None), value_text({"mirror": 0.5}), value_text({})
    ('224 x 224', 'none', 'mirror 0.5', 'none')
    """
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {value_text(entry)}" for key, entry in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        glue = " x " if all(isinstance(entry, int) for entry in value) else ", "
        return glue.join(map(value_text, value))
    return str(value)


def collect_datasets(study: Study) -> list[DatasetFacts]:
    """What each data set is, its licence and reference."""
    found = []
    for name, raw in study.raw.items():
        classes: dict[str, int] = {}
        for case in raw.cases:
            classes[case.class_name] = classes.get(case.class_name, 0) + 1
        counts = ", ".join(f"{count} {name}" for name, count in sorted(classes.items()) if name)
        rows = {
            "What": raw.info.description,
            "Images": f"{len(raw.cases):,}" + (f" ({counts})" if counts else ""),
            "Labels": ", ".join(label for label, index in raw.info.labels.items() if index),
            "Split": split_text(raw),
            "Licence": raw.info.licence or "not stated in dataset.json",
            "Reference": raw.info.reference,
        }
        found.append(DatasetFacts(title=name, rows=tuple((key, text) for key, text in rows.items() if text)))
    return found


def collect_weights(study: Study) -> list[DatasetFacts]:
    """For each kind of frozen weights: the backbone, file, hash, licence, and the methods that have them."""
    methods: dict[tuple[str, ...], dict[str, None]] = {}
    for own in study.runs.values():
        about = own.get("weights") or {}
        source, backbone = weights_source(own) or "", str(own["method"]).partition("_")[0]
        start = start_text(own)
        if source == STARTED and start == SIMULATED_START:
            source, start = PHANTOM, ""
        key = (backbone, source, *(str(about.get(name) or "") for name in ("file", "sha256")), start)
        methods.setdefault(key, {})[own["method"]] = None
    found = []
    for (backbone, source, file, sha256, start), names in methods.items():
        terms = study.terms.get(backbone) if source != PHANTOM else None
        unpublished = f"that of {start}" if start else OWN_LICENCES.get(source, "not known")
        rows = {
            "Weights": f"those of {start}" if source == STARTED else SOURCES.get(source, source),
            "Trained further": f"from the trained part of {start}" if start and source != STARTED else "",
            "File": file,
            "SHA-256": sha256,
            "Methods": ", ".join(names),
            "Licence": terms.licence if terms else unpublished,
            "Please cite": terms.citation if terms else "",
        }
        found.append(DatasetFacts(title=backbone, rows=tuple((name, text) for name, text in rows.items() if text)))
    return found


def collect_versions(study: Study) -> list[DatasetFacts]:
    """Versions of the program and its libraries that trained, and that evaluated; one list for runs with equal ones."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    for run, settings in study.settings.items():
        evaluated, trained = study.runs[run].get("evaluated_with"), settings.get("made_by")
        if isinstance(trained, Mapping):
            earlier = {
                f"before epoch {note.get('epoch')}": ", ".join(
                    f"{key} {value[0]}" for key, value in note.items() if isinstance(value, list) and value
                )
                for note in settings.get("continued_with", [])
            }
            trained = {**trained, **earlier}
        for name, versions in (("Trained with", trained), ("Evaluated with", evaluated)):
            if isinstance(versions, Mapping):
                key = name, tuple((str(k), str(v)) for k, v in versions.items())
                found[key] = found.get(key, 0) + 1
    return [
        DatasetFacts(title=f"{name} ({counted(count, 'run')})", rows=rows)
        for (name, rows), count in sorted(found.items(), key=lambda item: item[0][0], reverse=True)
    ]


def _conversion(dataset: DatasetPaths) -> list[str]:
    """As it was typed, where that is recorded."""
    name = dataset.unique_name
    unknown = f"# How {name} was converted is not recorded: htunet_convert --images IMAGES --masks MASKS --name {name}"
    guess = unknown if dataset.is_own else f"htunet_convert {name} SOURCE"
    return recorded_commands(dataset.conversion_json) or [guess]


def collect_commands(study: Study) -> list[str]:
    """What a user types to repeat the page: as recorded where it is, else what follows from the runs."""
    runs = study.settings
    sources = list(dict.fromkeys(run.source.dataset for run in runs))
    datasets = dict.fromkeys([*sources, *(run.dataset for run in runs)])
    commands = [one for dataset in sources for one in recorded_commands(dataset.run_json)]
    converted = [one for dataset in datasets for one in _conversion(dataset)]
    is_converting = any("--name" in one.split() for one in commands)
    commands += ["# The steps of htunet_run, each of which it does itself:"] * bool(commands)
    commands = commands + converted if is_converting else converted + commands
    for dataset in sources:
        if planned_by := recorded_commands(dataset.planning_json):
            commands += planned_by
            continue
        own = {run: settings for run, settings in runs.items() if run.source.dataset == dataset}
        plans = dict.fromkeys(run.plan.removesuffix(AS_PUBLISHED) for run in own)
        groups = {(settings.get("plan_content") or {}).get("split_by", "image") for settings in own.values()}
        split = "" if groups == {"image"} else f" --split-by {' or '.join(sorted(groups))}"
        commands.append(f"htunet_plan_and_preprocess -d {dataset.unique_name} --plan {' '.join(plans)}{split}")
    for run, settings in runs.items():
        commands.append(training_command(run, settings))
    across = [f"htunet_evaluate {run.dataset.unique_name} {run.method} --trained-on {run.source.dataset.unique_name}"
              for run in runs if run.trained_on]  # fmt: skip
    predicting = [command for dataset in sources for command in _predicting(dataset)]
    predicting[:0] = ["# New images, with the method that htunet_run chose:"] * bool(predicting)
    return list(dict.fromkeys([*commands, "htunet_evaluate", *across, study.command, *predicting]))


def _predicting(dataset: DatasetPaths) -> list[str]:
    try:
        chosen = read_object(dataset.choice_json, CHOICE) if dataset.choice_json.exists() else {}
    except HtunetError:
        return []  # damaged, and not needed to repeat anything
    about = f"htunet_predict -i IMAGES -o OUTPUT -d {dataset.unique_name}"
    return [f"{about} -m {chosen[task]['method']} -p run --task {task} -f all-folds{' --overlays' * (task == 'seg')}"
            for task in chosen]  # fmt: skip
