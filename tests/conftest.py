"""What all tests share: the real samples where they are, and folders of their own."""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from htunet.paths import ROOTS, DatasetPaths

if TYPE_CHECKING:
    from builders.processes import ForkServer

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers side by side; the same sums in the same order
SAMPLES = Path(os.environ.get("HTUNET_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))

LONGEST = (
    *("test_reproduce", "test_table1_full_counts", "test_several_processes", "test_to_onnx", "test_kills"),
    "test_attack",
    *("test_contrastive_processes", "test_robustness", "test_finetuning", "test_pipeline", "test_network"),
)
"""Files of tests that take longest, in this order; a file left to the end would keep one worker alone at work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first. Within a file tests stay as they are written, and no test relies on any order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real samples; tests that need it skip where it is absent."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the real samples are not at {SAMPLES}; set HTUNET_SAMPLES to their folder")
    return SAMPLES


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder that holds raw, preprocessed, results and weights."""
    for variable, name in ROOTS.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings draw no curves, which takes longer than the runs of these tests."""
    from htunet.training import record

    monkeypatch.setattr(record, "draw_progress", lambda *_: None)


@pytest.fixture
def tiny_clip(without_pictures: None) -> Iterator[None]:
    """CLIP's two towers are tiny ones, without pictures of their training."""
    from builders.contrastive import tiny_contrastive

    with tiny_contrastive():
        yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sockets are closed: what tried to use one is listed."""
    calls: list[str] = []

    def closed(name: str) -> Callable[..., None]:
        def refuse(*_: object, **__: object) -> None:
            calls.append(name)
            raise OSError("sockets are closed in this test")

        return refuse

    for owner, name in ((socket, "create_connection"), (socket, "getaddrinfo"), (socket.socket, "connect")):
        monkeypatch.setattr(owner, name, closed(name))
    return calls


@pytest.fixture
def keep_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished runs keep their last state inside the test, so that all of it can be compared."""
    from htunet.training import session

    monkeypatch.setattr(session, "remove_latest", lambda _: None)


@pytest.fixture
def tiny(home: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetPaths:
    """The data set of ``builders.training``; its tiny methods are known while the test runs."""
    from builders.training import build_training, register_tiny_methods

    from htunet.models import build
    from htunet.models.backbones import BACKBONES

    for registry in (build.STANDALONE, BACKBONES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    register_tiny_methods()
    return build_training()


@pytest.fixture
def log_handlers() -> Iterator[None]:
    """Commands attach the log to the terminal of their process; a test takes it away again."""
    logger = logging.getLogger("htunet")
    before = list(logger.handlers)
    yield
    logger.handlers[:] = before


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ForkServer"]:
    """Starts real processes that need not import torch again."""
    from builders.processes import ForkServer

    server = ForkServer(tmp_path_factory.mktemp("processes"))
    yield server
    server.close()
