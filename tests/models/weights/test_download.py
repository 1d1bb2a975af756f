"""Downloads continue, are checked, and appear whole or not at all."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from htunet.errors import HtunetError
from htunet.models.catalogue import CATALOGUE, PublishedFile
from htunet.models.weights.download import download, fetch
from htunet.models.weights.store import remembered_hash

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``breaks_after`` bytes of each answer the connection ends."""

    breaks_after: int | None = None
    knows_ranges = True
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        requested = self.headers.get("Range")
        self.server.asked.append(requested)
        start = int(requested[6:-1]) if requested and self.server.knows_ranges else 0
        if self.path != "/weights.pt":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        rest = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.breaks_after])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(("127.0.0.1", 0), Handler)
    found.asked = []
    Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/weights.pt"


@pytest.fixture(autouse=True)
def _no_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def serve_clip(url: str, monkeypatch: pytest.MonkeyPatch, sha256: str = SHA256) -> None:
    """CLIP is one file at this address."""
    file = PublishedFile(name="weights.pt", url=url, sha256=sha256)
    monkeypatch.setitem(CATALOGUE, "CLIP", replace(CATALOGUE["CLIP"], files=(file,)))


def test_a_file_is_fetched_whole(server: Server, url: str, tmp_path: Path) -> None:
    fetch(url, tmp_path / "weights.pt", SHA256)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]
    assert server.asked == [None]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_download_continues_where_it_was_if_the_server_can(
    server: Server, url: str, tmp_path: Path, knows_ranges: bool
) -> None:
    server.breaks_after, server.knows_ranges = 300_000, knows_ranges
    with pytest.raises(HtunetError, match="broke off after 300000 of 1280000 bytes"):
        fetch(url, tmp_path / "weights.pt", SHA256)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt.part"]
    server.breaks_after = None
    fetch(url, tmp_path / "weights.pt", SHA256)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_part_that_is_whole_already_is_taken(url: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pt.part").write_bytes(CONTENT)
    fetch(url, tmp_path / "weights.pt", SHA256)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT


def test_a_file_with_another_hash_is_thrown_away_with_its_part(url: str, tmp_path: Path) -> None:
    with pytest.raises(HtunetError, match=f"sha256 {SHA256}, expected {'0' * 64}"):
        fetch(url, tmp_path / "weights.pt", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_the_weights_folder_gets_the_file_and_its_hash_and_the_second_time_nothing_is_asked(
    server: Server, url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_clip(url, monkeypatch)
    path = home / "weights" / "CLIP" / "weights.pt"
    assert download("CLIP") == [path]
    assert (path.read_bytes(), remembered_hash(path)) == (CONTENT, SHA256)
    assert download("CLIP") == [path]
    assert server.asked == [None]


@pytest.mark.parametrize("word", ["1", "true", "ON"])
def test_the_word_offline_keeps_even_a_download_from_asking(
    word: str, server: Server, url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_clip(url, monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", word)
    with pytest.raises(HtunetError, match="HF_HUB_OFFLINE is set"):
        download("CLIP")
    assert server.asked == []


def test_a_source_that_fails_is_named_with_its_reason_and_the_way_by_hand(
    url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_clip(f"{url}.gone", monkeypatch)
    with pytest.raises(
        HtunetError, match=r"weights\.pt of CLIP cannot be downloaded.*Not Found.*import FILE --as CLIP"
    ):
        download("CLIP")


class Hub:
    """Stands for the hub's client: its calls, and what it puts where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, etag: str) -> None:
        self.etag, self.calls = etag, [0]
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: self)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.put)

    def put(self, repository: str, file: str, *, local_dir: Path) -> str:
        self.calls[0] += 1
        (local_dir / file).write_bytes(CONTENT)
        return str(local_dir / file)


def test_the_hub_is_asked_for_the_weights_and_for_the_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, SHA256)
    folder = home / "weights" / "UniMedCLIP"
    assert download("UniMedCLIP") == [folder / "unimed-clip-vit-b16.pt", folder / "vocab.txt"]
    assert hub.calls == [2]
    assert remembered_hash(folder / "unimed-clip-vit-b16.pt") == SHA256


def test_a_file_of_the_hub_must_have_the_hash_that_the_hub_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, "1" * 64)
    with pytest.raises(HtunetError, match=f"expected {'1' * 64}"):
        download("UniMedCLIP")
    assert not (home / "weights" / "UniMedCLIP" / "unimed-clip-vit-b16.pt").exists()
