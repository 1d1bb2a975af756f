"""Adapters that were trained before: which one a name or a path means, and what of it is put into a network."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from builders.contrastive import tiny_contrastive
from torch import Tensor, nn

from htunet.errors import HtunetError
from htunet.files import write_json
from htunet.models import checkpoint
from htunet.models.adapters.base import WeightUpdates
from htunet.models.dual_encoder import build_dual_encoder
from htunet.models.finetuned import StartingAdapter, find_adapter, load_adapter
from htunet.paths import FinetuningPaths

ADAPTER = {"model.adapters.0.weight": torch.ones(2)}


def finished(*, source: str = "random", seed: int = 1) -> FinetuningPaths:
    run = FinetuningPaths(("Dataset907_Words",), "CLIP_HT", seed)
    settings = {"datasets": list(run.datasets), "seed": seed, "weights": {"source": source}}
    checkpoint.save(run.checkpoint_best, ADAPTER, {"method": "CLIP_HT", "settings": settings})
    write_json(run.settings_json, settings)
    write_json(run.finished_json, {})
    return run


def found(weights: str = "random") -> Path:
    return find_adapter("finetuned", "CLIP_HT", seed=1, weights=weights).path


def by_path(path: Path, tensors: Mapping[str, Tensor] = ADAPTER, **settings: object) -> StartingAdapter:
    checkpoint.save(path, tensors, {"method": "CLIP_HT", "settings": settings})
    return find_adapter(str(path), "CLIP_HT", seed=1, weights="random")


def test_random_weights_take_no_adapter_of_pretrained_ones_nor_the_other_way_round(home: Path) -> None:
    pretrained = finished(source="pretrained", seed=1)
    with pytest.raises(HtunetError, match="No finished fine-tuning of CLIP_HT on random weights"):
        found()
    random = finished(source="random", seed=2)
    assert found() == random.checkpoint_best
    assert found("pretrained") == found("a_file.safetensors") == pretrained.checkpoint_best


def test_a_fine_tuning_that_is_not_finished_is_not_taken_unless_it_is_named(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = finished()
    assert found() == run.checkpoint_best
    assert find_adapter(str(run.checkpoint_best), "CLIP_HT", seed=1, weights="random").label == "Words"
    assert not caplog.text
    run.finished_json.unlink()
    assert find_adapter(str(run.checkpoint_best), "CLIP_HT", seed=1, weights="random").label == "Words"
    assert f"The training in {run.folder} is not finished: its checkpoint_best.safetensors may" in caplog.text
    with pytest.raises(HtunetError, match="No finished fine-tuning"):
        found()


def test_the_label_says_another_seed_and_shuffled_captions(home: Path) -> None:
    datasets = ("Dataset907_Words", "Dataset908_Other")

    def label(seed: int, shuffled: bool = False) -> str:
        path = FinetuningPaths(datasets, "CLIP_HT", seed, shuffled).checkpoint_best
        return by_path(path, datasets=list(datasets), seed=seed, shuffled_captions=shuffled).label

    assert label(1) == "Words+Other"
    assert label(2) == "Words+Other-seed2"
    assert label(1, shuffled=True) == "Words+Other-shuffled"


def test_fine_tunings_on_the_same_captions_in_different_folders_have_different_labels(home: Path) -> None:
    about = {"datasets": ["Dataset907_Words"], "seed": 1}
    own = FinetuningPaths(("Dataset907_Words",), "CLIP_HT", 1)
    other = {"model.adapters.0.weight": torch.zeros(2)}
    labels = [
        by_path(own.checkpoint_best, **about).label,
        by_path(home / "elsewhere" / "checkpoint_best.safetensors", other, **about).label,
        by_path(own.checkpoint_latest, {"model.adapters.0.weight": torch.full((2,), 3.0)}, **about).label,
    ]
    assert labels[0] == "Words"
    assert len(set(labels)) == 3
    assert by_path(home / "copy.safetensors", other, **about).label == labels[1]


def test_the_adapter_of_another_training_is_named_by_its_own_tensors_alone(tmp_path: Path) -> None:
    head = {"model.head.weight": torch.ones(3)}
    kinds = [
        ADAPTER,
        ADAPTER | head,
        {"model.adapters.0.weight": torch.zeros(2)},
        {"model.adapters.1.weight": torch.ones(2)},
        {"model.updates.0.weight": torch.ones(2)},
    ]
    labels = [by_path(tmp_path / "a.safetensors", tensors, dataset="Dataset903_Tiny").label for tensors in kinds]
    assert labels[0] == labels[1]
    assert len(set(labels)) == 4
    assert {len(label) for label in labels} == {8}
    with pytest.raises(HtunetError, match="holds no adapter"):
        by_path(tmp_path / "a.safetensors", head)


def test_what_trains_in_the_text_tower_is_filled_too(tmp_path: Path) -> None:
    with tiny_contrastive():
        network, weights = build_dual_encoder(
            "CLIP_HT", seed=1, weights="random", adapter_settings={"input_size": (32, 32)}
        )
    network.text_updates = WeightUpdates([nn.Linear(2, 2)])
    expected = {name: torch.full_like(value, 0.5) for name, value in network.trainable_state().items()}
    path = tmp_path / "a.safetensors"
    tensors = {f"model.{name}": value for name, value in expected.items()}
    checkpoint.save(path, tensors, checkpoint.describe("CLIP_HT", weights, {"dataset": "Dataset903_Tiny"}))
    load_adapter(network, weights, find_adapter(str(path), "CLIP_HT", seed=1, weights="random"))
    assert "text_updates.0.weight" in expected
    assert all(torch.equal(value, expected[name]) for name, value in network.trainable_state().items())
