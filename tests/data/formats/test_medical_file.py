"""A library that ends its process over a damaged file ends a forked one, and what it read comes whole."""

import faulthandler
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from builders.medical import us_region, write_dicom
from pydicom import Dataset

from htunet.data.formats.medical_file import in_a_process
from htunet.data.formats.stacks import open_stack
from htunet.errors import HtunetError


def test_what_a_forked_process_reads_comes_whole_and_in_order() -> None:
    here = os.getpid()
    frames = list(in_a_process(lambda: ((os.getpid(), np.full((3, 300_000), number)) for number in range(3))))
    assert all(pid != here for pid, _ in frames)
    assert [frame.shape for _, frame in frames] == [(3, 300_000)] * 3
    assert [int(frame.sum()) for _, frame in frames] == [0, 900_000, 1_800_000]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_process_that_ends_is_an_error_after_what_it_gave(number: int) -> None:
    def read() -> Iterator[int]:
        yield 1
        faulthandler.disable()  # pytest's, which would print where
        os.kill(os.getpid(), number)
        yield 2

    found = in_a_process(read)
    assert next(found) == 1
    with pytest.raises(ValueError, match="file is damaged"):
        next(found)


@pytest.mark.parametrize(
    ("raised", "expected"), [(HtunetError("x is broken."), HtunetError), (KeyError("tag"), ValueError)]
)
def test_what_is_raised_there_is_raised_here(raised: Exception, expected: type[Exception]) -> None:
    def read() -> Iterator[int]:
        raise raised
        yield 1

    with pytest.raises(expected, match=str(raised.args[0])):
        list(in_a_process(read))


def test_nothing_is_left_running_where_only_the_first_is_asked_for() -> None:
    found = in_a_process(lambda: iter([os.getpid(), 0]))
    pid = next(found)
    found.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_region_of_dicom_without_a_size_gives_way_to_the_pixel_spacing(tmp_path: Path) -> None:
    write_dicom(
        tmp_path / "a.dcm",
        np.zeros((4, 6), np.uint8),
        SequenceOfUltrasoundRegions=[us_region((0.0, 0.0))],
        PixelSpacing=[0.2, 0.2],
    )
    assert open_stack(tmp_path / "a.dcm").spacing_mm == 0.2


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_a_picture_is_never_read_as_a_pile_of_lines(tmp_path: Path, ending: str, kind: type, axis: int) -> None:
    """An axis of length 1 that is not the last one: the channel of an array."""
    values = np.expand_dims(np.arange(80).reshape(8, 10).astype(kind), axis)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / f"a{ending}"))
    with pytest.raises(HtunetError, match=r"would be a line; save it without the axis of length 1"):
        open_stack(tmp_path / f"a{ending}")


def test_a_pixel_size_among_the_functional_groups_counts(tmp_path: Path) -> None:
    """Where enhanced ultrasound objects have it, of rows before columns."""
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [0.2, 0.3]
    group.PixelMeasuresSequence = [measures]
    write_dicom(tmp_path / "x.dcm", np.zeros((2, 8, 9), np.uint8), SharedFunctionalGroupsSequence=[group])
    assert open_stack(tmp_path / "x.dcm").spacing_mm == (0.2, 0.3)


def test_a_pixel_size_with_a_decimal_comma_is_read(tmp_path: Path) -> None:
    write_dicom(tmp_path / "x.dcm", np.zeros((8, 9), np.uint8), PixelSpacing=[0.25, 0.5])
    content = (tmp_path / "x.dcm").read_bytes()
    assert content.count(b"0.25\\0.5") == 1
    (tmp_path / "x.dcm").write_bytes(content.replace(b"0.25\\0.5", b"0,25\\0,5"))
    assert open_stack(tmp_path / "x.dcm").spacing_mm == (0.25, 0.5)
