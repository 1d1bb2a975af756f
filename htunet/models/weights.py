"""Frozen weights: found, downloaded, read and loaded strictly; what was loaded is recorded with its hash.

Read are OpenAI's TorchScript archive, open_clip state dicts (``.pt``, ``.bin``, with or without ``module.``) and
safetensors. Files are read without running code from them: ``weights_only``, safetensors, or a TorchScript archive
of which only the tensors are taken.
"""

import hashlib
import os
import socket
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from htunet.errors import HtunetError
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone
from htunet.models.catalogue import CATALOGUE, CatalogueEntry
from htunet.paths import root

PRETRAINED, RANDOM, NONE = "pretrained", "random", "none"
RANDOM_WEIGHTS_SEED = 0
"""Random frozen weights are the same in every run, so that a checkpoint finds the backbone that it was trained on."""
TEXT_TOWER_KEYS = ("transformer.", "token_embedding.", "ln_final.", "text.")
SCALAR_KEYS = ("logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size")
OTHER_KEYS = ("positional_embedding", "text_projection", *SCALAR_KEYS)

HUB_HOST = "huggingface.co"


@dataclass(frozen=True, kw_only=True)
class WeightsRecord:
    """Which frozen weights a run used; stored in its settings, checkpoints and tables."""

    source: str
    """``pretrained``, ``random``, ``file`` (a path that the user gave), or ``none`` (nothing is frozen)."""
    file: str | None = None
    sha256: str | None = None
    """Hash of the loaded tensors, equal whatever file format they came in."""

    @property
    def identity(self) -> str:
        """What must be equal for a checkpoint to fit: the hash of the tensors."""
        return self.sha256 or NONE


def build_backbone(name: str, source: str) -> tuple[Backbone, WeightsRecord]:
    """Build a backbone with ``pretrained`` or ``random`` weights, or those of a file.

    Raises UsageError for an unknown backbone, HtunetError when the weights cannot be had or do not fit.
    """
    builder = BACKBONES[name]
    path = locate(name, source)
    with frozen_seed():
        backbone = builder()
    if path is not None:
        load_strictly(backbone.get_submodule("vit"), _vision_state(read_state(path)), path)
    return backbone, record_of(source, path, backbone)


@contextmanager
def frozen_seed() -> Iterator[None]:
    """Weights that are drawn in this block are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_WEIGHTS_SEED)
        yield


def record_of(source: str, path: Path | None, module: nn.Module) -> WeightsRecord:
    """What was loaded into a module: ``source`` as the user gave it, and the file that it led to."""
    kind = source if source in (PRETRAINED, RANDOM) else "file"
    return WeightsRecord(source=kind, file=path.name if path else None, sha256=tensor_hash(module))


def locate(name: str, source: str) -> Path | None:
    """The file that ``source`` means for the weights called ``name`` in the catalogue; None for random ones."""
    if source == RANDOM:
        return None
    if source == PRETRAINED:
        return find_pretrained(name)
    path = Path(source)
    if not path.is_file():
        raise HtunetError(f"The weights file {source} is missing. --weights takes pretrained, random, or a file.")
    return path


def find_pretrained(name: str) -> Path:
    """The file with a backbone's published weights: in the weights folder, the hub's cache, or downloaded now."""
    entry = CATALOGUE[name]
    folder = root("htunet_weights") / name
    for file in entry.files:
        if (folder / file).is_file():
            _check_hash(folder / file, entry)
            return folder / file
    reasons: list[str] = []
    for attempt in (_from_hub_cache, _from_official_address, _from_hub):
        if path := _try(attempt, entry, folder, reasons):
            return path
    why = " (HF_HUB_OFFLINE is set)" if _offline() else f" ({'; '.join(reasons)})" if reasons else ""
    raise HtunetError(
        f"The pre-trained weights of {name} are not here and cannot be downloaded{why}. Get {entry.files[0]} "
        f"({entry.size_mb} MB, sha256 {entry.sha256.get(entry.files[0], 'unknown')}) from {entry.url} and put it into "
        f"{folder}/, or train without them: --weights random."
    )


def _try(
    attempt: Callable[[CatalogueEntry, Path], Path | None], entry: CatalogueEntry, folder: Path, reasons: list[str]
) -> Path | None:
    """Ask one source; why it failed is added to ``reasons``, which the caller tells when no source is left."""
    try:
        return attempt(entry, folder)
    except Exception as error:  # each library raises its own kinds of network errors
        if (text := str(getattr(error, "reason", error))) not in reasons:
            reasons.append(text)
        return None


def _offline() -> bool:
    """The variable and the words for yes that the hub's own client knows."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _from_hub_cache(entry: CatalogueEntry, folder: Path) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, file = entry.hub.split(":")
    found = try_to_load_from_cache(repository, file)
    return Path(found) if isinstance(found, str) else None


def _from_hub(entry: CatalogueEntry, folder: Path) -> Path | None:
    from huggingface_hub import hf_hub_download

    if _offline():
        return None
    with socket.create_connection((HUB_HOST, 443), timeout=5):  # without it, the hub's client retries for half a minute
        pass
    repository, file = entry.hub.split(":")
    return Path(hf_hub_download(repository, file, etag_timeout=5))


def _from_official_address(entry: CatalogueEntry, folder: Path) -> Path | None:
    import urllib.request

    from tqdm import tqdm

    from htunet.files import whole_file

    if _offline():
        return None
    target = folder / entry.url.rsplit("/", 1)[1]
    with urllib.request.urlopen(entry.url, timeout=10) as response, whole_file(target) as part:
        total = int(response.headers.get("Content-Length") or 0) or None
        with (
            part.open("wb") as stream,
            tqdm(total=total, unit="B", unit_scale=True, desc=target.name, disable=None) as bar,
        ):
            while block := response.read(1 << 20):
                stream.write(block)
                bar.update(len(block))
        _check_hash(part, entry, name=target.name)
    return target


def _check_hash(path: Path, entry: CatalogueEntry, name: str | None = None) -> None:
    expected = entry.sha256.get(name or path.name)
    if expected is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise HtunetError(f"{path} is damaged or another file: sha256 {found}, expected {expected}. Fetch it again.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from any of the formats above; raises HtunetError when the file is none of them."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_torchscript(path):
            return _read_torchscript(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "weights_only" in reason:  # torch's text advises to read the file unsafely
            reason = "it is no file of PyTorch, or holds more than tensors"
        raise HtunetError(f"{path} cannot be read as weights ({reason}). Fetch it again.") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise HtunetError(f"{path} holds no state dict. Give a file with named tensors.")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _is_torchscript(path: Path) -> bool:
    """A TorchScript archive is a zip that holds code beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the published archive has this format, deprecated or not
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())


def _vision_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The vision tower of a CLIP state dict. Other keys are kept as they are, so that strict loading names them."""
    vision = {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")}
    if not vision:
        return dict(state)
    strange = [key for key in state if not key.startswith(("visual.", *TEXT_TOWER_KEYS)) and key not in OTHER_KEYS]
    return vision | {key: state[key] for key in strange}


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load every tensor, in fp32, or none.

    Missing, unexpected and mis-shaped keys are counted, and the first four of each kind named, in one HtunetError.
    """
    own = module.state_dict()
    problems = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        parts = [f"{len(keys)} {kind}: {', '.join(keys[:4])}" for kind, keys in problems.items() if keys]
        raise HtunetError(f"{path} does not fit this backbone. Tensors {'; '.join(parts)}.")
    module.load_state_dict({key: value.float() for key, value in state.items()})


def tensor_hash(module: nn.Module) -> str:
    """sha256 over names, shapes and fp32 values of a module's parameters and buffers, in the order of their names."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.detach().float().contiguous().cpu().numpy().data)
    return digest.hexdigest()
