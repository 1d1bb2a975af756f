import json
from pathlib import Path

import pytest

from dataset_conversion import convert
from dataset_conversion.common import Options
from dataset_conversion.phantom.scan import write_phantom
from htunet.data.caption_splits import groups_in_both, settle_caption_split
from htunet.data.captions import read_captions
from htunet.errors import HtunetError
from htunet.files import read_csv
from htunet.paths import DatasetPaths

PHANTOM = DatasetPaths("Dataset511_PhantomCaptions")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("phantom") / "download"
    write_phantom(target, num_images=12, seed=0)
    return target


def test_every_phantom_image_is_a_pair_of_its_patient(home: Path, written: Path) -> None:
    report = convert("PhantomCaptions", written, Options(workers=1))
    dataset = read_captions(PHANTOM)
    assert len(dataset.pairs) == sum(report.found.values()) == 12
    rows = read_csv(written / "Dataset_BUSI_with_GT/patients.csv", ("image", "patient"))
    patients = {row["image"]: row["patient"] for row in rows}
    lines = [json.loads(line) for line in (written / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    captions = {pair.id: pair.caption for pair in dataset.pairs}
    assert captions == {line["id"]: line["caption"] for line in lines}
    for pair in dataset.pairs:
        assert pair.group == patients[pair.source.removeprefix("Dataset_BUSI_with_GT/")]
    assert groups_in_both(dataset.pairs, settle_caption_split(dataset, "group")) == []


def test_a_broken_line_is_an_error_with_its_number(home: Path, written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    (folder / "Dataset_BUSI_with_GT").mkdir(parents=True)
    (folder / "Dataset_BUSI_with_GT/patients.csv").write_text("image,patient\n", encoding="utf-8")
    (folder / "captions.jsonl").write_text('{"image": "x"}\n', encoding="utf-8")
    with pytest.raises(HtunetError, match=r"captions\.jsonl, line 1: image, caption and id must be texts"):
        convert("PhantomCaptions", folder, Options())
    (folder / "captions.jsonl").write_text("nothing\n", encoding="utf-8")
    with pytest.raises(HtunetError, match="line 1 is not valid JSON"):
        convert("PhantomCaptions", folder, Options())
    (folder / "captions.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(HtunetError, match="Not one pair"):
        convert("PhantomCaptions", folder, Options())
