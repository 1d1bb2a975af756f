import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from builders.captions import write_image
from PIL import Image

from dataset_conversion.captions.images import base_name, find_images, is_gray, reduced
from htunet.errors import HtunetError


def member_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_images_are_found_at_any_depth_and_in_zips_and_nothing_else_is_unpacked(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "b" / "one.png", 1)
    member_zip(tmp_path / "images.zip", **{"deep/two.png": b"2", "deep/other.png": b"x"})
    with find_images(tmp_path, {"one.png", "two.png", "three.png"}) as found:
        assert found.names() == {"one.png", "two.png"}
        two = found.pick("two.png")
        assert not isinstance(two, str)
        assert two.source == "images.zip/deep/two.png"
        assert two.path.read_bytes() == b"2"
        assert len(list(two.path.parent.iterdir())) == 1
        assert found.pick("three.png") == "no image file"
    assert not two.path.exists()


def test_names_that_macos_has_decomposed_are_found(tmp_path: Path) -> None:
    composed, decomposed = "M\u00fcller.png", "Mu\u0308ller.png"
    write_image(tmp_path / decomposed, 1)
    with find_images(tmp_path, {base_name(decomposed)}) as found:
        assert getattr(found.pick(composed), "source", "") == decomposed


def test_an_image_in_a_folder_goes_before_the_same_in_a_zip(tmp_path: Path) -> None:
    write_image(tmp_path / "one.png", 1)
    (tmp_path / "broken.zip").write_bytes(b"never opened")
    with find_images(tmp_path, {"one.png"}) as found:
        assert getattr(found.pick("one.png"), "source", "") == "one.png"


def test_of_several_images_of_a_name_the_one_in_the_named_folder_is_meant(tmp_path: Path) -> None:
    for folder in ("Liver_report", "Thyroid_report"):
        write_image(tmp_path / folder / "1_1.jpeg", 1)
    with find_images(tmp_path, {"1_1.jpeg"}) as found:
        assert getattr(found.pick("1_1.jpeg", "Liver_report"), "source", "") == "Liver_report/1_1.jpeg"
        folders = {"Liver_report", "Mammary_report", "Thyroid_report", ""}
        assert found.pick("1_1.jpeg", "Mammary_report", folders) == "no image file"  # the one of another organ is there
        several = found.pick("1_1.jpeg", "Mammary_report")
        assert several == "several images of this name: Liver_report/1_1.jpeg, Thyroid_report/1_1.jpeg"


@pytest.mark.parametrize("name", ["../../x.png", "/etc/x.png", "C:\\deep\\x.png", "..\\x.png"])
def test_the_folders_in_a_name_lead_nowhere(name: str) -> None:
    assert base_name(name) == "x.png"


def test_hostile_members_write_nothing_outside_and_links_are_no_images(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    folder = tmp_path / "download"
    folder.mkdir()
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("../../../escaped.png", b"e")
        archive.writestr(link, "/etc/passwd")
    with find_images(folder, {"escaped.png", "link.png"}) as found:
        assert found.names() == {"escaped.png"}
    assert [path.name for path in tmp_path.rglob("*")] == ["download", "images.zip"]


def test_a_broken_member_is_unreadable_and_a_broken_zip_an_error(tmp_path: Path) -> None:
    path = member_zip(tmp_path / "images.zip", **{"one.png": b"content of one", "two.png": b"content of two"})
    path.write_bytes(path.read_bytes().replace(b"content of one", b"content 0f one"))
    with find_images(tmp_path, {"one.png", "two.png"}) as found:
        sizes = {name: getattr(found.pick(name), "path", Path()).stat().st_size for name in ("one.png", "two.png")}
    assert sizes == {"one.png": 0, "two.png": 14}
    whole = path.read_bytes()
    # the members' places now lie before the file's start
    path.write_bytes(whole[: whole.index(b"content 0f one")] + whole[whole.index(b"PK\x01\x02") :])
    with find_images(tmp_path, {"one.png", "two.png"}) as found:
        assert getattr(found.pick("one.png"), "path", Path()).stat().st_size == 0
    path.write_bytes(whole[:60])
    with pytest.raises(HtunetError, match=r"images\.zip cannot be unpacked"), find_images(tmp_path, {"one.png"}):
        pass


def test_a_zip_that_claims_more_than_the_disk_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member_zip(tmp_path / "images.zip", **{"one.png": b"12345"})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("usage", (), {"free": 4}))
    with pytest.raises(HtunetError, match="Point htunet_raw at a larger disk"), find_images(tmp_path, {"one.png"}):
        pass


def test_large_images_are_reduced_in_their_shape_and_small_ones_stay() -> None:
    assert reduced(Image.new("L", (2048, 1024))).size == (1024, 512)
    assert reduced(Image.new("RGB", (900, 3000), (255, 0, 0))).size == (512, 1707)
    assert reduced(Image.new("L", (512, 4000))).size == (512, 4000)
    small = np.arange(200, dtype=np.uint8).reshape(10, 20)
    assert (np.asarray(reduced(Image.fromarray(small))) == small).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "YCbCr"])
def test_every_mode_becomes_gray_or_rgb(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = Image.new("L", (6, 4), 128)
        image = image.convert("I").convert(mode) if mode.startswith("I;") else image.convert(mode)
        assert reduced(image).mode == "L"


def test_colour_is_kept_and_the_tint_of_jpeg_is_not() -> None:
    gray = np.full((8, 8, 3), 100, np.uint8)
    gray[2, 2] = (100, 104, 96)
    assert is_gray(Image.fromarray(gray))
    doppler = gray.copy()
    doppler[4, 4] = (200, 30, 30)
    assert not is_gray(Image.fromarray(doppler))
    assert reduced(Image.fromarray(doppler)).mode == "RGB"
