"""Frozen weights: every published format is read, nothing that does not fit is loaded, and no network is needed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.backbone import tiny_clip
from builders.processes import ForkServer
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn

from htunet.errors import HtunetError, UsageError
from htunet.files import file_hash
from htunet.models.catalogue import CATALOGUE
from htunet.models.weights import load as weights
from htunet.models.weights.check import install_weights
from htunet.models.weights.formats import read_state
from htunet.models.weights.load import build_backbone, load_strictly, refuse_other_config, tensor_hash
from htunet.models.weights.store import find_pretrained, remember_hash

pytestmark = pytest.mark.usefixtures("tiny", "folder")
State = dict[str, Tensor]
SIDE = 4096
"""Of a matrix of 64 MB, which all else that a process takes is small beside."""
KEY = "visual.transformer.resblocks.3.mlp.c_fc.bias"


@pytest.fixture(scope="module")
def state() -> State:
    """What OpenAI publishes, with a tiny image tower and tensors of one value for the text tower."""
    torch.manual_seed(7)
    vision = {f"visual.{key}": value.half() for key, value in tiny_clip().vit.state_dict().items()}
    text = ("transformer.resblocks.0.ln_1.weight", "token_embedding.weight", "positional_embedding", "text_projection")
    text += ("ln_final.weight", "logit_scale", "input_resolution", "context_length", "vocab_size")
    return vision | {key: torch.zeros(1) for key in text}


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder and an empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    path = home / "weights" / "CLIP"
    path.mkdir(parents=True)
    return path


class Archive(nn.Module):
    """Tensors under dotted names, which TorchScript can store."""

    def __init__(self, state: State) -> None:
        super().__init__()
        for key, value in state.items():
            owner, *path = self, *key.split(".")
            for part in path[:-1]:
                if part not in dict(owner.named_children()):
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            owner.register_buffer(path[-1], value)

    def forward(self, x: Tensor) -> Tensor:
        return x


def as_torchscript(state: State, path: Path) -> None:
    torch.jit.script(Archive(state)).save(str(path))


def as_safetensors(state: State, path: Path) -> None:
    save_file(state, path)


def with_module(state: State, path: Path) -> None:
    torch.save({f"module.{key}": value for key, value in state.items()}, path)


def compiled(state: State, path: Path) -> None:
    """As torch.compile and DataParallel, one in the other, name what they wrap."""
    torch.save({f"_orig_mod.module.{key}": value for key, value in state.items()}, path)


def nested(state: State, path: Path) -> None:
    torch.save({"epoch": 3, "name": "ViT-B-16", "state_dict": state, "optimizer": {}}, path)


def nested_with_module(state: State, path: Path) -> None:
    nested({f"module.{key}": value for key, value in state.items()}, path)


def of_older_torch(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def training_checkpoint(state: State, path: Path) -> None:
    """With an optimiser and numbers of numpy beside the tensors, as UniMed-CLIP's authors saved theirs."""
    inner = {f"module.{key}": value for key, value in state.items()}
    optimiser = {"state": {0: {"step": torch.zeros(1), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 5e-4}]}
    best = {"acc1": np.float64(0.5), "seen": np.int64(3)}
    torch.save({"epoch": 10, "name": "b16", "state_dict": inner, "optimizer": optimiser, "scaler": {}, **best}, path)


def vision_only(state: State, path: Path) -> None:
    kept = {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")}
    torch.save(kept, path)


FORMATS: list[tuple[Callable[[State, Path], None], str]] = [
    (as_torchscript, "ViT-B-16.pt"),
    (torch.save, "weights.pt"),
    (torch.save, "open_clip_pytorch_model.bin"),
    (with_module, "epoch_3.pt"),
    (nested, "epoch_3.pt"),
    (nested_with_module, "epoch_3.pt"),
    (training_checkpoint, "unimed-clip-vit-b16.pt"),
    (of_older_torch, "old.pt"),
    (vision_only, "tower.pt"),
    (as_safetensors, "open_clip_model.safetensors"),
    (compiled, "compiled.pt"),
    (as_safetensors, "safetensors_called.bin"),
    (as_safetensors, "a_hash_of_the_hub"),
]


@pytest.mark.filterwarnings("error:.*torch.jit.load", "ignore:.*torch.jit.script")
@pytest.mark.parametrize(("write", "name"), FORMATS, ids=lambda value: getattr(value, "__name__", value))
def test_every_published_format_is_read(
    write: Callable[[State, Path], None], name: str, state: State, tmp_path: Path
) -> None:
    write(state, tmp_path / name)
    backbone, record = build_backbone("CLIP", str(tmp_path / name))
    loaded = backbone.get_submodule("vit").state_dict()
    assert set(loaded) == {key.removeprefix("visual.") for key in state if key.startswith("visual.")}
    for key, value in loaded.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[f"visual.{key}"].float()), key
    assert (record.source, record.file) == ("file", name)
    assert record.sha256 == tensor_hash(backbone)


def test_the_hash_is_of_the_tensors_whatever_file_they_came_in(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "one.pt")
    save_file({key: value.float() for key, value in state.items()}, tmp_path / "two.safetensors")
    identities = {build_backbone("CLIP", str(tmp_path / name))[1].identity for name in ("one.pt", "two.safetensors")}
    assert len(identities) == 1


def test_missing_unexpected_and_misshaped_tensors_are_all_named_at_once(state: State, tmp_path: Path) -> None:
    damaged = dict(state)
    del damaged[KEY], damaged["visual.proj"]
    damaged |= {"visual.extra": torch.zeros(1), "somewhere.else": torch.zeros(1), "visual.ln_pre.bias": torch.zeros(5)}
    torch.save(damaged, tmp_path / "damaged.pt")
    with pytest.raises(HtunetError) as raised:
        build_backbone("CLIP", str(tmp_path / "damaged.pt"))
    message = str(raised.value)
    for named in (KEY.removeprefix("visual."), "proj", "extra", "somewhere.else", "ln_pre.bias (5,) for (128,)"):
        assert named in message
    assert all(part in message for part in ("damaged.pt", "2 missing", "2 unexpected", "1 of another shape"))


def test_nothing_is_loaded_when_one_tensor_does_not_fit() -> None:
    module = nn.Linear(2, 2)
    before = tensor_hash(module)
    with pytest.raises(HtunetError, match="1 missing: bias"):
        load_strictly(module, {"weight": torch.zeros(2, 2)}, Path("half.pt"))
    assert tensor_hash(module) == before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux's /proc")
@pytest.mark.parametrize("name", ["large.bin", "large.safetensors"])
def test_loading_takes_little_more_memory_than_the_file(name: str, tmp_path: Path, fork_server: ForkServer) -> None:
    state = {"weight": torch.zeros(SIDE, SIDE), "bias": torch.zeros(SIDE)}
    (save_file if name.endswith(".safetensors") else torch.save)(state, tmp_path / name)
    code, output, errors = fork_server.start("builders.memory:load", tmp_path / name, SIDE).whole()
    assert code == 0, errors
    assert 0.9 < float(output) < 1.3


def test_many_problems_are_counted_and_the_first_are_named() -> None:
    strange = {f"strange.{number}": torch.zeros(1) for number in range(50)}
    with pytest.raises(HtunetError, match=r"50 unexpected: strange\.0, strange\.1") as raised:
        load_strictly(nn.Identity(), strange, Path("other.pt"))
    assert len(str(raised.value)) < 400


class Evil:
    """A pickle that runs code when it is read."""

    def __reduce__(self) -> tuple[Callable, tuple[Any, ...]]:
        return Path.touch, (Path("evil_was_here"),)


def unreadable(kind: str, path: Path) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>404</html>")
    elif kind == "code":
        torch.save({"visual.proj": Evil()}, path)
    elif kind == "numbers":
        torch.save({"visual.proj": 1.5}, path)
    else:
        torch.save({"visual.proj": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:-1500])


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("kind", ["empty", "text", "code", "numbers", "truncated"])
def test_a_file_that_is_no_weights_gives_one_line_with_its_name(
    kind: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unreadable(kind, tmp_path / f"broken{suffix}")
    with pytest.raises(HtunetError, match=rf"broken\{suffix}") as raised:
        read_state(tmp_path / f"broken{suffix}")
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "evil_was_here").exists()


def known_as(monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> None:
    """The catalogue expects this content under this name."""
    digest = hashlib.sha256(content).hexdigest()
    files = tuple(replace(file, sha256=digest if file.name == name else "") for file in CATALOGUE["CLIP"].files)
    monkeypatch.setitem(CATALOGUE, "CLIP", replace(CATALOGUE["CLIP"], files=files))


@pytest.mark.parametrize("name", [file.name for file in CATALOGUE["CLIP"].files])
def test_a_file_in_the_weights_folder_is_used_without_network(
    name: str, state: State, folder: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = as_safetensors if name.endswith(".safetensors") else torch.save
    write(state, folder / name)
    known_as(monkeypatch, name, (folder / name).read_bytes())
    backbone, record = build_backbone("CLIP", "pretrained")
    assert (record.source, record.file, asked) == ("pretrained", name, [])
    assert torch.equal(backbone.get_submodule("vit").state_dict()["proj"], state["visual.proj"].float())


def test_a_file_with_another_hash_is_refused(folder: Path, asked: list[str]) -> None:
    (folder / "ViT-B-16.pt").write_bytes(b"another file")
    with pytest.raises(HtunetError, match=r"ViT-B-16\.pt is damaged.*sha256 [0-9a-f]{64}, expected 5806e77c"):
        find_pretrained("CLIP")
    assert asked == []


def test_a_file_in_the_cache_of_the_hub_is_used_without_network(home: Path, asked: list[str]) -> None:
    repository, file = CATALOGUE["CLIP"].files[1].repository, CATALOGUE["CLIP"].files[1].name
    cache = home / "hub" / f"models--{repository.replace('/', '--')}"
    cached = cache / "snapshots" / "abc" / file
    for path, content in ((cache / "refs" / "main", "abc"), (cached, "weights")):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    assert find_pretrained("CLIP") == cached
    assert asked == []


def test_a_missing_file_gives_one_error_that_says_what_to_do_without_network(folder: Path, asked: list[str]) -> None:
    with pytest.raises(HtunetError) as raised:
        build_backbone("CLIP", "pretrained")
    for part in ("ViT-B-16.pt", "351 MB", "htunet_weights download CLIP", str(folder), "--weights random", "azureedge"):
        assert part in str(raised.value)
    assert asked == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_folder_of_the_hub_is_read(name: str, state: State, tmp_path: Path) -> None:
    (as_safetensors if name.endswith(".safetensors") else torch.save)(state, tmp_path / name)
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert build_backbone("CLIP", str(tmp_path))[1].file == name


VISION: dict[str, Any] = {"embed_dim": 512, "vision_cfg": {"width": 768}}
QUICK = VISION | {"quick_gelu": True}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_cfg": VISION}, "was trained with the activation GELU, and CLIP has QuickGELU"),
        (VISION, "was trained with the activation GELU"),  # a flat one, which open_clip reads too
        ({"model_cfg": VISION | {"vision_cfg": {"timm_model_name": "vit"}, "quick_gelu": True}}, "activation GELU"),
        ({"model_cfg": QUICK, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}, r"mean of the images \[0.5, 0.5, 0.5\]"),
        ({"model_cfg": QUICK, "preprocess_cfg": {"std": 0.5}}, "deviation of the images 0.5, and CLIP has"),
        ({"model_cfg": QUICK, "preprocess_cfg": {"mean": ["a", "b", "c"]}}, "mean of the images"),
    ],
)
def test_what_open_clip_writes_beside_weights_must_be_of_the_same_network(
    config: dict[str, Any], message: str, state: State, tmp_path: Path
) -> None:
    as_safetensors(state, tmp_path / "renamed.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(HtunetError, match=message):
        build_backbone("CLIP", str(tmp_path / "renamed.safetensors"))


@pytest.mark.parametrize(
    ("name", "model", "images"),
    [
        ("CLIP", QUICK, {"mean": [0.4815, 0.4578, 0.4082], "std": None}),
        ("CLIP", QUICK, None),
        ("BiomedCLIP", {"vision_cfg": {"timm_model_name": "vit_base_patch16_224"}}, {}),
        ("DINOv2", VISION, {}),  # no file of open_clip
    ],
)
def test_the_published_descriptions_fit(name: str, model: object, images: object, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": images}))
    refuse_other_config(name, tmp_path / "model.safetensors")


def test_an_import_says_that_open_clips_description_is_of_another_network(
    state: State, folder: Path, tmp_path: Path
) -> None:
    """With and without a name: that it "fits none" of the models would hide why."""
    source = tmp_path / "open_clip_model.safetensors"
    as_safetensors({key: value for key, value in state.items() if key.startswith("visual.")}, source)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": VISION}))
    for name in (None, "CLIP"):
        with pytest.raises(HtunetError, match=r"open_clip_config\.json says .* GELU"):
            install_weights(source, name)
    assert not list(folder.iterdir())


def test_published_weights_that_a_person_put_there_are_compared_with_the_description_beside_them(
    state: State, folder: Path
) -> None:
    path = folder / "open_clip_model.safetensors"
    as_safetensors(state, path)
    (path.parent / "open_clip_config.json").write_text(json.dumps({"model_cfg": QUICK}))
    assert build_backbone("CLIP", "pretrained")[1].file == path.name
    (path.parent / "open_clip_config.json").write_text(json.dumps({"model_cfg": VISION}))
    with pytest.raises(HtunetError, match=r"open_clip_config\.json says .* GELU"):
        build_backbone("CLIP", "pretrained")
    remember_hash(path, file_hash(path))  # as a download does, which knows whose file it is
    assert build_backbone("CLIP", "pretrained")[1].file == path.name


def test_a_folder_without_weights_lists_what_it_may_hold(tmp_path: Path) -> None:
    with pytest.raises(HtunetError, match=r"holds none of open_clip_model\.safetensors"):
        build_backbone("CLIP", str(tmp_path))


def test_a_path_that_is_not_there_lists_what_weights_takes(tmp_path: Path) -> None:
    with pytest.raises(HtunetError, match=r"none\.pt is missing.*pretrained, random, or a file"):
        build_backbone("CLIP", str(tmp_path / "none.pt"))


def test_an_unknown_backbone_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"known: .*CLIP"):
        build_backbone("CLIPP", "random")


def test_random_weights_are_the_same_in_every_build_and_need_no_network(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    first = build_backbone("CLIP", "random")[1]
    torch.manual_seed(2)
    assert build_backbone("CLIP", "random")[1] == first
    monkeypatch.setattr(weights, "RANDOM_WEIGHTS_SEED", 5)
    assert build_backbone("CLIP", "random")[1].identity != first.identity
    assert (first.source, first.file, asked) == ("random", None, [])


def test_the_hash_changes_with_one_value_a_name_a_shape_or_a_buffer() -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.BatchNorm1d(3)})
    hashes = [tensor_hash(module)]
    with torch.no_grad():
        module["a"].weight[1, 1] += 1e-6
    hashes.append(tensor_hash(module))
    module["b"].running_mean[0] = 1e-6
    hashes.append(tensor_hash(module))
    module["a"].weight = nn.Parameter(module["a"].weight.reshape(2, 3))
    hashes.append(tensor_hash(module))
    module["c"] = module.pop("b")
    hashes.append(tensor_hash(module))
    assert len(set(hashes)) == len(hashes)
    assert tensor_hash(module) == hashes[-1]


def test_a_file_that_is_no_weights_is_refused_without_advice_to_read_it_unsafely(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n" + bytes(range(256)) * 20)
    with pytest.raises(HtunetError, match=r"picture\.png cannot be read as weights") as caught:
        read_state(tmp_path / "picture.png")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("old", [False, True])
def test_a_pytorch_file_that_is_called_safetensors_is_to_be_renamed(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "model.safetensors"
    torch.save({"a": torch.arange(3.0)}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(HtunetError, match=r"\(it is a PyTorch file, not safetensors\). Rename it to end in \.pt"):
        read_state(path)
    assert read_state(path.rename(tmp_path / "model.pt"))["a"].tolist() == [0, 1, 2]


def test_it_is_said_which_weights_are_used_beside_a_moving_average(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"model": {"a": torch.zeros(1)}, "model_ema": {"a": torch.ones(1)}, "epoch": 3, "optimizer": {}}
    torch.save(content, tmp_path / "last.pth")
    assert read_state(tmp_path / "last.pth")["a"].item() == 0
    assert "the weights under model are used, not their moving average under model_ema." in caplog.text
    caplog.clear()
    torch.save({"model": content["model"], "optimizer": {}}, tmp_path / "last.pth")
    read_state(tmp_path / "last.pth")
    assert not caplog.text
