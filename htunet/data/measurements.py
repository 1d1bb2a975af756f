"""Arrays that were measured with a trained network, stored beside its run with what they are of, to be drawn later.

One .npz file: arrays by name, and ``about``, strict JSON as text. Reading one runs no code from it.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.errors import HtunetError
from htunet.files import as_read, open_file, parse_json, whole_file
from htunet.records import checked_object, of_format

FORMAT = 1
ABOUT = "about"


@dataclass(frozen=True)
class Measurement:
    """What was measured, and of what: the checkpoint, the images, the settings."""

    arrays: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any]


def write_measurement(path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write whole or not at all. Raises ValueError for an array called ``about`` and for one of objects."""
    if ABOUT in arrays or any(array.dtype == object for array in arrays.values()):
        raise ValueError(f"An array is called {ABOUT!r} or holds objects: {list(arrays)}.")
    everything: dict[str, Any] = {ABOUT: _about(about), **arrays}
    with whole_file(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **everything)


def read_measurement(path: Path) -> Measurement:
    """Read the file; raises HtunetError when it is missing, broken or of another version."""
    try:
        with open_file(path) as stream, np.load(stream, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        about = checked_object(parse_json(str(arrays.pop(ABOUT)), path), str(path))
    except HtunetError:
        raise
    except Exception as error:  # NumPy and zipfile raise whatever damaged bytes make them stumble over
        raise _unreadable(path, error) from None
    of_format(about, FORMAT, path, ". Remove it.")
    return Measurement(arrays, about)


def write_rows(
    path: Path,
    name: str,
    row_type: "np.dtype[np.void]",
    number: int,
    rows: Iterable[NDArray[np.void]],
    about: Mapping[str, Any],
) -> None:
    """As ``write_measurement``, uncompressed: one array ``name`` of a ``number`` of rows, of which one is in memory."""
    header = {"descr": np.lib.format.dtype_to_descr(row_type), "fortran_order": False, "shape": (number,)}
    with whole_file(path) as part, zipfile.ZipFile(part, "w") as archive:
        with archive.open(f"{ABOUT}.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, _about(about))
        with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for row in rows:
                stream.write(row.tobytes())


def read_rows(
    path: Path, name: str, row_type: "np.dtype[np.void]", about: Mapping[str, Any]
) -> Iterator[NDArray[np.void]]:
    """The rows of a file of ``write_rows``, of which one is in memory; HtunetError as ``read_measurement``.

    And where it holds other rows or is ``about`` something else. What is damaged may be found out behind the last row.
    """
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            with archive.open(f"{ABOUT}.npy") as stream:
                found = parse_json(str(np.lib.format.read_array(stream, allow_pickle=False)), path)
            with archive.open(f"{name}.npy") as stream:
                np.lib.format.read_magic(stream)
                shape, _, held = np.lib.format.read_array_header_1_0(stream)
                if found != {"format": FORMAT, **about} or held != row_type:
                    raise HtunetError(f"{path} holds something else. Remove it: it is measured again.")
                for _ in range(*shape):
                    yield np.frombuffer(stream.read(row_type.itemsize), row_type)[0]
                if stream.read(1):
                    raise HtunetError(f"{path} holds more rows than it says. Remove it: it is measured again.")
    except HtunetError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None


def _about(about: Mapping[str, Any]) -> NDArray[np.str_]:
    return np.array(json.dumps({"format": FORMAT, **about}, allow_nan=False))


def _unreadable(path: Path, error: Exception) -> HtunetError:
    return HtunetError(f"The file {path} cannot be read ({error}). Remove it: it is measured again.")


def is_measured(path: Path, about: Mapping[str, Any]) -> bool:
    """Whether the file holds a measurement of exactly this; a broken one counts as none."""
    try:
        found = read_measurement(path).about
    except HtunetError:
        return False
    return dict(found) == as_read({"format": FORMAT, **about})
