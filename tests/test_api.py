"""htunet from Python: the same bits as the commands, whatever form an image has; and what it says of a model."""

import gc
import inspect
import re
import tempfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from builders.training import run_of, tiny_settings
from PIL import Image

import htunet
from htunet import api
from htunet.cli.export import main as export
from htunet.cli.predict import main as predict
from htunet.data.image_io import read_labels, write_png
from htunet.errors import HtunetError, UsageError
from htunet.experiments.cross_dataset import run_on
from htunet.files import PART, write_json
from htunet.paths import DatasetPaths, find_runs, imported_models

pytestmark = pytest.mark.usefixtures("without_pictures")

SIZE = (48, 40)


@pytest.fixture
def trained(tiny: DatasetPaths) -> DatasetPaths:
    htunet.train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    return tiny


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, SIZE).astype(np.uint8)).save(folder / "gray.png")
    Image.fromarray(generator.integers(0, 255, (*SIZE, 3)).astype(np.uint8)).save(folder / "rgb.png")
    Image.fromarray(generator.integers(0, 60000, SIZE).astype(np.uint16)).save(folder / "sixteen.png")
    return folder


def test_a_path_an_array_and_a_pil_image_give_the_bits_of_the_command(trained: DatasetPaths, images: Path) -> None:
    masks = images.parent / "masks"
    options = ["-d", "Tiny", "-m", "Plain", "--device", "cpu", "--save_probabilities"]
    assert predict(["-i", str(images), "-o", str(masks), *options]) == 0
    model = htunet.load("Tiny Plain fold0 seed1", device="cpu")
    for path in sorted(images.iterdir()):
        expected = read_labels(masks / path.name)
        with np.load(masks / f"{path.stem}.npz") as content:
            scores = content["probabilities"]
        for form in (path, str(path), Image.open(path), np.asarray(Image.open(path))):
            found = model.predict(form)
            np.testing.assert_array_equal(found.labels, expected)
            np.testing.assert_array_equal(found.probabilities.astype(np.float16), scores)
    found = list(model.predict(images))
    assert [one.steps.source for one in found] == [str(path) for path in sorted(images.iterdir())]
    np.testing.assert_array_equal(found[0].labels, read_labels(masks / "gray.png"))
    np.testing.assert_array_equal(next(model.predict([images / "rgb.png"])).labels, read_labels(masks / "rgb.png"))


def test_probabilities_have_the_size_of_the_image_and_the_labels_are_where_they_are_highest(
    trained: DatasetPaths, images: Path
) -> None:
    found = htunet.load("Tiny", "Plain", device="cpu").predict(images / "gray.png", spacing_mm=(0.1, 0.2))
    assert (found.probabilities.shape, found.probabilities.dtype) == ((2, *SIZE), np.float32)
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.probabilities.argmax(axis=0), found.labels)
    assert found.labels.dtype == np.uint8
    assert found.areas_mm2 == {"lesion": pytest.approx(0.02 * int(found.labels.sum()))}
    assert (found.classes, found.predicted_class) == (None, None)
    assert str(found.steps) == f"{images / 'gray.png'}: 48 x 40 pixels, read as gray, not cropped, stretched to 32 x 32"


@pytest.mark.parametrize(
    "what",
    [("Tiny Plain fold0 seed1",), ("Tiny Plain 0",), ("Tiny", "Plain", "fold0", "seed1"), ("Tiny", "Plain", 0, 1)],
)
def test_a_run_is_named_in_words_or_by_its_parts(trained: DatasetPaths, what: tuple[str | int, ...]) -> None:
    assert htunet.load(*what).run == run_of(trained, "Plain")


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_a_run_its_folder_and_its_export_predict_the_same(trained: DatasetPaths, images: Path, name: str) -> None:
    place = images.parent / name
    assert export(["Tiny", "Plain", "fold0", "-o", str(place)]) == 0
    run, exported = htunet.load(run_of(trained, "Plain").folder), htunet.load(place)
    for model in (run, exported):
        model.device = "cpu"
    same = [model.predict(images / "gray.png").scores_KHW for model in (run, exported)]
    np.testing.assert_array_equal(*same)
    about = [model.describe() for model in (run, exported)]
    for one in about:
        one.pop("exported_by")
    assert about[0] == about[1]
    assert {key: about[0][key] for key in ("method", "task", "dataset", "fold", "seed", "ratio")} == {
        **{"method": "Plain", "task": "seg", "dataset": trained.name, "fold": 0, "seed": 1, "ratio": None}
    }
    assert about[0]["plan"]["labels"] == {"background": 0, "lesion": 1}
    with pytest.raises(UsageError, match="without its test split"):
        exported.evaluate()


def test_a_zip_is_unpacked_beside_it_for_as_long_as_its_model_lives(
    trained: DatasetPaths, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its folder is read-only, beside the imported models; never in the folder for temporary files."""
    place = images.parent / "zips" / "model.zip"
    place.parent.mkdir()
    assert export(["Tiny", "Plain", "fold0", "-o", str(place)]) == 0
    monkeypatch.setattr(tempfile, "tempdir", str(images.parent / "none"))
    for writable, home in ((True, place.parent), (False, imported_models())):
        monkeypatch.setattr(api, "is_writable", lambda _, writable=writable: writable)
        model = htunet.load(place, device="cpu")
        assert [path.name.startswith(PART) for path in home.iterdir() if path != place] == [True]
        assert model.predict(images / "gray.png").labels.ndim == 2
        del model
        gc.collect()
        assert [path for path in home.iterdir() if path != place] == []


def test_the_test_split_is_evaluated_as_by_the_command_and_two_folders_as_their_predictions(
    trained: DatasetPaths, images: Path
) -> None:
    model = htunet.load("Tiny Plain fold0", device="cpu")
    run = run_of(trained, "Plain")
    found = model.evaluate()
    assert found["htunet"]["n_cases"] == 6
    assert model.describe()["figures"]["test"]["masks"] == found["htunet"]["means"]
    before = run.summary_json.stat().st_mtime_ns
    assert model.evaluate() == found
    assert run.summary_json.stat().st_mtime_ns == before
    originals, masks = images.parent / "originals", trained.raw / "labelsTr"
    originals.mkdir()
    for case in found["metric_per_case"]:
        name = case["htunet"]["case"]
        (originals / f"{name}.png").write_bytes((trained.raw / "imagesTr" / f"{name}_0000.png").read_bytes())
        (images.parent / "true").mkdir(exist_ok=True)
        (images.parent / "true" / f"{name}.png").write_bytes((masks / f"{name}.png").read_bytes())
    again = model.evaluate(originals, images.parent / "true")
    assert again["foreground_mean"] == found["foreground_mean"]
    summary = htunet.evaluate_folders(run.predictions, images.parent / "true")
    assert summary.means("original_size")["dice"].mean == found["htunet"]["means"]["original_size"]["Dice"]["mean"]


def test_an_overlay_colours_what_was_found(trained: DatasetPaths, images: Path) -> None:
    found = htunet.load("Tiny Plain", device="cpu").predict(images / "gray.png")
    picture = htunet.overlay(found, np.zeros(SIZE, np.uint8))
    assert (picture.shape, picture.dtype) == ((*SIZE, 3), np.uint8)
    outside = picture[found.labels == 0]
    np.testing.assert_array_equal(outside, np.repeat(found.image_CHW[0][found.labels == 0][:, None], 3, axis=1))
    with pytest.raises(UsageError, match="the shape"):
        htunet.overlay(found, np.zeros((3, 3), np.uint8))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (("Tiny Plane",), "Did you mean 'Plain'"),
        (("Tiny Plain fold0 seed9",), "the seed 9; known: 1"),
        (("Tiny Plain first",), "DATASET METHOD fold0 seed1"),
        (("Tiny",), "No folder and no imported model is called 'Tiny'"),
        (("Tiny Plain 0 1 2",), "DATASET METHOD fold0 seed1"),
    ],
)
def test_what_names_no_model_says_what_there_is(trained: DatasetPaths, what: tuple[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        htunet.load(*what)


def test_the_folder_of_a_test_on_another_data_set_loads_the_run_that_was_tested(trained: DatasetPaths) -> None:
    run = next(find_runs(trained))
    tested = run_on(run, DatasetPaths("Dataset904_Other"))
    write_json(tested.settings_json, {})
    model = htunet.load(tested.folder)
    assert model.run == run
    assert model.trained.checkpoint == run.checkpoint_best


def test_a_folder_that_is_no_model_and_an_image_that_is_none_are_refused(trained: DatasetPaths, images: Path) -> None:
    with pytest.raises(UsageError, match="neither the folder of a run"):
        htunet.load(images)
    with pytest.raises(HtunetError, match="cannot be unpacked"):
        htunet.load(images / "gray.png")
    model = htunet.load("Tiny Plain", device="cpu")
    for wrong in (np.zeros((2, 3, 4, 5), np.uint8), np.full((4, 4), np.nan), np.zeros((0, 4)), np.zeros((4, 4, 3))):
        with pytest.raises(UsageError, match="An image is an array"):
            model.predict(wrong)
    with pytest.raises(HtunetError, match=r"none\.png is missing"):
        model.predict(images / "none.png")
    with pytest.raises(UsageError, match="No setting is called 'epochs'"):
        htunet.train("Tiny", "Plain", epochs=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "path of the images is empty"),
        (None, "got NoneType"),
        ({}, "got dict"),
        ({"image": "a.png"}, "got dict"),
        (b"a.png", "got bytes"),
        (7, "got int"),
        (["a.png", None], "got NoneType"),
        ([[0, 1], [2, 3]], "got list"),
        (torch.zeros(3, 4, 5), r"\(height, width, 3\) of uint8.*got \(3, 4, 5\)"),
        (torch.zeros(2, 3, 4, 5), r"several are a list of them; got \(2, 3, 4, 5\)"),
        (torch.zeros(4, 5, requires_grad=True), "This Tensor gives no array: convert it with .detach"),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused_before_anything_is_predicted(
    trained: DatasetPaths, wrong: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        htunet.load("Tiny Plain", device="cpu").predict(wrong)


def test_a_tensor_counts_as_its_array(trained: DatasetPaths, images: Path) -> None:
    model = htunet.load("Tiny Plain", device="cpu")
    for name in ("gray.png", "rgb.png"):
        array = np.asarray(Image.open(images / name))
        expected = model.predict(array).scores_KHW
        tensor = torch.from_numpy(array.copy())
        np.testing.assert_array_equal(model.predict(tensor).scores_KHW, expected)
        for found in (model.predict([tensor]), model.predict(one for one in [tensor])):
            np.testing.assert_array_equal(next(found).scores_KHW, expected)
    assert list(model.predict([])) == []


def test_the_examples_of_the_api_run_one_after_the_other(
    tiny: DatasetPaths, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The docstrings speak of BUSI and UNet; here these are a tiny data set and a tiny network."""
    monkeypatch.chdir(images.parent)
    images.rename("images")
    Image.open("images/gray.png").save("image.png")
    model = [getattr(htunet.Model, name) for name in ("describe", "predict", "predict_many", "predict_folder")]
    namespace: dict[str, Any] = {"htunet": htunet, "Path": Path}
    in_order = (htunet.plan, htunet.train, htunet.load, *model, htunet.overlay, htunet.evaluate_folders)
    for function in (*in_order, htunet.Model.evaluate):
        if function is htunet.evaluate_folders:  # the true masks, in place of those that the network has predicted
            Path("masks/image.png").unlink()
            Path("references").mkdir()
            for name, folder in (
                (path.name, folder) for path in Path("images").iterdir() for folder in ("masks", "references")
            ):
                write_png(Path(folder) / name, np.eye(*SIZE, dtype=np.uint8))
        example = re.search(r"Example::\n\n(.+)", inspect.getdoc(function) or "", re.DOTALL)
        assert example, f"{function.__name__} has no example"
        exec(dedent(example[1]).replace("BUSI", "Tiny").replace("UNet", "Plain"), namespace)
    assert (namespace["agreement"], 0 <= namespace["dice_of_others"] <= 1) == (1, True)
    public = [value for name, value in vars(htunet.Model).items() if inspect.isfunction(value) and name[0] != "_"]
    functions = [value for name in htunet.__all__ if inspect.isfunction(value := getattr(htunet, name))]
    assert {*public, *functions} == {*in_order, htunet.Model.evaluate}


def test_gray_values_of_any_type_are_read_as_files_of_that_type_are(trained: DatasetPaths, images: Path) -> None:
    model = htunet.load("Tiny Plain", device="cpu")
    gray = np.asarray(Image.open(images / "gray.png")).astype(np.float64)
    scaled = np.round((gray - gray.min()) * 255 / np.ptp(gray)).astype(np.uint8)
    write_png(images / "scaled.png", scaled)
    expected = model.predict(images / "scaled.png").image_CHW
    for array in (gray.astype(np.int64) - 1000, gray.astype(np.uint16) * 200):
        np.testing.assert_array_equal(model.predict(array).image_CHW, expected)
    found = model.predict(gray / 300).image_CHW[0].astype(np.float64)  # floats from 0 to 1 are fractions of 255
    np.testing.assert_allclose(found, gray / 300 * 255, atol=0.5001)
    for array in (gray, gray.astype(np.int64), gray.astype(np.float32) / 7):  # gray values of 8 bits, as in conversions
        np.testing.assert_array_equal(model.predict(array).image_CHW[0], np.round(array).astype(np.uint8))


@pytest.mark.parametrize("spacing", [0.1, (0.1,), (0.1, 0.2, 0.3), (-1, 2), (float("nan"), 1), (0, 1), "ab"])
def test_a_pixel_size_is_two_lengths_above_0(trained: DatasetPaths, images: Path, spacing: Any) -> None:
    model = htunet.load("Tiny", "Plain", device="cpu")
    for predict_one in (lambda: model.predict(images / "gray.png", spacing_mm=spacing),
                        lambda: list(model.predict(images, spacing_mm=spacing))):  # fmt: skip
        with pytest.raises(UsageError, match="height and width of a pixel"):
            predict_one()


@pytest.mark.parametrize(
    "change",
    [
        {"num_epochs": "3"},
        {"num_epochs": True},
        {"seed": "a"},
        {"seed": 1.5},
        {"ratio": "x"},
        {"weights": 5},
        {"workers": [1]},
    ],
)
def test_a_setting_of_another_type_is_refused_before_anything_is_written(tiny: DatasetPaths, change: Any) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(change))} must be"):
        htunet.train("Tiny", "Plain", 0, **({"plan": "tiny", "device": "cpu"} | change))
    assert not tiny.results.exists()


def test_folds_and_seeds_are_never_ignored(trained: DatasetPaths) -> None:
    for fold in (None, 0.5, "x"):
        with pytest.raises(UsageError, match="has no fold"):
            htunet.train("Tiny", "Plain", fold, plan="tiny", device="cpu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match='"DATASET METHOD fold0 seed7"'):
        htunet.load("Tiny Plain", seed=7)
    with pytest.raises(UsageError, match=r"No trained run of Tiny Plain has the fold 5"):
        htunet.load("Tiny Plain fold5")
    assert htunet.load("Tiny Plain", folds=[0], seed=["1"]).run.seed == 1  # type: ignore[list-item]
    model = htunet.load("Tiny Plain", folds=0, seed=[])  # type: ignore[arg-type]
    assert (model.run.fold, model.others) == (0, ())


def test_plans_and_lists_may_be_texts(tiny: DatasetPaths) -> None:
    with pytest.raises(UsageError, match="No plan is called 'nope'"):
        htunet.plan("Tiny", plans="nope")
    with pytest.raises(HtunetError, match="no_such_list"):
        htunet.plan("Tiny", splits="no_such_list")
    with pytest.raises(UsageError, match="memory_gb must be a number"):
        htunet.plan("Tiny", memory_gb="x")
