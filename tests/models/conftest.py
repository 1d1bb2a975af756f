"""The one network of real size, and the tiny one; each is built once for all tests of the models."""

from collections.abc import Iterator

import pytest
from builders.backbone import draw, register_tiny, tiny_in_place_of_clip

from htunet.models.build import build_network
from htunet.models.network import EncoderNetwork
from htunet.models.tasks import Outputs


@pytest.fixture(scope="session", autouse=True)
def _tiny_architecture(tmp_path_factory: pytest.TempPathFactory) -> None:
    register_tiny(tmp_path_factory.mktemp("configs"))


@pytest.fixture
def tiny() -> Iterator[None]:
    """CLIP's name stands for a tiny CLIP during one test."""
    with tiny_in_place_of_clip():
        yield


@pytest.fixture(scope="session")
def clip_ht() -> EncoderNetwork:
    """CLIP_HT in its real size with drawn adapters and heads, in eval mode. Tests only look at it."""
    network, _ = build_network("CLIP_HT", Outputs(), seed=1, weights="random")
    assert isinstance(network, EncoderNetwork)
    for number, (_, module) in enumerate(network.trainable_modules()):
        draw(module, seed=number)
    return network.eval()
