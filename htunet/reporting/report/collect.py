"""Everything that the page of a study says. Nothing here knows of HTML."""

from htunet.errors import counted
from htunet.reporting.report.content import ReportContent
from htunet.reporting.report.curves import collect_class_pictures, collect_training
from htunet.reporting.report.gallery import collect_gallery
from htunet.reporting.report.headlines import collect_headlines
from htunet.reporting.report.origin import (
    collect_commands,
    collect_datasets,
    collect_planning_warnings,
    collect_plans,
    collect_versions,
    collect_weights,
)
from htunet.reporting.report.page_tables import page_tables
from htunet.reporting.report.study_results import Study
from htunet.reporting.tables.rows import with_explanation

RANDOM_WARNING = (
    "Random weights: {which} made with random instead of pre-trained ones. The results test the program and say "
    "nothing about any method."
)


def collect(study: Study) -> ReportContent:
    """The page of a study."""
    names = list(dict.fromkeys(method.short_dataset for method in study.methods))
    methods, runs = len({own["method"] for own in study.runs.values()}), len(study.runs)
    random = [f"{method.short_dataset} {method.name}" for method in study.methods if method.random]
    few = dict.fromkeys(f"{method.short_dataset}: {with_explanation(row.few)}."
                        for method in study.methods for row in method.rows.values() if row.few)  # fmt: skip
    warned = tuple(collect_planning_warnings(study))
    which = f"{', '.join(random)} {'was' if len(random) == 1 else 'were'}"
    if len(random) == len(study.methods):
        which = "all results on this page were"
    return ReportContent(
        title=f"{names[0]}: results" if len(names) == 1 else f"Results on {len(names)} data sets",
        subtitle=f"{', '.join(names)} · {counted(methods, 'method')} · {counted(runs, 'run')}",
        warnings=(*([RANDOM_WARNING.format(which=which)] if random else []), *few),
        headlines=tuple(collect_headlines(study)),
        gallery=collect_gallery(study),
        tables=page_tables(study),
        training=tuple(collect_training(study)),
        class_pictures=tuple(collect_class_pictures(study)),
        plans=tuple(collect_plans(study)),
        planning_warnings=warned,
        datasets=tuple(collect_datasets(study)),
        weights=tuple(collect_weights(study)),
        versions=tuple(collect_versions(study)),
        commands=tuple(collect_commands(study)),
        notes=(*study.notes, *(f"Planning gave {found.title}: see the plans below." for found in warned)),
    )
