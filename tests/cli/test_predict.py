"""The command htunet_predict: which run it takes, what it writes, and what it refuses."""

import unicodedata
from pathlib import Path

import numpy as np
import pydicom
import pytest
from builders.medical import write_dicom, write_nifti
from builders.raw import blob
from builders.training import build_training, tiny_plan, tiny_settings
from PIL import Image

from htunet.cli.predict import _name_excluded, _Overlays, main
from htunet.data.image_io import read_labels
from htunet.data.label_maps import OVERLAP
from htunet.inference.folder import FolderResult
from htunet.paths import DatasetPaths
from htunet.reporting.overlays.draw import EXTRA, MISSED, RIGHT
from htunet.training.run import train

pytestmark = pytest.mark.usefixtures("without_pictures")

SIZE = (48, 40)


@pytest.fixture
def trained(tiny: DatasetPaths) -> DatasetPaths:
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    return tiny


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("one.png", "two.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, SIZE).astype(np.uint8)).save(folder / name)
    return folder


def predict(images: Path, *options: str, output: Path | None = None) -> int:
    target = output or images.parent / "masks"
    return main(["-i", str(images), "-o", str(target), "-d", "Tiny", "--device", "cpu", *options])


def test_masks_of_the_same_names_and_sizes(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(images, "-m", "Plain") == 0
    masks = sorted((images.parent / "masks").iterdir())
    assert [path.name for path in masks] == ["one.png", "two.png"]
    assert {read_labels(path).shape for path in masks} == {SIZE}
    output = capsys.readouterr().out
    assert "Predicted 2 of 2 images with Tiny Plain fold0 seed1 (plan tiny)" in output
    assert (
        "How reliable these masks are is not known: quality.csv needs a model that htunet_evaluate has tested" in output
    )


def test_one_image_that_cannot_be_read_ends_in_1_with_the_others_predicted(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "broken.png").write_bytes(b"no image")
    assert predict(images, "-m", "Plain") == 1
    output, errors = capsys.readouterr()
    assert "Predicted 2 of 3 images" in output
    assert "Skipped broken.png: " in errors
    assert "1 of 3 images could not be read" in errors.splitlines()[-1]
    assert len(list((images.parent / "masks").iterdir())) == 2


def test_a_folder_of_everything_is_counted_and_named(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray = np.random.default_rng(0).integers(0, 255, SIZE).astype(np.uint8)
    (images / "deep" / "er").mkdir(parents=True)
    Image.fromarray(gray).save(images / "deep" / "er" / "one.png")
    Image.fromarray(gray.astype(np.uint16) * 200).save(images / "wide.png")
    Image.fromarray(gray).save(images / "p.tif", save_all=True, append_images=[Image.fromarray(gray)])
    write_dicom(images / "scan.dcm", gray)
    without_uid = pydicom.dcmread(images / "scan.dcm")
    del without_uid.SOPInstanceUID
    without_uid.save_as(images / "no_uid.dcm")
    for name in ("notes.txt", "Thumbs.db", "._one.png"):
        (images / name).write_text("junk")
    (images / "linked").symlink_to(images / "deep")
    assert predict(images, "-m", "Plain", "--dicom-seg", "--overlays") == 1
    output, errors = capsys.readouterr()
    assert "Ignored 2 files without an image: Thumbs.db, notes.txt" in output
    assert "in 8 bits with one scale: 1 file, wide.png" in output
    assert "Predicted 8 of 10 files (9 images)" in output
    assert "No DICOM Segmentation object of no_uid.dcm: " in errors
    assert "1 file without a DICOM Segmentation object" in errors.splitlines()[-1]
    masks = images.parent / "masks"
    names = {path.relative_to(masks).as_posix() for path in masks.rglob("*.png")}
    expected = ["one", "two", "deep/er/one", "linked/er/one", "p__0001", "p__0002", "scan", "no_uid", "wide"]
    assert names == {f"{place}{name}.png" for name in expected for place in ("", "overlays/")}


def test_the_true_masks_of_a_stack_may_be_a_stack(trained: DatasetPaths, images: Path) -> None:
    gray = np.random.default_rng(0).integers(0, 255, (2, *SIZE)).astype(np.uint8)
    truth, references = np.stack([blob(SIZE), blob(SIZE, (0.3, 0.3))]), images.parent / "true"
    stacks = images.parent / "stacks"
    for folder in (references, stacks):
        folder.mkdir()
    write_nifti(stacks / "v.nii.gz", gray)
    write_nifti(references / "v.nii.gz", truth.astype(np.uint8))
    assert predict(stacks, "-m", "Plain", "--overlays", "--references", str(references)) == 0
    for number, marked in enumerate(truth.astype(bool), start=1):
        picture = np.asarray(Image.open(images.parent / "masks" / "overlays" / f"v__000{number}.png"))
        assert (picture[marked] != gray[number - 1][marked][:, None]).any(axis=1).mean() > 0.9


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_references_are_found_in_either_form_of_a_name(
    trained: DatasetPaths, images: Path, forms: tuple[str, str]
) -> None:
    names = [f"{unicodedata.normalize(form, 'Müller')}.png" for form in forms]
    folder, references = images.parent / "of_macos", images.parent / "true"
    for path, values in ((folder / names[0], 9 * np.indices(SIZE)[0] % 255), (references / names[1], blob(SIZE) * 255)):
        path.parent.mkdir()
        Image.fromarray(values.astype(np.uint8)).save(path)
    assert predict(folder, "-m", "Plain", "--overlays", "--references", str(references)) == 0
    assert (images.parent / "masks" / "overlays" / names[0]).exists()


DRAWN = {
    "0 and 1": Image.fromarray,
    "0 and 128": lambda mask: Image.fromarray(mask * np.uint8(128)),
    "0 and 255": lambda mask: Image.fromarray(mask * np.uint8(255)),
    "a bit": lambda mask: Image.fromarray(mask > 0),
    "red": lambda mask: Image.fromarray(mask[..., None] * np.array([255, 0, 0], np.uint8)),
    "by alpha": lambda mask: Image.fromarray(np.dstack([np.full((*SIZE, 3), 255, np.uint8), mask * np.uint8(255)])),
    "wide": lambda mask: Image.fromarray(mask.astype(np.uint16) * 65_535),
}


@pytest.mark.parametrize("drawn", DRAWN)
def test_overlays_show_the_reference_in_the_papers_colours(trained: DatasetPaths, images: Path, drawn: str) -> None:
    (images / "two.jpg").unlink()
    references = images.parent / "true"
    references.mkdir()
    reference = blob(SIZE)
    top = np.arange(SIZE[0])[:, None] < SIZE[0] // 2
    for name, part in {"one_mask.png": top, "one_mask_1.png": ~top}.items() if drawn == "0 and 255" else ():
        DRAWN[drawn](reference * part).save(references / name)  # several masks of one image are joined
    if drawn != "0 and 255":
        DRAWN[drawn](reference).save(references / "one_mask.png")
    assert predict(images, "-m", "Plain", "--overlays", "--references", str(references)) == 0
    predicted = read_labels(images.parent / "masks" / "one.png")
    picture = np.asarray(Image.open(images.parent / "masks" / "overlays" / "one.png"))
    gray = np.asarray(Image.open(images / "one.png"))
    areas = {MISSED: (reference > predicted), EXTRA: (predicted > reference), RIGHT: (predicted & reference) > 0}
    assert picture.shape == (*SIZE, 3)
    assert (picture[(predicted | reference) == 0] == gray[(predicted | reference) == 0][:, None]).all()
    for colour, area in areas.items():
        half = np.round(gray[area][:, None] * 0.5 + np.array(colour) * 0.5).astype(np.uint8)
        assert ((picture[area] == half).all(axis=1) | (picture[area] == colour).all(axis=1)).all()
    assert any(area.any() for area in areas.values())


def test_images_of_one_and_of_several_true_masks_may_be_in_one_folder(trained: DatasetPaths, images: Path) -> None:
    references = images.parent / "true"
    references.mkdir()
    for name in ("one_mask.png", "one_mask_1.png", "two_mask.png"):
        Image.fromarray(blob(SIZE) * np.uint8(255)).save(references / name)
    assert predict(images, "-m", "Plain", "--overlays", "--references", str(references)) == 0
    assert len(list((images.parent / "masks" / "overlays").iterdir())) == 2


def test_true_masks_of_one_image_that_overlap_with_different_labels_are_named(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, label in {"one_mask.png": 1, "one_mask_1.png": 2, "two_mask.png": 2, "two_mask_1.png": 2}.items():
        Image.fromarray(blob(SIZE) * np.uint8(label)).save(images.parent / name)
    overlays = _Overlays(images.parent / "masks", images.parent)
    overlays.check(sorted(images.iterdir()), images, 2)
    for name in ("one.png", "two.png"):
        assert (overlays._reference(name, SIZE) == blob(SIZE) * 2).all()
    assert capsys.readouterr().err == f"one.png: {OVERLAP}\n"


def test_references_with_more_labels_than_the_model_or_fewer_frames_are_refused(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "two.jpg").unlink()
    references = images.parent / "true"
    references.mkdir()
    Image.fromarray(blob(SIZE) * np.uint8(100) + blob(SIZE, (0.3, 0.3)) * np.uint8(50)).save(references / "one.png")
    assert predict(images, "-m", "Plain", "--overlays", "--references", str(references)) == 1
    assert "labels (50, 100), the model has 1." in capsys.readouterr().err.replace(", 150", "")
    assert not (images.parent / "masks").exists()


def test_probabilities_are_written_on_request(trained: DatasetPaths, images: Path) -> None:
    assert predict(images, "-m", "Plain", "--save-probabilities") == 0
    with np.load(images.parent / "masks" / "one.npz") as content:
        assert content["probabilities"].shape == (2, *SIZE)


@pytest.mark.parametrize("place", ["", "overlays"])
def test_nothing_is_written_among_the_images(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    source = images / place
    if place:
        source.mkdir()
        for path in list(images.glob("*.*")):
            path.rename(source / path.name)
    before = {path: path.read_bytes() for path in source.iterdir() if path.is_file()}
    assert predict(source, "-m", "Plain", "--overlays", output=images) == 2
    assert "another output folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in source.iterdir() if path.is_file()} == before


def test_true_masks_are_never_overwritten(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = images.parent / "masks"
    masks.mkdir()
    Image.fromarray(blob(SIZE)).save(masks / "one.png")
    before = (masks / "one.png").read_bytes()
    assert predict(images, "-m", "Plain", "--overlays", "--references", str(masks)) == 2
    assert "another output folder" in capsys.readouterr().err
    assert (masks / "one.png").read_bytes() == before


@pytest.mark.parametrize(
    ("size", "message"),
    [(SIZE, "no true mask for 1 of 2 images: two.jpg"), ((9, 9), "one.png has 9 x 9 pixels, the image 48 x 40")],
    ids=["missing", "of another size"],
)
def test_a_true_mask_that_does_not_fit_is_one_clear_error(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str], size: tuple[int, int], message: str
) -> None:
    references = images.parent / "true"
    references.mkdir()
    for name in ("one.png",) if size == SIZE else ("one.png", "two.png"):
        Image.fromarray(np.zeros(size, np.uint8)).save(references / name)
    assert predict(images, "-m", "Plain", "--overlays", "--references", str(references)) == 1
    assert message in capsys.readouterr().err


def test_references_without_overlays_are_a_usage_error(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(images, "-m", "Plain", "--references", str(images)) == 2
    assert "add --overlays" in capsys.readouterr().err


def test_without_a_run_the_command_that_trains_one_is_named(
    tiny: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(images, "-m", "Plain") == 1
    assert "Train one first: htunet_train Tiny Plain fold0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(("-m", "Plane"), "the method 'Plane'; known: Plain. Did you mean 'Plain'?", id="method"),
        pytest.param(("-m", "Plain", "-f", "fold1"), "the fold 1; known: 0.", id="fold"),
        pytest.param(("-m", "Plain", "--plan", "tinny"), "Did you mean 'tiny'?", id="plan"),
        pytest.param(("-m", "Plain", "--seed", "3"), "the seed 3; known: 1.", id="seed"),
        pytest.param(("-m", "Plain", "-d", "Tinny"), "Did you mean 'Tiny'?", id="data set"),
    ],
)
def test_a_wrong_name_exits_with_2_and_says_what_there_is(
    trained: DatasetPaths,
    images: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    assert predict(images, *options) == 2
    assert message in capsys.readouterr().err
    assert not (images.parent / "masks").exists()


def test_several_plans_ask_for_one_and_the_smallest_seed_is_taken(
    home: Path, tiny: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_plan(name="other")
    build_more(tiny, other)
    for plan, seed in (("tiny", 3), ("tiny", 2), ("other", 1)):
        train("Tiny", "Plain", 0, tiny_settings(num_epochs=1, plan=plan, seed=seed))
    assert predict(images, "-m", "Plain") == 2
    assert "runs with the plans other, tiny: choose one with --plan" in capsys.readouterr().err
    assert predict(images, "-m", "Plain", "--plan", "tiny") == 0
    assert "seed2 (plan tiny)" in capsys.readouterr().out


def build_more(dataset: DatasetPaths, plan: object) -> None:
    """The same data set with one plan more."""
    import shutil

    shutil.rmtree(dataset.raw)
    shutil.rmtree(dataset.preprocessed)
    build_training(more_plans=(plan,))  # type: ignore[arg-type]


def test_an_input_that_is_not_there_exits_with_2(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(images / "none", "-m", "Plain") == 2
    assert "neither a folder nor an image" in capsys.readouterr().err


def test_views_and_seeds_together_with_pictures_of_their_uncertainty(
    trained: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1, seed=2))
    capsys.readouterr()
    assert predict(images, "-m", "Plain", "--seed", "1", "2", "--tta", "--uncertainty") == 0
    output = capsys.readouterr().out
    assert "with Tiny Plain fold0 seeds 1,2 (plan tiny)" in output
    assert "2 networks x 6 views: 12 passes and " in output
    pictures = sorted((images.parent / "masks" / "uncertainty").iterdir())
    names = [f"{image}_{what}.png" for image in ("one", "two") for what in ("entropy", "variance")]
    assert [path.name for path in pictures] == names
    assert {Image.open(path).size for path in pictures} == {SIZE[::-1]}
    assert all(np.asarray(Image.open(path)).any() for path in pictures if "entropy" in path.name)


def test_one_network_has_an_entropy_and_no_variance(trained: DatasetPaths, images: Path) -> None:
    assert predict(images, "-m", "Plain", "--uncertainty") == 0
    pictures = sorted(path.name for path in (images.parent / "masks" / "uncertainty").iterdir())
    assert pictures == ["one_entropy.png", "two_entropy.png"]


def test_masks_among_the_images_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of BUSI as it is; ``b_seg`` has no ``b`` beside it, ``a/x`` is another folder's."""
    names = ["benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png", "b_seg.png", "a/x.png", "x_mask.png"]
    _name_excluded(FolderResult(images=names))
    error = capsys.readouterr().err
    assert "predicted as if they were images: 2 files, benign (1)_mask.png, benign (1)_mask_1.png. Leave" in error
    _name_excluded(FolderResult(images=[*names[:1], *names[3:]]))
    assert not capsys.readouterr().err
