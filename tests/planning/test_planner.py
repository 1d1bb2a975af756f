"""Plans: the paper's numbers, a reason for each decision, and the user's own words kept."""

from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path

import pytest
from builders.fingerprint import PRINT

from htunet.data.raw import DatasetInfo
from htunet.errors import HtunetError
from htunet.files import read_json, write_json
from htunet.planning.hardware import available_memory_gb
from htunet.planning.planner import CHECKSUM, PLANNERS, _signed, is_edited, make_plans
from htunet.planning.plans import OF_THE_MACHINE, Plan, check_patience, check_plan, load_plans, save_plans

INFO = DatasetInfo(classes={"benign": 0, "malignant": 1})
BUSI = replace(PRINT, num_training=647, classes={"benign": 437, "malignant": 210})
SMALL_LESIONS = replace(BUSI, lesion_smaller_side={"median": 0.05})
FACTS = {"name", "dataset", "channels", "labels", "classes"}


def planned(**options: object) -> dict[str, Plan]:
    return make_plans(BUSI, INFO, **options).plans  # type: ignore[arg-type]


def test_the_plan_paper_is_the_papers() -> None:
    plan = planned()["paper"]
    assert (plan.geometry, plan.input_size, plan.crop_border) == ("stretch", (224, 224), False)
    assert (plan.batch_size, plan.learning_rate, plan.betas, plan.weight_decay) == (32, 1e-4, (0.9, 0.95), 1e-2)
    assert (plan.num_epochs, plan.patience, plan.class_weights) == (200, None, {})
    assert planned()["paper_518"].input_size == (518, 518)


def test_images_are_not_mirrored_where_that_would_exchange_two_labels_or_classes() -> None:
    sided = [replace(INFO, labels={"background": 0, "Left lobe": 1, "right lobe": 2}),
             replace(INFO, classes={"links": 0, "rechts": 1})]  # fmt: skip
    for info, names in zip(sided, ("Left lobe and right lobe", "links and rechts"), strict=True):
        for name, plan in make_plans(BUSI, info).plans.items():
            assert plan.augmentation["mirror"] == 0.0
            assert names in plan.because["augmentation"] or name.startswith("public")
    assert planned()["adaptive"].augmentation["mirror"] == 0.5


def test_the_plan_public_is_the_public_codes() -> None:
    plan = planned()["public"]
    same = ("geometry", "input_size", "batch_size", "learning_rate", "betas", "weight_decay", "num_epochs", "loss")
    assert {name: getattr(plan, name) for name in same} == {name: getattr(planned()["paper"], name) for name in same}
    assert (plan.resize, plan.normalise, plan.drop_last, plan.align_corners) == ("bicubic", False, True, True)
    assert (plan.validate_every, plan.patience, plan.class_metric) == (10, 150, "accuracy")
    assert plan.outputs("cls").class_head_by_backbone["BiomedCLIP"] == "linear"
    coloured = make_plans(BUSI, replace(INFO, channels=3)).plans
    assert (coloured["paper"].channels, coloured["public"].channels) == (3, 1)
    edited = coloured | {"public": replace(coloured["public"], num_epochs=3)}
    assert make_plans(BUSI, replace(INFO, channels=3), existing=edited).plans["public"].channels == 1
    own = coloured | {"mine": replace(coloured["public"], num_epochs=3), "full": coloured["paper"]}
    again = make_plans(BUSI, replace(INFO, channels=3), existing=own).plans
    assert (again["mine"].channels, again["full"].channels) == (1, 3)
    assert make_plans(BUSI, INFO, existing=own).plans["full"].channels == 1  # the images have become gray
    gray = planned() | {"mine": planned()["adaptive"]}
    assert make_plans(BUSI, replace(INFO, channels=3), existing=gray).plans["mine"].channels == 3
    assert (planned()["public_518"].input_size, planned()["public_518"].batch_size) == ((518, 518), 24)


def test_the_plan_adaptive_follows_the_data() -> None:
    plan = planned()["adaptive"]
    assert (plan.geometry, plan.batch_size, plan.patience) == ("letterbox", 32, 50)
    assert plan.class_weights["malignant"] > 1 > plan.class_weights["benign"]


@pytest.mark.parametrize("name", PLANNERS)
def test_every_decision_has_its_reason(name: str) -> None:
    plan = planned()[name]
    decided = {one.name for one in fields(Plan) if one.default is one.default_factory is MISSING} - FACTS
    assert decided <= set(plan.because) <= set(asdict(plan)) - FACTS | {CHECKSUM}
    assert plan.name == name
    check_plan(plan)


def test_plans_as_written_are_not_edited(tmp_path: Path) -> None:
    save_plans(tmp_path / "plans.json", planned())
    assert not any(is_edited(plan) for plan in load_plans(tmp_path / "plans.json").values())


def test_a_plan_of_a_version_that_lacked_a_field_is_not_edited(tmp_path: Path) -> None:
    """The checksums are those that 4fe71f3 wrote for the same data set and machine."""
    path, before = tmp_path / "plans.json", {"paper": "0cbdc518742d41dc", "adaptive": "6c75468e54105df2"}
    save_plans(path, {name: _signed(replace(planned()[name], accumulation=1, workers=3)) for name in before})
    content = read_json(path)
    for name, checksum in before.items():
        plan = content["plans"][name]
        for later in [one.name for one in fields(Plan) if "later" in one.metadata and one.name not in OF_THE_MACHINE]:
            del plan[later]
        assert plan["because"][CHECKSUM] == checksum
    write_json(path, content)
    read = load_plans(path)
    assert not any(is_edited(plan) for plan in read.values())
    assert read["paper"].loss == "dice_cross_entropy"
    again = make_plans(BUSI, INFO, existing=read)
    assert (again.edited, again.changed) == ((), {})
    assert is_edited(replace(read["paper"], loss="tversky"))
    assert is_edited(replace(read["paper"], loss_parameters={"alpha": 0.5}))


def test_own_plans_and_edits_survive_planning_again(tmp_path: Path) -> None:
    plans = planned()
    plans["paper"] = replace(plans["paper"], num_epochs=7)
    plans["mine"] = replace(plans["adaptive"], input_size=(64, 96))
    save_plans(tmp_path / "plans.json", plans)
    again = make_plans(BUSI, INFO, split_by="group", existing=load_plans(tmp_path / "plans.json"))
    assert (again.edited, again.own, again.changed) == (("paper",), ("mine",), {})
    assert again.plans["paper"].num_epochs == 7
    assert again.plans["paper"].because["num_epochs"] == "by hand; the rules give 200"
    assert again.plans["mine"].input_size == (64, 96)
    assert again.plans["mine"].name == "mine"
    copied = list(plans["adaptive"].input_size)
    assert again.plans["mine"].because["input_size"] == f"by hand; plan adaptive has {copied}"
    assert again.plans["mine"].because["geometry"] == plans["adaptive"].because["geometry"]
    assert make_plans(BUSI, INFO, existing=again.plans).plans["mine"].because == again.plans["mine"].because
    assert {plan.split_by for plan in again.plans.values()} == {"group"}
    assert make_plans(BUSI, INFO, existing=again.plans).edited == ("paper",)


def test_a_plan_follows_the_memory_that_is_asked_for_and_the_change_is_told() -> None:
    less = make_plans(SMALL_LESIONS, INFO, memory_gb=4, existing=make_plans(SMALL_LESIONS, INFO).plans)
    assert set(less.changed) == {"adaptive"}
    (before, now) = less.changed["adaptive"]["input_size"]
    assert max(before) == 384 > max(now)


def test_a_plan_holds_nothing_of_the_machine() -> None:
    assert {(plan.accumulation, plan.workers) for plan in planned().values()} == {(None, None)}


def test_a_plan_that_was_made_for_a_machine_is_unedited_and_is_made_again_without_a_word() -> None:
    """As earlier versions wrote it."""
    before = {name: _signed(replace(plan, accumulation=2, workers=3)) for name, plan in planned().items()}
    again = make_plans(BUSI, INFO, existing=before)
    assert (again.edited, again.changed, again.plans) == ((), {}, planned())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"geometry": "strech"}, "strech"),
        ({"input_size": (0, 224)}, "input_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"patience": 0}, "patience"),
        ({"class_weights": {"benign": 0.0}}, "class_weights"),
        ({"labels": {"background": 0, "lesion": 5}}, "labels"),
        ({"channels": 5}, "channels"),
        ({"resize": "cubic"}, "resize"),
        ({"validate_every": 0}, "validate_every"),
        ({"warm_up_epochs": 200}, "warm_up_epochs 200"),
        ({"class_metric": "f1"}, "class_metric"),
        ({"gradient_clip": 0.0}, "gradient_clip"),
        ({"name": "a__b"}, "a__b"),
        ({"name": "../x"}, "name"),
    ],
)
def test_a_value_without_a_meaning_is_named(change: dict[str, object], word: str) -> None:
    with pytest.raises(HtunetError, match=word):
        check_plan(replace(planned()["paper"], **change))  # type: ignore[arg-type]


def test_a_patience_that_ends_a_training_at_once_is_refused_for_trainings_alone() -> None:
    """What was trained with it is finished and can predict."""
    plan = replace(planned()["paper"], patience=20, validate_every=25)
    check_plan(plan)
    with pytest.raises(HtunetError, match="has patience 20 and validate_every 25"):
        check_patience(plan)
    check_patience(replace(plan, patience=25))
    check_patience(replace(plan, patience=None))


def test_a_single_underscore_is_a_name() -> None:
    check_plan(replace(planned()["paper"], name="my_plan-2"))


def test_the_containers_limit_counts_and_its_cache_does_not(tmp_path: Path) -> None:
    gib = 1024**3
    (tmp_path / "memory.max").write_text(str(3 * gib))
    (tmp_path / "memory.current").write_text(str(2 * gib))
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {gib // 2}\n")
    assert available_memory_gb(tmp_path) == pytest.approx(1.5)
    (tmp_path / "memory.max").write_text("max\n")
    of_process = tmp_path / "of_process"
    for folder, line, limit, usage in (
        ("slurm/job_7", "0::/slurm/job_7/step_0", "memory.max", "memory.current"),
        ("memory/slurm/job_8", "4:cpu,memory:/slurm/job_8", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        job = tmp_path / folder
        job.mkdir(parents=True)
        (job / limit).write_text(str(gib))
        (job / usage).write_text(str(gib // 4))
        of_process.write_text(f"9:pids:/\n{line}\n")
        assert available_memory_gb(tmp_path, of_process) == pytest.approx(0.75)
    assert available_memory_gb(tmp_path) == pytest.approx(available_memory_gb(tmp_path / "absent"), rel=0.2)
