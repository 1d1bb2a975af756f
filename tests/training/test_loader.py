"""The order of the images depends on the seed and the epoch alone, and on nothing that was done before."""

import itertools
import multiprocessing
import signal
import subprocess

import pytest
import torch

from htunet.data.preprocessed import PreprocessedDataset
from htunet.errors import HtunetError
from htunet.paths import DatasetPaths
from htunet.planning.rules import AugmentationSettings
from htunet.training import loader
from htunet.training.augmentation.augment import Augmentation
from htunet.training.loader import (
    Batch,
    BatchOrder,
    RemainingBatches,
    Shard,
    TrainingImages,
    fixed_batches,
    training_batches,
)

ROWS = (3, 5, 8, 9, 12, 20, 21)
ORDER = BatchOrder(ROWS, 3, seed=1)


def rows_of(order: BatchOrder, epoch: int) -> list[int]:
    steps = range(epoch * order.per_epoch, (epoch + 1) * order.per_epoch)
    return [row for step in steps for _, row in order.batch(step)]


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_epoch_has_every_image_once(epoch: int) -> None:
    assert sorted(rows_of(ORDER, epoch)) == sorted(ROWS)
    assert {seen for step in (0, 1, 2) for seen, _ in ORDER.batch(epoch * 3 + step)} == {epoch}


def test_the_last_batch_of_an_epoch_may_be_smaller() -> None:
    assert ORDER.per_epoch == 3
    assert [len(ORDER.batch(step)) for step in range(6)] == [3, 3, 1, 3, 3, 1]


def test_the_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    again = BatchOrder(ROWS, 3, seed=1)
    torch.manual_seed(5)
    assert again.batch(4) == ORDER.batch(4)
    assert rows_of(ORDER, 0) != rows_of(ORDER, 1)
    assert rows_of(BatchOrder(ROWS, 3, seed=2), 0) != rows_of(ORDER, 0)


def test_the_remaining_batches_are_the_tail_of_all_batches() -> None:
    everything = list(RemainingBatches(ORDER, 0, 9, Shard()))
    for first in range(10):
        remaining = RemainingBatches(ORDER, first, 9, Shard())
        assert list(remaining) == everything[first:]
        assert len(remaining) == 9 - first


def test_shards_share_every_batch_without_overlap() -> None:
    shards = [list(RemainingBatches(ORDER, 0, 9, Shard(rank, 2))) for rank in (0, 1)]
    for step, (first, second) in enumerate(zip(*shards, strict=True)):
        whole = ORDER.batch(step)
        if len(whole) > 1:
            assert sorted(first + second) == sorted(whole)
            assert abs(len(first) - len(second)) <= 1


@pytest.fixture
def images(tiny: DatasetPaths) -> TrainingImages:
    settings = AugmentationSettings(spatial=1.0, intensity=1.0)
    data = PreprocessedDataset(tiny.plan_folder("tiny"), {"benign": 0, "malignant": 1})
    return TrainingImages(data, Augmentation(settings, (32, 32)), seed=1)


def batches(images: TrainingImages, workers: int, first: int = 0) -> list[Batch]:
    order = BatchOrder(list(range(10)), 4, seed=1)
    remaining = RemainingBatches(order, first, 6, Shard())
    return list(training_batches(images, remaining, workers, pin_memory=False))


def equal(first: list[Batch], second: list[Batch]) -> bool:
    pairs = zip(itertools.chain(*first), itertools.chain(*second), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_number_of_workers_changes_no_bit(images: TrainingImages) -> None:
    alone = batches(images, 0)
    assert [tuple(batch.images.shape) for batch in alone] == [(4, 1, 32, 32), (4, 1, 32, 32), (2, 1, 32, 32)] * 2
    assert [tuple(batch.masks.shape) for batch in alone] == [(4, 32, 32), (4, 32, 32), (2, 32, 32)] * 2
    assert {tensor.dtype for batch in alone for tensor in (batch.images, batch.masks)} == {torch.uint8}
    for workers in (1, 2):
        assert equal(batches(images, workers), alone)


def test_each_image_comes_with_the_index_of_its_class(images: TrainingImages) -> None:
    order = BatchOrder(list(range(10)), 4, seed=1)
    for step, batch in enumerate(batches(images, 1)):
        names = [images.data.cases[row].class_name for _, row in order.batch(step)]
        assert batch.classes.tolist() == [{"benign": 0, "malignant": 1}[name] for name in names]


def test_an_image_without_a_known_class_has_the_index_minus_one(images: TrainingImages) -> None:
    known = PreprocessedDataset(images.data.folder, {"malignant": 0}).class_indices
    assert known.tolist()[:4] == [-1, 0, -1, 0]
    assert set(PreprocessedDataset(images.data.folder).class_indices) == {-1}


def test_batches_from_the_middle_are_those_of_the_whole_sequence(images: TrainingImages) -> None:
    assert equal(batches(images, 0, first=4), batches(images, 0)[4:])
    assert equal(batches(images, 2, first=4), batches(images, 0)[4:])


def test_an_image_looks_otherwise_in_each_epoch_and_with_each_seed(images: TrainingImages) -> None:
    first = images[(0, 2)][0]
    assert (images[(1, 2)][0] != first).any()
    assert (TrainingImages(images.data, images.augmentation, seed=2)[(0, 2)][0] != first).any()
    assert (images[(0, 2)][0] == first).all()


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not tell who sent a signal")
def test_a_worker_outlives_signals_of_others_so_that_the_run_can_save(images: TrainingImages) -> None:
    arriving = training_batches(
        images, RemainingBatches(BatchOrder(list(range(10)), 4, 1), 0, 6, Shard()), 1, pin_memory=False
    )
    got = [next(arriving)]
    for child in multiprocessing.active_children():
        for number in ("-TERM", "-INT"):
            subprocess.run(["kill", number, str(child.pid)], check=True)
    got += list(arriving)
    assert equal(got, batches(images, 0))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_names_its_case(images: TrainingImages, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of ideas")

    monkeypatch.setattr(images, "augmentation", fail)
    with pytest.raises(HtunetError, match=r"case case_00.*RuntimeError: out of ideas"):
        batches(images, workers)


def test_validation_images_come_unchanged_and_in_order(images: TrainingImages) -> None:
    rows = [4, 2, 9, 7, 1]
    found = list(fixed_batches(images, rows, 2, Shard()))
    assert [len(batch.images) for batch in found] == [2, 2, 1]
    for index, array in enumerate((images.data.images, images.data.masks, images.data.class_indices)):
        assert torch.equal(torch.cat([batch[index] for batch in found]), torch.from_numpy(array[rows]))


@pytest.mark.parametrize(("count", "world"), [(5, 1), (5, 2), (6, 3), (5, 4), (1, 3)])
def test_validation_images_are_dealt_out_evenly_and_can_be_put_back_in_order(
    images: TrainingImages, count: int, world: int
) -> None:
    rows = [4, 2, 9, 7, 1, 5][:count]
    shares = [
        torch.cat([batch.images for batch in fixed_batches(images, rows, 2, Shard(rank, world))])
        for rank in range(world)
    ]
    assert len({len(share) for share in shares}) == 1
    together = torch.stack(shares).transpose(0, 1).flatten(0, 1)[:count]
    assert torch.equal(together, torch.from_numpy(images.data.images[rows]))


def test_a_last_batch_that_is_too_small_is_dropped_unless_it_is_the_only_one() -> None:
    order = BatchOrder(list(range(10)), 4, seed=1, whole=4)
    assert order.per_epoch == 2
    assert [len(order.batch(step)) for step in range(4)] == [4, 4, 4, 4]
    assert order.batch(0) == BatchOrder(list(range(10)), 4, seed=1).batch(0)
    few = BatchOrder(list(range(3)), 4, seed=1, whole=4)
    assert (few.per_epoch, len(few.batch(0))) == (1, 3)
    blocks = BatchOrder(list(range(11)), 8, seed=1, whole=2)  # of 8 and 2 rows
    assert [len(blocks.batch(step)) for step in range(2)] == [8, 2]


def test_the_rows_of_an_epoch_are_permuted_once_and_not_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = loader.generator
    monkeypatch.setattr(loader, "generator", lambda *key: made.append(key[-1]) or real(*key))
    order = BatchOrder(list(range(12)), 4, seed=77)
    steps = [order.batch(step) for step in (0, 1, 3, 2, 4, 5)]  # workers are asked for the next epoch's ahead
    assert made == [0, 1]
    assert sorted(row for batch in steps[:2] + steps[3:4] for _, row in batch) == list(range(12))
