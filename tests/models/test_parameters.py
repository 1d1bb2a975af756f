"""The trainable parameters of every row of the paper's Tables II and III, counted without memory for them."""

import csv
from importlib.resources import files

import pytest

from htunet.models.build import sketch, tasks_of
from htunet.models.tasks import Outputs

ADAPTERS = 1_356_324
"""Of HT, one after each of the twelve blocks."""
AGGREGATION, LABELS, CLASSES = 2_760_192, 512 * 2 + 2, (512 * 512 + 512) + (512 * 2 + 2)
FAMILY = ("BiomedCLIP", "CLIP", "MetaCLIP", "UniMedCLIP")
HEADS = {"seg": AGGREGATION + LABELS, "cls": AGGREGATION + CLASSES, "seg+cls": AGGREGATION + LABELS + CLASSES}
UNUSED_CLASSIFIER = 512 * 2 + 2
"""The paper's code builds one linear layer for classes beside the segmentation head, and counts it."""
BASELINES = [
    ("UNet", "seg", 1_813_762),
    ("CLIPSeg", "seg", 1_127_009),
    ("DINOv2", "seg", 9_696_182),
    ("DINOv2", "cls", 5 * 768 * 2 + 2),
    ("DINOv2", "seg+cls", 9_696_182 + 7_682),
    ("ResNet18", "cls", 11_177_538),
]


def trained(method: str, task: str) -> int:
    network = sketch(method, Outputs(task=task, num_labels=2, num_classes=2), {})
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    return sum(parameter.numel() for parameter in network.trainable_parameters())


def as_printed(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.1f} K"


def printed(table: str) -> dict[str, str]:
    with (files("results_template") / f"{table}.csv").open(encoding="utf-8", newline="") as stream:
        return {row["method"]: row["trainable_params"] for row in csv.DictReader(stream)}


@pytest.mark.parametrize(("method", "task", "count"), BASELINES)
def test_a_baseline_has_the_parameters_of_the_paper(method: str, task: str, count: int) -> None:
    assert trained(method, task) == count
    table = "table2_segmentation" if task == "seg" else "table3_classification"
    if task != "seg+cls":  # the paper has no such row
        assert as_printed(count) == printed(table)[method]


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize("task", HEADS)
def test_the_heads_of_the_family_are_alike_and_the_adapters_add_to_them(method: str, task: str) -> None:
    assert trained(method, task) == HEADS[task]
    assert trained(f"{method}_HT", task) == HEADS[task] + ADAPTERS


@pytest.mark.parametrize(("method", "blocks"), [("CLIP", 12 * 7_087_872), ("PhantomCLIP", 10 * 444_864)])
def test_full_fine_tuning_trains_all_weights_of_all_blocks(method: str, blocks: int) -> None:
    """Of width D: two normalisations (4 D), attention (4 D^2 + 4 D), and an MLP four times as wide (8 D^2 + 5 D)."""
    assert trained(f"{method}_FullFT", "seg") == trained(method, "seg") + blocks


@pytest.mark.parametrize("table", ["table2_segmentation", "table3_classification"])
def test_the_printed_counts_of_the_family_are_ours_with_the_heads_that_the_paper_adds(table: str) -> None:
    """2,762,244 for all but CLIP, of which the paper counts the whole classification head."""
    assert HEADS["seg"] + UNUSED_CLASSIFIER == 2_762_244
    for method in FAMILY:
        heads = HEADS["seg+cls"] if method == "CLIP" else HEADS["seg"] + UNUSED_CLASSIFIER
        assert as_printed(heads) == printed(table)[method]
        assert as_printed(heads + ADAPTERS) == printed(table)[f"{method} (HT)"]


def test_every_row_of_both_tables_is_counted_here() -> None:
    counted = {method for method, _, _ in BASELINES} | {
        name for method in FAMILY for name in (method, f"{method} (HT)")
    }
    rows = printed("table2_segmentation") | printed("table3_classification")
    assert set(rows) == counted
    assert all(tasks_of(row.replace(" (HT)", "_HT")) for row in rows)


@pytest.mark.parametrize("backbone", ["BiomedCLIP", "MetaCLIP", "UniMedCLIP"])
def test_the_linear_head_of_the_public_code_gives_the_printed_counts_of_table_3(backbone: str) -> None:
    outputs = Outputs(task="cls", class_head_by_backbone={backbone: "linear"})
    counts = {
        method: sum(p.numel() for p in sketch(method, outputs, {}).trainable_parameters())
        for method in (backbone, f"{backbone}_HT")
    }
    assert counts == {backbone: AGGREGATION + 1_026, f"{backbone}_HT": AGGREGATION + 1_026 + ADAPTERS}
    assert {method: as_printed(count) for method, count in counts.items()} == {
        method: printed("table3_classification")[method.replace("_HT", " (HT)")] for method in counts
    }


def test_lora_of_the_public_code_has_one_matrix_a_for_query_key_and_value_of_biomedclip() -> None:
    counts = []
    for settings in ({}, {"LoRA": {"fused_qkv": True}}):
        network = sketch("BiomedCLIP_LoRA", Outputs(task="seg"), settings)
        counts.append(sum(p.numel() for p in network.trainable_parameters()) - HEADS["seg"])
    assert counts == [1_179_648, 884_736]
