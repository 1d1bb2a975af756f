"""Augmentation depends on its key alone, moves image and mask together, and never turns an image upside down."""

import random

import numpy as np
import pytest
from builders.plan import plan_of
from builders.raw import blob
from PIL import Image

from htunet.errors import HtunetError, UsageError
from htunet.planning.rules import AugmentationSettings
from htunet.training.augmentation import AUGMENTATIONS, Transform, strong_weak
from htunet.training.augmentation.augment import Augmentation

SIZE = (32, 40)
OFF = {"mirror": 0.0, "spatial": 0.0, "intensity": 0.0}
ALWAYS = AugmentationSettings(mirror=0.5, spatial=1.0, intensity=1.0)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A bright ellipse left of the middle, and where it is."""
    mask = blob(SIZE, (0.5, 0.35), 0.2)
    return np.where(mask, 220, 20).astype(np.uint8)[None], mask


def of(**settings: float) -> Augmentation:
    return Augmentation(AugmentationSettings(**(OFF | settings)), SIZE)


@pytest.mark.parametrize("change", [{"scale_max": 0.8}, {"gamma_min": 0.0}, {"contrast_min": 1.5}], ids=str)
def test_ranges_are_positive_and_in_order(change: dict[str, float]) -> None:
    with pytest.raises(HtunetError, match=r"_min and \w+_max in plans.json must be above 0 and in this order"):
        AugmentationSettings(**change)


def test_equal_keys_give_equal_bits_whatever_was_called_before(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first = Augmentation(ALWAYS, SIZE)
    expected = [first(*pair, 1, 3, f"case_{number}") for number in range(8)]
    other = Augmentation(ALWAYS, SIZE)
    np.random.seed(7)
    random.seed(7)
    for number in reversed(range(8)):
        other(*pair, 1, 2, "something else")
        image, mask = other(*pair, 1, 3, f"case_{number}")
        np.testing.assert_array_equal(image, expected[number][0])
        np.testing.assert_array_equal(mask, expected[number][1])


@pytest.mark.parametrize("key", [(2, 3, "case"), (1, 4, "case"), (1, 3, "other")], ids=["seed", "epoch", "case"])
def test_another_key_gives_another_image(pair: tuple[np.ndarray, np.ndarray], key: tuple[int, int, str]) -> None:
    augment = Augmentation(ALWAYS, SIZE)
    assert (augment(*pair, 1, 3, "case")[0] != augment(*pair, *key)[0]).any()


@pytest.mark.parametrize("key", [1, 2, 3, 4, 5])
def test_noise_and_blur_obey_the_key_too(pair: tuple[np.ndarray, np.ndarray], key: int) -> None:
    off = {"brightness": 0.0, "contrast_min": 1.0, "contrast_max": 1.0, "gamma_min": 1.0, "gamma_max": 1.0}
    augment = of(intensity=1.0, **off)
    random.seed(1)
    first = augment(*pair, key)[0]
    random.seed(2)
    np.testing.assert_array_equal(augment(*pair, key)[0], first)
    assert (first != pair[0]).any()


def test_the_global_generators_are_as_they_were(pair: tuple[np.ndarray, np.ndarray]) -> None:
    np.random.seed(3)
    random.seed(3)
    expected = np.random.random(), random.random()
    np.random.seed(3)
    random.seed(3)
    Augmentation(ALWAYS, SIZE)(*pair, 1)
    assert (np.random.random(), random.random()) == expected


def test_image_and_mask_move_together(pair: tuple[np.ndarray, np.ndarray]) -> None:
    augment = of(mirror=0.5, spatial=1.0)
    moved = 0
    for key in range(40):
        image, mask = augment(*pair, key)
        seen = image[0] > 120
        assert 2 * (seen & (mask == 1)).sum() / (seen.sum() + mask.sum()) > 0.93
        moved += int((mask != pair[1]).any())
    assert moved == 40


def test_an_image_is_flipped_left_to_right_half_of_the_time_and_never_upside_down() -> None:
    image = np.arange(SIZE[0] * SIZE[1], dtype=np.int64).reshape(1, *SIZE) * 255 // (SIZE[0] * SIZE[1])
    image = image.astype(np.uint8)
    image[0, :, : SIZE[1] // 2] //= 2
    mask = (np.indices(SIZE)[1] < 10).astype(np.uint8)
    flipped = 0
    for key in range(200):
        result, result_mask = of(mirror=0.5)(image, mask, key)
        same = np.array_equal(result, image) and np.array_equal(result_mask, mask)
        mirrored = np.array_equal(result, image[..., ::-1]) and np.array_equal(result_mask, mask[:, ::-1])
        assert same != mirrored
        flipped += mirrored
    assert 70 < flipped < 130


def test_the_shadow_stays_below_the_lesion() -> None:
    image = np.repeat(np.linspace(0, 255, SIZE[0]).astype(np.uint8)[:, None], SIZE[1], axis=1)[None]
    mask = np.zeros(SIZE, np.uint8)
    augment = Augmentation(AugmentationSettings(mirror=0.5, spatial=1.0, intensity=0.0), SIZE)
    for key in range(60):
        middle = augment(image, mask, key)[0][0, 8:-8, 10:-10].astype(int).mean(axis=1)
        assert middle[-1] > middle[0]


def test_probability_0_turns_everything_off() -> None:
    rng = np.random.default_rng(0)
    image = rng.permutation(np.resize(np.arange(256, dtype=np.uint8), SIZE[0] * SIZE[1])).reshape(1, *SIZE)
    mask = rng.integers(0, 3, SIZE).astype(np.uint8)
    augment = of()
    for key in range(20):
        result, result_mask = augment(image, mask, key)
        np.testing.assert_array_equal(result, image)
        np.testing.assert_array_equal(result_mask, mask)


def test_intensity_leaves_the_mask_and_spatial_leaves_the_gray_values(pair: tuple[np.ndarray, np.ndarray]) -> None:
    for key in range(20):
        assert np.array_equal(of(intensity=1.0)(*pair, key)[1], pair[1])
        moved = of(mirror=0.5)(*pair, key)[0]
        assert set(np.unique(moved)) == {20, 220}


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_types_and_labels_stay(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, *SIZE)).astype(np.uint8)
    mask = (blob(SIZE) * 2).astype(np.uint8)
    augment = Augmentation(ALWAYS, SIZE)
    for key in range(10):
        result, result_mask = augment(image, mask, key)
        assert (result.shape, result.dtype) == (image.shape, np.uint8)
        assert (result_mask.shape, result_mask.dtype) == (mask.shape, np.uint8)
        assert set(np.unique(result_mask)) <= {0, 2}


def test_the_images_that_came_in_are_not_changed(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image, mask = pair[0].copy(), pair[1].copy()
    Augmentation(ALWAYS, SIZE)(*pair, 1)
    assert np.array_equal(image, pair[0])
    assert np.array_equal(mask, pair[1])


def test_a_plan_with_an_unknown_key_is_one_clear_error() -> None:
    with pytest.raises(HtunetError, match=r"plans\.json, augmentation: .*'rotation_degree' is not known.*degrees'"):
        AugmentationSettings.from_plan({"rotation_degree": 3.0})


@pytest.mark.parametrize(("name", "value"), [("mirror", 0.6), ("spatial", 1.1), ("intensity", -0.1)])
def test_a_probability_out_of_range_is_refused_with_its_value(name: str, value: float) -> None:
    with pytest.raises(HtunetError, match=rf"augmentation\.{name}.*{value}"):
        AugmentationSettings.from_plan({name: value})


def without_the_right_half(input_size: tuple[int, int], *, gray: float = 0.0) -> Transform:
    """What a package may add."""
    if not 0 <= gray <= 1:
        raise ValueError(f"gray must be in [0, 1], got {gray}.")

    def transform(data: np.ndarray, seg: np.ndarray) -> dict[str, np.ndarray]:
        data, seg = data.copy(), seg.copy()
        data[..., input_size[1] // 2 :], seg[..., input_size[1] // 2 :] = gray, 0
        return {"data": data, "seg": seg}

    return transform


def test_a_further_transform_follows_the_usual_ones_and_changes_none_of_them(
    pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AUGMENTATIONS._entries, "half", without_the_right_half)
    image, mask = Augmentation(ALWAYS, SIZE)(*pair, 1, "case")
    more, more_mask = Augmentation(ALWAYS, SIZE, {"half": {"gray": 1.0}})(*pair, 1, "case")
    np.testing.assert_array_equal(more[..., :20], image[..., :20])
    np.testing.assert_array_equal(more_mask[..., :20], mask[..., :20])
    assert (more[..., 20:] == 255).all()
    assert not more_mask[..., 20:].any()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"blurr": {}}, "No augmentation is called 'blurr'.*Did you mean 'blur'"),
        ({"blur": {"radius": 1}}, "'blur' has no parameter 'radius'; it has: probability, sigma"),
        ({"blur": {"sigma": "x"}}, "'blur' cannot take"),
    ],
)
def test_a_further_transform_that_cannot_be_is_named(more: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augmentation.from_plan(plan_of(more_augmentation=more))


def test_a_transform_that_changes_the_shape_is_refused(
    pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = lambda size: lambda data, seg: {"data": data[..., 1:], "seg": seg}  # noqa: E731
    monkeypatch.setitem(AUGMENTATIONS._entries, "cut", cut)
    with pytest.raises(ValueError, match="changed the shapes"):
        Augmentation(ALWAYS, SIZE, {"cut": {}})(*pair, 1)


def test_strong_weak_changes_every_second_image_and_moves_both_together() -> None:
    mask = blob(SIZE, (0.3, 0.35), 0.2)
    image_CHW = np.where(mask, 220, 20).astype(np.uint8)[None]
    augment = Augmentation(AugmentationSettings(**OFF), SIZE, {"strong_weak": {}})
    results = [augment(image_CHW, mask, key) for key in range(400)]
    same = sum(np.array_equal(image, image_CHW) and np.array_equal(moved, mask) for image, moved in results)
    # one half is left alone, and of the other one those that only identities were drawn for, or two equal flips
    assert 200 <= same <= 260
    weak = [moved for _, moved in results if not np.array_equal(moved, mask)]
    assert any(np.array_equal(moved, mask[::-1]) for moved in weak)
    assert any(np.array_equal(moved, mask[:, ::-1]) for moved in weak)
    assert any(moved.sum() > 1.1 * mask.sum() for moved in weak)  # a crop enlarges
    assert all(set(np.unique(moved)) <= {0, 1} for moved in weak)
    calm = [(image[0], moved) for image, moved in results if set(np.unique(image)) == {20, 220}]
    assert all(np.array_equal(image == 220, moved == 1) for image, moved in calm)
    assert len(calm) > 200


@pytest.mark.parametrize("channels", [1, 3])
def test_each_strong_operation_gives_another_image_of_the_same_kind(channels: int) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(60, 180, (64, 64), dtype=np.uint8))
    image = image if channels == 1 else image.convert("RGB")
    random.seed(1)
    changed = [operation(image) for operation in strong_weak.STRONG]
    assert all((one.mode, one.size) == (image.mode, image.size) for one in changed)
    assert [one.tobytes() == image.tobytes() for one in changed] == [True] + [False] * 8


def test_strong_weak_at_0_is_nothing_and_a_share_above_1_is_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    never = Augmentation(AugmentationSettings(**OFF), SIZE, {"strong_weak": {"probability": 0}})
    assert all(np.array_equal(never(*pair, key)[0], pair[0]) for key in range(9))
    with pytest.raises(UsageError, match=r"probability must be in \[0, 1\], got 2"):
        Augmentation(AugmentationSettings(**OFF), SIZE, {"strong_weak": {"probability": 2}})
