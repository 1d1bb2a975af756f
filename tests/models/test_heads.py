"""The two identities that the code uses instead of what the paper writes, and the aggregation by hand."""

import pytest
import torch
from builders.backbone import draw, pictures
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.heads.aggregation import FeatureAggregation
from htunet.models.heads.classification import ClassificationHead, LinearHead, LinearProbe, ScoreLayer
from htunet.models.heads.segmentation import SegmentationHead
from htunet.models.heads.unet_decoder import UNetDecoder
from htunet.models.standalone.resnet import ResNet18

SIZES = [
    pytest.param((14, 14), (224, 224), id="the paper's"),
    pytest.param((3, 5), (48, 80), id="not square"),
    pytest.param((4, 4), (10, 15), id="factors 2.5 and 3.75"),
    pytest.param((5, 7), (13, 11), id="other broken factors"),
    pytest.param((6, 6), (4, 5), id="smaller"),
    pytest.param((1, 1), (16, 16), id="one patch"),
]


def upsample_then_convolve(head: SegmentationHead, features: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """As the paper writes it."""
    return head.classify(F.interpolate(features, image_hw, mode="bilinear", align_corners=False))


@pytest.mark.parametrize("grid_hw", [(1, 1), (4, 4), (5, 9), (14, 14)], ids=str)
def test_one_factor_for_all_frequencies_is_a_product(grid_hw: tuple[int, int]) -> None:
    grid, theta = pictures(2, 3, *grid_hw), pictures(3, seed=1)[:, None, None]
    filtered = torch.fft.ifft2(torch.fft.fft2(grid) * theta)
    assert filtered.imag.abs().max() < 1e-6
    torch.testing.assert_close(filtered.real, grid * theta, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("grid_hw", "image_hw"), SIZES)
def test_convolving_first_changes_neither_values_nor_gradients(
    grid_hw: tuple[int, int], image_hw: tuple[int, int]
) -> None:
    head = SegmentationHead(8, 3)
    draw(head)
    features = pictures(2, 8, *grid_hw).requires_grad_()
    sources = [features, *head.parameters()]
    weights = pictures(2, 3, *image_hw, seed=1) / (image_hw[0] * image_hw[1]) ** 0.5
    ours, literal = head(features, image_hw), upsample_then_convolve(head, features, image_hw)
    assert ours.shape == (2, 3, *image_hw)
    torch.testing.assert_close(ours, literal, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad((scores * weights).sum(), sources) for scores in (ours, literal)]
    for mine, theirs in zip(*gradients, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_scores_are_fp32_whatever_the_features_are() -> None:
    head = SegmentationHead(8, 2).to(torch.bfloat16)
    assert head(pictures(1, 8, 2, 2).to(torch.bfloat16), (4, 4)).dtype == torch.float32


def test_scores_of_classes_keep_what_bf16_cannot_hold() -> None:
    """From 1 to 2 the numbers of bf16 are 2^-7 apart: the scores of all four images would be 1."""
    head = LinearHead(2, 1).eval()
    with torch.no_grad():
        head.classify.weight.copy_(torch.tensor([[1.0, 2**-10]]))
        head.classify.bias.zero_()
    features = torch.tensor([[1.0, k] for k in range(4)])[:, :, None, None].expand(4, 2, 3, 3).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        scores = head(features, (24, 24))
    assert scores.dtype == torch.float32
    assert scores[:, 0].tolist() == [1.0, 1 + 2**-10, 1 + 2**-9, 1 + 3 * 2**-10]
    scores.sum().backward()
    torch.testing.assert_close(features.grad, torch.tensor([1.0, 2**-10])[:, None, None].expand(4, 2, 3, 3) / 9)


def test_each_network_that_classifies_ends_in_such_a_layer() -> None:
    networks = [ClassificationHead(4, 2), LinearHead(4, 2), LinearProbe(4, 2), ResNet18(2)]
    assert all(isinstance(network.classify, ScoreLayer) for network in networks)


def test_a_constant_map_gives_the_bias_and_the_sum_of_the_weights_everywhere() -> None:
    head = SegmentationHead(4, 2)
    with torch.no_grad():
        head.classify.weight.copy_(torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, -1]])[:, :, None, None])
        head.classify.bias.copy_(torch.tensor([0.5, 1.0]))
    scores = head(torch.ones(1, 4, 3, 2), (7, 9))
    torch.testing.assert_close(scores[0, 0], torch.full((7, 9), 10.5))
    torch.testing.assert_close(scores[0, 1], torch.zeros(7, 9))


def passing(aggregation: FeatureAggregation) -> FeatureAggregation:
    """Reduction by copying, refinement by the identity: the levels are only summed."""
    for level in range(len(aggregation.reduce)):
        last = nn.Linear(aggregation.reduce[level].out_features, aggregation.reduce[level].out_features)
        for copying in (aggregation.reduce[level], last):
            nn.init.eye_(copying.weight)
            nn.init.zeros_(copying.bias)
        aggregation.refine[level] = nn.Sequential(last)
    return aggregation


def test_levels_are_summed_on_the_patch_grid_without_the_class_token() -> None:
    aggregation = passing(FeatureAggregation(2, width=1, features=1))
    patches = torch.arange(6.0)[None, :, None]
    tokens = torch.cat([torch.full((1, 1, 1), 99.0), patches], dim=1)
    summed = aggregation([tokens, 10 * tokens], (2, 3))
    torch.testing.assert_close(summed, 11 * torch.tensor([[[[0.0, 1, 2], [3, 4, 5]]]]))


def test_the_aggregation_refines_each_level_as_the_paper_says() -> None:
    aggregation = FeatureAggregation(3, width=6, features=4)
    draw(aggregation)
    levels = [pictures(2, 1 + 2 * 5, 6, seed=seed) for seed in range(3)]
    expected = torch.zeros(2, 10, 4)
    for level, reduce, refine in zip(levels, aggregation.reduce, aggregation.refine, strict=True):
        norm, first, _, second = refine
        normed = F.layer_norm(reduce(level[:, 1:]), (4,), norm.weight, norm.bias)
        expected = expected + second(F.gelu(first(normed)))
    result = aggregation(levels, (2, 5))
    assert result.shape == (2, 4, 2, 5)
    torch.testing.assert_close(result, expected.transpose(1, 2).reshape(2, 4, 2, 5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_levels_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        FeatureAggregation(2, width=4, features=4)([torch.zeros(1, 5, 4)] * count, (2, 2))


def test_a_convolution_multiplied_into_the_aggregation_changes_neither_values_nor_gradients() -> None:
    aggregation, head = FeatureAggregation(3, 6, 8), SegmentationHead(8, 2)
    draw(aggregation)
    draw(head)
    levels = [pictures(2, 1 + 3 * 5, 6, seed=seed) for seed in range(3)]
    sources = [*aggregation.parameters(), *head.parameters()]
    joint = head.enlarge(aggregation(levels, (3, 5), head.classify), (12, 20))
    apart = head(aggregation(levels, (3, 5)), (12, 20))
    torch.testing.assert_close(joint, apart, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(scores.square().mean(), sources) for scores in (joint, apart)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_classification_head_is_a_mean_and_two_layers() -> None:
    head = ClassificationHead(4, 3)
    draw(head)
    features = pictures(2, 4, 5, 7)
    hidden = torch.relu(features.mean(dim=(2, 3)) @ head.hidden.weight.T + head.hidden.bias)
    expected = hidden @ head.classify.weight.T + head.classify.bias
    torch.testing.assert_close(head.eval()(features, (80, 112)), expected, rtol=1e-6, atol=1e-6)
    assert sum(parameter.numel() for parameter in ClassificationHead(512, 2).parameters()) == 512 * 513 + 2 * 513


def test_the_classification_head_drops_a_tenth_of_the_hidden_values_while_it_trains() -> None:
    torch.manual_seed(0)
    head = ClassificationHead(1000, 1000)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.eye(1000) if parameter.ndim == 2 else torch.zeros(1000))
    dropped = (head.train()(torch.ones(4, 1000, 1, 1), (16, 16)) == 0).float().mean()
    assert 0.08 < dropped < 0.12


def test_the_linear_probe_reads_four_class_tokens_and_the_mean_of_the_last_patches() -> None:
    probe = LinearProbe(width=2, num_classes=3)
    assert (probe.classify.bias == 0).all()
    levels = [pictures(1, 1 + 6, 2, seed=seed) for seed in range(5)]
    features = torch.cat([*(level[:, 0] for level in levels[1:]), levels[4][:, 1:].mean(dim=1)], dim=1)
    expected = features @ probe.classify.weight.T
    torch.testing.assert_close(probe(levels, (2, 3), (28, 42)), expected, rtol=1e-6, atol=1e-6)


def literal_decoder(decoder: UNetDecoder, levels: list[Tensor], grid_hw: tuple[int, int]) -> Tensor:
    """The steps written out for one image in eval mode, from the deepest level up."""
    maps = [level[:, 1:].reshape(1, *grid_hw, -1).permute(0, 3, 1, 2) for level in levels]
    below = maps[4]
    for number, level in enumerate([maps[3], maps[2], maps[1], maps[0]]):
        step = decoder.steps[number]
        up = F.conv_transpose2d(below, step.enlarge.weight, step.enlarge.bias, stride=2)
        side = F.conv2d(level, step.skip[0].weight, step.skip[0].bias, padding=1)
        side = torch.relu(normed(side, step.skip[1]))
        side = F.interpolate(side, up.shape[-2:], mode="bilinear", align_corners=False)
        joined = F.conv2d(torch.cat([up, side], dim=1), step.join[0].weight, step.join[0].bias, padding=1)
        joined = normed(joined, step.join[1])
        below = joined if number == 3 else torch.relu(joined)
    return below


def normed(maps: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    return F.batch_norm(maps, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def test_the_decoder_joins_five_levels_from_the_deepest_to_the_shallowest() -> None:
    decoder = UNetDecoder(width=16, num_labels=3)
    draw(decoder)
    levels = [pictures(1, 1 + 2 * 3, 16, seed=seed) for seed in range(5)]
    scores = decoder.eval()(levels, (2, 3), (28, 42))
    assert scores.shape == (1, 3, 28, 42)
    literal = F.interpolate(literal_decoder(decoder, levels, (2, 3)), (28, 42), mode="bilinear", align_corners=False)
    torch.testing.assert_close(scores, literal, rtol=1e-5, atol=1e-6)
    assert scores.min() < 0 < scores.max()


def test_the_linear_head_has_the_parameters_that_the_public_code_trains() -> None:
    head = LinearHead(512, 2)
    assert sum(parameter.numel() for parameter in head.parameters()) == 1026
    draw(head)
    features = pictures(3, 512, 4, 5)
    expected = features.mean(dim=(2, 3)) @ head.classify.weight.T + head.classify.bias
    torch.testing.assert_close(head.eval()(features, (64, 80)), expected)
    assert head.dropout.p == 0.5


def test_the_decoder_as_published_ends_with_a_relu_and_a_bicubic_step() -> None:
    plain, published = UNetDecoder(16, 2), UNetDecoder(16, 2, as_published=True)
    published.load_state_dict(plain.state_dict())
    levels = [pictures(1, 10, 16, seed=number) for number in range(5)]
    with torch.no_grad():
        scores = published.eval()(levels, (3, 3), (48, 48))  # at 48 x 48 already: nothing is left to resize
        assert scores.min() == 0
        enlarged = published(levels, (3, 3), (40, 44))
        expected = F.interpolate(scores, (40, 44), mode="bicubic", antialias=True)
        torch.testing.assert_close(enlarged, expected)
        assert (scores - F.relu(plain.eval()(levels, (3, 3), (48, 48)))).abs().max() > 1e-4  # corners elsewhere
