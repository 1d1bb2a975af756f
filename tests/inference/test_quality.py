"""quality.csv: what needs a look comes first."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.training import Plain, tiny_plan

from htunet.data.expected_dice import PredictedDice
from htunet.inference.predictor import Predictor
from htunet.inference.quality import Quality, in_order


def test_empty_masks_then_unlike_images_then_the_lowest_dice() -> None:
    plan = tiny_plan()
    predictor = Predictor(Plain(2), plan, device=torch.device("cpu"), precision="fp32")
    scores = np.zeros((2, *plan.input_size), np.float32)
    scores[1], some = 0.9, predictor.predict(np.zeros((40, 50), np.uint8))
    some = replace(some, scores_KHW=np.stack([1 - scores[1], scores[1]]))
    quality = Quality("simulated images")
    quality.add("good.png", replace(some, predicted_dice=PredictedDice(0.9, 0.8, 1.0), distance=0.5))
    quality.add("poor.png", replace(some, predicted_dice=PredictedDice(0.4, 0.1, 0.6125), distance=1.0))
    quality.add("other.png", replace(some, predicted_dice=PredictedDice(0.95, 0.9, 1.0), distance=2.344))
    quality.add("none.png", replace(some, scores_KHW=np.stack([scores[1], 1 - scores[1]]), distance=None))
    sure = replace(some, network_classes={"lesion": 0.75, "no_lesion": 0.25})
    quality.add("sure.png", replace(sure, predicted_dice=PredictedDice(0.91, 0.8, 1.0), distance=0.5))
    quality.add("doubt.png", replace(some, network_classes={"lesion": 0.25, "no_lesion": 0.75}))
    quality.name_images(f"{row['mask'][:-4]}.jpg" for row in quality.rows)
    rows, made = in_order(quality.rows), "simulated images"
    assert [tuple(row.values()) for row in rows] == [
        ("none.png", "", "", "", "", "", "", made, "none.jpg", "nothing found"),
        ("doubt.png", "", "", "", "", "", "0.250", made, "doubt.jpg", "probably no lesion"),
        ("other.png", "0.950", "0.900", "1.000", "2.34", "yes", "", made, "other.jpg", "unlike the training images"),
        ("poor.png", "0.400", "0.100", "0.613", "1.00", "no", "", made, "poor.jpg", ""),
        ("good.png", "0.900", "0.800", "1.000", "0.50", "no", "", made, "good.jpg", ""),
        ("sure.png", "0.910", "0.800", "1.000", "0.50", "no", "0.750", made, "sure.jpg", ""),
    ]
    assert quality.unlike == ["other.jpg"]
    assert quality.doubted == ["doubt.jpg"]
    assert some.entropy is not None
    assert some.entropy == pytest.approx(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)) / np.log(2), abs=1e-5)


@pytest.mark.parametrize(
    ("source", "name", "file"),
    [
        ("/in/b/v.nii.gz, frame 2", "b/v__0002.png", "b/v.nii.gz"),
        ("/in/one.nii", "one.png", "one.nii"),
        ("/in/s.mhd, frame 1", "s.mhd__0001.png", "s.mhd.mha"),
        ("/in/c.tif, frame 1", "c__0001.png", "c__0001.png"),
        ("/in/a.png", "a.png.png", "a.png.png"),
        ("/in/class.nii", "class.nii", "class.nii"),  # without a mask it is the image
    ],
)
def test_a_row_names_the_file_that_its_mask_is_in(source: str, name: str, file: str) -> None:
    predictor = Predictor(Plain(2), tiny_plan(), device=torch.device("cpu"), precision="fp32")
    found, quality = predictor.predict(np.zeros((40, 50), np.uint8)), Quality()
    quality.add(name, replace(found, steps=replace(found.steps, source=source)))
    assert quality.rows[0]["mask"] == file
