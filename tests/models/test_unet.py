"""The baseline: its size in weights, the image sizes that it takes, and that all of it trains."""

import pytest
import torch
from builders.backbone import pictures

from htunet.models.standalone.unet import UNet


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(3).eval()


def test_it_has_as_many_parameters_as_the_paper_counts() -> None:
    network = UNet(2)
    assert sum(parameter.numel() for parameter in network.trainable_parameters()) == 1_813_762
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_813_762
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.frozen_module() is None


@pytest.mark.parametrize("image_hw", [(16, 16), (17, 16), (31, 33), (48, 80), (21, 100), (64, 64)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_scores_have_the_size_of_the_image(unet: UNet, image_hw: tuple[int, int], channels: int) -> None:
    with torch.inference_mode():
        scores = unet(torch.randint(0, 256, (2, channels, *image_hw), dtype=torch.uint8))
    assert scores.shape == (2, 3, *image_hw)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


def test_a_gray_image_is_the_same_as_its_three_equal_channels(unet: UNet) -> None:
    gray = torch.randint(0, 256, (1, 1, 24, 40), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(unet(gray), unet(gray.expand(1, 3, 24, 40)))


def test_images_do_not_see_each_other_in_eval_mode(unet: UNet) -> None:
    images = 255 * pictures(3, 1, 32, 32).sigmoid()
    with torch.inference_mode():
        one_by_one = torch.cat([unet(images[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(unet(images), one_by_one, rtol=1e-5, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    network = UNet(2).train()
    scores = network(255 * pictures(2, 1, 32, 48).sigmoid())
    (scores * pictures(*scores.shape, seed=1)).sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_the_checkpoint_holds_the_statistics_of_batch_normalisation_and_rebuilds_the_network() -> None:
    torch.manual_seed(0)
    network, other = UNet(2).train(), UNet(2).eval()
    image = 255 * pictures(2, 1, 32, 32).sigmoid()
    network(image)
    state = network.trainable_state()
    assert any(key.endswith("running_mean") for key in state)
    assert set(state) == set(network.state_dict())
    other.load_trainable_state(state)
    with torch.inference_mode():
        assert torch.equal(other(image), network.eval()(image))


def test_aligned_corners_change_only_how_the_decoder_enlarges() -> None:
    plain, aligned = UNet(2).eval(), UNet(2, align_corners=True).eval()
    aligned.load_state_dict(plain.state_dict())
    deep, skip = pictures(1, 32, 2, 2), pictures(1, 16, 4, 4, seed=1)
    seen: list[torch.Tensor] = []
    for network in (plain, aligned):
        network.up[-1].join.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        network.up[-1](deep, skip)
    narrow = plain.up[-1].narrow(deep)
    thirds = torch.tensor([0, 1 / 3, 2 / 3, 1])  # where the four columns lie between the first and the last
    by_hand = narrow[..., 0, 0, None] * (1 - thirds) + narrow[..., 0, 1, None] * thirds
    torch.testing.assert_close(seen[1][:, 16:, 0], by_hand)
    assert (seen[0][:, 16:, 0] - by_hand).abs().max() > 1e-3
