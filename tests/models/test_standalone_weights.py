"""DINOv2, CLIPSeg and ResNet18 from files as they are published: the library's own outputs, and nothing else passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from builders.backbone import draw, tiny_dino
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from htunet.errors import HtunetError
from htunet.models.build import build_network
from htunet.models.network import Network
from htunet.models.standalone import clipseg, dinov2
from htunet.models.standalone.clipseg import ClipSegNetwork
from htunet.models.standalone.dinov2 import DinoNetwork
from htunet.models.standalone.resnet import ResNet18
from htunet.models.tasks import Outputs
from htunet.models.weights.load import WeightsRecord

pytestmark = pytest.mark.usefixtures("tiny")

REAL_TRUNK, REAL_CONFIG = dinov2.trunk, dict(clipseg.CONFIG)
PROMPTS = ["breast lesion", "a cyst"]
CAT = [49406, 320, 1125, 539, 320, 2368, 49407]
"""OpenAI's tokens of "a photo of a cat", between those of the start and the end."""


def built(method: str, weights: Path | str, *, task: str = "seg", labels: int = 3) -> tuple[Network, WeightsRecord]:
    prompts = PROMPTS[: labels - 1]
    return build_network(
        method, Outputs(task=task, num_labels=labels, prompts=tuple(prompts)), seed=1, weights=str(weights)
    )


def pictures(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def close(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def dino_file(folder: Path, ending: str) -> tuple[Any, Path]:
    """A trunk of timm, and its file: that of Meta has a token for masked patches besides, that of timm has not."""
    trunk: Any = tiny_dino().trunk
    draw(trunk, seed=5)
    state = {key: value.detach().clone() for key, value in trunk.state_dict().items()}
    if ending == "pth":
        path = folder / "dinov2_vitb14_pretrain.pth"
        torch.save(state | {"mask_token": torch.zeros(1, trunk.embed_dim)}, path)
    else:
        path = folder / "model.safetensors"
        save_file(state, path)
    return trunk.eval(), path


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_dinov2_gives_the_levels_of_timm(tmp_path: Path, ending: str) -> None:
    trunk, path = dino_file(tmp_path, ending)
    network, record = built("DINOv2", path, task="seg+cls")
    assert isinstance(network, DinoNetwork)
    seen: list[list[Tensor]] = []
    network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = pictures(2, 3, 64, 64)
    with torch.inference_mode():
        network.eval()(images)
        theirs = trunk.get_intermediate_layers(network.normalise(images), n=5, norm=True, return_prefix_tokens=True)
    assert len(seen[0]) == len(theirs) == 5
    for ours, (patches, class_tokens) in zip(seen[0], theirs, strict=True):
        close(ours, torch.cat([class_tokens, patches], dim=1))
    assert (record.source, record.file, len(record.identity)) == ("file", path.name, 64)


def test_both_files_of_dinov2_are_the_same_weights(tmp_path: Path) -> None:
    records = [built("DINOv2", dino_file(tmp_path, ending)[1])[1] for ending in ("pth", "safetensors")]
    assert records[0].sha256 == records[1].sha256


def test_the_trunk_of_real_size_has_the_names_and_shapes_of_metas_file() -> None:
    with torch.device("meta"):
        trunk = REAL_TRUNK().trunk
    found = {key: tuple(value.shape) for key, value in trunk.state_dict().items()}
    outside = {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, 1 + 37 * 37, 768),
        "patch_embed.proj.weight": (768, 3, 14, 14),
        "patch_embed.proj.bias": (768,),
        "norm.weight": (768,),
        "norm.bias": (768,),
    }
    block = {f"{part}.{kind}": (768,) for part in ("norm1", "norm2") for kind in ("weight", "bias")}
    block |= {"ls1.gamma": (768,), "ls2.gamma": (768,)}
    for part, (into, out) in {"attn.qkv": (768, 2304), "attn.proj": (768, 768)}.items():
        block |= {f"{part}.weight": (out, into), f"{part}.bias": (out,)}
    for part, (into, out) in {"mlp.fc1": (768, 3072), "mlp.fc2": (3072, 768)}.items():
        block |= {f"{part}.weight": (out, into), f"{part}.bias": (out,)}
    assert found == outside | {f"blocks.{i}.{key}": shape for i in range(12) for key, shape in block.items()}
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 86_580_480 - 768, (
        "the token for masked patches"
    )


def clipseg_folder(folder: Path, form: str) -> Any:
    """A model of transformers, and its folder as the hub has it; the old form holds numbers of positions besides."""
    model: Any = clipseg.whole_model()
    draw(model, seed=3)
    if form == "safetensors":
        model.save_pretrained(folder)
        return model
    state = dict(model.state_dict())
    for tower, count in (("text", 77), ("vision", 17)):
        state[f"clip.{tower}_model.embeddings.position_ids"] = torch.arange(count)[None]
    torch.save(state, folder / "pytorch_model.bin")
    return model


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_clipseg_gives_the_scores_of_transformers(tmp_path: Path, form: str, side: int) -> None:
    model = clipseg_folder(tmp_path, form)
    network, record = built("CLIPSeg", tmp_path)
    assert isinstance(network, ClipSegNetwork)
    images = pictures(2, 3, side, side)
    with torch.inference_mode():
        scores = network.eval()(images)
        for number, words in enumerate(PROMPTS, start=1):
            tokens = clipseg.tokens_of([words]).expand(2, -1)
            close(scores[:, number], model(pixel_values=network.normalise(images), input_ids=tokens).logits)
    assert (scores[:, 0] == 0).all()
    assert record.source == "file"
    for key, value in model.decoder.state_dict().items():
        assert torch.equal(network.trainable_state()[f"decoder.{key}"], value)


def test_clipseg_of_real_size_has_as_many_numbers_as_the_published_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub counts 150,748 thousand, and the 77 + 197 numbers of positions."""
    monkeypatch.setattr(clipseg, "CONFIG", REAL_CONFIG)
    with torch.device("meta"):
        model: Any = clipseg.whole_model()
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e3) == 150_748
    towers = (model.clip.text_model, model.clip.vision_model)
    assert [tower.embeddings.position_ids.numel() for tower in towers] == [77, 197]
    assert tuple(model.extract_layers) == (3, 6, 9)


def test_words_become_the_tokens_of_openai() -> None:
    tokens = clipseg.tokens_of(["a photo of a cat"])
    assert tokens.shape == (1, 77)
    assert tokens[0, :7].tolist() == CAT


def test_one_prompt_scores_the_same_beside_others_and_images_need_not_be_square(tmp_path: Path) -> None:
    clipseg_folder(tmp_path, "safetensors")
    images = pictures(2, 1, 32, 80)
    with torch.inference_mode():
        alone, among = (built("CLIPSeg", tmp_path, labels=labels)[0].eval()(images) for labels in (2, 3))
    assert alone.shape == (2, 2, 32, 80)
    close(among[:, 1], alone[:, 1])


def resnet_file(folder: Path, *, counters: bool) -> nn.Module:
    """torchvision's model with drawn weights; its published file is older than the counters of batches."""
    model = resnet18()
    draw(model, seed=2)
    state = {key: value for key, value in model.state_dict().items() if counters or "num_batches" not in key}
    torch.save(state, folder / "resnet18-f37072fd.pth")
    return model.eval()


@pytest.mark.parametrize("counters", [False, True], ids=["as published", "with counters"])
def test_resnet18_gives_the_features_of_torchvision(tmp_path: Path, counters: bool) -> None:
    model = resnet_file(tmp_path, counters=counters)
    network, record = built("ResNet18", tmp_path / "resnet18-f37072fd.pth", task="cls")
    assert isinstance(network, ResNet18)
    model.fc = nn.Identity()
    images = pictures(2, 1, 64, 48)
    with torch.inference_mode():
        expected = model(network.normalise(images))
        features = network.eval().body(network.normalise(images))
        assert expected.std() > 0
        torch.testing.assert_close(features / expected.std(), expected / expected.std(), rtol=1e-5, atol=1e-5)
        close(network(images), network.classify(expected))
    assert (record.source, record.file) == ("file", "resnet18-f37072fd.pth")


@pytest.mark.parametrize("method", ["DINOv2", "CLIPSeg", "ResNet18"])
@pytest.mark.parametrize("damage", ["missing", "unexpected"])
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, method: str, damage: str) -> None:
    path = tmp_path / "file.pth"
    if method == "DINOv2":
        state = dict(dino_file(tmp_path, "pth")[0].state_dict())
    elif method == "CLIPSeg":
        state = dict(clipseg.whole_model().state_dict())
    else:
        state = dict(resnet18().state_dict())
    key = next(iter(state))
    if damage == "missing":
        del state[key]
    else:
        state[key := "something.else"] = torch.zeros(1)
    torch.save(state, path)
    with pytest.raises(HtunetError, match=rf"file\.pth does not fit.*1 {damage}: {key}"):
        built(method, path, task="cls" if method == "ResNet18" else "seg")


@pytest.mark.parametrize(("method", "task"), [("CLIPSeg", "seg"), ("ResNet18", "cls")])
def test_training_does_not_write_into_the_file_that_the_weights_came_from(
    tmp_path: Path, method: str, task: str
) -> None:
    if method == "CLIPSeg":
        clipseg_folder(tmp_path, "bin")
    else:
        resnet_file(tmp_path, counters=False)
    path = next(tmp_path.iterdir())
    before = path.read_bytes()
    network, _ = built(method, path, task=task)
    with torch.no_grad():
        for parameter in network.trainable_parameters():
            parameter.add_(1.0)
    assert path.read_bytes() == before


def test_published_defects_take_dinov2_its_layer_scale(tmp_path: Path) -> None:
    trunk, path = dino_file(tmp_path, "pth")
    images = pictures(2, 3, 64, 64)
    outputs = Outputs(task="seg", as_published_defects=True)
    network, record = build_network("DINOv2", outputs, seed=1, weights=str(path))
    assert record == built("DINOv2", path, labels=2)[1]  # the same file, of which less is used
    for block in trunk.blocks:
        block.ls1 = block.ls2 = nn.Identity()
    with torch.no_grad():
        theirs = trunk.get_intermediate_layers(network.normalise(images), n=5, norm=True, return_prefix_tokens=True)
        found = network.encoder(network.normalise(images))  # type: ignore[operator]
        close(network.frozen_module().normalise(found[-1])[:, 1:], theirs[-1][0])  # type: ignore[union-attr,operator]
