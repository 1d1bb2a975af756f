"""Figures 4 and 5: which images and runs, where, and in which colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.figures import METHOD, build_everything
from builders.run import build_dataset, build_run
from PIL import Image

from htunet.data.image_io import read_labels, write_png
from htunet.data.raw import read_raw
from htunet.experiments.make_figures import find_results
from htunet.files import read_json, write_json
from htunet.paths import RunPaths, find_dataset
from htunet.reporting.figures.base import Results
from htunet.reporting.figures.mask_grids import comparison_grid, draw_masks, few_shot_grids, sampled_cases
from htunet.reporting.figures.style import save_figure


@pytest.fixture
def results(home: Path) -> Results:
    build_everything()
    return find_results(None, None, None, print)


def test_data_sets_are_rows_of_three_images_and_methods_columns_in_the_papers_order(results: Results) -> None:
    grid = comparison_grid(results)
    assert grid.columns == ("UNet", "BiomedCLIP (HT)")
    assert grid.bold == {"BiomedCLIP (HT)"}
    assert [row.group for row in grid.rows] == ["BUSI"] * 3
    assert len({row.case for row in grid.rows}) == 3
    assert [run.seed for run in grid.rows[0].runs if run] == [1, 1]


def test_the_wished_seed_is_shown_and_a_method_without_it_is_empty(results: Results) -> None:
    row = comparison_grid(replace(results, seed=2)).rows[0]
    assert [run and run.seed for run in row.runs] == [2]


def test_the_same_images_are_drawn_again_and_others_with_another_seed(results: Results) -> None:
    runs = [run for run in results.runs if run.task == "seg"]
    drawn = [sampled_cases(runs[0].dataset, runs, 2, seed) for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(cases) for cases in drawn}) > 1
    assert set(drawn[0]) <= {"case_0006", "case_0007", "case_0008", "case_0009"}


def test_shares_are_columns_up_to_all_images_and_methods_rows(results: Results) -> None:
    (grid,) = few_shot_grids(results).values()
    assert grid.columns == ("50 %", "100 %")
    assert [row.group for row in grid.rows] == ["BiomedCLIP (HT)"] * 2
    assert [run and run.ratio for run in grid.rows[0].runs] == [0.5, None]


def test_shares_with_other_epochs_are_of_one_method(results: Results) -> None:
    few = next(run for run in results.runs if run.ratio)
    write_json(few.settings_json, read_json(few.settings_json) | {"num_epochs": 400})
    (grid,) = few_shot_grids(results).values()
    assert [run and run.ratio for run in grid.rows[0].runs] == [0.5, None]
    of_all = next(run for run in results.runs if run.method == METHOD and run.task == "seg" and not run.ratio)
    write_json(of_all.settings_json, read_json(of_all.settings_json) | {"plan_content": {"learning_rate": 1}})
    (grid,) = few_shot_grids(results).values()  # the other seed's is taken in its place
    assert [run and run.seed for run in grid.rows[0].runs] == [3, 3 - of_all.seed]


def test_unlike_runs_of_one_data_set_take_no_picture_from_the_others(results: Results) -> None:
    other = build_dataset(name="Dataset504_DDTI")
    runs = [*results.runs, build_run(other, method="UNet", shift=1)]
    changed = build_run(find_dataset("BUSI"), method="UNet", seed=2, shift=1)
    settings = read_json(changed.settings_json) | {"plan_content": {"learning_rate": 1}}
    write_json(changed.settings_json, settings)
    grid = comparison_grid(replace(results, runs=[*runs, changed]))
    shown = {row.group: [run for run in row.runs if run and run.method == "UNet"] for row in grid.rows}
    assert [len(shown[name]) for name in ("BUSI", "DDTI")] == [2, 1]


def pixels_of(run: RunPaths, tmp_path: Path) -> list[np.ndarray]:
    """The pictures of the first row of figure 4: (n, n, 3) each, the input first."""
    grid = comparison_grid(Results(runs=[run]))
    figure = draw_masks(replace(grid, rows=grid.rows[:1]))
    png, _ = save_figure(figure, tmp_path, "grid")
    page = np.asarray(Image.open(png).convert("RGB"))
    height, width = page.shape[:2]
    found = []
    for axes in figure.axes:
        box = axes.get_position()
        rows = slice(round((1 - box.y1) * height) + 12, round((1 - box.y0) * height) - 12)
        found.append(page[rows, round(box.x0 * width) + 12 : round(box.x1 * width) - 12])
    return found


def test_missed_is_red_extra_green_and_right_yellow(home: Path, tmp_path: Path) -> None:
    dataset = build_dataset(name="Dataset503_BUSI", sizes=((64, 64),))
    run = build_run(dataset, method=METHOD)
    raw = read_raw(dataset)
    for case in raw.cases[6:]:
        write_png(raw.image_path(case), np.zeros((64, 64), np.uint8))
        label, prediction = np.zeros((2, 64, 64), np.uint8)
        label[:, :42], prediction[:, 21:] = 1, 1  # left third only true, middle both, right third only predicted
        write_png(raw.label_path(case), label)
        write_png(run.predictions / f"{case.id}.png", prediction)
    image, shown = pixels_of(run, tmp_path)
    assert image.max() == 0
    n = shown.shape[1]
    thirds = [shown[n // 2, n * place // 6].tolist() for place in (1, 3, 5)]
    assert thirds == [[128, 0, 0], [128, 128, 0], [0, 128, 0]]


def test_an_empty_prediction_leaves_the_lesion_red(home: Path, tmp_path: Path) -> None:
    dataset = build_dataset(name="Dataset503_BUSI")
    run = build_run(dataset, method=METHOD, missed=["case_0006", "case_0007", "case_0008", "case_0009"])
    assert read_labels(run.predictions / "case_0006.png").max() == 0
    _, shown = pixels_of(run, tmp_path)
    coloured = np.ptp(shown.astype(int), axis=2) > 60
    assert coloured.any()
    assert (shown[coloured][:, 0] > shown[coloured][:, 1]).all()


def test_the_key_is_inside_the_page_however_few_the_columns(results: Results) -> None:
    run = next(run for run in results.runs if run.method == "UNet")
    figure = draw_masks(comparison_grid(replace(results, runs=[run])), "Some methods are not shown. " * 8)
    figure.canvas.draw()
    key = figure.legends[0].get_window_extent()
    assert 0 <= key.x0 < key.x1 <= figure.bbox.x1
    assert key.y0 >= 0
    note = figure._supxlabel  # type: ignore[attr-defined]
    extent, text = note.get_window_extent(), note.get_text()
    empty_share = text.count("\n ") / (text.count("\n") + 1)
    assert key.y1 <= extent.y0 + extent.height * empty_share
