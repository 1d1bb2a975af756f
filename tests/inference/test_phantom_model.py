"""The model that comes with htunet: masks of any images, and a plain warning."""

from pathlib import Path

import numpy as np
import pytest
import torch
from builders.pretraining import drawn_weights
from safetensors.torch import save_file
from torch.nn import functional as F

from htunet import api
from htunet.cli.predict import main
from htunet.data.image_io import read_labels, write_png
from htunet.errors import UsageError
from htunet.inference import phantom_model
from htunet.inference.phantom_model import WARNING
from htunet.models import checkpoint
from htunet.models.weights import store
from htunet.pretraining.learners import PhantomLearner, UNetLearner
from htunet.pretraining.stream import CLASSES, NUMBERS
from htunet.pretraining.variation import Lesson

NETWORKS = ("UNet", "PhantomCLIP")


@pytest.fixture
def images(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images, and weights of an untrained network in place of those that are shipped."""
    monkeypatch.setattr(store, "SHIPPED", home / "none")
    for name in NETWORKS:
        drawn_weights(name, home / "weights" / name)
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        write_png(home / "images" / f"{name}.png", rng.integers(0, 255, (40, 50), dtype=np.uint8))
    return home / "images"


def test_masks_have_the_names_and_sizes_of_the_images(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = images.parent / "out"
    assert main(["--model", "phantom", "-i", str(images), "-o", str(output), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert WARNING in printed.err
    assert "2 networks: 3 passes and " in printed.out  # PhantomCLIP sees the mirror image, too
    for name in ("a", "b"):
        mask = read_labels(output / f"{name}.png")
        assert mask.shape == (40, 50)
        assert set(mask.ravel().tolist()) <= {0, 1}


@torch.inference_mode()
def test_it_is_the_mean_of_both_networks_of_the_pretraining(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom_model, "SMALLER_SIDES", (64, 16))  # of which the larger one is left out
    model = api.load("phantom", device="cpu")
    unet, clip = UNetLearner().eval(), PhantomLearner().eval()
    first, second = (several.network for several in model.predictor.networks)  # type: ignore[union-attr]
    unet.network.load_state_dict(first.state_dict())
    clip.backbone.load_state_dict(second.network.encoder.backbone.state_dict())  # type: ignore[union-attr]
    clip.aggregation.load_state_dict(second.network.aggregation.state_dict())  # type: ignore[union-attr]
    clip.head.load_state_dict(second.network.head.state_dict())  # type: ignore[union-attr]
    clip.kinds["class"].load_state_dict(second.classify.state_dict())  # type: ignore[union-attr]
    picture = np.random.default_rng(2).integers(0, 255, (32, 32), dtype=np.uint8)
    found = model.predict(picture)
    lesson = Lesson(torch.tensor(picture)[None, None].float(), torch.zeros(1), torch.zeros(1, NUMBERS))

    def lesion(scores_B2HW: torch.Tensor) -> np.ndarray:
        return scores_B2HW.softmax(dim=1)[0, 1].numpy()

    small = F.interpolate(lesson.images, size=(16, 16), mode="bilinear", antialias=True)
    at_16 = F.interpolate(unet.network(small).softmax(dim=1), size=(32, 32), mode="bilinear")[0, 1].numpy()
    mirrored = clip.head(clip.seen(lesson.images.flip(-1))[0], (32, 32))
    seen = lesion(clip.head(clip.seen(lesson.images)[0], (32, 32)))
    of_unet, of_clip = (lesion(unet.network(lesson.images)) + at_16) / 2, (seen + lesion(mirrored)[:, ::-1]) / 2
    members = model.predictor.probabilities(picture[None, None]).members_MBKHW
    assert members is not None
    np.testing.assert_allclose(members[:, 0, 1], [of_unet, of_clip], atol=1e-4)
    mean = (of_unet + of_clip) / 2
    assert found.probabilities is not None
    half = mean.max() / 2
    odds_HW = mean / (1 - mean) / (half / (1 - half))
    np.testing.assert_allclose(found.probabilities[1], odds_HW / (1 + odds_HW), atol=1e-4)
    classes = clip.kinds["class"](clip.seen(lesson.images)[1])[0].softmax(dim=0).tolist()
    none = classes[CLASSES.index("none")]
    odds = (1 - none) / none / 4
    assert found.classes == pytest.approx({"lesion": odds / (1 + odds), "no_lesion": 1 / (1 + odds)}, abs=1e-5)
    assert found.doubted == (odds < 1 and bool(found.labels.any()))
    assert found.variance is not None
    assert found.variance.max() > 0
    assert model.describe()["method"] == "UNet"
    assert model.describe()["licences"]["weights"].startswith("Apache-2.0")


def test_half_of_the_largest_probability_becomes_even_odds_but_never_that_of_an_unlikely_pixel(
    images: Path,
) -> None:
    predictor = api.load("phantom", device="cpu").predictor
    lesion = np.array([[[0.8, 0.4, 0.1]], [[0.5, 0.25, 0.3]], [[0.14, 0.1, 0.0]], [[1.0, 0.5, 0.0]]], dtype=np.float32)
    found = predictor.for_masks(np.stack([1 - lesion, lesion], axis=1))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    # odds 4 over 2/3 are 6; 2/3 over 2/3 are 1; 1/9 over 2/3 are 1/6
    np.testing.assert_allclose(found[0, 1], [[6 / 7, 1 / 2, 1 / 7]], atol=1e-6)
    # half of 0.5 is 0.25, odds 1/3: 1 over 1/3 are 3; 1; 3/7 over 1/3 are 9/7
    np.testing.assert_allclose(found[1, 1], [[3 / 4, 1 / 2, 9 / 16]], atol=1e-6)
    assert found[2, 1].max() < 0.5  # half of it is 0.07, less than the least threshold of 0.15
    np.testing.assert_allclose(found[3, 1], [[1, 1 / 2, 0]], atol=1e-6)  # nothing changes where the peak is 1


def test_a_pretraining_of_ones_own_predicts_from_its_folder(
    home: Path, tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = api.load("phantom", device="cpu").predict(images / "a.png")
    made = home / "weights"
    both = api.load(made, device="cpu")
    np.testing.assert_array_equal(both.predict(images / "a.png").probabilities, shipped.probabilities)
    picture = np.random.default_rng(2).integers(0, 255, (1, 1, 32, 32), dtype=np.uint8)
    alone = [api.load(made / name, device="cpu").predictor.probabilities(picture).labels_BKHW for name in NETWORKS]
    network = both.predictor.networks[0].network  # one alone predicts as it was trained, at one size
    with torch.inference_mode():
        np.testing.assert_array_equal(alone[0], network(torch.tensor(picture)).softmax(dim=1).numpy())
    (made / "UNet").rename(tmp_path / "mine")  # the file knows what it is
    mine = api.load(tmp_path / "mine", device="cpu").predictor.probabilities(picture).labels_BKHW
    np.testing.assert_array_equal(mine, alone[0])
    output = tmp_path / "out"
    assert main(["--model", str(tmp_path / "mine"), "-i", str(images), "-o", str(output), "--device", "cpu"]) == 0
    seen = capsys.readouterr()
    assert WARNING in seen.err
    assert "with Simulation UNet" in seen.out
    assert sorted(path.name for path in output.glob("*.png")) == ["a.png", "b.png"]


def test_weights_for_other_sizes_or_without_masks_are_refused(home: Path, images: Path) -> None:
    made = home / "weights"
    with pytest.raises(Exception, match="nor of weights for masks by htunet_pretrain"):
        api.load(images)
    drawn_weights("ResNet18", made / "ResNet18")
    with pytest.raises(Exception, match="nor of weights for masks by htunet_pretrain"):
        api.load(made / "ResNet18")
    (home / "other").mkdir()
    (home / "other" / "recipe.json").write_text("{}")
    place = home / "other" / "checkpoint.safetensors"
    save_file({"weight": torch.zeros(1)}, place)  # another program's
    with pytest.raises(Exception, match="cannot be read as a checkpoint"):
        api.load(home / "other")
    checkpoint.save(place, {"weight": torch.zeros(1)}, {"method": "UNet", "settings": {}})  # as of an export
    with pytest.raises(Exception, match="nor of weights for masks by htunet_pretrain"):
        api.load(home / "other")
    drawn_weights("UNet", made / "UNet", side=64)
    with pytest.raises(Exception, match="images of unlike sizes"):
        api.load(made)


def test_other_weights_beside_its_own_are_refused() -> None:
    with pytest.raises(UsageError, match=r"contains all its weights, and mine\.pt would not be used: omit --weights"):
        api.load("phantom", weights="mine.pt")


def test_without_its_weights_it_says_how_to_make_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHIPPED", home / "none")
    with pytest.raises(
        Exception, match=r"UNet that are pre-trained on simulation are not on this machine.*htunet_pretrain UNet"
    ):
        api.load("phantom")
