"""BatchNorm over several processes: the gradient and the statistics of one process that has the whole batch."""

from pathlib import Path

import pytest
import torch
from builders.batch_norm import COUNTS, batch_of, found_in, unet
from builders.processes import ForkServer
from builders.training import Plain
from torch import nn

from htunet.errors import HtunetError
from htunet.models.standalone.unet import UNet
from htunet.training.batch_norm import check_single_image, has_batch_statistics, share_statistics
from htunet.training.trainer import SegmentationTrainer


@pytest.mark.slow
def test_two_processes_have_the_gradient_and_the_statistics_of_one(tmp_path: Path, fork_server: ForkServer) -> None:
    code, _, errors = fork_server.start("builders.batch_norm:save_steps", tmp_path / "found").whole()
    assert code == 0, errors
    for rank in (0, 1):
        for count, found in zip(COUNTS, torch.load(tmp_path / f"found.{rank}"), strict=True):
            network = unet().train()
            loss = SegmentationTrainer().loss(network, batch_of(count)).mean()
            loss.backward()
            reference = found_in(network, loss)
            assert found.keys() == reference.keys()
            for name, value in reference.items():
                torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5, msg=lambda text, n=name: n + text)
            assert max(float(v.abs().max()) for name, v in reference.items() if "gradient" in name) > 1e-2


def test_names_and_evaluation_stay_as_they_are() -> None:
    network, images = unet(), batch_of(3).images
    with torch.no_grad():
        network.train()(images)
        expected, names = network.eval()(images), list(network.state_dict())
        share_statistics(network)
        assert torch.equal(network(images), expected)
    assert list(network.state_dict()) == names


def test_frozen_statistics_do_not_depend_on_the_batch() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> "Frozen":
            super().train(mode)
            self[0].eval()
            return self

    assert has_batch_statistics(unet())
    assert not has_batch_statistics(Plain(2))
    assert not has_batch_statistics(Frozen(nn.BatchNorm2d(3), nn.ReLU()))


def test_a_single_image_that_leaves_batch_norm_one_value_is_refused() -> None:
    network = UNet(2)
    for count, size in ((2, (16, 16)), (1, (16, 32))):
        check_single_image(network, count, size)
        network.train()(torch.zeros(count, 3, *size))
    with pytest.raises(ValueError, match="more than 1 value"):
        network.train()(torch.zeros(1, 3, 31, 16))
    with pytest.raises(HtunetError, match=r"one image of 31 x 16 pixels.*at least 32"):
        check_single_image(network, 1, (31, 16))
    check_single_image(Plain(2), 1, (1, 1))
