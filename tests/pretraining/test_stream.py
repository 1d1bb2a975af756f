"""The stream of simulated images: what is known of each, the pool, and who is never drawn."""

import multiprocessing
from typing import Any

import numpy as np
import pytest
import torch

from htunet.errors import HtunetError
from htunet.models.text.phantom import word_numbers
from htunet.pretraining import stream
from htunet.pretraining.stream import (
    CLASSES,
    DEPTH,
    FIRST_SIGN,
    FIRST_WORD,
    IMAGE,
    LESION,
    NUMBERS,
    ORGANS,
    PLANES,
    Pool,
    SimulatedImages,
    planes_of,
)
from htunet.simulation.settings import SimulationSettings
from htunet.simulation.simulate import SIGNS, simulate

SMALL = SimulationSettings(height=32, width=32, no_lesion=0.0, vessel=0.0, muscle=0.0)


def test_planes_and_numbers_hold_what_the_simulator_says() -> None:
    for index in range(4):
        found = simulate(SMALL, 3, index)
        planes, numbers = planes_of(found)
        assert (planes.shape, planes.dtype) == ((PLANES, 32, 32), np.uint8)
        np.testing.assert_array_equal(planes[IMAGE], found.image)
        np.testing.assert_array_equal(planes[LESION], found.lesion)
        np.testing.assert_array_equal(planes[DEPTH], found.dense["depth"].astype(np.uint8))
        assert CLASSES[numbers[0]] == found.lesion_class
        assert ORGANS[numbers[1]] == found.organ
        for place, (sign, values) in enumerate(SIGNS.items(), start=FIRST_SIGN):
            assert values[numbers[place]] == found.signs[sign] if found.signs else numbers[place] == -1
        words = word_numbers(found.caption)
        assert numbers[FIRST_WORD:].tolist() == words + [0] * (NUMBERS - FIRST_WORD - len(words))


class Numbered(SimulatedImages):
    """Images whose values are their index."""

    def __getitem__(self, index: int) -> Any:
        if index == 90:
            raise HtunetError("The image 90 cannot be made.")
        return np.full((PLANES, 2, 2), index, np.uint8), np.full(NUMBERS, index)


def pool_of(first: int = 0, last: int = 40, window: int = 12) -> Pool:
    pool = Pool(Numbered(SMALL, 1), held_out=5, first=first, last=last, window=window, workers=1)
    pool.start(torch.device("cpu"), (2, 2), at_once=False)
    return pool


def test_the_pool_holds_the_latest_images_and_the_first_ones_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "AHEAD", 8)
    pool = pool_of()
    for count in (10, 17, 40):
        pool.wait(count)
        indices = np.arange(max(5, count - 12), count)
        assert pool.draw(indices).planes[:, 0, 0, 0].tolist() == indices.tolist()
        assert pool.draw(indices).numbers[:, 0].tolist() == indices.tolist()
    assert pool.held_out.planes[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    pool.close()


def test_a_continued_pool_makes_the_images_that_may_still_be_drawn_and_no_more() -> None:
    pool = pool_of(first=30)
    pool.wait(30)
    assert pool.draw(np.arange(18, 30)).planes[:, 0, 0, 0].tolist() == list(range(18, 30))
    assert len(pool.planes) == 5 + 40 - 18
    pool.close()


def test_a_closed_pool_leaves_neither_a_thread_nor_a_process() -> None:
    """A thread that waits for its worker when Python exits ends the program with "terminate called"."""
    processes = {*multiprocessing.active_children()}
    pool = pool_of()
    pool.wait(10)
    assert {*multiprocessing.active_children()} > processes
    assert pool._filling is not None
    pool.close()
    assert not pool._filling.is_alive()
    assert {*multiprocessing.active_children()} <= processes


def test_an_error_of_a_worker_process_ends_the_training() -> None:
    pool = pool_of(first=5, last=120, window=200)
    with pytest.raises(HtunetError, match=r"The image 90 cannot be made"):
        pool.wait(120)
