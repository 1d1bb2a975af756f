"""From a method's name to a network: equal seeds give equal weights, and nobody else's numbers change."""

import pytest
import torch
from torch import Tensor

from htunet.errors import HtunetError, UsageError
from htunet.models.build import build_network, check_input_size, method_names
from htunet.models.network import Network
from htunet.models.weights import NONE, WeightsRecord

pytestmark = pytest.mark.usefixtures("tiny")


def built(method: str, **changes: object) -> tuple[Network, WeightsRecord]:
    options = {"num_labels": 2, "seed": 1, "weights": "random"} | changes
    return build_network(method, **options)  # type: ignore[arg-type]


def state(method: str, **changes: object) -> dict[str, Tensor]:
    return built(method, **changes)[0].trainable_state()


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("method", method_names())
def test_equal_seeds_give_equal_weights_and_other_seeds_others(method: str) -> None:
    torch.manual_seed(1)
    first = state(method)
    torch.manual_seed(2)
    assert equal(first, state(method))
    assert not equal(first, state(method, seed=2))


@pytest.mark.parametrize("method", method_names())
def test_building_draws_nothing_from_the_generator_of_the_caller(method: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    built(method)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_frozen_weights_do_not_depend_on_the_seed_of_the_run() -> None:
    records = [built("CLIP_HT", seed=seed)[1] for seed in (1, 2)]
    assert records[0] == records[1]
    assert (records[0].source, records[0].file) == ("random", None)
    assert len(records[0].identity) == 64


def test_a_network_without_frozen_weights_says_so_and_needs_none() -> None:
    record = built("UNet", weights="pretrained")[1]
    assert (record, record.identity) == (WeightsRecord(source=NONE), NONE)


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("num_labels", [2, 4])
def test_there_is_one_score_for_each_label(method: str, num_labels: int) -> None:
    network = built(method, num_labels=num_labels)[0].eval()
    assert network(torch.zeros(1, 1, 32, 32, dtype=torch.uint8)).shape == (1, num_labels, 32, 32)


def test_settings_of_the_plan_reach_every_adapter() -> None:
    small, usual = (state("CLIP_HT", adapter_settings=settings) for settings in ({"bottleneck": 8}, None))
    sizes = [sum(v.numel() for k, v in found.items() if k.startswith("adapters.")) for found in (small, usual)]
    assert 12 * 8 * 128 < sizes[0] < sizes[1] / 4


def test_a_method_or_a_setting_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match=r"No method is called 'CLIP_XT'.*Did you mean 'CLIP_HT'"):
        built("CLIP_XT")
    with pytest.raises(UsageError, match="bottleneck"):
        built("CLIP_HT", adapter_settings={"bottelneck": 8})


@pytest.mark.parametrize(("method", "size"), [("CLIP_HT", (32, 36)), ("CLIP", (8, 16)), ("UNet", (15, 64))])
def test_an_input_size_that_a_method_cannot_take_is_refused_before_weights_are_looked_for(
    method: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("htunet.models.build.build_backbone", None)
    with pytest.raises(HtunetError, match=f"{method} cannot take the plan's input_size.*got"):
        check_input_size(method, size)


@pytest.mark.parametrize("method", method_names())
def test_checking_an_input_size_draws_nothing_and_passes_where_it_fits(method: str) -> None:
    before = torch.get_rng_state()
    check_input_size(method, (32, 48))
    assert torch.equal(before, torch.get_rng_state())


def test_a_weights_file_for_a_method_without_frozen_weights_is_refused() -> None:
    with pytest.raises(UsageError, match=r"UNet has no published weights.*some\.pt"):
        built("UNet", weights="some.pt")
