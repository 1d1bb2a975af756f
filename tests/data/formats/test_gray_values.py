"""Gray values of other types than 8 bits: the same in every reader, and said where they are scaled."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from builders.medical import write_nifti
from PIL import Image

from htunet.data.formats.stacks import FRACTIONS, SCALED, open_stack
from htunet.data.image_io import read_image
from htunet.inference import run_onnx

RAMP = np.arange(40, dtype=np.uint8).reshape(5, 8)


@pytest.mark.parametrize("ending", [".tif", ".nii.gz", ".mha"])
@pytest.mark.parametrize(
    ("factor", "expected", "remarks"),
    [
        (1 / 255, 1.0, (FRACTIONS,)),  # a dark image stays dark
        (6 / 255, 6.0, (FRACTIONS,)),
        (1.0005 / 39, 255.1275 / 39, (FRACTIONS,)),  # resampling overshoots
        (3.7 / 39, 255 / 39, (SCALED,)),
        (0.25, 255 / 39, (SCALED,)),
        (0.5, 0.5, ()),
        (1.0, 1.0, ()),
    ],
)
def test_floats_are_gray_values_or_fractions_or_neither(
    tmp_path: Path, ending: str, factor: float, expected: float, remarks: tuple[str, ...]
) -> None:
    values, shown = (RAMP * factor).astype(np.float32), np.round(RAMP * expected)
    path = tmp_path / f"a{ending}"
    if ending == ".tif":
        Image.fromarray(values).save(path)
        np.testing.assert_array_equal(read_image(path, 1)[0], shown)
        np.testing.assert_array_equal(np.asarray(run_onnx.read(path, 1)), shown)
    elif ending == ".mha":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))
    else:
        write_nifti(path, values[None])
    np.testing.assert_array_equal(list(open_stack(path).gray()), [shown])
    assert open_stack(path).scaling == remarks
