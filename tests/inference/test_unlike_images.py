"""Images that are unlike the training images: how far they are, and how often like ones are taken for them."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from htunet.data.image_io import UInt8
from htunet.errors import HtunetError
from htunet.files import write_json
from htunet.inference.unlike_images import Familiar, distance_from, familiar_of, image_statistics, learn_familiar
from htunet.paths import DatasetPaths, RunPaths


def scan(number: int, *, grain: float = 1.5, kind: str = "") -> UInt8:
    """Speckle of a grain on a background that differs from image to image."""
    rng = np.random.default_rng([number, len(kind)])
    speckle = gaussian_filter(rng.rayleigh(size=(48, 64)), grain * rng.uniform(0.9, 1.1))
    image = speckle / speckle.mean() * np.linspace(1, rng.uniform(0.5, 0.8), 48)[:, None] * rng.uniform(70, 90)
    return np.clip(image, 0, 255).astype(np.uint8)[None]


@pytest.fixture(scope="module")
def familiar() -> list[Familiar]:
    """Of three folds."""
    found = [
        learn_familiar(map(scan, range(100 * k, 100 * k + 60)), map(scan, range(100 * k + 60, 100 * k + 90)))
        for k in range(3)
    ]
    return [one for one in found if one is not None]


def test_like_images_are_seldom_taken_for_unlike_ones(familiar: list[Familiar]) -> None:
    flagged = np.mean([distance_from(familiar, scan(number)) > 1 for number in range(1000, 1400)])
    assert 0.0 <= flagged <= 0.08


@pytest.mark.parametrize("what", ["coarse", "inverted", "white noise", "black", "bright"])
def test_unlike_images_are_found(familiar: list[Familiar], what: str) -> None:
    like = scan(7)
    image = {
        "coarse": scan(7, grain=4),
        "inverted": 255 - like,
        "white noise": np.random.default_rng(0).integers(0, 255, like.shape).astype(np.uint8),
        "black": np.zeros_like(like),
        "bright": np.clip(like.astype(int) + 80, 0, 255).astype(np.uint8),
    }[what]
    assert distance_from(familiar, image) > 1 > distance_from(familiar, scan(1007))


def test_the_distance_is_mahalanobis_on_the_axes_and_a_common_variance_beside_them() -> None:
    found = learn_familiar(map(scan, range(120)), map(scan, range(200, 230)))
    assert found is not None
    training = np.array([image_statistics(scan(number)) for number in range(120)])
    held_out = np.array([image_statistics(scan(number)) for number in range(200, 230)])
    scaled, new = ((values - training.mean(0)) / training.std(0) for values in (training, held_out))
    inverse = np.linalg.inv(np.cov(scaled.T, bias=True) + 1e-6 * np.eye(27))  # 120 images carry all 27 axes
    by_hand = np.sqrt(np.einsum("ni,ij,nj->n", new, inverse, new))
    ours = [found.distance(image_statistics(scan(number))) for number in range(200, 230)]
    assert ours == pytest.approx(by_hand / np.median(by_hand), rel=2e-3)
    threshold = np.sort(ours)[29]  # of 30 the 30th: 31 x 0.95 = 29.45
    assert distance_from([found], scan(200)) == pytest.approx(ours[0] / threshold)


def test_numbers_of_five_digits_give_the_same_distances() -> None:
    found = learn_familiar(map(scan, range(120)), map(scan, range(200, 230)))
    assert found is not None
    content = json.loads(json.dumps(found.content()), parse_float=lambda text: float(f"{float(text):.5g}"))
    rounded = Familiar.of_content(content, "rounded")
    for number in range(300, 320):
        statistics = image_statistics(scan(number))
        assert rounded.distance(statistics) == pytest.approx(found.distance(statistics), rel=0.01)


def test_few_images_say_nothing() -> None:
    assert learn_familiar(map(scan, range(8)), map(scan, range(20, 40))) is None
    assert learn_familiar(map(scan, range(20)), map(scan, range(20, 28))) is None
    assert learn_familiar(map(scan, range(9)), map(scan, range(20, 29))) is not None


def test_what_is_written_is_read_and_damage_is_named(familiar: list[Familiar], home: Path) -> None:
    run = RunPaths(DatasetPaths("Dataset900_Tiny"), "SegmentationTrainer", "tiny", "Plain", 0, 1)
    assert familiar_of(run) is None
    run.test_folder.mkdir(parents=True)
    content = familiar[0].content()
    write_json(run.familiar_json, content)
    read = familiar_of(run)
    assert read is not None
    assert distance_from([read], scan(5)) == distance_from(familiar[:1], scan(5))
    for damage in ({"mean_S": [0.0]}, {"rest": 0.0}, {"held_out_N": []}, {"axes_AS": [[1.0]]}):
        write_json(run.familiar_json, content | damage)
        with pytest.raises(HtunetError, match="do not belong together"):
            familiar_of(run)
    write_json(run.familiar_json, content | {"variances_A": "many"})
    with pytest.raises(HtunetError, match="variances_A"):
        familiar_of(run)
