"""A look into a trained network: features with and without the adapter, its filter, its noise estimator."""

from pathlib import Path

import numpy as np
import pytest
import torch
from builders.raw import build_raw
from builders.training import TEST, run_of, tiny_plan, tiny_settings, write_arrays

from htunet.data.measurements import read_measurement
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits, save_splits
from htunet.errors import HtunetError
from htunet.experiments import measure_adapters
from htunet.experiments.measure_adapters import STRENGTHS, measure_filter, measure_noise
from htunet.experiments.measure_features import measure_features
from htunet.files import read_json, write_json
from htunet.inference.trained import TrainedModel
from htunet.models import checkpoint
from htunet.models.network import EncoderNetwork
from htunet.paths import DatasetPaths, RunPaths
from htunet.training import record
from htunet.training.run import train


@pytest.fixture
def run(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    return train("Tiny", "TINY_HT", 0, tiny_settings(num_epochs=2)).run


def network_of(run: RunPaths) -> EncoderNetwork:
    network = TrainedModel.of_run(run).network().eval()
    assert isinstance(network, EncoderNetwork)
    return network


def test_images(run: RunPaths) -> torch.Tensor:
    data = PreprocessedDataset(run.dataset.plan_folder(run.plan))
    return torch.from_numpy(data.images[data.rows(sorted(load_splits(run.dataset.splits_json)[0]["test"]))])


test_images.__test__ = False  # type: ignore[attr-defined]


def test_features_are_the_mean_patch_tokens_without_and_with_the_adapter(run: RunPaths) -> None:
    measure_features(run)
    found = read_measurement(run.measurement("features"))
    network, images = network_of(run), test_images(run)
    with torch.no_grad():
        tokens = network.encoder.backbone.embed(network.normalise(images))
        for block in network.encoder.backbone.blocks:
            tokens = block(tokens)
        adapted = network.encoder(network.normalise(images))[-1]
    assert found.arrays["before"] == pytest.approx(tokens[:, 1:].mean(dim=1).numpy(), abs=1e-5)
    assert found.arrays["after"] == pytest.approx(adapted[:, 1:].mean(dim=1).numpy(), abs=1e-5)
    assert not np.allclose(found.arrays["before"], found.arrays["after"])


def test_images_are_the_test_split_and_all_of_other_data_sets_with_the_plan(run: RunPaths) -> None:
    other = build_training_of_another_data_set()
    measure_features(run)
    found = read_measurement(run.measurement("features"))
    own = found.arrays["datasets"] == "Tiny"
    assert found.arrays["cases"][own].tolist() == sorted(load_splits(run.dataset.splits_json)[0]["test"])
    assert (own.sum(), (~own).sum()) == (TEST, 24)
    assert set(found.arrays["datasets"][~own]) == {other.short_name}
    assert set(found.arrays["classes"]) == {"benign", "malignant"}


def build_training_of_another_data_set(copied: dict[str, str] | None = None) -> DatasetPaths:
    """Other images; of the cases in ``copied`` those of the data set that is trained on."""
    other = build_raw(24, seed=5, name="Dataset904_Other")
    for case, own in (copied or {}).items():
        for folder, end in (("imagesTr", "_0000.png"), ("labelsTr", ".png")):
            source = DatasetPaths("Dataset903_Tiny").raw / folder
            (other.raw / folder / f"{case}{end}").write_bytes((source / f"{own}{end}").read_bytes())
    write_arrays(other, tiny_plan())
    return other


def test_images_of_other_data_sets_that_the_run_was_trained_on_are_left_out(run: RunPaths) -> None:
    fold = load_splits(run.dataset.splits_json)[0]
    kept = [fold["train"][0], fold["val"][0], fold["test"][0]]
    build_training_of_another_data_set(dict(zip(("case_0001", "case_0002", "case_0003"), kept, strict=True)))
    measure_features(run)
    found = read_measurement(run.measurement("features")).arrays
    others = found["cases"][found["datasets"] != "Tiny"].tolist()
    assert len(others) == 22
    assert not {"case_0001", "case_0002"} & {*others}
    assert "case_0003" in others  # its picture is one of the test split


@pytest.mark.parametrize("changed", ["arrays", "split", "raw"])
def test_other_data_sets_of_which_it_is_not_certain_are_left_out_and_named(
    run: RunPaths, changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Their arrays show other pictures than the raw folder that is compared, or the training is not known."""
    other = build_training_of_another_data_set()
    if changed == "arrays":
        done = other.plan_folder("tiny") / "preprocessed.json"
        write_json(done, read_json(done) | {"raw_sha256": "other"})
        reason = "its raw folder has changed since its arrays were made"
    elif changed == "split":
        write_json(run.settings_json, read_json(run.settings_json) | {"start_checkpoint": {"weights": "file"}})
        reason = "starting weights that do not say what they were trained on"
    else:
        other.dataset_json.unlink()
        reason = "it has no raw folder"
    measure_features(run)
    assert set(read_measurement(run.measurement("features")).arrays["datasets"]) == {"Tiny"}
    assert "Other is left out: " in caplog.text
    assert reason in caplog.text


def test_arrays_of_another_plan_are_refused(run: RunPaths) -> None:
    marker = run.dataset.plan_folder(run.plan) / "preprocessed.json"
    write_json(marker, read_json(marker) | {"plan_sha256": "other"})
    for measure in (measure_noise, measure_features):
        with pytest.raises(
            HtunetError, match="was made with another input_size, geometry, resize, crop_border, crop_m"
        ):
            measure(run)


def test_what_is_measured_is_measured_again_for_other_weights_alone(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for measure, what in ((measure_filter, "filter"), (measure_noise, "noise"), (measure_features, "features")):
        measure(run)
        before = run.measurement(what).stat().st_mtime_ns
        measure(run)
        assert run.measurement(what).stat().st_mtime_ns == before
    tensors, about = checkpoint.load(run.checkpoint_best)
    tensors["model.adapters.0.filter.theta"] += 1
    checkpoint.save(run.checkpoint_best, tensors, {key: value for key, value in about.items() if key != "format"})
    measure_filter(run)
    theta = read_measurement(run.measurement("filter")).arrays["theta"]
    assert theta[0] == pytest.approx(tensors["model.adapters.0.filter.theta"].numpy())


def test_the_filter_is_that_of_the_checkpoint_beside_the_one_that_an_adapter_begins_with(run: RunPaths) -> None:
    measure_filter(run)
    found = read_measurement(run.measurement("filter"))
    assert found.arrays["theta"].shape == (10, 64)
    assert found.arrays["blocks"].tolist() == list(range(10))
    assert (found.arrays["initial"] == 1).all()
    assert not (found.arrays["theta"] == 1).all()
    assert found.about["grid_hw"] == [4, 4]


def test_the_weights_are_the_estimators_and_add_up_to_one_at_every_level(run: RunPaths) -> None:
    measure_noise(run)
    found = read_measurement(run.measurement("noise"))
    mean = found.arrays["mean"]
    assert mean.shape == (len(STRENGTHS), 10, 3)
    assert mean.sum(axis=2) == pytest.approx(1, abs=1e-5)
    assert found.arrays["levels"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    network, images = network_of(run), test_images(run)
    with torch.no_grad():
        tokens = network.encoder.backbone.blocks[0](network.encoder.backbone.embed(network.normalise(images)))
        adapter = network.encoder.adapters[0]  # type: ignore[index]
        hidden = adapter.down(adapter.norm(tokens) * adapter.gamma + tokens * adapter.gamma_x)  # type: ignore[operator]
        grid = hidden[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
        by_hand = adapter.estimator(adapter.filter(grid)).mean(dim=0)  # type: ignore[operator]
    assert mean[0, 0] == pytest.approx(by_hand.numpy(), abs=1e-5)
    assert not np.array_equal(mean[0], mean[-1])


def test_nothing_listens_to_the_network_afterwards(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    estimators = measure_adapters._estimators
    monkeypatch.setattr(measure_adapters, "_estimators", lambda network: kept.append(network) or estimators(network))
    measure_noise(run)
    assert not any(module._forward_hooks for module in kept[0].modules())


def test_a_method_without_such_a_part_is_refused_by_name(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    run = train("Tiny", "TINY_Mona", 0, tiny_settings(num_epochs=1)).run
    with pytest.raises(HtunetError, match="no frequency filter"):
        measure_filter(run)
    with pytest.raises(HtunetError, match="TINY_Mona has no noise estimator"):
        measure_noise(run)


def test_after_another_split_its_test_images_may_be_training_images_and_nothing_is_measured(run: RunPaths) -> None:
    fold = load_splits(run.dataset.splits_json)[0]
    save_splits(run.dataset.splits_json, [fold | {"train": fold["test"], "test": fold["train"]}])
    for measure, what in ((measure_noise, "noise"), (measure_features, "features")):
        with pytest.raises(HtunetError, match="has changed since Tiny TINY_HT"):
            measure(run)
        assert not run.measurement(what).exists()


def test_a_run_without_weights_is_an_error_that_says_so(tiny: DatasetPaths, home: Path) -> None:
    run = run_of(tiny, "TINY_HT")
    with pytest.raises(HtunetError, match="missing"):
        measure_filter(run)
