"""What fits into the time: worked out by hand."""

from dataclasses import replace

import pytest
from builders.training import tiny_plan

from htunet.errors import counted
from htunet.experiments.time_budget import Candidate, fit, plan_of, scaled, settle

LESS = "3 of 5 folds are trained: not every image is tested"
PLAN = replace(tiny_plan(), input_size=(384, 256), batch_size=10, num_epochs=200, learning_rate=1e-4)
UNET, CLIP = (
    Candidate(method="UNet", task="seg", epoch_seconds=10),
    Candidate(method="CLIP_HT", task="seg", epoch_seconds=40),
)
# 100 images in batches of 10: 10 steps an epoch, 120 epochs are enough. Both methods, 5 folds: 250 s an epoch.


@pytest.mark.parametrize(
    ("hours", "methods", "scale", "folds", "epochs"),
    [
        pytest.param(1000, ["UNet", "CLIP_HT"], 1.0, 5, 200, id="all of the plan's epochs"),
        pytest.param(12.5, ["UNet", "CLIP_HT"], 1.0, 5, 144, id="36,000 s / 250 s"),
        pytest.param(10, ["UNet", "CLIP_HT"], 0.75, 5, 200, id="115 epochs are too few: 204 of smaller images"),
        pytest.param(5, ["UNet", "CLIP_HT"], 0.5, 5, 200, id="smaller still"),
        pytest.param(1, ["UNet"], 0.5, 5, 200, id="the dearest method goes"),
        pytest.param(0.4, ["UNet"], 0.5, 3, 153, id="then folds"),
        pytest.param(0.001, ["UNet"], 0.5, 3, 1, id="and what is left"),
    ],
)
def test_the_time_is_used_in_the_order_that_costs_least(
    hours: float, methods: list[str], scale: float, folds: int, epochs: int
) -> None:
    found = fit([CLIP, UNET], PLAN, num_folds=5, training_images=100, hours=hours)
    assert [candidate.method for candidate in found.candidates] == methods
    assert (found.scale, found.num_folds, found.num_epochs) == (scale, folds, epochs)
    assert found.seconds <= hours * 3600 * 0.8 or epochs == 1
    words = " ".join(found.given_up)
    assert ("CLIP_HT (seg) is not tried" in words) == (len(methods) == 1)
    assert ("192 x 128 pixels" in words) == (scale == 0.5)
    assert ("of 5 folds" in words) == (folds < 5)
    assert (f"{counted(epochs, 'epoch')} in place of 200" in words) == (epochs < 200)


@pytest.mark.parametrize(
    ("seconds", "folds"),
    [
        pytest.param(2.5, 3, id="as estimated: 1,152 s hold three folds of 382 s"),
        pytest.param(1.8, 4, id="faster: four of 275 s, not five"),
        pytest.param(1.0, 5, id="faster still: all five, and no more"),
        pytest.param(3.1, 3, id="slower: three of 474 s still take less than 1,440 s"),
        pytest.param(30.0, 3, id="much slower: never below three"),
        pytest.param(0.0, 5, id="too fast to be timed"),
    ],
)
def test_the_first_fold_decides_how_many_there_are(seconds: float, folds: int) -> None:
    """153 epochs; four fifths of 0.4 hours, 1,152 s, are for training."""
    planned = replace(fit([UNET], PLAN, num_folds=5, training_images=100, hours=0.4), given_up=("a", LESS))
    assert (planned.num_folds, planned.num_epochs, planned.settled) == (3, 153, False)
    found = settle(planned, [seconds], num_folds=5, hours=0.4)
    assert (found.num_folds, found.num_epochs, found.scale, found.settled) == (folds, 153, planned.scale, True)
    assert found.seconds == pytest.approx(folds * 153 * seconds, abs=1e-3)
    assert found.given_up == (("a", LESS.replace("3", str(folds))) if folds < 5 else ("a",))


def test_folds_are_given_up_where_they_would_exceed_all_of_the_time() -> None:
    planned = replace(fit([UNET], PLAN, num_folds=5, training_images=100, hours=12.5), settled=False)
    assert (planned.num_folds, planned.num_epochs) == (5, 200)
    for seconds, folds in ((40.0, 5), (45.0, 5), (50.0, 4), (1000.0, 3)):  # 45,000 s hold 5.6, 5.0, 4.5 folds
        assert settle(planned, [seconds], num_folds=5, hours=12.5).num_folds == folds
    assert settle(planned, [50.0], num_folds=5, hours=12.5).given_up == (LESS.replace("3", "4"),)


def test_a_method_of_each_task_stays() -> None:
    resnet = Candidate(method="ResNet18", task="cls", epoch_seconds=90)
    found = fit([CLIP, UNET, resnet], PLAN, num_folds=5, training_images=100, hours=0.01)
    assert [(c.method, c.task) for c in found.candidates] == [("UNet", "seg"), ("ResNet18", "cls")]


def test_what_has_learnt_something_stays_though_it_is_more_expensive() -> None:
    random = Candidate(method="ResNet18", task="cls", weights="random", epoch_seconds=10)
    trained = Candidate(method="PhantomCLIP_HT", task="cls", weights="phantom", epoch_seconds=40)
    found = fit([random, trained], PLAN, num_folds=5, training_images=100, hours=1)
    assert [c.method for c in found.candidates] == ["PhantomCLIP_HT"]
    assert "ResNet18 (cls) is not tried" in found.given_up


def test_few_steps_get_a_higher_learning_rate_and_the_plan_says_so() -> None:
    short = fit([UNET], PLAN, num_folds=5, training_images=100, hours=0.4)  # 153 epochs of 10 steps
    plan = plan_of(short, PLAN, 100)
    assert (plan.name, plan.num_epochs, plan.input_size) == ("run", 153, (192, 128))
    assert plan.learning_rate == pytest.approx(1e-4 * 3400 / 1530, rel=0.05)
    assert "192 x 128" in plan.because["input_size"]
    tiny = plan_of(replace(short, num_epochs=1), PLAN, 100)
    assert tiny.learning_rate == pytest.approx(1e-3)
    long = plan_of(replace(short, num_epochs=2000), PLAN, 100)
    assert long.learning_rate == pytest.approx(1e-4)


def test_sides_stay_whole_patches() -> None:
    assert [scaled(PLAN, scale) for scale in (1, 0.75, 0.5)] == [(384, 256), (288, 192), (192, 128)]
    assert scaled(replace(PLAN, input_size=(112, 160)), 0.5) == (112, 112)
