"""The response of a frequency filter, and how far the noise estimator's weights move."""

import numpy as np
import pytest

from htunet.reporting.figures.adapter_internals import as_responses, largest_change, radial_response


def test_one_factor_a_channel_is_a_flat_response() -> None:
    theta = np.array([[1.0, 2.0]])
    frequencies, response = radial_response(as_responses(theta, (8, 8)), 8, 8)
    assert frequencies.tolist() == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    assert response[0, 0].tolist() == pytest.approx([1] * 5)
    assert response[0, 1].tolist() == pytest.approx([2] * 5)


def test_a_factor_is_found_at_its_own_frequency() -> None:
    theta = np.ones((1, 1, 8, 5))
    theta[0, 0, 0, 0] = 3.0  # the mean of the map
    theta[0, 0, 0, 4] = 5.0  # half a cycle per patch, to the right
    _, response = radial_response(theta, 8, 8)
    assert response[0, 0, 0] == 3.0
    assert response[0, 0, 1:4].tolist() == [1, 1, 1]
    assert 1 < response[0, 0, 4] < 5


def test_the_half_of_the_plane_that_is_not_stored_counts() -> None:
    theta = np.ones((1, 1, 4, 3))
    theta[0, 0, 0, 1] = 2.0  # stands for +1/4 and -1/4 to the right; +-1/4 downwards are stored one by one
    _, response = radial_response(theta, 4, 4)
    ring = [2.0, 2.0, 1.0, 1.0]  # right, left, down, up; the diagonals at 0.354 belong to the nearest bin, 0.25
    assert response[0, 0, 1] == pytest.approx(np.mean([*ring, 1, 1, 1, 1]))


def test_the_largest_move_is_said_with_its_block() -> None:
    mean = np.zeros((2, 3, 3))
    mean[1, 2] = (0.25, -0.125, 0)
    assert largest_change(mean, [0, 1, 5]) == "weights move by at most 0.25 (block 5)"
