"""The tensors of a TorchScript archive, read without its code.

``torch.jit.load`` runs what an archive brings along (``__setstate__`` of its classes), so that a file of weights could
write other files. An archive is a zip: ``data.pkl`` holds the modules, ``data/`` the bytes of their tensors, ``code/``
the text of their classes, which is searched for the names of parameters and buffers and never compiled.
"""

import io
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
MAX_OBJECTS_BYTES = 256 * 2**20
"""Of ``data.pkl``; that of a ViT-B/16 has a quarter of a megabyte."""


def is_torchscript(path: Path) -> bool:
    """A TorchScript archive is a zip that holds code beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by their names in the state dict, as ``torch.jit.load`` gives them, on the CPU.

    Raises ValueError for an archive that holds anything but modules with tensors and plain values, or is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(name[: -len("data.pkl")] for name in archive.namelist() if name.endswith("/data.pkl"))
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder").decode() != sys.byteorder:
            raise ValueError(f"its numbers are in another byte order than this machine's ({sys.byteorder})")
        if archive.getinfo(f"{root}data.pkl").file_size > MAX_OBJECTS_BYTES:
            raise ValueError(f"its data.pkl is larger than {MAX_OBJECTS_BYTES // 2**20} MB")
        module = _Objects(io.BytesIO(archive.read(f"{root}data.pkl")), archive, root).load()
        state: dict[str, Tensor] = {}
        _collect(module, "", partial(_tensor_names, archive, root), state)
    return state


class _ScriptObject:
    """An object of a class of the archive: the name of its class and its attributes, nothing else."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise ValueError(f"{type(self).__name__} restores itself by code of its own")
        self.attributes = state


class _Storage:
    """A type of storage, named in a pickle; the values are in a record of the archive."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _Objects(pickle.Unpickler):
    """Knows modules, tensors, lists and plain values; every other name in the pickle is an error."""

    def __init__(self, stream: io.BytesIO, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(stream)
        self.archive, self.root = archive, root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if module.split(".")[0] == "__torch__":
            return type(f"{module}.{name}", (_ScriptObject,), {})
        if module == "torch" and name in STORAGES:
            return _Storage(STORAGES[name])
        known: dict[tuple[str, str], Callable[..., object]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("collections", "OrderedDict"): dict,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            **{("torch.jit._pickle", kind): list for kind in LISTS},
        }
        if (module, name) not in known:
            raise ValueError(f"it holds {module}.{name}, which is neither a module nor a tensor")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:  # noqa: ANN401
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, _Storage):
            raise ValueError("it refers to something that is not a tensor")
        if key not in self.storages:
            info = self.archive.getinfo(f"{self.root}data/{key}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * storage.dtype.itemsize:
                raise ValueError(f"its record {key} has not the size of its tensor")
            content = bytearray(self.archive.read(info))
            empty = torch.empty(0, dtype=storage.dtype)
            self.storages[key] = torch.frombuffer(content, dtype=storage.dtype) if content else empty
        return self.storages[key]


def _rebuild_tensor(values: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    """A view of a storage's values; ValueError where it would reach beyond them."""
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= len(values)):
        raise ValueError("a tensor reaches beyond its values")
    return values.as_strided(size, stride, offset)


def _tensor_names(archive: zipfile.ZipFile, root: str, class_name: str) -> list[str]:
    """Parameters and buffers of a class, from the text of its declaration."""
    module, _, name = class_name.rpartition(".")
    text = archive.read(f"{root}code/{module.replace('.', '/')}.py").decode()
    _, found, declaration = text.partition(f"class {name}(")
    declaration = re.split(r"^class |^  def ", declaration, maxsplit=1, flags=re.MULTILINE)[0]
    if not found:
        raise ValueError(f"it does not declare {class_name}")
    lists = re.findall(r"^  __(?:parameters|buffers)__ = \[([^\]]*)\]", declaration, flags=re.MULTILINE)
    return [name for names in lists for name in re.findall(r'"([^"]+)"', names)]


def _collect(part: object, prefix: str, names_of: Callable[[str], list[str]], state: dict[str, Tensor]) -> None:
    """Parameters and buffers first, then those of the modules within, as a state dict orders them."""
    if not isinstance(part, _ScriptObject):
        raise ValueError("it is not a module")
    attributes: Mapping[str, Any] = part.attributes
    for name in names_of(type(part).__name__):
        if isinstance(attributes.get(name), Tensor):
            state[prefix + name] = attributes[name]
    for name, value in attributes.items():
        if isinstance(value, _ScriptObject):
            _collect(value, f"{prefix}{name}.", names_of, state)
