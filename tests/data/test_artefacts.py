from itertools import pairwise

import numpy as np
import pytest

from htunet.data.artefacts import ARTEFACTS, STRONGEST
from htunet.data.artefacts.alter import apply, apply_all, physical_value
from htunet.data.artefacts.base import FieldCoordinates, amplitude, to_gray, to_level
from htunet.data.artefacts.builtin import Reverberation, Shadow, ShadowPlace
from htunet.data.image_io import UInt8
from htunet.errors import UsageError
from htunet.reproducibility import generator

SIZE = 240
NAMES = ARTEFACTS.names()


def even(gray: int = 150) -> UInt8:
    return np.full((SIZE, SIZE), gray, dtype=np.uint8)


def scene() -> UInt8:
    """Speckled tissue with a dark lesion, in a black border of 20 pixels with a white mark in it."""
    image = np.zeros((SIZE, SIZE), dtype=np.uint8)
    image[20:-20, 20:-20] = np.random.default_rng(0).integers(90, 200, (SIZE - 40, SIZE - 40))
    image[100:140, 100:140] = 0
    image[4:12, 4:12] = 240
    return image


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_strength_0_gives_the_image_bit_for_bit_and_not_the_array_itself(name: str) -> None:
    image = scene()
    same = apply(image, name, 0, case="a")
    assert np.array_equal(same, image)
    assert same is not image


def test_an_artefact_depends_on_case_and_seed_alone(name: str) -> None:
    first = apply(scene(), name, 3, case="a")
    assert first.dtype == np.uint8
    assert first.shape == (SIZE, SIZE)
    assert np.array_equal(first, apply(scene(), name, 3, case="a"))
    if name not in ("gain", "low_gain", "attenuation"):
        assert not np.array_equal(first, apply(scene(), name, 3, case="b"))
        assert not np.array_equal(first, apply(scene(), name, 3, case="a", seed=1))


def test_the_input_is_left_alone(name: str) -> None:
    image = scene()
    apply(image, name, 5, case="a")
    assert np.array_equal(image, scene())


def test_black_border_and_marks_in_it_stay_while_the_field_changes(name: str) -> None:
    image = scene()
    field = np.zeros(image.shape, dtype=bool)
    field[20:-20, 20:-20] = True
    for altered in apply_all(image, name, [1, 5], case="a"):
        assert np.array_equal(altered[~field], image[~field])
        assert not np.array_equal(altered[field], image[field])


def test_a_stronger_version_is_farther_from_the_image_everywhere(name: str) -> None:
    image = even()
    away = [np.abs(a.astype(int) - image) for a in apply_all(image, name, [1, 2, 3, 4, 5], case="a")]
    assert np.all(np.diff([step.mean() for step in away]) > 0)
    if name != "speckle":  # whose mean is kept: a pixel near it may come back while others move away
        assert all((weak <= strong).all() for weak, strong in pairwise(away))


def test_a_stronger_version_is_the_same_draw_with_a_larger_value(name: str) -> None:
    weak, strong = (to_level(a) - to_level(even(128)) for a in apply_all(even(128), name, [2, 3], case="a"))
    if np.ptp(strong) > 1:
        assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.8


def test_all_channels_are_altered_alike(name: str) -> None:
    colours = apply(np.stack([scene()] * 3), name, 4, case="a")
    assert colours.shape == (3, SIZE, SIZE)
    assert np.array_equal(colours, np.stack([apply(scene(), name, 4, case="a")] * 3))


def test_values_grow_in_proportion_to_the_strength(name: str) -> None:
    assert str(physical_value(name, 0)) == "0.0"  # and no -0.0
    assert physical_value(name, 4) == pytest.approx(2 * physical_value(name, 2))


def test_a_black_image_stays_black(name: str) -> None:
    assert not apply(even(0), name, 5, case="a").any()


def test_depth_and_width_are_fractions_of_the_field() -> None:
    field = np.zeros((240, 40), dtype=bool)
    field[20:220, 10:30] = True
    view = FieldCoordinates.of(field)
    assert view.height_px == 200
    assert view.depth_H[[0, 20, 219]].tolist() == pytest.approx([-19.5 / 200, 0.5 / 200, 199.5 / 200])
    assert view.lateral_W[[0, 10, 29]].tolist() == pytest.approx([-9.5 / 20, 0.5 / 20, 19.5 / 20])


def test_a_pixel_that_is_bright_in_one_channel_belongs_to_the_field() -> None:
    red = np.stack([scene(), np.zeros_like(scene()), np.zeros_like(scene())])
    assert np.array_equal(apply(red, "low_gain", 4, case="a")[0], apply(scene(), "low_gain", 4, case="a"))


def test_6_db_of_gain_are_a_tenth_of_the_gray_values_of_60_db() -> None:
    assert physical_value("gain", 1.5) == 6
    assert apply(even(100), "gain", 1.5, case="a")[0, 0] == round(100 + 255 * 6 / 60)  # 125.5, to the even neighbour
    assert apply(even(100), "low_gain", 1.5, case="a")[0, 0] == round(100 - 255 * 6 / 60)
    assert apply(even(250), "gain", 1.5, case="a")[0, 0] == 255
    assert apply(even(10), "low_gain", 1.5, case="a")[0, 0] == 0


def test_attenuation_takes_its_decibels_evenly_from_top_to_bottom() -> None:
    lost = -to_level(apply(even(250), "attenuation", 5, case="a"))[:, 0] - 60 * 5 / 255  # 30 dB at the lower edge
    depth = (np.arange(SIZE) + 0.5) / SIZE
    np.testing.assert_allclose(lost, 30 * depth, atol=60 / 255 / 2 + 1e-4)  # to the nearest gray value


def test_a_shadow_takes_its_decibels_within_its_strip_below_its_top_and_nothing_elsewhere() -> None:
    place = Shadow().place(generator(0, "artefact", "shadow", "a"))
    lost = (even(250).astype(int) - apply(even(250), "shadow", 2, case="a")) * 60 / 255
    middle = (np.arange(SIZE) + 0.5) / SIZE
    strip = np.abs(middle - place.lateral)
    deep = middle > place.top + Shadow().obstacle
    full = lost[np.ix_(deep, strip < place.half_width)]
    np.testing.assert_allclose(full, 12, atol=60 / 255 / 2 + 1e-4)
    assert full.size > 100
    assert not lost[:, strip > place.half_width + Shadow().penumbra].any()
    assert not lost[middle < place.top].any()


def test_a_shadow_builds_up_in_its_obstacle_and_falls_off_as_a_cosine_at_its_sides() -> None:
    shadow, place = Shadow(obstacle=0.04, penumbra=0.04), ShadowPlace(lateral=0.5, half_width=0.1, top=0.2)
    depth, lateral = (
        np.array(values, dtype=np.float32) for values in ([0.2, 0.22, 0.24, 0.9], [0.6, 0.61, 0.62, 0.64])
    )
    assert shadow.share(place, depth, np.float32(0.5)).tolist() == pytest.approx([0, 0.5, 1, 1], abs=1e-5)
    falling = [1, 0.5 + 0.5 * np.sqrt(0.5), 0.5, 0]
    assert shadow.share(place, np.float32(0.9), lateral).tolist() == pytest.approx(falling, abs=1e-5)
    assert shadow.share(place, np.float32(0.9), 1 - lateral).tolist() == pytest.approx(falling, abs=1e-5)


def test_speckle_keeps_the_mean_amplitude_and_adds_the_contrast_of_its_distribution() -> None:
    contrasts = []
    for altered in apply_all(even(128), "speckle", [1, 3, 5], case="a"):
        factor = amplitude(to_level(altered)) / amplitude(to_level(even(128)))
        assert factor.mean() == pytest.approx(1, rel=0.01)
        contrasts.append(factor.std())
    # of a Rayleigh amplitude to the power t = 0.2, 0.6 and 1: sqrt(G(1 + t) / G(1 + t / 2)^2 - 1)
    np.testing.assert_allclose(contrasts, [0.1204, 0.3310, 0.5227], rtol=0.08)


def test_speckle_has_grains_of_the_resolution_cell() -> None:
    altered = to_level(apply(even(128), "speckle", 5, case="a"))
    pattern = amplitude(altered) - amplitude(altered).mean()
    power = np.abs(np.fft.fft2(pattern)) ** 2
    correlation = np.fft.ifft2(power).real
    correlation /= correlation[0, 0]
    axial, lateral = (0.0075 * SIZE, 0.015 * SIZE)  # 1.8 and 3.6 pixels
    # an amplitude's correlation is about the square of the field's, which is a Gaussian wider by sqrt(2): at a
    # distance of one full width at half maximum it has fallen to 2 ** -4
    assert correlation[0, round(lateral)] == pytest.approx(2.0**-4, abs=0.06)
    assert correlation[round(axial), 0] == pytest.approx(2.0**-4, abs=0.06)
    assert correlation[0, 1] > correlation[1, 0] > 0.3


@pytest.mark.parametrize(("spacing", "lines"), [(0.1, 9), (0.15, 6)])
def test_reverberation_puts_lines_at_equal_distances_that_fade_by_the_same_factor(spacing: float, lines: int) -> None:
    line = Reverberation(curvature=0.0, spacing=(spacing, spacing), thickness=0.02)
    view = FieldCoordinates.of(np.ones((1000, 50), dtype=bool))
    level = line.alter(np.full((1000, 50), -120, dtype=np.float32), view, 0.5, np.random.default_rng(0)).max(axis=1)
    peaks = [k for k in range(1, 999) if level[k - 1] < level[k] >= level[k + 1] and level[k] > -70]
    np.testing.assert_allclose(peaks, np.arange(1, lines + 1) * 1000 * spacing, atol=1)
    np.testing.assert_allclose(level[peaks], -6 - 6.02 * np.arange(1, lines + 1), atol=0.1)


def test_the_second_line_of_a_reverberation_is_bent_twice_as_much() -> None:
    line = Reverberation(curvature=0.02, spacing=(0.3, 0.3), thickness=0.02)
    view = FieldCoordinates.of(np.ones((1000, 50), dtype=bool))
    level = line.alter(np.full((1000, 50), -120, dtype=np.float32), view, 0.5, np.random.default_rng(0))
    first, second = level[150:450].argmax(axis=0) - 150, level[450:750].argmax(axis=0) - 150
    assert np.ptp(first) > 40
    np.testing.assert_allclose(second, 2 * first, atol=3)
    assert np.ptp(level[150:450].max(axis=0)) > 3  # dB: it is not equally strong everywhere


def test_levels_and_gray_values_are_each_others_inverse() -> None:
    gray = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(to_gray(to_level(gray)), gray)
    assert to_level(gray)[0, 0] == -60
    assert to_level(gray)[0, 255] == 0


@pytest.mark.parametrize("strength", [-0.1, STRONGEST + 0.1, float("nan")])
def test_a_strength_beyond_the_scale_is_refused(strength: float) -> None:
    with pytest.raises(UsageError, match=r"lies in 0\.\.5, got"):
        apply(even(), "gain", strength, case="a")


def test_an_unknown_artefact_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="Did you mean 'shadow'"):
        apply(even(), "shaddow", 1, case="a")
