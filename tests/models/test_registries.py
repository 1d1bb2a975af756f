"""Names and what stands behind them: methods, backbones, adapters, and where weights come from."""

from difflib import get_close_matches

import pytest
import torch
from builders.backbone import ToyBackbone

from htunet.errors import UsageError
from htunet.models.adaptation import adapted_encoder, adapter_names
from htunet.models.adapters import ADAPTERS, WEIGHT_ADAPTERS
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone
from htunet.models.build import OUT_INDICES, STANDALONE, method_names, parse_method
from htunet.models.catalogue import CATALOGUE
from htunet.models.text import TEXT_TOWERS
from htunet.models.weights.store import PHANTOM_CLIP
from htunet.registry import Registry

REGISTRIES: list[Registry] = [ADAPTERS, WEIGHT_ADAPTERS, BACKBONES, STANDALONE]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_a_misspelt_name_lists_the_known_ones_and_guesses(registry: Registry) -> None:
    for name in registry.names():
        wrong = name + "x"
        assert get_close_matches(wrong, [name])
        with pytest.raises(UsageError, match=rf"(?s)No {registry.kind}.*{wrong}.*known: .*{name}.*Did you mean"):
            registry[wrong]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_a_name_has_one_owner(registry: Registry) -> None:
    name = registry.names()[0]
    with pytest.raises(ValueError, match=f"Two {registry.kind}s are called {name!r}"):
        registry.register(name)(object())


@pytest.mark.parametrize("method", method_names())
def test_every_method_comes_apart_into_registered_parts(method: str) -> None:
    parsed = parse_method(method)
    assert parsed.name == method
    if parsed.backbone is None:
        assert (method in STANDALONE, parsed.adapter) == (True, None)
    else:
        assert parsed.backbone in BACKBONES
        assert parsed.adapter is None or (parsed.adapter in ADAPTERS) != (parsed.adapter in WEIGHT_ADAPTERS)
        assert "_".join(filter(None, (parsed.backbone, parsed.adapter))) == method


def test_every_pair_of_backbone_and_adapter_is_a_method() -> None:
    assert set(ADAPTERS.names()) | set(WEIGHT_ADAPTERS.names()) == set(adapter_names())
    pairs = {f"{backbone}_{adapter}" for backbone in BACKBONES.names() for adapter in adapter_names()}
    assert pairs <= set(method_names())


def test_the_adapters_of_the_paper_and_our_own_have_a_name() -> None:
    assert {"HT", "HTNE", "HTFF", "HTSpectral", "Mona", "LoRA", "LoRAVT", "FullFT"} <= set(adapter_names())


@pytest.mark.parametrize(("typed", "meant"), [("clip_ht", "CLIP_HT"), ("CLIP_TH", "CLIP_HT"), ("Unet", "UNet")])
def test_a_misspelt_method_gets_a_hint(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        parse_method(typed)


def test_an_unknown_method_lists_all() -> None:
    with pytest.raises(UsageError) as raised:
        parse_method("Transformer9000")
    assert all(f" {name}" in str(raised.value) for name in (*STANDALONE, *BACKBONES, *adapter_names()))


@pytest.mark.parametrize("name", BACKBONES.names())
def test_a_backbone_states_its_sizes_and_keeps_within_the_out_indices(name: str) -> None:
    with torch.device("meta"):
        backbone = BACKBONES[name]()
    assert isinstance(backbone, Backbone)
    assert len(backbone.blocks) > max(OUT_INDICES)
    assert len(backbone.statistics.mean) == len(backbone.statistics.std) == 3
    side = 3 * backbone.patch_size
    assert backbone.grid_hw((side, 2 * side)) == (3, 6)
    with pytest.raises(ValueError, match=f"multiples of the patch size {backbone.patch_size}"):
        backbone.grid_hw((side, side + 1))
    with torch.device("meta"):
        tokens = backbone.embed(torch.empty(2, 3, side, 2 * side))
    assert tokens.shape == (2, 1 + 3 * 6, backbone.width)
    assert backbone.blocks[0](tokens).shape == tokens.shape


def test_the_relatives_of_clip_are_its_class_in_the_same_size() -> None:
    """Why ``builders.backbone.one_of_a_class`` leaves them out of the contracts that all methods are held to."""
    with torch.device("meta"):
        clip, *others = (BACKBONES[name]() for name in ("CLIP", "MetaCLIP", "UniMedCLIP"))
    shapes = {name: value.shape for name, value in clip.state_dict().items()}
    for other in others:
        assert type(other) is type(clip)
        assert {name: value.shape for name, value in other.state_dict().items()} == shapes


@pytest.mark.parametrize("name", CATALOGUE)
def test_published_weights_have_a_source_and_terms(name: str) -> None:
    entry = CATALOGUE[name]
    assert entry.files[0].url or entry.files[0].repository or name == PHANTOM_CLIP  # which is part of htunet
    for file in entry.files:
        assert not file.url or file.url.endswith(f"/{file.name}")
        assert not file.repository or file.repository.count("/") == 1
        assert not file.sha256 or (len(file.sha256) == 64 and int(file.sha256, 16))
        assert file.size_mb is None or file.size_mb > 1
    assert len({file.name for file in entry.files}) == len(entry.files)
    assert entry.architecture
    assert entry.activation
    assert entry.input_size % 14 == 0 or entry.input_size % 16 == 0
    assert entry.licence
    assert entry.citation
    assert bool(entry.tokenizer) == (name in TEXT_TOWERS or name == "CLIPSeg")


def test_nothing_is_in_the_catalogue_that_no_method_uses() -> None:
    begin_with_some = {name for name in STANDALONE if STANDALONE[name].has_published_weights}
    assert set(CATALOGUE) <= {*BACKBONES, *begin_with_some}
    assert {"CLIP", "MetaCLIP", "UniMedCLIP", "BiomedCLIP"} | begin_with_some <= set(CATALOGUE)


def test_clip_has_the_statistics_of_openai() -> None:
    with torch.device("meta"):
        statistics = BACKBONES["CLIP"]().statistics
    assert statistics.mean == (0.48145466, 0.4578275, 0.40821073)
    assert statistics.std == (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize("name", adapter_names())
def test_an_unknown_adapter_setting_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"no setting 'no_such_setting'; known: .+"):
        adapted_encoder(ToyBackbone(), name, (0,), {"no_such_setting": 1, "input_size": (12, 20)})
