"""Which folds learn from corrected cases."""

from htunet.experiments.corrections import with_corrections


def test_a_correction_is_never_trained_on_where_its_group_is_tested() -> None:
    folds = [
        {"name": "x", "train": ["a1", "a2"], "val": ["b1"], "test": ["c1", "c2"]},
        {"train": ["b1", "c1", "c2"], "val": [], "test": ["a1", "a2"]},
    ]
    groups = {"a1": "A", "a2": "A", "b1": "B", "c1": "C", "c2": "C"}
    new_groups = {"a1_corrected": "A", "c2_corrected": "C", "new": "new", "b_again": "B"}
    corrects = {"a1_corrected": "a1", "c2_corrected": "c2", "new": "", "b_again": ""}
    assert with_corrections(folds, groups, new_groups, corrects) == [
        {"name": "x", "train": ["a2", "a1_corrected", "new"], "val": ["b1"], "test": ["c1", "c2"]},
        {"train": ["b1", "c1", "c2_corrected", "new", "b_again"], "val": [], "test": ["a1", "a2"]},
    ]
