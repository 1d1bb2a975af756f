"""Which jobs a table needs, each once, and what they cost."""

from collections import Counter
from pathlib import Path

import pytest
from builders.contrastive import build_captions
from builders.raw import build_raw
from builders.training import build_training, tiny_settings

from htunet.errors import HtunetError
from htunet.experiments import cost, step_time
from htunet.experiments.cost import Cost, costs_of, wall_time
from htunet.experiments.jobs import Job, in_order
from htunet.experiments.products import Trained
from htunet.experiments.reproduction import ReproductionConfig, plan_table
from htunet.files import write_json
from htunet.paths import DatasetPaths
from htunet.reporting.tables.paper_layouts import TABLES, chosen
from htunet.training.run import train


def config_of(table: str, datasets: list[str], methods: list[str], **changes: object) -> ReproductionConfig:
    defaults = {"seeds": (1, 2), "weights": "random", "captions": ("Words",)}
    return ReproductionConfig(table=chosen(TABLES[table], datasets, methods), **(defaults | changes))  # type: ignore[arg-type]


def named(jobs: list[Job]) -> dict[str, Job]:
    assert len({job.name for job in jobs}) == len(jobs)
    return {job.name: job for job in in_order(jobs)}


@pytest.fixture
def datasets(home: Path) -> None:
    build_raw(20, name="Dataset501_LN-INT")
    build_raw(9, name="Dataset502_LN-EXT", rule="test only")
    build_captions()


def test_a_table_needs_each_job_once_and_the_fine_tuning_serves_all_seeds(datasets: None) -> None:
    jobs = named(plan_table(config_of("table5", ["LN-INT", "LN-EXT"], ["CLIP", "CLIP_HT"])).jobs)
    assert Counter(job.kind for job in jobs.values()) == {"prepare": 1, "finetune": 1, "train": 4, "test": 8}
    assert jobs["train-LN-INT-CLIP-seg-paper-seed1"].needs == ("prepare-LN-INT",)
    second = jobs["train-LN-INT-CLIP_HT-seg-paper-from-Words-seed1-seed2"]
    assert second.needs == ("prepare-LN-INT", "finetune-CLIP_HT-Words-seed1")
    assert second.arguments[:4] == ("train", "Dataset501_LN-INT", "CLIP_HT", "fold0")
    adapter = second.arguments[second.arguments.index("--adapter") + 1]
    assert adapter.endswith("finetuning/Words/CLIP_HT/seed_1/checkpoint_best.safetensors")
    other = jobs["test-LN-EXT-CLIP-seg-paper-by-LN-INT-seed1"]
    assert other.needs == ("train-LN-INT-CLIP-seg-paper-seed1",)
    assert other.arguments[:3] == ("evaluate", "Dataset502_LN-EXT", "--run")
    assert other.workload.other_images == 9


def test_other_images_under_the_papers_names_are_known_before_anything_is_trained(datasets: None) -> None:
    build_raw(12, name="Dataset600_Mine")
    found = plan_table(config_of("table2", ["LN-INT", "Mine"], ["UNet"], captions=()))
    assert found.other_images == {"LN-INT": "not the paper's images: 20 total, the paper's LN-INT 1273 total"}


def test_adapters_may_start_anew(datasets: None) -> None:
    jobs = plan_table(config_of("table5", ["LN-INT"], ["CLIP_HT"], captions=())).jobs
    assert {job.kind for job in jobs} == {"prepare", "train", "test"}
    assert not any("--adapter" in job.arguments for job in jobs)


def test_few_shot_tables_have_all_shares_and_both_tasks(datasets: None) -> None:
    jobs = plan_table(config_of("table4", ["LN-INT"], ["BiomedCLIP"], seeds=(1,))).jobs
    trainings = [job for job in jobs if job.kind == "train"]
    assert len(trainings) == 2 * 7
    assert {job.workload.task for job in trainings} == {"seg", "cls"}
    smallest = next(job for job in trainings if "0.01" in job.arguments)
    assert smallest.workload.train_images == 1  # 0.16 of 16 images: at least one


def test_zero_shot_rows_ask_once_with_and_without_an_adapter(datasets: None) -> None:
    jobs = named(plan_table(config_of("table3", ["LN-INT"], ["CLIP", "CLIP_HT"])).jobs)
    assert jobs["zero-shot-LN-INT-CLIP"].needs == ("prepare-LN-INT",)
    assert jobs["zero-shot-LN-INT-CLIP_HT"].needs == ("prepare-LN-INT", "finetune-CLIP_HT-Words-seed1")
    assert jobs["zero-shot-LN-INT-CLIP_HT"].arguments[:3] == ("zero_shot", "Dataset501_LN-INT", "CLIP_HT")
    with pytest.raises(HtunetError, match="needs a fine-tuned adapter"):
        plan_table(config_of("table3", ["LN-INT"], ["CLIP_HT"], captions=()))


def test_plans_are_the_papers_unless_one_is_named(datasets: None) -> None:
    jobs = named(plan_table(config_of("table2", ["LN-INT"], ["UNet", "DINOv2"])).jobs)
    assert jobs["prepare-LN-INT"].arguments[-2:] == ("paper", "paper_518")
    jobs = named(plan_table(config_of("table2", ["LN-INT"], ["UNet", "DINOv2"], plan="adaptive")).jobs)
    assert jobs["prepare-LN-INT"].arguments[-2:] == ("--plan", "adaptive")


def test_finished_runs_are_done_and_other_settings_are_told(tiny: object) -> None:
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    same = config_of("table2", ["Tiny"], ["UNet"], plan="tiny", num_epochs=1)
    done = {job.name: job.product.done() for job in plan_table(same).jobs}
    assert done == {
        "prepare-Tiny": True,
        "train-Tiny-UNet-seg-tiny-seed1": True,
        "test-Tiny-UNet-seg-tiny-seed1": False,
        "train-Tiny-UNet-seg-tiny-seed2": False,
        "test-Tiny-UNet-seg-tiny-seed2": False,
    }
    found = plan_table(config_of("table2", ["Tiny"], ["UNet"], plan="tiny", num_epochs=7))
    ((obstacle, rows),) = found.excluded.items()
    assert (obstacle.kind, rows, found.jobs) == ("run", ["UNet on Tiny"], [])
    assert "started with 1 epoch, not 7" in obstacle.note


def test_a_training_costs_its_steps_and_its_validation(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_training()
    monkeypatch.setattr(cost, "_measured", lambda specs: [{"step": 2.0, "image": 0.5, "device": "CPU"}] * len(specs))
    monkeypatch.setattr(cost, "START_SECONDS", 0.0)
    jobs = plan_table(config_of("table2", ["Tiny"], ["UNet"], plan="tiny", num_epochs=10, seeds=(1,))).jobs
    found = costs_of(jobs)
    assert "prepare-Tiny" not in found  # done
    assert found["train-Tiny-UNet-seg-tiny-seed1"].seconds == 10 * (4 * 2.0 + 4 * 0.5)  # 14 images in batches of 4
    assert found["test-Tiny-UNet-seg-tiny-seed1"].seconds == pytest.approx(6 * 0.5 + 6 * cost.SCORE_SECONDS)
    monkeypatch.setattr(cost, "_measured", lambda _: pytest.fail("measured twice"))
    assert costs_of(jobs) == found


def test_earlier_runs_say_what_an_epoch_costs(tiny: object, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = plan_table(config_of("table2", ["Tiny"], ["UNet"], plan="tiny", num_epochs=10)).jobs
    first = next(job.product for job in jobs if job.kind == "train")
    assert isinstance(first, Trained)
    first.run.folder.mkdir(parents=True)
    line = "2026-01-01 10:00:0{0} epoch {0}/10: loss 0.5, validation loss 0.4, dice 0.5, best so far ({1} s)\n"
    first.run.training_log.write_text("".join(line.format(n, s) for n, s in ((1, 9.0), (2, 3.0), (3, 4.0))))
    found = costs_of(jobs, measure=False)["train-Tiny-UNet-seg-tiny-seed2"]
    assert found == Cost(cost.START_SECONDS + 10 * 4.0, "4.0 s per epoch in an earlier run")


def test_a_step_is_really_measured(tiny: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process; that it has one of its own is seen in ``test_reproduce``."""
    measure = step_time.main
    monkeypatch.setattr(cost.subprocess, "run", lambda command, **_: measure(*map(Path, command[3:])))
    jobs = plan_table(config_of("table2", ["Tiny"], ["UNet"], plan="tiny", num_epochs=10, seeds=(1,))).jobs
    found = costs_of(jobs)["train-Tiny-UNet-seg-tiny-seed1"]
    assert found.seconds is not None
    assert found.seconds > cost.START_SECONDS
    assert "s per step of 4 images, 32 x 32, measured here (CPU)" in found.because


def test_the_time_with_several_workers_follows_the_needs(home: Path) -> None:
    build_training()
    jobs = plan_table(config_of("table2", ["Tiny"], ["UNet"], plan="tiny", num_epochs=10)).jobs
    costs = {job.name: Cost(10.0 if job.kind == "train" else 1.0, "") for job in jobs if job.kind != "prepare"}
    assert wall_time(jobs, costs, 1) == 22
    assert wall_time(jobs, costs, 2) == 11
    assert wall_time(jobs, costs, 9) == 11


def test_what_is_missing_leaves_its_rows_out_and_is_all_named(datasets: None) -> None:
    methods = ["UNet", "CLIP", "CLIP_HT"]
    plan = plan_table(
        config_of("table2", ["LN-INT", "BUSI"], methods, weights="pretrained", captions=("Words", "CURD"))
    )
    assert {job.workload.method for job in plan.jobs if job.kind == "train"} == {"UNet"}
    found = {(one.kind, one.name): (one.command, rows) for one, rows in plan.excluded.items()}
    both = ["CLIP on LN-INT", "CLIP (HT) on LN-INT", "CLIP on BUSI", "CLIP (HT) on BUSI"]
    assert found == {
        ("weights", "CLIP"): ("htunet_weights download CLIP", both),
        ("captions", "CURD"): ("htunet_convert CURD SOURCE", ["CLIP (HT) on LN-INT", "CLIP (HT) on BUSI"]),
        ("data set", "BUSI"): ("htunet_convert BUSI SOURCE", ["UNet on BUSI", "CLIP on BUSI", "CLIP (HT) on BUSI"]),
    }
    assert (plan.rows, len(plan.rows_excluded)) == (6, 5)
    later = [job.workload for job in plan.later if job.kind == "train" and job.name.startswith("train-BUSI-UNet")]
    assert [(work.train_images, work.other_images, work.epochs) for work in later] == [(518, 65, 200)] * 2  # Table I


def test_plan_public_fine_tunes_once_for_each_seed(datasets: None) -> None:
    jobs = named(plan_table(config_of("table5", ["LN-INT"], ["CLIP_HT"], plan="public")).jobs)
    assert Counter(job.kind for job in jobs.values()) == {"prepare": 1, "finetune": 2, "train": 2, "test": 2}
    for seed in (1, 2):
        assert (
            f"finetune-CLIP_HT-Words-seed{seed}"
            in jobs[f"train-LN-INT-CLIP_HT-seg-public-from-Words-public-seed{seed}"].needs
        )
        assert jobs[f"finetune-CLIP_HT-Words-seed{seed}"].arguments[-2:] == ("--plan", "public")
    jobs = named(plan_table(config_of("table2", ["LN-INT"], ["UNet", "DINOv2"], plan="public")).jobs)
    assert jobs["prepare-LN-INT"].arguments[-2:] == ("public", "public_518")


def test_the_authors_lists_are_the_fold_of_each_task(datasets: None) -> None:
    ids = [f"case_{number:04d}" for number in range(20)]
    seg = {"name": "paper", "task": "seg", "train": ids[:15], "val": ids[15:18], "test": ids[18:]}
    cls = {"name": "paper", "task": "cls", "train": ids[4:], "val": ids[2:4], "test": ids[:2]}
    write_json(DatasetPaths("Dataset501_LN-INT").paper_splits_json, [seg, cls])
    jobs = plan_table(config_of("table4", ["LN-INT"], ["BiomedCLIP"], seeds=(1,))).jobs
    runs = {(job.workload.task, job.arguments[3], job.workload.other_images) for job in jobs if job.kind == "train"}
    assert runs == {("seg", "fold0", 3), ("cls", "fold1", 2)}


def test_the_authors_joined_captions_stand_for_the_papers(home: Path) -> None:
    config = config_of("table5", ["BUSI"], ["CLIP_HT"], captions=None)
    assert config.caption_datasets == ("PMC-OA", "CURD", "MedPix")
    (home / "raw" / "Dataset512_PMC-CURD").mkdir(parents=True)
    assert config.caption_datasets == ("PMC-CURD", "MedPix")


def test_a_step_of_a_method_says_what_it_takes_on_data_that_are_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_training()
    monkeypatch.setattr(cost, "_measured", lambda specs: [{"step": 2.0, "image": 0.5, "device": "CPU"}] * len(specs))
    monkeypatch.setattr(cost, "START_SECONDS", 0.0)
    monkeypatch.setattr(cost, "BASE_SIDE", 32)  # that of the plan tiny, with batches of 4
    plan = plan_table(config_of("table2", ["Tiny", "BUSI"], ["UNet"], plan="tiny", num_epochs=10, seeds=(1,)))
    assert costs_of(plan.later, measure=False)["train-BUSI-UNet-seg-BUSI-None-seed1"].seconds is None
    costs_of(plan.jobs)
    later = costs_of(plan.later, measure=False)["train-BUSI-UNet-seg-BUSI-None-seed1"]
    assert later.seconds == 10 * (130 * 2.0 + 65 * 0.5)  # 518 images for training and 65 for validation
