from dataclasses import replace

import numpy as np
import pytest

from htunet.simulation.physics import (
    CURVED,
    LINEAR,
    TRAPEZOID,
    BeamGrid,
    Geometry,
    Receiver,
    Tissue,
    Transducer,
    accumulated_loss,
    envelope,
    log_compress,
    smooth_noise,
    spread,
    white_scatterers,
)

GRID = BeamGrid(geometry=LINEAR, depth_mm=40, width_mm=40)
TRANSDUCER = Transducer(frequency_mhz=10, f_number=2.5, focus_mm=20)
RECEIVER = Receiver(looks=1, noise_db=-200, noise_rise_db_per_mm=0, dynamic_range_db=60, gain_db=0, gamma=1)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def homogeneous() -> Tissue:
    return Tissue(*(np.zeros(GRID.shape, dtype=np.float32) for _ in range(3)))


def test_fully_developed_speckle_has_the_signal_to_noise_ratio_of_a_rayleigh_envelope() -> None:
    speckle = envelope(rng(), homogeneous(), GRID, TRANSDUCER, RECEIVER)[20:-20]
    assert speckle.mean() / speckle.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)  # 1.913
    assert np.mean(speckle > speckle.mean()) == pytest.approx(np.exp(-np.pi / 4), abs=0.01)


def test_averaging_four_looks_halves_the_speckle() -> None:
    speckle = envelope(rng(), homogeneous(), GRID, TRANSDUCER, replace(RECEIVER, looks=4))[20:-20]
    assert speckle.mean() / speckle.std() == pytest.approx(2 * 1.913, rel=0.05)


def test_the_point_spread_function_is_narrowest_at_the_focus_and_as_wide_as_the_probe_says() -> None:
    rows = [75, 200, 325]  # 7.5, 20 and 32.5 mm
    points = np.zeros(GRID.shape, dtype=np.complex64)
    points[rows, GRID.shape[1] // 2] = 1
    power = np.abs(spread(points, GRID, TRANSDUCER)) ** 2  # a Gaussian's square has half its variance
    lateral = GRID.beam_lateral - GRID.beam_lateral[GRID.shape[1] // 2]
    widths = [np.sqrt(2 * (power[row] * lateral**2).sum() / power[row].sum()) for row in rows]
    assert widths[1] < 0.8 * min(widths[0], widths[2])
    np.testing.assert_allclose(widths, TRANSDUCER.lateral_sigma_mm(GRID.sample_depth[rows]), rtol=0.05)


def test_the_pulse_is_as_long_as_the_probe_says() -> None:
    points = np.zeros(GRID.shape, dtype=np.complex64)
    points[200, GRID.shape[1] // 2] = 1
    profile = np.abs(spread(points, GRID, TRANSDUCER))[:, GRID.shape[1] // 2]
    depth = GRID.sample_depth - GRID.sample_depth[200]
    assert np.sqrt((profile * depth**2).sum() / profile.sum()) == pytest.approx(TRANSDUCER.axial_sigma_mm, rel=0.05)


def test_the_point_spread_function_keeps_the_power_of_scatterers_at_all_depths() -> None:
    power = np.abs(spread(white_scatterers(rng(), GRID.shape), GRID, TRANSDUCER)) ** 2
    np.testing.assert_allclose([power[20:130].mean(), power[150:250].mean(), power[270:380].mean()], 1, rtol=0.1)


def test_an_obstacle_weakens_what_lies_behind_it_and_nothing_beside_it() -> None:
    tissue = homogeneous()
    tissue.loss_db_per_mm[100:150, 100:180] = 2  # 5 mm of 2 dB/mm
    loss = accumulated_loss(tissue.loss_db_per_mm, GRID)
    assert loss[300, 140] == pytest.approx(10, abs=0.01)
    assert loss[90, 140] == pytest.approx(0, abs=0.01)
    assert loss[300, 20] == pytest.approx(0, abs=0.01)
    level = 20 * np.log10(envelope(rng(), tissue, GRID, TRANSDUCER, RECEIVER))
    assert level[200:, 20:80].mean() - level[200:, 110:170].mean() == pytest.approx(10, abs=0.7)


def test_log_compression_spans_the_dynamic_range() -> None:
    level = np.linspace(-90, 0, 901, dtype=np.float32)[:, None].repeat(901, axis=1)
    gray = log_compress(10 ** (level / 20), RECEIVER)
    top = np.percentile(level[::3, ::3], 99)
    assert gray[level > top + 0.1].min() == 1
    assert gray[level < top - 60.1].max() == 0
    assert gray[np.abs(level - (top - 30)) < 0.06].mean() == pytest.approx(0.5, abs=0.003)


def test_smooth_noise_has_unit_variance_and_grains_of_the_given_size() -> None:
    noise = smooth_noise(rng(), GRID, 1.0, 0.5)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.12)
    shift = round(1.0 / GRID.sample_mm)  # two axial grains: correlation exp(-(2 / 2)^2) = 0.37
    assert np.corrcoef(noise[shift:].ravel(), noise[:-shift].ravel())[0, 1] == pytest.approx(np.exp(-1), abs=0.1)


@pytest.mark.parametrize("geometry", [LINEAR, TRAPEZOID, CURVED])
def test_positions_and_indices_are_inverse(geometry: Geometry) -> None:
    grid = BeamGrid(geometry=geometry, depth_mm=30, width_mm=25, apex_mm=50)
    sample, beam = grid.indices(*grid.positions())
    np.testing.assert_allclose(sample, np.arange(grid.shape[0])[:, None].repeat(grid.shape[1], 1), atol=0.02)
    np.testing.assert_allclose(beam, np.arange(grid.shape[1])[None].repeat(grid.shape[0], 0), atol=0.02)
