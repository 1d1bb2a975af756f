"""Several versions of the test images: in order, in the original's geometry, by the same network."""

import numpy as np
import pytest
from builders.training import run_of, tiny_settings

from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import read_raw
from htunet.errors import HtunetError
from htunet.inference.predictor import Predictor
from htunet.inference.versions import predict_versions
from htunet.paths import DatasetPaths
from htunet.training import record
from htunet.training.run import train


@pytest.fixture
def predictor(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    train("Tiny", "TINY_HT", 0, tiny_settings(num_epochs=1))
    return Predictor.from_run(run_of(tiny, "TINY_HT"), device="cpu")


def test_versions_come_case_by_case_and_the_unchanged_one_is_what_the_arrays_give(
    tiny: DatasetPaths, predictor: Predictor
) -> None:
    data = PreprocessedDataset(tiny.plan_folder("tiny"))
    ids = [case.id for case in data.cases[:3]]  # 6 versions: a batch of 4, and one of 2
    found = list(predict_versions(predictor, read_raw(tiny), data, ids, lambda _, image: [image, 255 - image]))
    assert [(one.case.id, one.version) for one in found] == [(case, version) for case in ids for version in (0, 1)]
    inputs = data.images[data.rows(ids)]
    for version, images in enumerate((inputs, 255 - inputs)):
        scores = predictor.probabilities(images).labels_BKHW
        assert scores is not None
        labels = np.stack([one.labels_HW for one in found if one.version == version and one.labels_HW is not None])
        assert np.mean(labels == scores.argmax(axis=1)) > 0.999  # the inverse is rounded before or after resizing
    assert all(one.classes_N is None for one in found)


def test_a_version_of_another_size_is_refused(tiny: DatasetPaths, predictor: Predictor) -> None:
    data = PreprocessedDataset(tiny.plan_folder("tiny"))
    with pytest.raises(HtunetError, match="do not show the same"):
        list(predict_versions(predictor, read_raw(tiny), data, [data.cases[0].id], lambda _, image: [image[:, 1:]]))
