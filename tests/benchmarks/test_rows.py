"""Steps, predictions and their ceilings, in tiny sizes: what is timed is what it is said to be."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from builders.backbone import TINY, draw, register_tiny, tiny_in_place_of_clip
from builders.published import tiny_towers
from PIL import Image
from torch import nn
from torch.nn import functional as F

from benchmarks import ceiling, literal, rows, training_step
from benchmarks.ceiling import Ceiling
from benchmarks.measure import Row, run_command
from benchmarks.training_step import METHODS, PLAIN, STAGE1, Stepper, Turns


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Towers of a hundredth of their size, on images of 64 x 64."""
    register_tiny(tmp_path_factory.mktemp("configs"))
    with (
        tiny_in_place_of_clip(),
        tiny_towers(),
        patch.object(literal, "ARCHITECTURE", TINY),
        patch.multiple(training_step, SIDE=64, SIDES={}),
    ):
        yield


def products(found: Ceiling) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (func, *_), number in found.calls.items():
        name = func._overloadpacket.__name__
        counts[name] = counts.get(name, 0) + number
    return counts


def test_the_ceiling_counts_the_products_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    images = torch.randn(2, 3, 4, 4)
    found = Ceiling(lambda: network(images).relu().sum().backward())
    # the linear layer has a gradient of its weight and one of its input
    assert products(found) == {"convolution": 1, "convolution_backward": 1, "addmm": 1, "mm": 2}
    monkeypatch.setattr(ceiling, "_seconds", lambda *_: 0.5)
    assert found.seconds() == 2.5


def test_equal_products_are_timed_once_and_counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wide, tall = torch.randn(2, 8), torch.randn(8, 2)
    found = Ceiling(lambda: [wide @ tall, wide @ tall, wide.T.contiguous().T @ tall])  # of other strides
    assert sorted(found.calls.values()) == [1, 2]
    forms = []
    monkeypatch.setattr(ceiling, "_seconds", lambda func, arguments, named: forms.append(arguments) or 1.0)
    assert found.seconds() == 3.0
    made = ceiling._made(forms[1][0])
    assert (made.shape, made.stride(), made.dtype) == ((2, 8), (1, 2), torch.float32)


def test_what_predicts_is_seen_in_the_type_in_which_it_is_multiplied() -> None:
    queries = torch.randn(1, 2, 5, 4)
    layer = nn.Linear(4, 3)

    @torch.inference_mode()
    def action() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            torch.einsum("bntd,de->bnte", queries.bfloat16(), layer.weight.T)
            layer(F.scaled_dot_product_attention(queries, queries, queries))
        F.conv2d(queries, torch.randn(1, 2, 1, 1))

    found = Ceiling(action)
    assert products(found) == {"_scaled_dot_product_flash_attention_for_cpu": 1, "bmm": 1, "addmm": 1, "convolution": 1}
    types = {func._overloadpacket.__name__: form[0][2] for func, form, _ in found.calls}
    assert types["addmm"] == types["bmm"] == torch.bfloat16
    assert types["convolution"] == torch.float32
    assert found.seconds() > 0


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("method", METHODS)
def test_both_versions_of_a_step_learn(method: str) -> None:
    torch.manual_seed(0)
    for variant in (PLAIN, "htunet fp32"):
        stepper = Stepper(variant, 2, "cpu", method=method)
        trained = [one for group in stepper.optimizer.param_groups for one in group["params"]]
        before = [parameter.detach().clone() for parameter in trained]
        assert stepper.step() >= 0
        moved = sum(not torch.equal(parameter, old) for parameter, old in zip(trained, before, strict=True))
        assert moved > len(trained) // 2, variant


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("method", ["CLIP", "CLIP_HT"])
def test_the_literal_version_has_the_scores_of_ours(method: str) -> None:
    network = training_step._network(method)
    for number, (_, module) in enumerate(network.trainable_modules()):
        draw(module, seed=number)
    twin, images = training_step.WRITTEN[method](network).eval(), torch.randint(0, 256, (2, 3, 64, 64))
    with torch.no_grad():
        torch.testing.assert_close(twin(network.normalise(images)), network.eval()(images), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("tiny")
def test_the_literal_stage_1_has_the_embeddings_and_the_loss_of_ours() -> None:
    network = training_step._network(STAGE1)
    for number, (_, module) in enumerate(network.trainable_modules()):
        draw(module, seed=number)
    twin, images = literal.LiteralStage1.from_network(network).eval(), torch.randint(0, 256, (3, 3, 64, 64))
    texts = F.normalize(torch.randn(3, 32), dim=1)
    with torch.no_grad(), patch.object(twin.clip, "encode_text", lambda *_, **__: texts):
        similar, ours = twin(network.normalise(images)), network.eval()(images)[0]
        torch.testing.assert_close(similar, ours @ texts.T, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(twin.loss(similar), training_step.info_nce(ours, texts).mean(), rtol=1e-4, atol=1e-4)


def test_a_row_of_a_step_names_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {PLAIN: [4.0], "htunet fp32": [2.0], "htunet bf16": [1.0]}
    found = Turns(seconds, {"htunet fp32": [1.5], "htunet bf16": [0.5]}, dict.fromkeys(seconds, 1.0))
    monkeypatch.setattr(rows, "turns", lambda *_: found)
    texts = {method: [(row.what, row.alternative) for row in rows.step(method, 1)] for method in METHODS}
    assert texts["UNet"][1] == (
        "training step of UNet, bf16, 224 x 224, batch 4",
        "the same layers in a plain PyTorch loop, fp32",
    )
    assert texts["DINOv2"][0][0] == "training step of DINOv2, frozen, fp32, 518 x 518, batch 1"
    assert texts["ResNet18"][0][1] == "torchvision's resnet18 in a plain PyTorch loop, fp32"
    fp32, bf16 = rows.step("UNet", 1)
    assert (fp32.ours, fp32.other, fp32.ratios, fp32.shares) == (2.0, 1.0, (2.0,) * 3, (0.75,) * 3)
    assert (bf16.ours, bf16.ceiling, bf16.shares) == (4.0, 8.0, (0.5,) * 3)


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(rows._plan(), input_size=(32, 32))
    monkeypatch.setattr(rows, "_plan", lambda: plan)
    monkeypatch.delenv("HTUNET_SAMPLES", raising=False)


@pytest.mark.usefixtures("tiny")
def test_a_prediction_by_adapters_in_bf16_has_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(rows._plan(), input_size=(64, 64))
    monkeypatch.setattr(rows, "_plan", lambda: plan)
    monkeypatch.setattr(rows, "resolve_precision", lambda *_: "bf16")
    (row,) = rows.prediction("CLIP_HT", 1, images=1)
    assert row.what.startswith("prediction by CLIP_HT, bf16, ")
    assert row.ceiling is not None


@pytest.mark.usefixtures("small_plan")
def test_predictions_by_one_network_and_by_several() -> None:
    (alone,) = rows.prediction("UNet", 1, images=1)
    (together,) = rows.prediction("UNet", 1, images=1, members=2)
    assert alone.what.startswith("prediction by UNet, ")
    assert alone.what.endswith(", files to files, 1 image of noise, 3 sizes")
    assert together.what.startswith("prediction by the 2 folds of UNet together, ")
    for row in (alone, together):
        assert row.ceiling is not None
        assert row.ratios is not None


def test_real_images_are_drawn_evenly_from_both_data_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number in range(1, 7):
        for name in (f"busi_full/Dataset/benign/benign ({number}).png", f"ddti_637/DDTI/1_or_data/image/{number}.PNG"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8 + number % 2)).save(path)
    Image.new("L", (8, 8)).save(tmp_path / "busi_full/Dataset/benign/benign (1)_mask.png")
    monkeypatch.setenv("HTUNET_SAMPLES", str(tmp_path))
    (place := tmp_path / "chosen").mkdir()
    files, words = rows.pictures(place, 4)
    assert words == "4 real images of BUSI and DDTI, 2 sizes"
    names = [Path(file).resolve().relative_to(tmp_path).as_posix() for file in files]
    assert [name.split("/")[0] for name in names] == ["busi_full", "busi_full", "ddti_637", "ddti_637"]
    assert names[0].endswith("benign (1).png")
    assert names[-1].endswith("6.PNG")
    assert len(rows.pictures(tmp_path, None)[0]) == 12  # no more than there are
    assert [len(rows._some(["x"] * number)) for number in (1, 12, 50, 51, 500)] == [1, 12, 50, 26, 50]


@pytest.mark.usefixtures("small_plan")
def test_the_runner_of_an_export_is_timed_without_its_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(rows.tempfile, "tempdir", str(tmp_path))
    written = list[set[str]]()

    def keep(*arguments: Any) -> Row:
        what, unit, amount, _, ours, alternative, other = arguments
        for action in (list, ours, other):  # some of ours were predicted before
            action()
            written.append({path.name for path in tmp_path.rglob("masks/*")})
            for path in tmp_path.rglob("masks/*"):
                path.unlink()
        return rows.row_of(what, unit, amount[0], [1.0], alternative, [1.0], other_amount=amount[1])

    monkeypatch.setattr(rows, "compared", keep)
    monkeypatch.setattr(rows, "OF_OTHERS", 1)
    (row,) = rows.onnx_prediction("UNet", 1, images=2)
    assert row.what == (
        "prediction by UNet, the ONNX runner of an export, fp32, files to files, 2 images of noise, 3 sizes"
    )
    assert (row.ours, row.other, row.ratios) == (2.0, 1.0, (2.0,) * 3)
    assert written == [{"0.png"}, {"0.png", "1.png"}, {"0.png"}]


def test_start_up_is_compared_with_the_import_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = list[list[str]]()
    seconds = {"import torch": 2.0, "htunet.cli.predict": 4.0, "htunet.cli.train": 0.5}

    def run(arguments: list[str], *_: Any, **__: Any) -> tuple[float, float]:
        typed.append(arguments)
        return seconds.get(arguments[1], 0.1), 0.1

    monkeypatch.setattr(rows, "run_command", run)
    found = {row.what: row for row in rows.start_up(2)}
    assert "import torch" not in found
    assert found["import htunet.api"].ratios == (20.0,) * 3
    assert (found["htunet_train --help"].ours, found["htunet_train --help"].other) == (0.5, 2.0)
    assert {"htunet_import --help", "htunet_run --help", "htunet_plan_and_preprocess --help"} <= found.keys()
    (first,) = (row for what, row in found.items() if "to the mask" in what)
    assert (first.ours, first.unit, first.ratios) == (4.0, "s", (0.5,) * 3)
    outputs = [arguments[5] for arguments in typed if arguments[2:3] == ["-i"]]
    assert len(set(outputs)) == 2  # a folder that is there already would be finished at once


def test_batches_are_timed_as_both_plans_augment_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[tuple[float, float], bool]] = []

    def keep(*arguments: Any) -> Row:
        what, unit, amount, _, ours, alternative, other = arguments
        images, other_s = torch.cat([batch.images for batch in ours()]), other()
        unchanged = torch.from_numpy(rows.MadeUpImages(rows._plan()).image)
        assert other_s > 0
        found.append((amount, bool((images == unchanged).all())))
        assert images.shape == (amount[0], 1, 224, 224)
        return rows.row_of(what, unit, amount[0], [1.0], alternative, [1.0], other_amount=amount[1])

    monkeypatch.setattr(rows, "compared", keep)
    paper, public = rows.batches(1, images=16)
    assert found == [((16, 8), False)] * 2
    assert [name in row.what for name, row in (("plan paper", paper), ("plan public", public))] == [True, True]


def test_memory_is_counted_in_billions_of_bytes() -> None:
    """Linux counts kilobytes of 1024 bytes, which made it 2.4 % less."""
    _, without = run_command(["-c", ""], {}, module="")
    _, peak = run_command(["-c", "held = b'x' * 400_000_000"], {}, module="")
    assert peak - without == pytest.approx(0.4, abs=0.004)


def test_simulated_images_are_timed_in_one_process_and_in_two() -> None:
    one, two = rows.simulation(2, images=4)
    assert one.what.endswith("one process")
    assert "two processes" in two.what
    assert one.unit == two.unit == "images/s"
    assert min(one.ours, two.ours) > 0
