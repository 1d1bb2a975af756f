import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_conversion import convert
from dataset_conversion.common import Options
from dataset_conversion.phantom import scan as module
from dataset_conversion.phantom.scan import CLASSES, PhantomImage, simulate, write_phantom
from htunet.data.raw import read_raw
from htunet.errors import UsageError
from htunet.files import read_csv
from htunet.paths import DatasetPaths


@pytest.fixture(scope="module")
def images() -> list[PhantomImage]:
    return [simulate(3, index) for index in range(36)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("phantom") / "phantom"
    assert write_phantom(target, num_images=12, seed=3) == target / "Dataset_BUSI_with_GT"
    return target


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def of_class(images: list[PhantomImage], name: str) -> list[PhantomImage]:
    return [image for image in images if image.class_name == name]


def test_a_seed_gives_the_same_image_again_and_another_seed_another_one() -> None:
    first, again, other = simulate(1, 5), simulate(1, 5), simulate(2, 5)
    assert np.array_equal(first.image, again.image)
    assert all(np.array_equal(one, two) for one, two in zip(first.masks, again.masks, strict=True))
    assert first.caption == again.caption
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_an_image_does_not_depend_on_those_before_it(images: list[PhantomImage]) -> None:
    assert np.array_equal(simulate(3, 20).image, images[20].image)


def test_the_number_of_workers_changes_no_byte(written: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "two", num_images=12, seed=3, workers=2)
    assert contents(tmp_path / "two") == contents(written)


def test_files_are_named_as_in_busi(written: Path) -> None:
    for class_name in CLASSES:
        folder = written / "Dataset_BUSI_with_GT" / class_name
        images = sorted(file.name for file in folder.iterdir() if "_mask" not in file.name)
        assert images == sorted(f"{class_name} ({number}).png" for number in range(1, len(images) + 1))
        assert images, class_name
        for name in images:
            assert (folder / name.replace(".png", "_mask.png")).is_file()
    assert sorted(path.name for path in written.iterdir()) == ["Dataset_BUSI_with_GT", "captions.jsonl"]


def test_images_are_rgb_and_masks_have_their_size_and_two_values(written: Path) -> None:
    for file in (written / "Dataset_BUSI_with_GT").rglob("*_mask*.png"):
        with Image.open(file) as mask, Image.open(file.with_name(file.name.split("_mask")[0] + ".png")) as image:
            assert image.mode == "RGB"
            assert mask.mode in ("1", "L", "RGB")
            assert mask.size == image.size
            values = np.unique(np.asarray(mask.convert("L")))
        expected = [0] if "normal" in file.name else [0, 255]
        assert values.tolist() == expected, file.name


def test_the_converter_of_busi_reads_it(written: Path, home: Path) -> None:
    report = convert("Phantom", written, Options())
    assert report.found == report.converted | {"normal": report.found["normal"]}
    assert [item.reason for item in report.excluded if item.class_name != "normal"] == []
    cases = read_raw(DatasetPaths(report.dataset)).cases
    assert 1 < len({case.group for case in cases}) < len(cases)


def test_captions_and_patients_name_every_image_once(written: Path) -> None:
    records = [json.loads(line) for line in (written / "captions.jsonl").read_text().splitlines()]
    rows = read_csv(written / "Dataset_BUSI_with_GT" / "patients.csv", ("image", "patient"))
    assert [record["image"] for record in records] == [f"Dataset_BUSI_with_GT/{row['image']}" for row in rows]
    assert len({record["image"] for record in records}) == len({record["id"] for record in records}) == 12
    assert all((written / record["image"]).is_file() for record in records)
    assert all(set(record) == {"image", "caption", "source", "id", "language"} for record in records)


def test_several_images_share_a_patient_and_a_patient_has_one_class(images: list[PhantomImage]) -> None:
    by_patient: dict[str, list[PhantomImage]] = {}
    for image in images:
        by_patient.setdefault(image.patient, []).append(image)
    assert sorted(len(own) for own in by_patient.values()) == sorted([4, 3, 2, 1, 1, 1] * 3)
    for own in by_patient.values():
        assert len({image.class_name for image in own}) == 1
        assert len({len(image.lesions) for image in own}) == 1


def test_images_of_a_patient_show_the_same_lesion_in_different_speckle(images: list[PhantomImage]) -> None:
    pairs = [(one, two) for one, two in pairwise(images) if one.patient == two.patient and one.class_name != "normal"]
    assert pairs
    for one, two in pairs:
        assert one.lesions[0].margin == two.lesions[0].margin
        assert 0.6 < one.masks[0].sum() / two.masks[0].sum() < 1.7
        assert not np.array_equal(one.image, two.image)


def test_lesion_classes_have_a_lesion_and_normal_images_have_none(images: list[PhantomImage]) -> None:
    assert {image.class_name for image in images} == set(CLASSES)
    for image in images:
        assert all(mask.shape == image.image.shape for mask in image.masks)
        assert all(mask.any() == (image.class_name != "normal") for mask in image.masks)
        assert len(image.masks) == max(len(image.lesions), 1)


def test_a_second_lesion_gets_a_second_mask_file(tmp_path: Path) -> None:
    index = next(index for index in range(400) if len(patient_lesions(5, index)) == 2)
    name = (index, "benign/benign (1).png")
    (tmp_path / "Dataset_BUSI_with_GT" / "benign").mkdir(parents=True)
    module._write_one(tmp_path, 5, module.NORMAL_SHARE, name)
    files = sorted(file.name for file in tmp_path.rglob("*.png"))
    assert files == ["benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png"]


def patient_lesions(seed: int, index: int) -> tuple[object, ...]:
    number, class_name = module.patient_of(seed, index, module.NORMAL_SHARE)
    return module.draw_patient(seed, number, class_name).lesions


def test_sizes_and_areas_are_those_of_busi(images: list[PhantomImage]) -> None:
    sides = np.array([image.image.shape for image in images])
    assert sides.min() >= 250
    assert sides.max() <= 800
    assert len({tuple(side) for side in sides.tolist()}) > 10
    shares = [np.any(image.masks, axis=0).mean() for image in images if image.lesions]
    assert min(shares) > 0.01
    assert max(shares) < 0.3


def test_two_of_three_lesions_are_benign() -> None:
    classes = [module.patient_of(0, index, module.NORMAL_SHARE)[1] for index in range(3000)]
    assert classes.count("normal") / 3000 == pytest.approx(0.17, abs=0.02)
    assert classes.count("benign") / (3000 - classes.count("normal")) == pytest.approx(2 / 3, abs=0.03)


def test_a_share_of_normal_images_can_be_chosen() -> None:
    assert all(simulate(0, index, normal_share=1.0).class_name == "normal" for index in range(2))
    assert "normal" not in [module.patient_of(0, index, 0.0)[1] for index in range(200)]


def test_behind_malignant_lesions_it_is_darker_and_behind_benign_ones_brighter_than_beside(
    images: list[PhantomImage],
) -> None:
    assert np.mean([behind_minus_beside(image) for image in of_class(images, "malignant")]) < -5
    assert np.mean([behind_minus_beside(image) for image in of_class(images, "benign")]) > 5


def behind_minus_beside(image: PhantomImage) -> float:
    """Mean gray of the middle of a strip below the first lesion minus that of its two neighbours."""
    rows, columns = np.nonzero(image.masks[0])
    below, left, right = rows.max() + 5, columns.min(), columns.max()
    width = right - left
    strip = image.image[below : below + 40].astype(float)
    behind = strip[:, left + width // 3 : right - width // 3]
    beside = np.hstack([strip[:, max(left - width // 2, 0) : left], strip[:, right : right + width // 2]])
    return 0.0 if min(behind.size, beside.size) == 0 else float(behind.mean() - beside.mean())


@pytest.mark.parametrize(("num_images", "workers", "share"), [(0, 1, 0.2), (1, 0, 0.2), (1, 1, 1.5)])
def test_impossible_numbers_are_refused(tmp_path: Path, num_images: int, workers: int, share: float) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        write_phantom(tmp_path / "p", num_images=num_images, seed=0, workers=workers, normal_share=share)
    assert not (tmp_path / "p").exists()


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="no phantom"):
        write_phantom(tmp_path, num_images=1, seed=0)
    assert (tmp_path / "thesis.txt").is_file()


def test_a_failure_leaves_the_earlier_phantom_as_it_was(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "phantom"
    write_phantom(target, num_images=1, seed=0)
    before = contents(target)

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "simulate", fails)
    with pytest.raises(OSError, match="disk full"):
        write_phantom(target, num_images=2, seed=1)
    assert contents(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]
