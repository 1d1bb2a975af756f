"""Each rule on numbers that a reader can check."""

from dataclasses import replace

import pytest
from builders.fingerprint import PRINT

from htunet.planning import rules


@pytest.mark.parametrize(
    ("ratio", "lesion", "size"),
    [
        pytest.param(1.0, None, (224, 224), id="square without lesions"),
        pytest.param(1.0, 0.5, (224, 224), id="large lesions: 64 / 0.5 = 128"),
        pytest.param(1.0, 0.2, (320, 320), id="64 / 0.2 = 320"),
        pytest.param(1.0, 0.01, (384, 384), id="tiny lesions: the largest size"),
        pytest.param(0.8, 0.5, (224, 288), id="wide: 224 / 0.8 = 280, 17.5 patches"),
        pytest.param(1.25, 0.5, (288, 224), id="high"),
        pytest.param(0.75, 0.2, (240, 320), id="wide, small lesions"),
        pytest.param(0.1, 0.5, (112, 384), id="very wide: the longer side has a limit, the shorter too"),
    ],
)
def test_input_size(ratio: float, lesion: float | None, size: tuple[int, int]) -> None:
    aspect = {"min": ratio, "median": ratio, "max": ratio}
    side = None if lesion is None else {"min": 0.0, "median": lesion, "max": 1.0}
    found, reason = rules.input_size(
        replace(PRINT, aspect_ratio=aspect, lesion_smaller_side=side), cropped=False, memory_gb=24
    )
    assert found == size
    assert f"{ratio:.2f}" in reason


def test_little_memory_makes_the_input_smaller_but_not_below_the_base() -> None:
    side = {"min": 0.0, "median": 0.01, "max": 1.0}
    found, reason = rules.input_size(replace(PRINT, lesion_smaller_side=side), cropped=False, memory_gb=4)
    # 0.8 * 4 - 1.3 = 1.9 GB; 8 images of 17 x 17 patches take 8 * 0.15 * 289 / 196 = 1.77 GB, of 18 x 18 1.98 GB.
    assert found == (272, 272)
    assert "8 images fit into 4 GB" in reason
    assert rules.input_size(replace(PRINT, lesion_smaller_side=side), cropped=False, memory_gb=0.5)[0] == (224, 224)


def test_the_cropped_field_gives_the_shape_when_it_is_cropped() -> None:
    changed = replace(PRINT, aspect_ratio_after_crop={"min": 0.5, "median": 0.5, "max": 0.5})
    assert rules.input_size(changed, cropped=True, memory_gb=24)[0] == (192, 384)
    assert rules.input_size(changed, cropped=False, memory_gb=24)[0] == (224, 224)


def test_lesions_count_as_parts_of_what_the_network_sees() -> None:
    # A lesion of 0.2 of the image and of 0.4 of the field: 4 patches of 16 across it ask for 320, or for 160 pixels.
    changed = replace(PRINT, lesion_smaller_side={"median": 0.2}, lesion_smaller_side_after_crop={"median": 0.4})
    assert rules.input_size(changed, cropped=False, memory_gb=24)[0] == (320, 320)
    assert rules.input_size(changed, cropped=True, memory_gb=24)[0] == (224, 224)


@pytest.mark.parametrize(
    ("wide", "losing", "crop"), [(24, 0, False), (25, 0, True), (100, 1, False), (100, 0, True), (0, 0, False)]
)
def test_the_border_is_cropped_where_common_and_safe(wide: int, losing: int, crop: bool) -> None:
    border = {"median": 0.0, "max": 0.5, "cases_wide": wide}
    found, margin, reason = rules.crop_border(replace(PRINT, border=border, cases_losing_lesion=losing))
    assert (found, margin) == (crop, 0)
    assert f"{wide} of 100 images" in reason


@pytest.mark.parametrize(("cases", "size"), [(2304, 32), (256, 32), (255, 16), (128, 16), (127, 8), (64, 8), (10, 8)])
def test_batch_size(cases: int, size: int) -> None:
    assert rules.batch_size(cases)[0] == size


@pytest.mark.parametrize(
    ("memory", "parts"),
    [
        pytest.param(24, 1, id="0.8 * 24 - 1.3 = 17.9 GB hold 119"),
        pytest.param(8, 1, id="5.1 GB hold 34"),
        pytest.param(6, 2, id="3.5 GB hold 23"),
        pytest.param(2, 16, id="0.3 GB hold 2"),
        pytest.param(1, 32, id="nothing fits: one at a time"),
    ],
)
def test_parts(memory: float, parts: int) -> None:
    assert rules.parts(32, (224, 224), memory) == parts
    assert rules.parts(32, (8, 8), 24) == 1


@pytest.mark.parametrize(("cores", "count"), [(1, 0), (2, 1), (8, 7), (64, 8)])
def test_workers(cores: int, count: int) -> None:
    assert rules.workers(cores) == count


def test_class_weights_are_inverse_to_the_sizes_and_1_on_average() -> None:
    known = {"benign": 0, "malignant": 1}
    weights, _ = rules.class_weights({"benign": 437, "malignant": 210}, known)
    assert weights == {"benign": 0.7403, "malignant": 1.5405}
    assert (437 * weights["benign"] + 210 * weights["malignant"]) / 647 == pytest.approx(1, abs=1e-4)
    assert rules.class_weights({"benign": 60, "malignant": 40}, known)[0] == {}
    assert rules.class_weights({"benign": 60}, known)[0] == {}
    assert rules.class_weights({}, {})[0] == {}


@pytest.mark.parametrize(("cases", "epochs"), [(518, 50), (1019, 31), (3200, 20)])
def test_patience(cases: int, epochs: int) -> None:
    assert rules.patience(cases, 32)[0] == epochs


@pytest.mark.parametrize(("needed", "crop", "margin"), [(0.0071, True, 0.008), (0.05, True, 0.05), (0.051, False, 0)])
def test_the_crop_keeps_as_much_margin_as_the_lesions_need(needed: float, crop: bool, margin: float) -> None:
    border = {"median": 0.0, "max": 0.5, "cases_wide": 100}
    changed = replace(PRINT, border=border, cases_losing_lesion=2, losing_lesion=["a", "b"], margin_for_lesions=needed)
    *found, reason = rules.crop_border(changed)
    assert found == [crop, margin]
    assert "would cut lesion pixels off in 2 of them (a, b)" in reason
