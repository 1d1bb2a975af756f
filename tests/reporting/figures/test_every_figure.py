"""What all figures have in common: each is drawn from results, written twice, and says what it lacks."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders.figures import METHOD, build_everything
from builders.run import build_dataset, build_run
from PIL import Image

from htunet.errors import UsageError
from htunet.experiments import make_figures as making
from htunet.experiments.make_figures import find_results, make_figures
from htunet.files import read_json, write_json
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.figures import FIGURES
from htunet.reporting.figures.base import NotYetError, Results, arm_name, by_arm, random_weights_note


@pytest.fixture
def results(home: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.setattr(making, "_measure", lambda *_: None)  # there is no network to look into
    build_everything()
    return find_results(None, None, None, print)


@pytest.mark.parametrize("name", FIGURES.names())
def test_a_figure_is_written_as_png_and_pdf(results: Results, home: Path, name: str) -> None:
    made = make_figures([name], results, print)
    assert (made.excluded, made.failed) == ({}, {})
    paths = made.written[name]
    assert {path.suffix for path in paths} == {".png", ".pdf"}
    for path in paths:
        assert path.parent == home / "results" / "figures"
        assert path.name.startswith(name)
        assert path.stat().st_size > 2000
        if path.suffix == ".png":
            colours = Image.open(path).convert("RGB").getcolors(1 << 24)
            assert colours is not None
            assert len(colours) > 20


@pytest.mark.parametrize("name", FIGURES.names())
def test_without_results_a_figure_says_what_is_missing_and_what_provides_it(home: Path, name: str) -> None:
    with pytest.raises(NotYetError, match=r"no .+\. Provide one: htunet_\w+"):
        FIGURES[name](Results(runs=[]))


@pytest.mark.parametrize("name", FIGURES.names())
def test_every_figure_says_what_it_shows(name: str) -> None:
    first_line = (FIGURES[name].__doc__ or "").splitlines()[0]
    assert 30 < len(first_line) <= 120


def test_one_broken_figure_stops_no_other(results: Results) -> None:
    run = next(run for run in results.runs if run.measurement("noise").exists())
    run.measurement("noise").write_bytes(b"broken")
    made = make_figures(["noise", "dice_distribution"], results, print)
    assert "noise.npz" in made.failed["noise"]
    assert len(made.written["dice_distribution"]) == 2


def test_only_the_wished_methods_and_seeds_are_found(results: Results) -> None:
    assert {run.method for run in find_results(None, ["UNet"], None, print).runs} == {"UNet"}
    with pytest.raises(UsageError, match="Did you mean 'UNet'"):
        find_results(None, ["Unet"], None, print)
    with pytest.raises(UsageError, match="there are 1, 2, 3"):
        find_results(None, None, 9, print)


def test_arms_stand_in_the_papers_order_and_are_called_as_the_paper_does(results: Results) -> None:
    arms = by_arm(results.own("seg"))
    assert list(arms) == ["UNet", "BiomedCLIP (HT)"]
    assert [run.seed for run in arms["BiomedCLIP (HT)"]] == [1, 2]


def test_what_a_run_differs_in_is_part_of_its_name(home: Path) -> None:
    dataset = build_dataset(plan="paper_518")
    run = build_run(dataset, method="DINOv2", plan="paper_518")
    assert arm_name(run) == "DINOv2"
    adaptive = build_run(build_dataset(name="Dataset904_Other", plan="adaptive"), method="CLIP_LoRAVT", plan="adaptive")
    assert arm_name(adaptive) == "CLIP (LoRA V+T), plan adaptive"


def test_figures_name_what_a_run_started_from(results: Results) -> None:
    run = next(run for run in results.runs if run.method == METHOD)
    settings, name = read_json(run.settings_json), arm_name(run)
    for start, words in (
        ({"dataset": None, "weights": "phantom"}, "weights pre-trained on simulation"),
        ({"dataset": "Dataset504_DDTI", "fold": 3}, "a run on DDTI"),
    ):
        write_json(run.settings_json, settings | {"start_checkpoint": start})
        assert arm_name(run) == f"{name}, started from {words}"


def test_random_weights_are_said(results: Results) -> None:
    run = next(run for run in results.runs if run.method == METHOD)
    assert random_weights_note(results.runs) == ""
    write_json(run.settings_json, read_json(run.settings_json) | {"weights": {"source": "random"}})
    assert "Random weights (BiomedCLIP (HT))" in random_weights_note([run])


def test_the_papers_captions_have_a_short_name_and_the_seed_of_a_fine_tuning_makes_no_other_arm() -> None:
    run = RunPaths(DatasetPaths("Dataset503_BUSI"), "SegmentationTrainer", "paper", "CLIP_HT", 0, 1)
    names = {learnt: arm_name(replace(run, adapter=learnt)) for learnt in
             ("", "CURD+MedPix+PMC-OA", "CURD+MedPix+PMC-OA-seed1", "MedPix-seed2", "MedPix-shuffled")}  # fmt: skip
    assert list(names.values()) == [
        "CLIP (HT)",
        "CLIP (HT), fine-tuned",
        "CLIP (HT), fine-tuned",
        "CLIP (HT), adapter of MedPix",
        "CLIP (HT), adapter of MedPix-shuffled",
    ]
