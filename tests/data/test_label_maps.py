"""What mask values mean: read off the masks, or said by the user; never decided file by file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from dataset_conversion.common import read_mask
from htunet.data.formats.stacks import COLOUR, open_stack
from htunet.data.label_maps import LabelMap, Survey, _is_even, given, infer, survey
from htunet.errors import HtunetError, UsageError

RED, GREEN = COLOUR + 0xFF0000, COLOUR + 0x00FF00


def square(*values: object, shape: tuple[int, ...] = (40, 60)) -> np.ndarray:
    """A black picture with one 10 x 20 rectangle for each value."""
    picture = np.zeros(shape, np.uint8)
    for index, value in enumerate(values):
        picture[5:15, 2 + 20 * index : 20 + 20 * index] = value
    return picture


def surveys_of(folder: Path, *pictures: np.ndarray, ending: str = ".png", **options: int) -> list[Survey]:
    found = []
    for index, picture in enumerate(pictures):
        path = folder / f"{index}{ending}"
        Image.fromarray(picture).save(path, **options)
        one = survey(path)
        assert one is not None
        found.append(one)
    return found


@pytest.mark.parametrize("value", [1, 255, 7])
def test_one_value_is_the_lesion(tmp_path: Path, value: int) -> None:
    found = infer(surveys_of(tmp_path, square(value), square()))
    assert found.labels == {"background": 0, "lesion": 1}
    assert found.note == f"labels inferred: 0 = background (0), {value} = lesion (1)"


@pytest.mark.parametrize(("ground", "value"), [(1, 2), (128, 255), (255, 1), ((255, 255, 255), (255, 0, 0))])
def test_where_no_mask_holds_0_the_most_frequent_value_is_the_background(
    tmp_path: Path, ground: object, value: object
) -> None:
    picture = np.zeros((40, 60, 3) if isinstance(ground, tuple) else (40, 60), np.uint8)
    picture[:] = ground
    picture[5:15, 2:20] = value
    found = infer(surveys_of(tmp_path, picture, np.full_like(picture, ground)))
    assert found.labels == {"background": 0, "lesion": 1}
    assert "no mask holds 0" in found.note
    labels, moved = found.apply(next(open_stack(tmp_path / "0.png").levels()))
    assert (labels[10, 10], labels[0, 0], labels.sum(), moved) == (1, 0, 180, False)


@pytest.mark.parametrize(("values", "ending"), [((1,), ".jpg"), ((1, 2), ".jpg"), ((1, 2), ".webp")])
def test_lossy_masks_do_not_keep_values_as_near_as_1_and_2(
    tmp_path: Path, values: tuple[int, ...], ending: str
) -> None:
    surveys = surveys_of(tmp_path, square(*values), ending=ending, quality=75)
    with pytest.raises(HtunetError, match=r"do not keep exact values.* Save them as PNG"):
        infer(surveys)
    with pytest.raises(UsageError, match="differ by 24 or less"):
        given("lesion=1", surveys)


def test_lossy_marks_of_a_few_pixels_are_lesions_where_their_value_is_named(tmp_path: Path) -> None:
    """Nobody can tell them from noise; a larger one beside them says what they are."""
    small = np.zeros((60, 80), dtype=np.uint8)
    small[20:22, 31:33] = 255
    alone = surveys_of(tmp_path, small, ending=".jpg", quality=75)
    with pytest.raises(HtunetError, match=r"such lesions from the noise.*--labels \"lesion=\d+\""):
        infer(alone)
    levels = next(open_stack(tmp_path / "0.jpg").levels())
    Image.fromarray(square(255)).save(tmp_path / "large.png")
    large = survey(tmp_path / "large.png")
    assert large is not None
    for label_map in (given("lesion=255", alone), infer([*alone, large])):
        assert 2 <= label_map.apply(levels)[0].sum() <= 8


def test_masks_of_0_1_and_of_0_255_in_one_set_are_the_same_lesion(tmp_path: Path) -> None:
    found = infer(surveys_of(tmp_path, square(1), square(255)))
    assert found.values == ((0, 0), (1, 1), (255, 1))


def test_indices_stay_what_they_are_even_where_they_are_thin(tmp_path: Path) -> None:
    thin = square(1, 2)
    thin[30, :] = 3
    found = infer(surveys_of(tmp_path, thin))
    assert found.labels == {"background": 0, "value_1": 1, "value_2": 2, "value_3": 3}


def test_values_that_number_the_lesions_of_an_image_are_named(tmp_path: Path) -> None:
    numbered = [square(1), square(1, 2), square(1), square(1), square(1, 2, 3), square()]
    found = infer(surveys_of(tmp_path, *numbered))
    assert len(found.names) == 3
    assert "; 2 is only where 1 is, as if they numbered the lesions of an image" in found.note
    assert "--labels lesion=1+2+3" in found.note
    for organs in ([square(1, 2), square(1, 2), square(1)], [square(1), square(2), square(1)]):
        assert "numbered the lesions" not in infer(surveys_of(tmp_path, *organs)).note


def test_each_colour_is_a_label(tmp_path: Path) -> None:
    picture = square((255, 0, 0), (0, 255, 0), shape=(40, 60, 3))
    found = infer(surveys_of(tmp_path, picture))
    assert found.values == ((0, 0), (GREEN, 1), (RED, 2))
    assert found.labels == {"background": 0, "colour_00ff00": 1, "colour_ff0000": 2}
    labels, moved = found.apply(next(open_stack(tmp_path / "0.png").levels()))
    assert (labels[10, 10], labels[10, 30], labels[0, 0], moved) == (2, 1, 0, False)


def test_blurred_edges_are_no_labels_and_fall_to_the_nearest(tmp_path: Path) -> None:
    picture = square(255)
    picture[5:15, 1], picture[5:15, 20] = 100, 160
    found = infer(surveys_of(tmp_path, picture))
    assert found.labels == {"background": 0, "lesion": 1}
    labels, moved = found.apply(picture.astype(np.int32))
    assert (labels[8, 1], labels[8, 20], moved) == (0, 1, True)


def disc(radius: int, value: int = 255) -> np.ndarray:
    rows, columns = np.ogrid[:64, :80]
    return (((rows - 30) ** 2 + (columns - 40) ** 2 <= radius**2) * value).astype(np.uint8)


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """As segmentations are that somebody smoothed, resized or saved as probabilities: 255 becomes 254, too."""
    return np.asarray(gaussian_filter(picture / 255, sigma) * 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1, 2])
def test_masks_whose_values_blend_have_the_labels_between_which_they_do(tmp_path: Path, sigma: float) -> None:
    pictures = [blurred(disc(radius), sigma) for radius in (10, 12, 15)]
    assert {254, 255} <= {int(value) for value in np.unique(pictures)}
    found = infer(surveys_of(tmp_path, *pictures))
    assert found.labels == {"background": 0, "lesion": 1}
    labels, moved = found.apply(pictures[1].astype(np.int32))
    assert moved
    assert abs(int(labels.sum()) - int((disc(12) > 0).sum())) <= 0.05 * (disc(12) > 0).sum()


@pytest.mark.parametrize(("ending", "options"), [(".png", {}), (".jpg", {"quality": 60}), (".jpg", {"quality": 95})])
def test_pictures_are_no_masks(tmp_path: Path, ending: str, options: dict[str, int]) -> None:
    speckle = np.random.default_rng(1).rayleigh(1, (128, 128))
    speckle[:, 100:] = 0
    picture = np.clip(gaussian_filter(speckle, 0.8) * 100, 0, 255).astype(np.uint8)
    surveys = surveys_of(tmp_path, picture, picture[::-1], ending=ending, **options)
    with pytest.raises(HtunetError, match=r"values of 2 masks \(0.*, 1.*\) blend into each other|no even area"):
        infer(surveys)


def test_probabilities_have_the_label_that_is_given_and_no_other(tmp_path: Path) -> None:
    levels = blurred(disc(12), 4)
    surveys = surveys_of(tmp_path, levels, blurred(disc(14), 4) // 2)
    with pytest.raises(UsageError, match=r'Cut probabilities at a threshold.* --labels "lesion=255"'):
        infer(surveys)
    labels, _ = given("lesion=255", surveys[:1]).apply(levels.astype(np.int32))
    assert np.array_equal(labels, levels >= 128)
    two = blurred(disc(20), 1)
    two[5:15, 5:15] = 128
    with pytest.raises(HtunetError, match="holds the values 128, which are not labels"):
        given("lesion=255", surveys_of(tmp_path, two)).apply(two.astype(np.int32))


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("values", [(255,), (128, 255), (85, 170, 255)])
def test_jpeg_masks_are_brought_back_to_their_clean_values(
    tmp_path: Path, quality: int, values: tuple[int, ...]
) -> None:
    truth = square(*values).repeat(3, axis=0).repeat(3, axis=1)
    surveys = surveys_of(tmp_path, truth, truth, ending=".jpg", quality=quality)
    found = infer(surveys)
    assert len(found.names) == len(values)
    levels = next(open_stack(tmp_path / "0.jpg").levels())
    labels, moved = found.apply(levels)
    exact = sum((truth == value) * (index + 1) for index, value in enumerate(values))
    assert moved
    assert (labels == exact).mean() > 0.97
    one_by_one, _ = given(",".join(f"v{v}={v}" for v in values), surveys).apply(levels)
    assert np.array_equal(labels, one_by_one)


def test_the_real_lossy_masks_come_out_as_the_threshold_127_gives_them(samples: Path) -> None:
    masks = sorted((samples / "tn3k_sample").rglob("*mask*/*.jpg"))[:8]
    if not masks:
        pytest.skip("the samples hold no lossy masks")
    found = infer([one for one in map(survey, masks) if one])
    assert found.labels == {"background": 0, "lesion": 1}
    for path in masks:
        labels, _ = found.apply(next(open_stack(path).levels()))
        assert (labels != read_mask(path, 127)).mean() < 1e-3


def test_empty_masks_alone_and_too_many_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HtunetError, match="Every mask is empty"):
        infer(surveys_of(tmp_path, square()))
    with pytest.raises(UsageError, match="40 different values"):
        infer([Survey({0: 9, value: 9}, {0: 9, value: 9}, False) for value in range(100, 140)])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lesion=1,cyst=2", ((0, 0), (1, 1), (2, 2))),
        ("cyst=2, lesion=1", ((0, 0), (1, 1), (2, 2))),
        ("cyst=170,lesion=85", ((0, 0), (85, 1), (170, 2))),
        ("background=255,lesion=0", ((255, 0), (0, 1))),
        ("b=#ff0000,a=#00ff00", ((0, 0), (RED, 1), (GREEN, 2))),
        ('{"lesion": [255, 0, 0]}', ((0, 0), (RED, 1))),
        ('{"lesion": 255}', ((0, 0), (255, 1))),
        ("white=#ffffff", ((0, 0), (255, 1))),
        ("lesion=1+3,cyst=2", ((0, 0), (1, 1), (3, 1), (2, 2))),
        ("lesion=#ff0000 + #00ff00, background=0+128", ((0, 0), (128, 0), (GREEN, 1), (RED, 1))),
        ('{"lesion": "3+1"}', ((0, 0), (1, 1), (3, 1))),
    ],
)
def test_a_given_map_is_taken(text: str, values: tuple[tuple[int, int], ...]) -> None:
    assert given(text, []).values == values


def test_a_map_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"lesion": 1}), encoding="utf-8")
    assert given(str(tmp_path / "labels.json"), []).labels == {"background": 0, "lesion": 1}


NO_MAPS = (
    *("lesion", "lesion=x", "lesion=-1", "lesion=1,lesion=2", "a=1,b=1", "a=0", "=1", "background=0"),
    *("a=1+1", "a=1+", "a=1+2,b=2", "a=1+0"),
    *("{", "[1]", "{}", "ignore=2", "a=70000", '{"a": 1.5}'),
)


@pytest.mark.parametrize("text", NO_MAPS)
def test_a_text_that_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="label"):
        given(text, [])


def test_a_value_that_nobody_named_is_refused_with_its_name(tmp_path: Path) -> None:
    found = given("lesion=1", surveys_of(tmp_path, square(1, 2)))
    with pytest.raises(HtunetError, match="holds the values 2, which are not labels"):
        found.apply(square(1, 2).astype(np.int32))


def test_a_map_of_colours_finds_the_nearest_of_gray_and_colour() -> None:
    found = LabelMap(names=("a", "b"), values=((0, 0), (RED, 1), (255, 2)))
    levels = np.array([[COLOUR + 0xF00808, 250, 3, COLOUR + 0x0A0000]], dtype=np.int32)
    assert found.apply(levels)[0].tolist() == [[1, 2, 0, 0]]


def test_colours_of_jpeg_masks_are_found_however_each_channel_ripples(tmp_path: Path) -> None:
    """Red areas whose green and blue differ by 2 from pixel to pixel are even, as gray ones are."""
    truth = square((255, 0, 0), (0, 255, 0), shape=(40, 60, 3)).repeat(4, axis=0).repeat(4, axis=1)
    found = infer(surveys_of(tmp_path, truth, ending=".jpg", quality=90))
    assert len(found.names) == 2
    rippled = np.full((6, 6), COLOUR + 0xF00000, dtype=np.int32)
    rippled[::2, ::2] += 0x020100
    rippled[1::2, 1::2] += 0x020100
    assert _is_even(rippled, 2).all()
    assert not _is_even(rippled, 0).any()


def test_values_beside_all_labels_are_not_brought_to_the_nearest(tmp_path: Path) -> None:
    """A border of one pixel that VOC draws around what it marks; with it named, it is background."""
    voc = np.zeros((40, 60, 3), dtype=np.uint8)
    voc[9:21, 9:31] = 224, 224, 192
    voc[10:20, 10:20], voc[10:20, 20:30] = (128, 0, 0), (0, 128, 0)
    surveys = surveys_of(tmp_path, voc)
    with pytest.raises(
        UsageError, match=r"neither labels nor between them \(#e0e0c0; the labels are #008000, #800000\)"
    ):
        infer(surveys)
    levels = next(open_stack(tmp_path / "0.png").levels())
    with pytest.raises(HtunetError, match=r"holds the values #e0e0c0, which are not labels.*no colour can be named"):
        given("a=#800000,b=#008000", surveys).apply(levels)
    labels, _ = given("a=#800000,b=#008000,background=0+#e0e0c0", surveys).apply(levels)
    assert (labels[9, 9], labels[12, 12], labels[12, 25]) == (0, 1, 2)
    assert np.bincount(labels.ravel()).tolist() == [40 * 60 - 200, 100, 100]


def test_marks_in_colour_over_a_picture_are_the_label_and_its_gray_is_background(tmp_path: Path) -> None:
    gray = np.tile(np.arange(20, 250, 2, dtype=np.uint8)[:, None], (1, 120))
    drawn = np.stack([gray] * 3, axis=-1)
    drawn[32:64, 40:80] = (255, 0, 0)
    found = given("lesion=#ff0000", surveys_of(tmp_path, drawn))
    marked = np.zeros(gray.shape, np.uint8)
    marked[32:64, 40:80] = 1
    np.testing.assert_array_equal(found.apply(next(open_stack(tmp_path / "0.png").levels()))[0], marked)
    with pytest.raises(HtunetError, match="are not labels"):  # a copy without a mark may have been forgotten
        found.apply(gray.astype(np.int32))
