"""What is learnt from simulated images: losses by hand, and files that networks are filled from."""

import math
from pathlib import Path

import pytest
import torch
from builders.pretraining import drawn_weights
from torch.nn import functional as F

from htunet.models.build import build_network
from htunet.models.dual_encoder import build_dual_encoder
from htunet.models.tasks import Outputs
from htunet.pretraining.learners import (
    LEARNERS,
    PhantomLearner,
    UNetLearner,
    contrast,
    known_cross_entropy,
    lesion_figures,
)
from htunet.pretraining.stream import Images, SimulatedImages, stacked
from htunet.pretraining.variation import Lesson, as_they_are
from htunet.simulation.settings import SimulationSettings


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    source = SimulatedImages(SimulationSettings(height=32, width=32), 4)
    return as_they_are(Images(*map(torch.from_numpy, stacked([source[index] for index in range(6)]))))


def test_equal_captions_are_right_for_each_others_images() -> None:
    equal = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    similar = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    first = -(0.5 * 2 + 0.5 * 1 - math.log(math.e**2 + math.e + 1))
    last = -(3 - math.log(math.e**3 + 2))
    assert float(contrast(similar, equal)) == pytest.approx((2 * first + last) / 3, rel=1e-6)


def test_what_an_image_has_no_value_of_costs_nothing() -> None:
    scores = torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    assert float(known_cross_entropy(scores, torch.tensor([0, -1]))) == pytest.approx(math.log(2))
    assert float(known_cross_entropy(scores, torch.tensor([-1, -1]))) == 0


def test_figures_tell_misses_and_false_alarms_apart(lesson: Lesson) -> None:
    planes = lesson.dense[:3].clone()
    planes[:, 1] = 0
    planes[:2, 1, :2] = 1  # 64 of 1024 pixels; the third image has no lesion
    found = torch.zeros(3, 2, 32, 32)
    found[0, 1, :1], found[2, 1, 5, 5] = 1, 1
    figures = lesion_figures(found, Lesson(lesson.images[:3], planes, lesson.numbers[:3]))
    assert figures["dice"][:2].tolist() == pytest.approx([2 * 32 / 96, 0])
    assert figures["missed"][:2].tolist() == [0, 1]
    assert figures["dice"].isnan().tolist() == figures["missed"].isnan().tolist() == [False, False, True]
    assert figures["false_alarm"].isnan().tolist() == [True, True, False]
    assert figures["false_alarm"][2] == 1


@pytest.mark.parametrize("name", LEARNERS)
def test_every_part_that_is_written_learns(name: str, lesson: Lesson) -> None:
    torch.manual_seed(0)
    learner = LEARNERS[name]()
    losses = learner.losses(lesson)
    assert all(math.isfinite(value.detach()) for value in losses.values())
    sum(losses.values(), torch.zeros(())).backward()
    still = [key for key, value in learner.named_parameters() if value.grad is None or not value.grad.any()]
    assert not still, still


def test_shipped_files_have_14_mb_at_most() -> None:
    sizes = {name: sum(value.numel() for value in LEARNERS[name]().published().values()) for name in LEARNERS}
    assert 2 * (sizes["UNet"] + sizes["PhantomCLIP"]) < 13_985_000
    assert 4_500_000 < sum(value.numel() for value in PhantomLearner().backbone.parameters()) < 12_000_000


def test_a_unet_file_gives_the_scores_of_what_was_trained(tmp_path: Path, lesson: Lesson) -> None:
    path = drawn_weights("UNet", tmp_path)
    torch.manual_seed(3)
    network, record = build_network("UNet", Outputs(), seed=1, weights=str(path))
    assert record.source == "file"
    assert record.sha256
    three, _ = build_network("UNet", Outputs(num_labels=3), seed=1, weights=str(path))
    scratch, _ = build_network("UNet", Outputs(num_labels=3), seed=1, weights="random")
    assert torch.equal(three.state_dict()["down.0.0.weight"], network.state_dict()["down.0.0.weight"])
    assert torch.equal(three.state_dict()["classify.weight"], scratch.state_dict()["classify.weight"])
    assert not torch.equal(three.state_dict()["up.0.narrow.weight"], scratch.state_dict()["up.0.narrow.weight"])
    assert network(lesson.images).shape == (6, 2, 32, 32)


def test_a_phantomclip_file_gives_towers_and_decoder(tmp_path: Path, lesson: Lesson) -> None:
    learner = PhantomLearner().eval()
    path = drawn_weights("PhantomCLIP", tmp_path)
    network, record = build_network("PhantomCLIP", Outputs(), seed=1, weights=str(path))
    both, again = build_dual_encoder("PhantomCLIP", seed=1, weights=str(path))
    assert record.sha256 == again.sha256
    learner.backbone.load_state_dict(network.frozen_module().state_dict())  # type: ignore[union-attr]
    learner.aggregation.load_state_dict(network.aggregation.state_dict())  # type: ignore[attr-defined,union-attr]
    learner.head.load_state_dict(network.head.state_dict())  # type: ignore[attr-defined,union-attr]
    with torch.no_grad():
        features, _, embedded = learner.seen(lesson.images)
        torch.testing.assert_close(
            network.eval()(lesson.images), learner.head(features, (32, 32)), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(both.encode_image(lesson.images), embedded, rtol=1e-4, atol=1e-5)
        alone = both.encode_text(["an oval mass"])
        among = both.encode_text(["an oval mass", "a long text of many words " * 4])
    torch.testing.assert_close(alone[0], among[0], rtol=1e-4, atol=1e-5)
    other, _ = build_network("PhantomCLIP", Outputs(num_labels=3), seed=1, weights=str(path))
    assert torch.equal(
        other.aggregation.reduce[0].weight,  # type: ignore[union-attr]
        network.aggregation.reduce[0].weight,  # type: ignore[union-attr]
    )


def test_a_unet_learns_from_one_batch(lesson: Lesson) -> None:
    torch.manual_seed(0)
    learner = UNetLearner()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=3e-3)
    with torch.no_grad():
        before = F.softplus(learner.losses(lesson)["lesion"])
    for _ in range(15):
        optimizer.zero_grad()
        learner.losses(lesson)["lesion"].backward()
        optimizer.step()
    assert F.softplus(learner.losses(lesson)["lesion"]) < before - 0.1
