"""Weights files of every published format, read without running code from them.

Read are OpenAI's TorchScript archive, state dicts of PyTorch (``.pt``, ``.pth``, ``.bin``, with or without ``module.``
or ``_orig_mod.``, alone or inside a training checkpoint), safetensors, and a folder of the Hugging Face hub with one of
these in it. The tensors of PyTorch's and safetensors' files stay in the file and are read when they are used.
"""

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from htunet.errors import HtunetError
from htunet.files import open_file
from htunet.models.weights.torchscript import is_torchscript, read_torchscript

log = logging.getLogger(__name__)

HUB_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
"""What a folder of the hub may hold, safest format first."""
WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+")
"""What DataParallel and torch.compile write before the names of tensors."""
_NUMPY_SCALAR: Any = np.float64(0).__reduce__()[0]
PYTORCH = (b"PK\3\4", b"\x80\2")
"""First bytes of PyTorch's files: of a zip, and of the pickles of old versions."""
MISNAMED = "it is a PyTorch file, not safetensors"
PLAIN_NUMBERS: list[Any] = [
    *((_NUMPY_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # before and since numpy 2
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
]
"""Numbers of numpy: training checkpoints keep some beside the tensors. They hold data and run nothing."""


def weights_file(path: Path) -> Path:
    """The file itself, or the one in a folder of the hub; HtunetError when there is none."""
    if path.is_file():
        return path
    if path.is_dir():
        for name in HUB_FILES:
            if (path / name).is_file():
                return path / name
        raise HtunetError(f"The folder {path} holds none of {', '.join(HUB_FILES)}. Name the weights file itself.")
    raise HtunetError(f"The weights file {path} is missing. --weights takes pretrained, random, or a file.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name, without what wraps a model; raises HtunetError when the file is none of the formats above."""
    try:
        content = _read(path)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "weights_only" in reason:  # torch's text advises to read the file unsafely
            reason = "it is not a PyTorch file, or holds more than tensors"
        way_out = "Rename it to end in .pt" if reason == MISNAMED else "Download it again"
        raise HtunetError(f"{path} cannot be read as weights ({reason}). {way_out}.") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            others = [name for name, value in content.items() if isinstance(value, Mapping) and "ema" in str(name)]
            if others:
                log.warning("%s: the weights under %s are used, not their moving average under %s.", path, key,
                            ", ".join(others))  # fmt: skip
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise HtunetError(f"{path} holds no state dict. Give a file with named tensors.")
    return {WRAPPED.sub("", key): value for key, value in content.items()}


def _read(path: Path) -> Any:  # noqa: ANN401
    with open_file(path) as stream:
        start = stream.read(9)
    if path.suffix == ".safetensors" and start.startswith(PYTORCH):  # torch.load believes the ending, too
        raise ValueError(MISNAMED)
    if path.suffix == ".safetensors" or start[8:] == b"{":  # whatever it is called: JSON after the header's length
        from safetensors.torch import load_file

        return load_file(path)
    if is_torchscript(path):
        return read_torchscript(path)
    with torch.serialization.safe_globals(PLAIN_NUMBERS):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
