"""The phantom scanned with an artefact: the same scene, and the change that the artefact in the image makes."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dataset_conversion.phantom.changes import CHANGES, Change
from dataset_conversion.phantom.rendering import RenderedPhantom
from dataset_conversion.phantom.scan import PhantomImage, render, simulate, write_phantom
from htunet.data.artefacts import ARTEFACTS
from htunet.data.artefacts.alter import apply_all, physical_value
from htunet.data.artefacts.builtin import Shadow
from htunet.data.image_io import UInt8, read_image
from htunet.data.raw import Case
from htunet.errors import HtunetError, UsageError
from htunet.reproducibility import generator

SEED = 3
CASE = "here"
STRONG = (2.0, 4.0)


@cache
def scene() -> tuple[int, PhantomImage]:
    """The first image that fills the screen, and its number: positions in it are positions in the field."""
    for index in range(40):
        image = simulate(SEED, index)
        if image.settings["geometry"] == "linear" and image.image[:, [0, -1]].any(axis=0).all():
            return index, image
    raise AssertionError("no such image")


@cache
def rendered(artefact: str, strengths: tuple[float, ...] = STRONG) -> list[UInt8]:
    index, image = scene()
    changes = [Change(artefact=artefact, strength=strength, case=CASE) for strength in strengths]
    same, pictures = render(SEED, index, image.class_name, changes)
    assert np.array_equal(same.image, image.image)
    assert all(np.array_equal(a, b) for a, b in zip(same.masks, image.masks, strict=True))
    return pictures


def altered(artefact: str) -> list[UInt8]:
    return apply_all(scene()[1].image, artefact, STRONG, case=CASE)


def test_what_is_rendered_is_an_artefact_of_images_too() -> None:
    assert set(CHANGES) <= set(ARTEFACTS)
    assert {"speckle", "shadow", "reverberation", "gain", "low_gain", "attenuation"} <= set(CHANGES)


@pytest.mark.parametrize("artefact", CHANGES.names())
def test_strength_0_renders_the_image_itself(artefact: str) -> None:
    assert np.array_equal(rendered(artefact, (0.0,))[0], scene()[1].image)


@pytest.mark.parametrize("artefact", CHANGES.names())
def test_the_rendered_artefact_grows_with_its_strength(artefact: str) -> None:
    image = scene()[1].image.astype(int)
    away = [np.abs(picture - image).mean() for picture in rendered(artefact)]
    assert 0 < away[0] < away[1]


@pytest.mark.parametrize("artefact", ["gain", "low_gain", "attenuation", "shadow", "reverberation"])
def test_rendered_and_altered_images_change_alike(artefact: str) -> None:
    image = scene()[1].image.astype(float)
    for simulated, painted in zip(rendered(artefact), altered(artefact), strict=True):
        first, second = blurred(simulated - image), blurred(painted - image)
        if "gain" not in artefact:  # which is the same everywhere
            assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5
        assert np.sign(first.mean()) == np.sign(second.mean())
        assert 0.4 < first.mean() / second.mean() < 2.5


def blurred(difference: np.ndarray) -> np.ndarray:
    """Means of blocks of 16 x 16 pixels."""
    height, width = (side // 16 * 16 for side in difference.shape)
    return difference[:height, :width].reshape(height // 16, 16, width // 16, 16).mean(axis=(1, 3))


def test_the_rendered_shadow_is_as_deep_as_the_altered_one_and_at_its_place() -> None:
    shadow = Shadow()
    place = shadow.place(generator(0, "artefact", "shadow", CASE))
    image = scene()[1].image.astype(float)
    depth, lateral = ((np.arange(n) + 0.5) / n for n in image.shape)
    below = (depth > place.top + shadow.obstacle + 0.03) & (depth < 0.75)
    inside = np.ix_(below, np.abs(lateral - place.lateral) < 0.8 * place.half_width)
    outside = np.ix_(below, np.abs(lateral - place.lateral) > place.half_width + 0.08)
    above = depth < place.top - 0.03
    lost = image - rendered("shadow")[0]
    # 12 dB, as far as the display shows them: a power of 1.15 to 1.85 of the logarithm, cut at black and at the noise
    full = physical_value("shadow", STRONG[0]) * 255 / float(scene()[1].settings["dynamic_range_db"])
    shown = np.minimum(lost[inside], full).mean()
    assert 0.4 * min(full, image[inside].mean()) < shown <= full
    assert abs(lost[outside].mean()) < 1
    assert abs(lost[above].mean()) < 1


def test_rendered_attenuation_and_altered_one_fall_with_the_depth() -> None:
    image = scene()[1].image.astype(float)
    third = len(image) // 3
    for picture in (rendered("attenuation")[0], altered("attenuation")[0]):
        lost = [(image - picture)[part].mean() for part in (slice(0, third), slice(third, 2 * third))]
        assert 0 < lost[0] < lost[1]


def test_rendered_and_altered_speckle_both_lower_the_signal_to_noise_ratio() -> None:
    pictures = [scene()[1].image, rendered("speckle")[1], altered("speckle")[1]]
    clean, simulated, painted = (local_contrast(picture) for picture in pictures)
    assert simulated > 1.3 * clean
    assert painted > 1.3 * clean
    assert 0.4 < (simulated - clean) / (painted - clean) < 2.5


def local_contrast(image: UInt8) -> float:
    """Median over blocks of 16 x 16 pixels of the levels' standard deviation, dB of the 60 dB display."""
    height, width = (side // 16 * 16 for side in image.shape)
    blocks = image[:height, :width].reshape(height // 16, 16, width // 16, 16).astype(float)
    return float(np.median(blocks.std(axis=(1, 3)))) * 60 / 255


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendering") / "phantom"
    write_phantom(folder, num_images=2, seed=1)
    return folder


def first_case(phantom: Path) -> tuple[Case, UInt8]:
    rendering = RenderedPhantom(phantom)
    source = next(iter(rendering.origin))
    return Case(id="a", source=source), read_image(phantom / "Dataset_BUSI_with_GT" / source, 1)


def test_the_images_of_a_written_phantom_are_found_and_rendered(phantom: Path) -> None:
    case, image = first_case(phantom)
    pictures = RenderedPhantom(phantom)(case, image, "gain", [0.0, 2.0])
    assert np.array_equal(pictures[0], image)
    assert pictures[1].mean() > image.mean()


def test_an_image_that_is_not_the_phantoms_is_refused(phantom: Path) -> None:
    case, image = first_case(phantom)
    with pytest.raises(HtunetError, match="from another phantom"):
        RenderedPhantom(phantom)(case, 255 - image, "gain", [1.0])
    with pytest.raises(HtunetError, match="not of the phantom"):
        RenderedPhantom(phantom)(Case(id="a", source="benign/no.png"), image, "gain", [1.0])


def test_a_folder_without_a_phantom_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HtunetError, match="is no phantom"):
        RenderedPhantom(tmp_path)


def test_an_unknown_change_is_refused(phantom: Path) -> None:
    case, image = first_case(phantom)
    with pytest.raises(UsageError, match="Did you mean 'speckle'"):
        RenderedPhantom(phantom)(case, image, "specle", [1.0])
