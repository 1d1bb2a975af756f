import re
from dataclasses import replace

import numpy as np
import pytest

from htunet.simulation.lesions import BENIGN, MALIGNANT, Lesion, Outline, draw_lesion, insert, seen_again
from htunet.simulation.physics import LINEAR, BeamGrid, Tissue, accumulated_loss
from htunet.simulation.sentences import MARGINS, NORMAL_SENTENCES, POSTERIOR, TALL, WIDE, caption

GRID = BeamGrid(geometry=LINEAR, depth_mm=30, width_mm=40)


def many(class_name: str, count: int = 300) -> list[Lesion]:
    rng = np.random.default_rng(0)
    return [draw_lesion(rng, class_name, 60.0) for _ in range(count)]


def share(lesions: list[Lesion], name: str, value: object) -> float:
    return float(np.mean([getattr(lesion, name) == value for lesion in lesions]))


def test_a_circle_s_distance_is_exact() -> None:
    circle = Outline(lateral_mm=1, depth_mm=10, half_width_mm=3, half_height_mm=3)
    lateral, depth = np.array([[1, 5, 1]], dtype=np.float32), np.array([[10, 10, 15]], dtype=np.float32)
    np.testing.assert_allclose(circle.distance(lateral, depth), [[-3, 1, 2]], atol=1e-3)


def test_a_tilted_ellipse_stands_upright() -> None:
    ellipse = Outline(lateral_mm=0, depth_mm=0, half_width_mm=5, half_height_mm=2, tilt=np.pi / 2)
    assert ellipse.half_extent_mm == pytest.approx((2, 5))


@pytest.mark.parametrize("class_name", [BENIGN, MALIGNANT])
def test_the_outline_encloses_the_area_that_was_asked_for(class_name: str) -> None:
    lateral, depth = GRID.positions()
    for lesion in many(class_name, 10):
        distance = replace(lesion.outline, depth_mm=15).distance(lateral, depth)
        area = (distance < 0).sum() * GRID.sample_mm * GRID.beam_mm
        assert area == pytest.approx(60, rel=0.05)


def test_malignant_lesions_are_taller_than_wide_more_often_but_not_always() -> None:
    benign, malignant = share(many(BENIGN), "taller_than_wide", True), share(many(MALIGNANT), "taller_than_wide", True)
    assert benign < 0.2
    assert 0.35 < malignant < 0.75


def test_signs_differ_between_the_classes_and_overlap() -> None:
    benign, malignant = many(BENIGN), many(MALIGNANT)
    assert share(benign, "margin", "circumscribed") > 0.7 > 0.2 > share(malignant, "margin", "circumscribed") > 0
    assert share(benign, "posterior", "enhancement") > 0.5 > 0.2 > share(malignant, "posterior", "enhancement") > 0
    assert share(malignant, "posterior", "shadowing") > 0.5 > 0.2 > share(benign, "posterior", "shadowing") > 0
    assert share(benign, "margin", "spiculated") == 0


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="benign or malignant"):
        draw_lesion(np.random.default_rng(0), "normal", 60.0)


def test_seen_again_a_lesion_keeps_its_signs_and_changes_its_form_a_little() -> None:
    lesion = many(MALIGNANT, 1)[0]
    again = seen_again(lesion, np.random.default_rng(1), 4.0, 12.0)
    assert (again.outline.lateral_mm, again.outline.depth_mm) == (4.0, 12.0)
    assert (again.margin, again.pattern, again.posterior) == (lesion.margin, lesion.pattern, lesion.posterior)
    assert again.outline.half_width_mm == pytest.approx(lesion.outline.half_width_mm, rel=0.11)
    assert again.outline.half_width_mm != lesion.outline.half_width_mm


def lesion_with(**signs: object) -> Lesion:
    outline = Outline(lateral_mm=0, depth_mm=12, half_width_mm=5, half_height_mm=3)
    plain = Lesion(
        class_name=BENIGN,
        outline=outline,
        shape="oval",
        margin="indistinct",
        pattern="hypoechoic",
        posterior="none",
        contrast_db=12,
        texture_db=0,
        blur_mm=0.2,
        posterior_db=0,
    )
    return replace(plain, **signs)


@pytest.mark.parametrize("posterior_db", [-8.0, 8.0])
def test_the_posterior_sign_changes_the_level_behind_by_its_decibels(posterior_db: float) -> None:
    tissue = Tissue(*(np.zeros(GRID.shape, dtype=np.float32) for _ in range(3)))
    distance = insert(lesion_with(posterior_db=posterior_db), tissue, GRID, np.random.default_rng(0))
    behind = -accumulated_loss(tissue.loss_db_per_mm, GRID)[-1, GRID.shape[1] // 2]
    assert behind == pytest.approx(posterior_db, rel=0.08)
    assert tissue.echo_db[distance < -1].mean() == pytest.approx(-12, abs=2)
    assert tissue.echo_db[distance > 4].mean() == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("class_name", [BENIGN, MALIGNANT])
def test_captions_name_the_signs_that_are_there_and_no_others(class_name: str) -> None:
    for number, lesion in enumerate(many(class_name, 60)):
        text = caption([lesion], 40.0, np.random.default_rng(number))
        assert any(words in text for words in MARGINS[lesion.margin])
        assert any(words in text for words in (TALL if lesion.taller_than_wide else WIDE))
        for posterior, words in POSTERIOR.items():
            assert any(word in text for word in words) == (posterior == lesion.posterior)
        assert ("calcification" in text) == (lesion.calcifications >= 4)
        assert ("halo" in text or "rim" in text) == bool(lesion.halo_db)
        other = MALIGNANT if class_name == BENIGN else BENIGN
        assert not re.search(rf"\b{other}\b|suspicious" if class_name == BENIGN else rf"\b{other}\b", text)
        assert text.endswith(".")
        assert "  " not in text


def test_captions_vary_and_those_of_normal_images_name_no_sign() -> None:
    lesion = many(BENIGN, 1)[0]
    assert len({caption([lesion], 40.0, np.random.default_rng(seed)) for seed in range(40)}) > 30
    assert caption([], 40.0, np.random.default_rng(0)) in NORMAL_SENTENCES


def test_a_second_lesion_is_mentioned() -> None:
    lesions = many(BENIGN, 2)
    assert "second lesion" in caption(lesions, 40.0, np.random.default_rng(0))
