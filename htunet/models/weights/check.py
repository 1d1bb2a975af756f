"""Checks of weights files: of which model they are, and whether they fit; and the import of a file fetched by hand."""

import shutil
from pathlib import Path

import torch

from htunet.errors import HtunetError, UsageError
from htunet.files import exclusive, whole_file
from htunet.models.backbones import BACKBONES
from htunet.models.catalogue import CATALOGUE
from htunet.models.standalone import STANDALONE
from htunet.models.tasks import Outputs
from htunet.models.text import TEXT_TOWERS
from htunet.models.weights.formats import read_state, weights_file
from htunet.models.weights.load import OPEN_CLIP_CONFIG, image_state, load_strictly, refuse_other_config, text_state
from htunet.models.weights.store import (
    check_hash,
    file_hash,
    find_any,
    find_file,
    folder_of,
    remember_hash,
    remembered_hash,
)
from htunet.paths import IMPORTED_WEIGHTS


def check_fit(name: str, path: Path) -> None:
    """Load a file into the model called ``name``; HtunetError names tensors that do not fit, or another activation."""
    if name in STANDALONE:
        entry = STANDALONE[name]
        entry.build(Outputs(task=entry.tasks[0], prompts=("lesion",)), str(path))
        return
    state, entry_of = read_state(path), CATALOGUE[name]
    with torch.device("meta"):
        backbone = BACKBONES[name]()
    load_strictly(backbone, image_state(state, entry_of, backbone.own_key), path)
    if name in TEXT_TOWERS and any(key.startswith(entry_of.text_keys) for key in state):
        with torch.device("meta"):
            text = TEXT_TOWERS[name](None)
        load_strictly(text, text_state(state, entry_of, text.own_key), path)
    refuse_other_config(name, path)


def verify(name: str) -> list[Path]:
    """Check the hash of each file of a model that is on this machine, and that its tensors fit; returns the files.

    Raises HtunetError for the first that is damaged or does not fit.
    """
    entry = CATALOGUE[name]
    found = [(path, file.sha256) for file in entry.files if (path := find_file(name, file))]
    found += [(path, "") for path in sorted(folder_of(name).glob(f"{IMPORTED_WEIGHTS}.*"))]
    for path, sha256 in found:
        check_hash(path, sha256 or remembered_hash(path))
        check_fit(name, path)
    checked = [path for path, _ in found]
    if entry.vocabulary and (words := find_file(name, entry.vocabulary)):
        check_hash(words, remembered_hash(words))
        TEXT_TOWERS[name](words)
        checked.append(words)
    return checked


def install_weights(source: Path, name: str | None = None) -> Path:
    """Copy a file into the weights folder of its model, whole or not at all; returns the copy.

    The model is ``name``, else the one that publishes a file with this hash, else the only one whose tensors fit.

    Raises:
        HtunetError: The file fits no model, or several, or does not fit ``name``; or a published file is there already,
            which would be used in its place.
        UsageError: An unknown ``name``.
    """
    if name is not None and name not in CATALOGUE:
        raise UsageError(f"No weights are called {name!r}; known: {', '.join(CATALOGUE)}.")
    path = weights_file(source)
    if path.suffix == ".txt":
        vocabulary = CATALOGUE[name].vocabulary if name else None
        if name is None or vocabulary is None:
            reading = " or --as ".join(model for model, entry in CATALOGUE.items() if entry.vocabulary)
            raise UsageError(f"{path} is a list of words. Say which model reads them: --as {reading}.")
        TEXT_TOWERS[name](path)
        return _copy(path, folder_of(name) / vocabulary.name, file_hash(path))
    found = file_hash(path)
    for candidate, entry in CATALOGUE.items():
        for file in entry.files:
            if file.sha256 == found and name in (None, candidate):
                return _copy(path, folder_of(candidate) / file.name, found)
    if name is None:
        name = _only_fit(path)
    else:
        check_fit(name, path)
    used = find_any(name)
    if used and used.stem != IMPORTED_WEIGHTS and file_hash(used) != found:
        raise HtunetError(
            f"{used} is used for {name}, and not what is imported. Remove it first, or omit the import and name your "
            f"file where it is needed: --weights {path}"
        )
    suffix = ".safetensors" if path.suffix == ".safetensors" else ".pt"
    copy = _copy(path, folder_of(name) / f"{IMPORTED_WEIGHTS}{suffix}", found)
    for earlier in {*copy.parent.glob(f"{IMPORTED_WEIGHTS}.*")} - {copy}:
        earlier.unlink()
    return copy


def _only_fit(path: Path) -> str:
    """The only model that the tensors of a file fit; HtunetError for none, and for several."""
    read_state(path)  # so that a file that is no weights at all is named as such
    fitting = []
    other_config = None
    for name in CATALOGUE:
        try:
            check_fit(name, path)
            fitting.append(name)
        except HtunetError as error:
            if OPEN_CLIP_CONFIG in str(error):
                other_config = other_config or error
    if len(fitting) == 1:
        return fitting[0]
    if other_config and not fitting:
        raise other_config
    why = f"it fits {' and '.join(fitting)}" if fitting else f"it fits none of {', '.join(CATALOGUE)}"
    raise HtunetError(f"{path} is not known by its hash, and {why}. Say whose weights it holds: --as NAME.")


def _copy(path: Path, target: Path, sha256: str) -> Path:
    with exclusive(target.parent, f"The weights folder {target.parent.name}"):
        if path.resolve() != target.resolve():
            with whole_file(target) as part:
                shutil.copyfile(path, part)
                check_hash(part, sha256)
        remember_hash(target, sha256)
    return target
