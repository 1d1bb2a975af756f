"""Arrays that were measured with a trained network, stored beside its run with what they are of, to be drawn later.

One .npz file: arrays by name, and ``about``, strict JSON as text. Reading one runs no code from it.
"""

import json
from collections.abc import Mapping
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


def write_measurement(
    path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any], *, compressed: bool = True
) -> None:
    """Write whole or not at all. Raises ValueError for an array called ``about`` and for one of objects."""
    if ABOUT in arrays or any(array.dtype == object for array in arrays.values()):
        raise ValueError(f"An array is called {ABOUT!r} or holds objects: {list(arrays)}.")
    text = json.dumps({"format": FORMAT, **about}, allow_nan=False)
    with whole_file(path) as part, part.open("wb") as stream:
        everything: dict[str, Any] = {ABOUT: np.array(text), **arrays}
        (np.savez_compressed if compressed else np.savez)(stream, **everything)


def read_measurement(path: Path) -> Measurement:
    """Read the file; raises HtunetError when it is missing, broken or of another version."""
    try:
        with open_file(path) as stream, np.load(stream, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        about = checked_object(parse_json(str(arrays.pop(ABOUT)), path), str(path))
    except HtunetError:
        raise
    except Exception as error:  # NumPy and zipfile raise whatever damaged bytes make them stumble over
        raise HtunetError(f"The file {path} cannot be read ({error}). Remove it: it is measured again.") from None
    of_format(about, FORMAT, path, ". Remove it.")
    return Measurement(arrays, about)


def is_measured(path: Path, about: Mapping[str, Any]) -> bool:
    """Whether the file holds a measurement of exactly this; a broken one counts as none."""
    try:
        found = read_measurement(path).about
    except HtunetError:
        return False
    return dict(found) == as_read({"format": FORMAT, **about})
