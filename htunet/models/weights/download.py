"""Fetch published weights: the only part of htunet that opens an address, and only when it is asked to.

A download that breaks off leaves what it has in ``NAME.part``; the same call continues there.
"""

import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from htunet.errors import HtunetError
from htunet.files import exclusive
from htunet.models.catalogue import CATALOGUE, PublishedFile
from htunet.models.weights.store import (
    address,
    check_hash,
    file_hash,
    find_file,
    folder_of,
    remember_hash,
)

TIMEOUT_SECONDS = 20
BLOCK = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")


def download(name: str) -> list[Path]:
    """Fetch what a model needs and this machine lacks: its weights, and its tokenizer's words. Returns where they are.

    Raises HtunetError when HF_HUB_OFFLINE is set, when no source answers, or when a file is not the published one.
    """
    entry = CATALOGUE[name]
    needed = [entry.files, *([(entry.vocabulary,)] if entry.vocabulary else [])]
    found = []
    with exclusive(folder_of(name), f"The weights folder of {name}"):
        for files in needed:
            there = [(path, file) for file in files if (path := find_file(name, file))]
            if there:
                path, file = there[0]
                check_hash(path, file.sha256)
            else:
                path = _fetch_any(name, files)
            found.append(path)
    return found


def _fetch_any(name: str, files: tuple[PublishedFile, ...]) -> Path:
    """The first of these files that can be fetched."""
    if offline():
        raise HtunetError(f"HF_HUB_OFFLINE is set, so that {files[0].name} of {name} is not fetched. Unset it.")
    reasons = []
    for file in files:
        target = folder_of(name) / file.name
        try:
            if file.url:
                fetch(file.url, target, file.sha256)
            elif file.repository:
                # the hub's own client continues broken downloads; it names the hash of every large file
                from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

                address_of_file = hf_hub_url(file.repository, file.name)
                promised = get_hf_file_metadata(address_of_file, timeout=TIMEOUT_SECONDS).etag or ""
                hf_hub_download(file.repository, file.name, local_dir=target.parent)
                try:
                    check_hash(target, file.sha256 or (promised if SHA256.fullmatch(promised) else ""))
                except HtunetError:
                    target.unlink()
                    raise
            else:
                continue
        except Exception as error:  # each library raises its own kinds of network errors
            reasons.append(f"{address(file)}: {getattr(error, 'reason', None) or error}")
        else:
            remember_hash(target, file.sha256 or file_hash(target))
            return target
    raise HtunetError(
        f"{files[0].name} of {name} cannot be downloaded ({'; '.join(reasons)}). The same command continues. "
        f"Or download the file elsewhere and import it with: htunet_weights import FILE --as {name}"
    )


def offline() -> bool:
    """Whether HF_HUB_OFFLINE is set, in the words for yes that the hub's own client knows."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch(url: str, target: Path, sha256: str) -> None:
    """Download to ``target``, continuing ``target.part`` where the server allows it; it appears whole or not at all.

    Raises HtunetError when the connection breaks off early (the part stays) or the hash is another one (it is deleted).
    """
    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            have = have if response.status == 206 else 0  # 206: the server continues, else it begins again
            rest = response.headers.get("Content-Length")
            total = have + int(rest) if rest else None
            bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None)
            with part.open("ab" if have else "wb") as stream, bar:
                while block := response.read(BLOCK):
                    stream.write(block)
                    bar.update(len(block))
        if total is not None and part.stat().st_size < total:
            raise HtunetError(f"the connection broke off after {part.stat().st_size} of {total} bytes")
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left to send: the part is whole
            raise
    try:
        check_hash(part, sha256)
    except HtunetError:
        part.unlink()
        raise
    part.replace(target)
