"""Test-time augmentation: views of an image, and the way back to its pixels."""

import numpy as np
import pytest
import torch
from builders.training import Plain, tiny_plan

from htunet.inference.predictor import Predictor
from htunet.inference.views import AUGMENTED, View


def ramp(height: int = 20, width: int = 30) -> torch.Tensor:
    """Values that say the place: rises downwards and, less, to the right."""
    return (torch.arange(height)[:, None] * 4.0 + torch.arange(width) * 0.5)[None, None]


@pytest.mark.parametrize("view", AUGMENTED, ids=str)
def test_every_pixel_comes_back_to_its_place(view: View) -> None:
    image = ramp()
    back, seen = view.invert(view.apply(image) / view.gain)
    inside = seen[0, 0] > 0
    middle = torch.zeros_like(inside)
    middle[3:-3, 3:-3] = True  # the border of a reduced image is mixed with the black beside it
    held = middle & inside if view.scale < 1 else inside
    assert torch.allclose(back[0, 0][held], image[0, 0][held], atol=0.6 if view.scale != 1 else 1e-4)
    assert inside[3:-3, 3:-3].all()
    assert not back[0, 0][~inside].any()
    assert bool(inside.all()) == (view.scale <= 1)  # what an enlarged view does not show has no say


def test_depth_stays_and_left_and_right_change() -> None:
    rows = [view.apply(ramp())[0, 0, 6:14].mean(dim=1) for view in AUGMENTED]
    assert all((values.diff() > 0).all() for values in rows)
    columns = [bool((view.apply(ramp())[0, 0, 10, 6:24].diff() > 0).all()) for view in AUGMENTED]
    assert columns.count(False) == 1
    assert AUGMENTED[0] == View()


def test_a_mirrored_image_has_the_mirrored_mask() -> None:
    plan = tiny_plan()
    predictor = Predictor(Plain(2), plan, device=torch.device("cpu"), precision="fp32")
    predictor.views = (View(), View(mirror=True))
    image = np.random.default_rng(0).integers(0, 255, (1, plan.channels, *plan.input_size), dtype=np.uint8)
    one, other = (predictor.probabilities(np.ascontiguousarray(i)).labels_BKHW for i in (image, image[..., ::-1]))
    assert one is not None
    assert other is not None
    assert np.allclose(one, other[..., ::-1], atol=1e-6)


def test_no_view_is_mirrored_where_that_would_exchange_two_labels() -> None:
    sides = {"background": 0, "left": 1, "right": 2}
    for labels, mirrored in (({"background": 0, "lesion": 1}, 1), (sides, 0)):
        plan = tiny_plan(labels=labels)
        predictor = Predictor([Plain(len(labels))], plan, device=torch.device("cpu"), precision="fp32")
        predictor.augment(True)
        assert sum(view.mirror for view in predictor.views) == mirrored
        assert len(predictor.views) == 5 + mirrored


def test_mean_and_variance_are_those_of_all_views_and_networks() -> None:
    plan = tiny_plan()
    torch.manual_seed(0)
    predictor = Predictor([Plain(2), Plain(2)], plan, device=torch.device("cpu"), precision="fp32")
    predictor.views = (View(), View(gain=0.85), View(mirror=True))
    image = np.random.default_rng(1).integers(0, 255, (1, plan.channels, *plan.input_size), dtype=np.uint8)
    found = predictor.probabilities(image)
    own = torch.from_numpy(image)
    alone = []
    with torch.inference_mode():
        for network in predictor.networks:
            alone.append(network(own).softmax(1))
            alone.append(network(own * 0.85).softmax(1))
            alone.append(network(own.flip(-1)).softmax(1).flip(-1))
    values = torch.stack(alone).numpy()
    assert np.allclose(found.labels_BKHW, values.mean(0), atol=1e-6)
    assert np.allclose(found.variance_BHW, values[:, :, 0].var(0), atol=1e-6)
    assert found.members_MBKHW is not None
    assert np.allclose(found.members_MBKHW, values[[0, 3]], atol=1e-6)
