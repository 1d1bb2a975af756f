"""Everything that the page of a study says, from the summaries of its runs. Nothing here knows of HTML."""

from collections.abc import Mapping, Sequence

import pandas as pd

from htunet.evaluation.case_table import case_table
from htunet.evaluation.study import Statistics, study
from htunet.paths import RunPaths
from htunet.reporting.report.arms import Content, MethodConfig, find_arms
from htunet.reporting.report.content import ReportContent
from htunet.reporting.report.curves import collect_class_pictures, collect_training
from htunet.reporting.report.gallery import collect_gallery
from htunet.reporting.report.headlines import collect_headlines
from htunet.reporting.report.origin import (
    Terms,
    collect_commands,
    collect_datasets,
    collect_plans,
    collect_versions,
    collect_weights,
)
from htunet.reporting.report.tables import collect_tables
from htunet.reporting.report.zero_shot_section import zero_shot_table

RANDOM_WARNING = (
    "Random weights: {which} made with random instead of pre-trained ones. The figures test the program and say "
    "nothing about any method."
)


def collect(
    contents: Mapping[RunPaths, Content],
    *,
    terms: Mapping[str, Terms],
    command: str,
    per_group: int | None = None,
    statistics: tuple[pd.DataFrame, Statistics] | None = None,
    zero_shot: Sequence[Content] = (),
) -> ReportContent:
    """The page of these runs.

    ``terms`` are those of the backbones' weights, ``command`` is what writes the page, ``per_group`` how many cases of
    each method and group to show (None: as many as the page can bear). ``statistics``: the case table and its
    statistics, where they are at hand. ``zero_shot`` are the classifications by sentences.
    """
    arms = find_arms(contents)
    table = case_table(contents.values()) if statistics is None else statistics[0]
    found = study(table) if statistics is None else statistics[1]
    training, without_curves = collect_training(arms)
    datasets, unknown = collect_datasets(arms)
    return ReportContent(
        title=_title(arms),
        subtitle=_subtitle(arms, contents),
        warnings=tuple(_warnings(arms)),
        headlines=tuple(collect_headlines(arms, found)),
        gallery=collect_gallery(arms, table, per_group),
        tables=(*collect_tables(arms, found), *([zero_shot_table(zero_shot)] if zero_shot else [])),
        training=tuple(training),
        class_pictures=tuple(collect_class_pictures(arms)),
        plans=tuple(collect_plans(arms)),
        datasets=tuple(datasets),
        weights=tuple(collect_weights(arms, terms)),
        versions=tuple(collect_versions(arms)),
        commands=tuple(collect_commands(arms, command)),
        notes=(*without_curves, *unknown),
    )


def _title(arms: Sequence[MethodConfig]) -> str:
    names = list(dict.fromkeys(arm.short_dataset for arm in arms))
    return f"{names[0]}: results" if len(names) == 1 else f"Results on {len(names)} data sets"


def _subtitle(arms: Sequence[MethodConfig], contents: Mapping[RunPaths, Content]) -> str:
    methods = {arm.own["method"] for arm in arms}
    names = ", ".join(dict.fromkeys(arm.short_dataset for arm in arms))
    runs, many = len(contents), len(methods)
    return f"{names} · {many} {'method' if many == 1 else 'methods'} · {runs} {'run' if runs == 1 else 'runs'}"


def _warnings(arms: Sequence[MethodConfig]) -> list[str]:
    random = [arm for arm in arms if arm.random]
    if not random:
        return []
    if len(random) == len(arms):
        return [RANDOM_WARNING.format(which="all results on this page were")]
    names = ", ".join(f"{arm.short_dataset} {arm.name}" for arm in random)
    return [RANDOM_WARNING.format(which=f"{names} {'was' if len(random) == 1 else 'were'}")]
