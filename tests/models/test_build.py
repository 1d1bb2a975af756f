"""From a method's name to a network: equal seeds give equal weights, and nobody else's numbers change."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.backbone import one_of_a_class
from builders.training import TinyBackbone
from safetensors.torch import save_file
from torch import Tensor, nn

from htunet.errors import HtunetError, UsageError
from htunet.models.backbones import BACKBONES
from htunet.models.build import (
    build_network,
    check_input_size,
    check_plan_name,
    check_published_defects,
    check_task,
    method_names,
    settings_without_effect,
    sketch,
    tasks_of,
)
from htunet.models.heads import HEADS
from htunet.models.network import Network
from htunet.models.standalone import STANDALONE
from htunet.models.tasks import Outputs
from htunet.models.weights.load import NONE, WeightsRecord

METHODS = one_of_a_class(method_names())
pytestmark = pytest.mark.usefixtures("tiny")


def built(method: str, **changes: Any) -> tuple[Network, WeightsRecord]:
    own = {one.name: changes.pop(one.name) for one in fields(Outputs) if one.name in changes}
    prompts = tuple(f"lesion of kind {number}" for number in range(1, own.get("num_labels", 2)))
    outputs = Outputs(**({"task": tasks_of(method)[0], "num_classes": 3, "prompts": prompts} | own))
    return build_network(method, outputs, **({"seed": 1, "weights": "random"} | changes))


def state(method: str, **changes: Any) -> dict[str, Tensor]:
    return built(method, **changes)[0].trainable_state()


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("method", METHODS)
def test_equal_seeds_give_equal_weights_and_other_seeds_others(method: str) -> None:
    torch.manual_seed(1)
    first = state(method)
    torch.manual_seed(2)
    assert equal(first, state(method))
    assert not equal(first, state(method, seed=2))


@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize("method", [method for method in METHODS if "seg" in tasks_of(method)])
@pytest.mark.parametrize("num_labels", [2, 4])
def test_there_is_one_score_for_each_label(method: str, num_labels: int) -> None:
    network = built(method, num_labels=num_labels)[0].eval()
    assert network(torch.zeros(1, 1, 32, 32, dtype=torch.uint8)).shape == (1, num_labels, 32, 32)


def test_settings_of_the_plan_reach_every_adapter() -> None:
    small, usual = (state("CLIP_HT", adapter_settings=settings) for settings in ({"bottleneck": 8}, None))
    sizes = [sum(v.numel() for k, v in found.items() if k.startswith("adapters.")) for found in (small, usual)]
    assert 12 * 8 * 128 < sizes[0] < sizes[1] / 4


def test_a_method_or_a_setting_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match=r"No method is called 'CLIP_XT'\. Did you mean 'CLIP_HT'\?.*encoders: .*CLIP"):
        built("CLIP_XT")
    with pytest.raises(UsageError, match="bottleneck"):
        built("CLIP_HT", adapter_settings={"bottelneck": 8})


@pytest.mark.parametrize(
    ("method", "size"),
    [("CLIP_HT", (32, 36)), ("CLIP", (8, 16)), ("UNet", (15, 64)), ("DINOv2", (32, 40)), ("CLIPSeg", (40, 32))],
)
def test_an_input_size_that_a_method_cannot_take_is_refused_before_weights_are_looked_for(
    method: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("htunet.models.build.build_backbone", None)
    with pytest.raises(HtunetError, match=f"{method} cannot take the plan's input_size.*got"):
        check_input_size(method, size)


@pytest.mark.parametrize("method", METHODS)
def test_checking_an_input_size_draws_nothing_and_passes_where_it_fits(method: str) -> None:
    before = torch.get_rng_state()
    check_input_size(method, (32, 48), Outputs(task=tasks_of(method)[0]))
    assert torch.equal(before, torch.get_rng_state())


def test_networks_without_memory_do_not_import_the_compiler_of_torch() -> None:
    """It takes seconds, more than a prediction; PyTorch imports it for a product of tensors on the meta device."""
    code = """
import sys, torch
from htunet.models.build import sketch
from htunet.models.tasks import Outputs
for method in ("UNet", "CLIP", "CLIP_HT", "CLIP_HTSpectral", "PhantomCLIP_HT"):
    sketch(method, Outputs(), {})
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_weights_file_for_a_method_that_begins_without_any_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HtunetError, match=r"weights file some\.pt is missing"):
        built("UNet", weights="some.pt")
    monkeypatch.setitem(STANDALONE._entries, "Own", STANDALONE["UNet"])
    with pytest.raises(UsageError, match=r"Own has no published weights.*some\.pt"):
        built("Own", weights="some.pt")


def test_a_task_that_a_method_cannot_do_names_the_methods_that_can() -> None:
    with pytest.raises(UsageError, match=r"UNet does seg, not 'cls'.*ResNet18.*CLIP.*BACKBONE_ADAPTER"):
        built("UNet", task="cls")
    with pytest.raises(UsageError, match=r"ResNet18 does cls, not 'seg\+cls'.*DINOv2"):
        check_input_size("ResNet18", (64, 64), Outputs(task="seg+cls"))


def test_a_task_that_is_not_known_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"No task is called 'sgm'; known: seg, cls, seg\+cls"):
        check_task("CLIP", "sgm")


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_classes_cannot_be_told_apart(count: int) -> None:
    with pytest.raises(HtunetError, match=f"at least two classes, got {count}"):
        built("CLIP", task="cls", num_classes=count)


def test_dinov2_is_trained_with_the_plan_of_its_size() -> None:
    check_plan_name("DINOv2", "paper_518")
    check_plan_name("DINOv2", "mine")
    check_plan_name("CLIP_HT", "paper")
    with pytest.raises(UsageError, match=r"DINOv2 with the plan public_518, not with public"):
        check_plan_name("DINOv2", "public")
    with pytest.raises(UsageError, match=r"DINOv2 with the plan paper_518, not with paper.*--plan paper_518"):
        check_plan_name("DINOv2", "paper")
    with pytest.raises(HtunetError, match=r"cannot take the plan's input_size.*with the plan paper_518"):
        check_input_size("DINOv2", (33, 32))


@pytest.mark.parametrize("prompts", [(), ("lesion", "cyst"), (" ",)], ids=str)
def test_clipseg_wants_words_for_each_label(prompts: tuple[str, ...]) -> None:
    with pytest.raises(HtunetError, match=r"needs words for each of the 1 labels.*plans\.json"):
        built("CLIPSeg", prompts=prompts)


def test_a_prompt_that_would_be_cut_is_refused() -> None:
    with pytest.raises(HtunetError, match=r"has 156 tokens; CLIPSeg reads 77"):
        built("CLIPSeg", prompts=["lesion " * 77])


@pytest.fixture
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone that the catalogue does not know."""
    monkeypatch.setitem(BACKBONES._entries, "TINY", TinyBackbone)


@pytest.mark.usefixtures("unpublished")
def test_a_backbone_without_published_weights_says_so_and_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"No published weights of TINY are known.*--weights FILE.*--weights random"):
        built("TINY_HT", weights="pretrained")


@pytest.mark.usefixtures("unpublished")
def test_the_weights_of_an_unpublished_backbone_may_be_in_a_file(tmp_path: Path) -> None:
    network, record = built("TINY")
    backbone = network.frozen_module()
    assert backbone is not None
    published = {name.removeprefix("vit."): value + 1 for name, value in backbone.state_dict().items()}
    save_file(published, tmp_path / "mine.safetensors")
    filled, other = built("TINY", weights=str(tmp_path / "mine.safetensors"))
    assert (other.source, other.file) == ("file", "mine.safetensors")
    assert other.identity != record.identity
    found = filled.frozen_module()
    assert found is not None
    for name, value in backbone.state_dict().items():
        assert torch.equal(found.state_dict()[name], value + 1)


class OneNumber(nn.Module):
    """A head without weights: the mean of all features, times a factor, for every score."""

    def __init__(self, features: int, scores: int, *, factor: float = 1.0) -> None:
        super().__init__()
        if factor == 0:
            raise ValueError("factor must not be 0.")
        self.scores, self.factor = scores, factor

    def forward(self, features_BMHW: Tensor, image_hw: tuple[int, int]) -> Tensor:
        mean_B = self.factor * features_BMHW.float().mean(dim=(1, 2, 3))
        return mean_B[:, None, None, None].expand(-1, self.scores, *image_hw)


@pytest.mark.usefixtures("unpublished")
def test_a_plan_may_choose_a_head_and_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS._entries, "one_number", OneNumber)
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    once, twice = (
        built("TINY", head="one_number", head_parameters=settings)[0].eval()(images)
        for settings in ({}, {"factor": 2.0})
    )
    assert once.shape == (2, 2, 32, 32)
    torch.testing.assert_close(twice, 2 * once)
    both = built("TINY", task="seg+cls", head="one_number")[0].eval()(images)
    torch.testing.assert_close(both["seg"], once)
    assert both["cls"].shape == (2, 3)


@pytest.mark.usefixtures("unpublished")
@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("TINY", {"head": "convolutoin"}, "No head is called 'convolutoin'.*Did you mean 'convolution'"),
        ("TINY", {"head_parameters": {"width": 3}}, "'convolution' has no parameter 'width'; it has: none"),
        ("TINY", {"task": "cls", "class_head_parameters": {"dropout": 2}}, "'hidden_layer' cannot take .*dropout"),
    ],
)
def test_a_head_that_cannot_be_is_refused_before_weights_are_looked_for(
    method: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_input_size(method, (32, 32), Outputs(**changes))
    with pytest.raises(UsageError, match=message):
        built(method, **changes)


@pytest.mark.parametrize(
    ("method", "outputs", "layers", "expected"),
    [
        ("UNet", {"head": "x"}, None, ["UNet has a head of its own: 'x' in the plan does nothing."]),
        (
            "ResNet18",
            {"task": "cls", "class_head_parameters": {"dropout": 0.5}},
            None,
            ["ResNet18 has a head of its own: {'dropout': 0.5} in the plan does nothing."],
        ),
        ("ResNet18", {"task": "cls", "head": "x"}, [11], []),
        ("CLIP_HT", {"head": "x"}, [9, 0], []),
        ("CLIP_HT", {}, [9, 10], ["The adapter's setting 'layers' names blocks after 9, which are not computed."]),
        ("CLIP", {}, [10], []),
    ],
)
def test_settings_that_do_nothing_in_a_method_are_named(
    method: str, outputs: dict[str, Any], layers: list[int] | None, expected: list[str]
) -> None:
    settings = {} if layers is None else {"layers": layers}
    assert settings_without_effect(method, Outputs(**outputs), settings) == expected
    if method in STANDALONE.names():
        assert sketch(method, Outputs(**outputs), settings)  # a finished model of it can still be loaded


@pytest.mark.parametrize("adapter", ["HT", "LoRA", "FullFT"])
def test_an_adapter_of_blocks_that_are_never_computed_is_not_trained(adapter: str) -> None:
    with pytest.raises(UsageError, match=r"names only blocks after 9, the last one that is computed: \[10, 11\]"):
        settings_without_effect(f"CLIP_{adapter}", Outputs(), {"layers": [11, 10]})


@pytest.mark.parametrize("method", ["UNet", "CLIP", "CLIP_HT", "CLIP_FullFT", "ResNet18"])
def test_published_defects_are_refused_where_they_would_change_nothing(method: str) -> None:
    for concerned in ("DINOv2", "BiomedCLIP_LoRA", "BiomedCLIP_LoRAVT"):
        check_published_defects(concerned)
    with pytest.raises(UsageError, match=f"would change nothing in {method}"):
        check_published_defects(method)


def test_the_public_codes_head_is_that_of_the_backbone() -> None:
    heads = {"BiomedCLIP": "linear"}
    outputs = Outputs(task="cls", class_head_by_backbone=heads, class_head_parameters={"dropout": 0.3})
    counts = {name: sketch(name, outputs, {}).head for name in ("CLIP", "BiomedCLIP")}  # type: ignore[union-attr]
    assert {name: type(head).__name__ for name, head in counts.items()} == {
        "CLIP": "ClassificationHead",
        "BiomedCLIP": "LinearHead",
    }
    assert sum(p.numel() for p in counts["BiomedCLIP"].parameters()) == 1026


def test_without_normalisation_a_network_sees_values_from_0_to_1() -> None:
    network, _ = build_network("ResNet18", Outputs(task="cls", normalise=False), seed=1, weights="random")
    images = torch.randint(0, 256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.testing.assert_close(network.normalise(images), images / 255)  # type: ignore[operator]
    usual, _ = build_network("ResNet18", Outputs(task="cls"), seed=1, weights="random")
    assert (usual.normalise(images) - images / 255).abs().max() > 0.5  # type: ignore[operator]
