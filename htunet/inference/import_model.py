"""Import a model that somebody exported: checked, copied whole or not at all, and nothing in it is run."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from htunet.archives import unpack
from htunet.errors import HtunetError, UsageError
from htunet.files import exclusive, file_hash, scratch_folder, whole_folder
from htunet.inference.exported import MODEL_JSON, NAME, README, ExportedModel, open_model
from htunet.models import checkpoint
from htunet.paths import imported_models

LARGEST = 16 * 2**30
"""Bytes; ten times the largest network that htunet knows."""


@dataclass(frozen=True)
class ImportedModel:
    """An imported model, and the names of the files that were left behind."""

    model: ExportedModel
    left: list[str]


def import_model(source: Path, name: str | None = None) -> ImportedModel:
    """Copy an exported model, a folder or a zip, to the other imported ones; ``name`` is what it is called there.

    Raises:
        UsageError: ``source`` is not there, ``name`` cannot be a folder's name, or another model has it.
        HtunetError: The zip is broken or unsafe, it holds no model or one of another format, a file is missing or
            changed, or its checkpoint cannot be read.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist. Name the folder or the zip that htunet_export wrote.")
    if source.is_dir():
        return _copy(source, name)
    with scratch_folder(imported_models()) as folder:
        return _copy(unpack_model(source, folder), name)


def unpack_model(archive: Path, folder: Path) -> Path:
    """Unpack a zip into ``folder`` and return the folder with the model: the unpacked one or the one within it.

    Raises HtunetError where the zip is broken or unsafe, and where it holds no model or several.
    """
    unpack(archive, folder, max_bytes=LARGEST)
    found = [path.parent for path in (*folder.glob(MODEL_JSON), *folder.glob(f"*/{MODEL_JSON}"))]
    if len(found) != 1:
        raise HtunetError(f"{archive} holds {len(found) or 'no'} {MODEL_JSON}, not one. Name what htunet_export wrote.")
    return found[0]


def _copy(folder: Path, requested: str | None) -> ImportedModel:
    model = open_model(folder)
    for member in model.members(weights="random"):  # refuses a plan that is broken
        checkpoint.load(member.checkpoint)
    name = requested or model.card.name
    if not NAME.fullmatch(name):
        raise UsageError(f"A model's name is letters, digits and . _ -, and does not begin with . _ -; got {name!r}.")
    target = imported_models() / name
    with exclusive(imported_models(), "The folder of imported models"):
        data = (MODEL_JSON, README, *model.card.predicts_with)  # programs and their files are left where they are
        taken = [file for file in data if (folder / file).is_file()]
        if not target.exists():
            with whole_folder(target) as part:
                for file in taken:
                    shutil.copyfile(folder / file, part / file)
                open_model(part).trained(weights="random")  # all of it is checked before it gets its name
        elif not all(
            (target / file).is_file() and file_hash(target / file) == file_hash(folder / file) for file in taken
        ):
            raise UsageError(f"Another model is called {name} already: {target}. Choose another name with --name.")
    left = sorted(path.name for path in folder.iterdir() if path.name not in taken)
    return ImportedModel(open_model(target), left)
