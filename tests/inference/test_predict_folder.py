"""A folder of any images in, masks of the same names and sizes out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.raw import blob
from builders.training import Plain, tiny_plan
from PIL import Image

from htunet.data.image_io import read_labels
from htunet.errors import HtunetError, UsageError
from htunet.inference.folder import images_in, predict_folder
from htunet.inference.prediction import Prediction
from htunet.inference.predictor import Predictor
from htunet.models.precision import FP32

SIZE = (50, 70)
LESION = blob(SIZE, (0.5, 0.4), 0.3)
IMAGE = np.where(LESION, 230, 20).astype(np.uint8)


class Threshold(Plain):
    """Calls every pixel above the middle gray value a lesion."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        bright = (images_BCHW.float().mean(dim=1, keepdim=True) - 127.5) / 10
        return torch.cat([-bright, bright], dim=1)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(Threshold(2), tiny_plan(), device=torch.device("cpu"), precision=FP32)


class Certain(Threshold):
    """As sure of the lesion everywhere as its name says."""

    def __init__(self, probability: float) -> None:
        super().__init__(2)
        self.probability = probability

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        lesion = torch.full_like(images_BCHW[:, :1].float(), self.probability)
        return torch.cat([1 - lesion, lesion], dim=1).log()


def test_the_members_of_an_ensemble_are_averaged_as_probabilities() -> None:
    members = [Certain(0.9), Certain(0.5), Certain(0.1), Certain(0.3)]
    together = Predictor(members, tiny_plan(), device=torch.device("cpu"), precision=FP32)
    found = together.predict(IMAGE)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities[1], 0.45, atol=1e-6)
    assert found.labels is not None
    assert not found.labels.any()  # a vote of the logarithms would be another


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def dice(path: Path) -> float:
    labels = read_labels(path)
    assert labels.shape == SIZE
    return float(2 * (labels * LESION).sum() / (labels.sum() + LESION.sum()))


def palette(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).convert("P")


def rgba(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([image, image, image, np.full_like(image, 255)]))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param("a.png", Image.fromarray, id="gray PNG"),
        pytest.param("a.jpg", Image.fromarray, id="JPG"),
        pytest.param("a.JPEG", Image.fromarray, id="capital ending"),
        pytest.param("a.bmp", Image.fromarray, id="BMP"),
        pytest.param("a.tif", Image.fromarray, id="TIF"),
        pytest.param("a.png", lambda image: Image.fromarray(np.dstack([image] * 3)), id="RGB"),
        pytest.param("a.png", rgba, id="RGBA"),
        pytest.param("a.png", palette, id="palette"),
        pytest.param("a.png", lambda image: Image.fromarray(image.astype(np.uint16) * 257), id="16-bit PNG"),
        pytest.param("a.tif", lambda image: Image.fromarray(image.astype(np.float32) / 255), id="float TIF"),
    ],
)
def test_every_kind_of_image_is_predicted_in_its_own_size(
    predictor: Predictor, source: Path, name: str, make: Callable[[np.ndarray], Image.Image]
) -> None:
    make(IMAGE).save(source / name)
    result = predict_folder(predictor, images_in(source), source.parent / "masks")
    assert (result.predicted, result.masks) == ([source / name], [source.parent / "masks" / "a.png"])
    assert dice(result.masks[0]) > 0.9
    assert (result.unreadable, result.empty) == ({}, [])


@pytest.mark.parametrize("changes", [{"geometry": "letterbox"}, {"channels": 3}], ids=str)
def test_the_plans_geometry_and_channels_are_obeyed(source: Path, changes: dict[str, object]) -> None:
    predictor = Predictor(Threshold(2), tiny_plan(**changes), device=torch.device("cpu"), precision=FP32)
    Image.fromarray(IMAGE).save(source / "a.png")
    assert dice(predict_folder(predictor, images_in(source), source.parent / "masks").masks[0]) > 0.9


def test_an_unreadable_image_is_named_and_the_others_are_predicted(predictor: Predictor, source: Path) -> None:
    for name in ("a.png", "c.png"):
        Image.fromarray(IMAGE).save(source / name)
    (source / "b.png").write_bytes(b"no image")
    output = source.parent / "masks"
    result = predict_folder(predictor, images_in(source), output)
    assert [path.name for path in result.predicted] == ["a.png", "c.png"]
    assert list(result.unreadable) == ["b.png"]
    assert "cannot be read" in result.unreadable["b.png"]
    assert sorted(path.name for path in output.iterdir()) == ["a.png", "c.png"]


def test_a_folder_without_one_readable_image_is_an_error(predictor: Predictor, source: Path) -> None:
    (source / "b.png").write_bytes(b"no image")
    with pytest.raises(HtunetError, match=r"None of the images can be read: .*b\.png"):
        predict_folder(predictor, images_in(source), source.parent / "masks")


def test_an_image_in_which_nothing_is_found_is_named(predictor: Predictor, source: Path) -> None:
    Image.fromarray(np.full_like(IMAGE, 10)).save(source / "dark.png")
    Image.fromarray(IMAGE).save(source / "light.png")
    assert predict_folder(predictor, images_in(source), source.parent / "masks").empty == ["dark.png"]


def test_two_images_that_would_write_the_same_mask_are_refused_at_once(predictor: Predictor, source: Path) -> None:
    for name in ("a.png", "b.jpg", "b.png"):
        Image.fromarray(IMAGE).save(source / name)
    with pytest.raises(UsageError, match=r"b\.jpg and b\.png would both write b\.png"):
        predict_folder(predictor, images_in(source), source.parent / "masks")
    assert not (source.parent / "masks").exists()


@pytest.mark.parametrize("other", [".", "../images"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_masks_never_go_among_the_images(predictor: Predictor, source: Path, other: str, name: str) -> None:
    Image.fromarray(IMAGE).save(source / name)
    before = (source / name).read_bytes()
    with pytest.raises(UsageError, match="Choose another output folder"):
        predict_folder(predictor, images_in(source), source / other)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == {name: before}


def test_probabilities_sum_to_1_and_agree_with_the_mask(predictor: Predictor, source: Path) -> None:
    Image.fromarray(IMAGE).save(source / "a.png")
    output = source.parent / "masks"
    predict_folder(predictor, images_in(source), output, save_probabilities=True)
    with np.load(output / "a.npz") as content:
        scores = content["probabilities"]
    assert (scores.shape, scores.dtype) == ((2, 32, 32), np.float16)
    np.testing.assert_allclose(scores.astype(float).sum(axis=0), 1, atol=2e-3)
    assert scores[1].argmax() in np.flatnonzero(np.asarray(Image.fromarray(LESION).resize((32, 32))))


def test_each_image_is_shown_with_its_labels(predictor: Predictor, source: Path) -> None:
    Image.fromarray(IMAGE).save(source / "a.png")
    seen: list[tuple[Prediction, Path]] = []
    predict_folder(predictor, images_in(source), source.parent / "masks", after_each=lambda *found: seen.append(found))
    ((found, mask),) = seen
    assert (found.steps.source, mask) == (str(source / "a.png"), source.parent / "masks" / "a.png")
    np.testing.assert_array_equal(found.labels, read_labels(mask))
    np.testing.assert_array_equal(found.image_CHW, IMAGE[None])


def test_one_file_is_an_input_too_and_other_files_of_a_folder_are_passed_over(source: Path) -> None:
    for name in ("b.png", "a.tiff", "notes.txt"):
        (source / name).touch()
    (source / "folder.png").mkdir()
    assert images_in(source) == [source / "a.tiff", source / "b.png"]
    assert images_in(source / "b.png") == [source / "b.png"]


def test_an_input_that_is_not_there_or_empty_is_a_usage_error(source: Path) -> None:
    with pytest.raises(UsageError, match="neither a folder nor an image"):
        images_in(source / "none")
    with pytest.raises(UsageError, match=r"holds no image; read are \.png"):
        images_in(source)
