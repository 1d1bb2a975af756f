"""The loop: what one step does, when training ends, and which epoch is kept."""

import logging
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders.training import STEPS, Plain, tiny_plan
from lightning_fabric import Fabric
from torch import Tensor, nn

from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError
from htunet.models.network import Network
from htunet.paths import DatasetPaths
from htunet.planning.rules import AugmentationSettings
from htunet.training.augmentation.augment import Augmentation
from htunet.training.devices import make_fabric
from htunet.training.loader import Batch, RemainingBatches, Shard, TrainingImages, training_batches
from htunet.training.loop import Data, Events, Loop, finished, fit, learning_rate, train_step, validate
from htunet.training.losses.segmentation import dice_cross_entropy
from htunet.training.state import Progress
from htunet.training.trainer import SegmentationTrainer, Trainer
from htunet.training.validation_metrics import hard_dice

PEAK = 0.05


def make_loop(dataset: DatasetPaths, *, trainer: Trainer | None = None, parts: int = 1, **changes: Any) -> Loop:
    """A loop around ``Plain`` with gradient descent; ``changes`` are of the plan."""
    plan = tiny_plan(learning_rate=PEAK, **changes)
    data = PreprocessedDataset(dataset.plan_folder("tiny"))
    split = load_splits(dataset.splits_json)[0]
    images = TrainingImages(data, Augmentation(AugmentationSettings(), plan.input_size), seed=1)
    rows = {name: data.rows(split[name]) for name in ("train", "val")}
    torch.manual_seed(0)
    network = Plain(2)
    fabric = Fabric(accelerator="cpu", devices=1)
    forward, optimizer = fabric.setup(network, torch.optim.SGD(network.parameters(), lr=1.0))
    return Loop(
        fabric=fabric,
        trainer=trainer or SegmentationTrainer(),
        network=network,
        forward=forward,
        optimizer=optimizer,
        plan=plan,
        data=Data(train_rows=rows["train"], val_rows=rows["val"], images=images),
        seed=1,
        num_epochs=plan.num_epochs,
        workers=0,
        parts=parts,
    )


def first_batches(loop: Loop, count: int) -> list[Batch]:
    return list(
        training_batches(loop.data.images, RemainingBatches(loop.order, 0, count, Shard()), 0, pin_memory=False)
    )


def events(**changes: Any) -> Events:
    nothing = {"after_step": lambda *_: None, "after_epoch": lambda *_: None, "stop_requested": lambda: False}
    return Events(**(nothing | changes))


def weights(network: Network) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class Scripted(Trainer):
    """Losses of segmentation; the validation figures are read from a list, and the losses where there is one."""

    def __init__(self, figures: list[float], losses: list[float] | None = None) -> None:
        self.scripted = iter(figures)
        self.losses = iter(losses or [1.0] * len(figures))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return SegmentationTrainer().loss(network, batch)

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        return torch.tensor([[next(self.losses), next(self.scripted)]]).expand(len(batch.images), -1)


def test_the_learning_rate_is_a_half_cosine() -> None:
    rates = [learning_rate(2.0, step, 100) for step in range(100)]
    assert rates[0] == 2.0
    assert rates[50] == pytest.approx(1.0)
    assert rates[25] == pytest.approx(1 + math.sqrt(0.5))
    assert 0 < rates[99] < 0.001
    assert rates == sorted(rates, reverse=True)


def test_each_step_uses_the_learning_rate_of_its_number(tiny: DatasetPaths) -> None:
    loop, used = make_loop(tiny, num_epochs=2), []
    fit(loop, Progress(), events(after_step=lambda *_: used.append(loop.optimizer.param_groups[0]["lr"])))
    assert used == [learning_rate(PEAK, step, 2 * STEPS) for step in range(2 * STEPS)]


def test_a_step_goes_down_the_gradient_of_the_mean_loss(tiny: DatasetPaths) -> None:
    loop = make_loop(tiny)
    batch = first_batches(loop, 1)[0]
    expected = Plain(2)
    expected.load_state_dict(loop.network.state_dict())
    loss = dice_cross_entropy(expected(batch.images), batch.masks).mean()
    loss.backward()
    assert train_step(loop, batch, 0) == pytest.approx(loss.item(), abs=1e-6)
    for after, before in zip(loop.network.parameters(), expected.parameters(), strict=True):
        assert before.grad is not None
        assert torch.allclose(after, before - PEAK * before.grad, atol=1e-7)


@pytest.mark.parametrize("number", [2, 3, 4, 9])
def test_the_number_of_parts_of_a_batch_changes_nothing(tiny: DatasetPaths, number: int) -> None:
    results = []
    for parts in (1, number):
        loop = make_loop(tiny, parts=parts)
        losses = [train_step(loop, batch, step) for step, batch in enumerate(first_batches(loop, STEPS))]
        results.append((losses, weights(loop.network)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)


def test_parts_are_computed_one_after_the_other(tiny: DatasetPaths) -> None:
    loop, sizes = make_loop(tiny, parts=3), []
    loop.network.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    for step, batch in enumerate(first_batches(loop, STEPS)):
        train_step(loop, batch, step)
    assert sizes == [2, 2, 2, 2, 2, 2, 1, 1]


def test_chance_in_a_step_depends_on_the_seed_and_the_step_alone(tiny: DatasetPaths) -> None:
    drawn = []
    for seed, step, before in ((1, 0, 5), (1, 0, 6), (1, 1, 6), (2, 0, 6)):
        loop = replace(make_loop(tiny), seed=seed)
        loop.network.register_forward_pre_hook(lambda *_: drawn.append(torch.rand(1).item()))
        torch.manual_seed(before)
        train_step(loop, first_batches(loop, 1)[0], step)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_validation_is_the_mean_over_images_not_over_batches(tiny: DatasetPaths) -> None:
    loop = make_loop(tiny, batch_size=3)  # 4 images: 3 and 1
    rows = loop.data.val_rows
    images, masks = (
        torch.from_numpy(array[rows]) for array in (loop.data.images.data.images, loop.data.images.data.masks)
    )
    with torch.no_grad():
        scores = loop.network(images)
    loss, dice = validate(loop)
    assert loss == pytest.approx(dice_cross_entropy(scores, masks).mean().item(), abs=1e-6)
    assert dice == pytest.approx(hard_dice(scores, masks).mean().item(), abs=1e-6)


def test_the_network_is_in_evaluation_mode_when_it_is_validated_and_trains_again_after(tiny: DatasetPaths) -> None:
    loop, modes = make_loop(tiny, num_epochs=2), []
    loop.network.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    fit(loop, Progress(), events())
    assert modes == ([True] * STEPS + [False]) * 2


def test_an_epochs_line_holds_the_mean_of_its_losses(tiny: DatasetPaths) -> None:
    losses: list[float] = []
    progress = Progress()
    fit(make_loop(tiny, num_epochs=1), progress, events(after_step=lambda _, loss: losses.append(loss)))
    row = progress.history[0]
    assert (row.epoch, row.learning_rate) == (0, learning_rate(PEAK, STEPS - 1, STEPS))
    assert row.train_loss == pytest.approx(sum(losses) / STEPS)
    assert progress.losses == []


def test_the_best_epoch_is_the_first_with_the_highest_figure_where_losses_are_equal(tiny: DatasetPaths) -> None:
    trainer, improved, progress = Scripted([0.2, 0.5, 0.5, 0.4]), [], Progress()
    fit(make_loop(tiny, trainer=trainer), progress, events(after_epoch=lambda _, best: improved.append(best)))
    assert improved == [True, True, False, False]
    assert (progress.best_epoch, progress.best_metric) == (1, 0.5)


def test_of_equal_figures_the_one_with_the_lowest_loss_is_kept(tiny: DatasetPaths) -> None:
    trainer, improved, progress = Scripted([1.0, 1.0, 1.0, 0.9], [0.5, 0.3, 0.4, 0.1]), [], Progress()
    fit(make_loop(tiny, trainer=trainer), progress, events(after_epoch=lambda _, best: improved.append(best)))
    assert improved == [True, True, False, False]
    assert (progress.best_epoch, progress.best_metric) == (1, 1.0)


def test_a_figure_of_0_is_better_than_none(tiny: DatasetPaths) -> None:
    progress = Progress()
    fit(make_loop(tiny, trainer=Scripted([0.0, 0.0]), num_epochs=2), progress, events())
    assert (progress.best_epoch, progress.best_metric) == (0, 0.0)


@pytest.mark.parametrize(
    ("patience", "figures", "epochs"),
    [
        pytest.param(2, [0.5, 0.4, 0.4, 0.9, 0.9, 0.9], 3, id="two epochs without a better one"),
        pytest.param(2, [0.5, 0.4, 0.6, 0.1, 0.1, 0.9], 5, id="a better one begins the count anew"),
        pytest.param(2, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 3, id="an equal one is not better"),
        pytest.param(1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 6, id="always better"),
        pytest.param(None, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4], 6, id="never"),
    ],
)
def test_training_ends_early_after_as_many_epochs_as_the_plan_is_patient(
    tiny: DatasetPaths, patience: int | None, figures: list[float], epochs: int
) -> None:
    loop, progress = make_loop(tiny, trainer=Scripted(figures), num_epochs=6, patience=patience), Progress()
    fit(loop, progress, events())
    assert progress.epoch == epochs
    assert finished(loop, progress)


def test_a_request_to_stop_is_heeded_after_the_step_that_is_done(tiny: DatasetPaths) -> None:
    loop, progress = make_loop(tiny), Progress()
    fit(loop, progress, events(stop_requested=lambda: progress.step(STEPS) == 6))
    assert progress.step(STEPS) == 6
    assert (progress.epoch, len(progress.losses)) == (1, 2)
    assert not finished(loop, progress)


def test_waiting_for_data_is_measured(tiny: DatasetPaths) -> None:
    waiting = fit(make_loop(tiny, num_epochs=1), Progress(), events())
    assert 0 < waiting.fraction < 1


def test_a_loss_that_is_no_number_ends_training_with_the_place_and_a_way_out(tiny: DatasetPaths) -> None:
    loop = make_loop(tiny)
    with torch.no_grad():
        next(loop.network.parameters()).fill_(math.inf)
    with pytest.raises(HtunetError, match=r"loss is nan in epoch 1.*learning rate.*fp32"):
        fit(loop, Progress(), events())


def test_a_metric_that_is_no_number_ends_training_too(tiny: DatasetPaths) -> None:
    with pytest.raises(HtunetError, match=r"validation metric is nan in epoch 2"):
        fit(make_loop(tiny, trainer=Scripted([0.1, math.nan, 0.9])), Progress(), events())


def test_a_process_without_a_share_of_the_last_batch_takes_part_without_weight(tiny: DatasetPaths) -> None:
    rows = make_loop(tiny).order.rows[:5]  # batches of 4 and 1
    for rank in (0, 1):
        loop = make_loop(tiny)
        loop.data.train_rows[:] = rows
        remaining = RemainingBatches(loop.order, 0, 2, Shard(rank, 2))
        batch = list(training_batches(loop.data.images, remaining, 0, pin_memory=False))[1]
        assert len(batch.images) == 1
        before = weights(loop.network)
        shared = Shard(rank, 2)
        loss = train_step(_with_shard(loop, shared), batch, 1)
        assert (loss > 0) == (rank == 0)
        assert torch.equal(before, weights(loop.network)) == (rank == 1)


def _with_shard(loop: Loop, shard: Shard) -> Loop:
    """The loop as one process of several sees it, with a group of its own."""

    class Shared(Loop):
        @property
        def shard(self) -> Shard:
            return shard

    return Shared(**{name: getattr(loop, name) for name in loop.__dataclass_fields__})


def test_the_library_below_says_nothing_of_its_own() -> None:
    """Its import sets its logger to INFO, whenever that is: the precision is in our own first line."""
    logging.getLogger("lightning_fabric").setLevel(logging.INFO)
    make_fabric(device="cpu", devices=1, precision="bf16")
    assert logging.getLogger("lightning_fabric").level == logging.WARNING


def test_epochs_are_validated_as_seldom_as_the_plan_says_and_the_last_one_always(tiny: DatasetPaths) -> None:
    trainer, progress = Scripted([0.3, 0.6, 0.5]), Progress()
    fit(make_loop(tiny, trainer=trainer, num_epochs=6, validate_every=2), progress, events())
    assert [row.epoch for row in progress.history if row.val_metric is not None] == [2, 4, 5]
    assert [row.val_metric for row in progress.history] == pytest.approx([None, None, 0.3, None, 0.6, 0.5])
    assert [row.val_loss for row in progress.history][:2] == [None, None]
    assert (progress.best_epoch, progress.best_metric) == (4, pytest.approx(0.6))


def test_patience_counts_epochs_from_the_best_validation_on(tiny: DatasetPaths) -> None:
    trainer, progress = Scripted([0.6, 0.5, 0.4, 0.3]), Progress()
    loop = make_loop(tiny, trainer=trainer, num_epochs=40, validate_every=2, patience=6)
    fit(loop, progress, events())
    assert (progress.epoch, progress.best_epoch) == (9, 2)  # validated after 2, 4, 6 and 8, three without a gain


def test_of_equal_accuracies_the_first_is_chosen_whatever_the_losses(tiny: DatasetPaths) -> None:
    trainer, progress = Scripted([0.5, 0.5, 0.4], losses=[2.0, 1.0, 0.5]), Progress()
    trainer.first_of_equals = True
    fit(make_loop(tiny, trainer=trainer, num_epochs=3), progress, events())
    assert progress.best_epoch == 0


def test_a_gradient_longer_than_the_plan_allows_is_shortened(tiny: DatasetPaths) -> None:
    steps = []
    for clip in (None, 1e-3, 1e3):
        loop = make_loop(tiny, gradient_clip=clip)
        before = weights(loop.network)
        train_step(loop, first_batches(loop, 1)[0], 0)
        steps.append(before - weights(loop.network))
    assert steps[1].norm().item() == pytest.approx(PEAK * 1e-3, rel=1e-3)
    torch.testing.assert_close(steps[1] / steps[1].norm(), steps[0] / steps[0].norm(), rtol=0, atol=1e-3)
    assert torch.equal(steps[2], steps[0])
