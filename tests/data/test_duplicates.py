from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from builders.busi import speckled
from PIL import Image, ImageDraw, ImageFilter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from htunet.data import duplicates
from htunet.data.duplicates import (
    MAX_DISTANCE,
    DuplicatePair,
    Signature,
    cluster,
    find_duplicates,
    hamming,
    signature_of,
)
from htunet.data.image_io import UInt8, read_image


def picture(number: int) -> UInt8:
    return speckled(90, 120, "duplicates", number)[0]


def scaled(image: Image.Image) -> Image.Image:
    return image.resize((256, 256), Image.Resampling.BILINEAR)


def marked(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).line([(5, 5), (30, 5)], fill=255)
    return image


def noisy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 6, (image.height, image.width))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def signatures(*images: UInt8) -> list[Signature]:
    return [signature_of(image) for image in images]


def test_equal_pixels_are_an_exact_pair_and_other_pictures_are_none() -> None:
    found = find_duplicates(signatures(picture(0), picture(1), picture(0)))
    assert found == [DuplicatePair(0, 2, 1.0, exact=True)]


def test_gray_as_one_channel_and_as_a_plain_array_are_different_content_but_the_same_picture() -> None:
    (pair,) = find_duplicates(signatures(picture(0), picture(0)[None]))
    assert not pair.exact
    assert pair.correlation == pytest.approx(1.0)


@pytest.mark.parametrize("change", [scaled, marked, noisy, lambda image: image.filter(ImageFilter.GaussianBlur(1))])
def test_a_changed_copy_is_a_near_pair(change) -> None:  # noqa: ANN001
    copy = np.asarray(change(Image.fromarray(picture(0))))
    (pair,) = find_duplicates(signatures(picture(0), picture(1), copy))
    assert (pair.first, pair.second, pair.exact) == (0, 2, False)
    assert 0.995 < pair.correlation < 1


def test_a_near_hash_alone_is_not_enough() -> None:
    """Two images with the same falling brightness have the same hash; their thumbnails are not alike."""
    ramp = np.linspace(250, 0, 96)
    curve = 250 * np.linspace(1, 0, 96) ** 6
    one, other = (np.tile(values, (96, 1)).round().astype(np.uint8) for values in (ramp, curve))
    left, right = signatures(one, other)
    assert hamming(np.uint64(left.bits), np.uint64(right.bits)) <= MAX_DISTANCE
    assert find_duplicates([left, right]) == []


def test_flat_images_are_alike_only_when_they_are_equal() -> None:
    black, gray = np.zeros((50, 60), np.uint8), np.full((50, 60), 90, np.uint8)
    found = find_duplicates(signatures(black, gray, black))
    assert [(pair.first, pair.second, pair.exact) for pair in found] == [(0, 2, True)]


def test_equal_images_are_paired_with_the_first_so_that_many_cost_little() -> None:
    found = find_duplicates(signatures(*[picture(0)] * 5))
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_clusters_join_pairs_that_share_an_image() -> None:
    pairs = [DuplicatePair(first, second, 1.0, exact=True) for first, second in ((4, 5), (1, 2), (2, 5))]
    assert cluster(pairs) == [[1, 2, 4, 5]]
    assert cluster([]) == []


def test_the_bit_count_agrees_with_counting_the_ones() -> None:
    values = np.random.default_rng(1).integers(0, 2**64, 200, dtype=np.uint64)
    expected = [[(int(one) ^ int(other)).bit_count() for other in values] for one in values]
    assert (hamming(values[:, None], values[None]) == np.array(expected)).all()


def test_the_hash_misses_no_pair_that_comparing_all_thumbnails_finds(samples: Path) -> None:
    files = sorted((samples / "busi_subset").rglob("*).png"))
    read = [signature_of(read_image(path, 1)) for path in files]
    thumbnails = np.array([signature.thumbnail for signature in read])
    rows, columns = np.nonzero(np.triu(thumbnails @ thumbnails.T, 1) > 0.995)
    found = find_duplicates(read)
    assert [(pair.first, pair.second) for pair in found] == list(zip(rows, columns, strict=True))
    names = [(files[pair.first].stem, files[pair.second].stem) for pair in found]
    assert names == [("malignant (4)", "malignant (5)"), ("malignant (8)", "malignant (9)")]


def test_of_six_million_pairs_only_those_with_close_hashes_are_compared() -> None:
    rng = np.random.default_rng(2)
    thumbnails = rng.normal(size=(3500, 2304)).astype(np.float32)
    thumbnails /= np.linalg.norm(thumbnails, axis=1, keepdims=True)
    bits = rng.integers(0, 2**64, 3500, dtype=np.uint64)
    many = [Signature(str(i), int(bits[i]), thumbnails[i]) for i in range(3500)]
    many[3400] = Signature("copy", many[2000].bits ^ 0b111, many[2000].thumbnail)
    with patch.object(duplicates, "_correlation", wraps=duplicates._correlation) as compared:
        found = find_duplicates(many)
    assert [(pair.first, pair.second) for pair in found] == [(2000, 3400)]
    assert compared.call_count < 100


def test_what_bounds_a_correlation_is_never_below_it() -> None:
    rng = np.random.default_rng(3)
    smooth = np.kron(rng.normal(size=(60, 6, 6)), np.ones((8, 8))) + rng.normal(size=(60, 48, 48)) * rng.random(
        (60, 1, 1)
    )
    flat = (smooth - smooth.mean(axis=(1, 2), keepdims=True)).reshape(60, -1)
    thumbnails = (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float16)
    thumbnails[0] = 0  # a flat image
    bounds = np.array([duplicates._coarse(one) for one in thumbnails], np.float32)
    exact = thumbnails.astype(np.float64) @ thumbnails.astype(np.float64).T
    assert (bounds @ bounds.T >= exact - duplicates.ROUNDING).all()
    assert (bounds @ bounds.T < 0.9).mean() > 0.9  # and tells most of them apart


def test_copies_are_found_where_each_picture_is_compared_alone_with_those_that_are_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = [picture(number) for number in range(8)]
    copies = [np.asarray(change(Image.fromarray(one))) for one in pictures for change in (noisy, scaled)]
    expected = find_duplicates(signatures(*pictures, *copies))
    monkeypatch.setattr(duplicates, "TILE", 1)
    assert find_duplicates(signatures(*pictures, *copies)) == expected
    assert {(number, 8 + 2 * number) for number in range(8)} <= {(pair.first, pair.second) for pair in expected}


def test_clusters_are_the_components_of_the_graph() -> None:
    draw = np.random.default_rng(0)
    ends = draw.integers(0, 60, (40, 2))
    pairs = [DuplicatePair(int(min(pair)), int(max(pair)), 1.0, exact=False) for pair in ends if pair[0] != pair[1]]
    graph = coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(60, 60))
    number = connected_components(graph, directed=False)[1]
    expected = [np.flatnonzero(number == one).tolist() for one in dict.fromkeys(number)]
    assert cluster(pairs) == [positions for positions in expected if len(positions) > 1]
