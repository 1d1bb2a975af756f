"""Where weights files are stored on this machine. Nothing here uses the internet or reads tensors."""

from pathlib import Path

import htunet
from htunet.errors import HtunetError, UsageError
from htunet.files import file_hash, read_object, write_json
from htunet.models.catalogue import CATALOGUE, PublishedFile
from htunet.paths import IMPORTED_WEIGHTS, root

SHIPPED = Path(htunet.__file__).parent / "pretrained"
"""The weights that are part of htunet, pre-trained on simulated images: a folder for each model."""
CHECKPOINT, RECIPE = "checkpoint.safetensors", "recipe.json"
"""What ``htunet_pretrain`` writes for each network."""
PHANTOM_CLIP = "PhantomCLIP"
PRETRAINABLE = ("UNet", PHANTOM_CLIP, "ResNet18")
HASHES = "hashes.json"
"""sha256 by file name, from when a file was fetched: ``verify`` uses it where nobody published a hash."""


def folder_of(name: str) -> Path:
    """The folder for the weights of one model."""
    return root("htunet_weights") / name


def find_pretrained(name: str) -> Path:
    """The file with a model's published weights, in the weights folder or the hub's cache.

    Raises HtunetError that says how to get it when it is in neither, or when its hash is not the published one.
    """
    found = find_any(name)
    if found:
        check_hash(found, next((file.sha256 for file in CATALOGUE[name].files if file.name == found.name), ""))
        return found
    raise HtunetError(_how_to_get(name, CATALOGUE[name].files[0], "pre-trained weights"))


def find_phantom(name: str) -> Path:
    """The file with a model's weights that were pre-trained on simulated images: shipped, else in its weights folder.

    Raises UsageError for a model that has none and HtunetError for one whose weights have to be made first.
    """
    for folder in (SHIPPED / name, folder_of(name)):
        if (folder / CHECKPOINT).is_file():
            return folder / CHECKPOINT
    if name not in PRETRAINABLE:
        raise UsageError(f"No weights of {name} are pre-trained on simulation; there are of {', '.join(PRETRAINABLE)}.")
    raise HtunetError(
        f"The weights of {name} that are pre-trained on simulation are not on this machine. Make them once with: "
        f"htunet_pretrain {name}. To try things out: --weights random."
    )


def is_by_hand(name: str, path: Path) -> bool:
    """Whether a person has put a file of ``find_pretrained`` there, and no hash says which it is."""
    published = any(file.name == path.name and file.sha256 for file in CATALOGUE[name].files)
    return path.parent == folder_of(name) and not published and not remembered_hash(path)


def find_any(name: str) -> Path | None:
    """The first of a model's files that is on this machine, unchecked; None where there is none."""
    imported = (PublishedFile(name=f"{IMPORTED_WEIGHTS}{suffix}") for suffix in (".safetensors", ".pt"))
    return next(filter(None, (find_file(name, file) for file in (*CATALOGUE[name].files, *imported))), None)


def find_vocabulary(name: str) -> Path | None:
    """The words of a model's tokenizer; None where a library brings them along. HtunetError as ``find_pretrained``."""
    vocabulary = CATALOGUE[name].vocabulary
    if vocabulary is None:
        return None
    if path := find_file(name, vocabulary):
        return path
    raise HtunetError(_how_to_get(name, vocabulary, "tokenizer's words"))


def find_file(name: str, file: PublishedFile) -> Path | None:
    """One published file of a model: in its weights folder, else in the cache of the hub, else None."""
    for path in (folder_of(name) / file.name, SHIPPED / name / file.name):
        if path.is_file():
            return path
    if not file.repository:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repository, file.name)
    return Path(found) if isinstance(found, str) else None


def _how_to_get(name: str, file: PublishedFile, what: str) -> str:
    folder = folder_of(name)
    return (
        f"The {what} of {name} are not on this machine: {file.name} ({size_text(file)}) in {folder}/. Fetch them once "
        f"with: htunet_weights download {name}. Without a network here, fetch {address(file)} elsewhere and put it "
        f"into that folder, or: htunet_weights import FILE --as {name}. PhantomCLIP_HT needs no download, nor does "
        "UNet for masks. To try things out: --weights random."
    )


def address(file: PublishedFile) -> str:
    """Where a person with a browser finds the file."""
    if file.url or not file.repository:
        return file.url or file.name
    return f"https://huggingface.co/{file.repository}/resolve/main/{file.name}"


def size_text(file: PublishedFile) -> str:
    """``351 MB``, or that no page states it."""
    return f"{file.size_mb} MB" if file.size_mb else "size not published"


def check_hash(path: Path, expected: str) -> None:
    """Raise HtunetError when the file's sha256 is another one; an empty expectation accepts any."""
    if expected and (found := file_hash(path)) != expected:
        raise HtunetError(f"{path} is damaged or another file: sha256 {found}, expected {expected}. Download it again.")


def remember_hash(path: Path, sha256: str) -> None:
    """Note the hash that a file had when it was fetched, beside it."""
    known = path.with_name(HASHES)
    write_json(known, (read_object(known) if known.exists() else {}) | {path.name: sha256})


def remembered_hash(path: Path) -> str:
    """The hash that ``remember_hash`` noted for the file, or nothing."""
    known = path.with_name(HASHES)
    return str(read_object(known).get(path.name, "")) if known.exists() else ""
