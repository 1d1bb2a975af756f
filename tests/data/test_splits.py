"""Splits: the paper's sizes to the image, whatever the order of the cases and however they are drawn."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from htunet.data.raw import TEST, Case
from htunet.data.splits import (
    RULES,
    SPLITS,
    cross_validation,
    find_leaks,
    find_torn_pictures,
    joined_groups,
    make_splits,
    split_sizes,
)
from htunet.errors import HtunetError, UsageError


def cases_of(*counts: int, test: int = 0) -> list[Case]:
    """Cases of classes c0, c1, ...; one class is none."""
    names = [f"c{k}" if len(counts) > 1 else "" for k, count in enumerate(counts) for _ in range(count)]
    cases = [Case(id=f"x{index}", class_name=name) for index, name in enumerate(names)]
    return cases + [Case(id=f"t{index}", split=TEST) for index in range(test)]


def sizes(fold: dict[str, list[str]]) -> tuple[int, ...]:
    return tuple(len(fold[split]) for split in SPLITS)


@pytest.mark.parametrize(
    ("cases", "rule", "expected"),
    [
        pytest.param(cases_of(1273), "8:1:1", (1019, 127, 127), id="LN-INT"),
        pytest.param(cases_of(0, test=374), "test only", (0, 0, 374), id="LN-EXT"),
        pytest.param(cases_of(437, 210), "8:1:1", (518, 65, 64), id="BUSI"),
        pytest.param(cases_of(637), "8:1:1", (510, 64, 63), id="DDTI"),
        pytest.param(cases_of(2879, test=614), "8:2", (2304, 575, 614), id="TN3K"),
        pytest.param(cases_of(2152, test=758), "9:1", (1937, 215, 758), id="Prostate"),
    ],
)
def test_fold_0_has_the_sizes_of_table_1(cases: list[Case], rule: str, expected: tuple[int, int, int]) -> None:
    assert sizes(make_splits(cases, rule).folds[0]) == expected


def test_busi_is_stratified() -> None:
    cases = cases_of(437, 210)
    of = {case.id: case.class_name for case in cases}
    fold = make_splits(cases, "8:1:1").folds[0]
    assert Counter(of[case] for case in fold["test"]) in ({"c0": 43, "c1": 21}, {"c0": 44, "c1": 20})


@pytest.mark.parametrize("rule", RULES)
def test_any_data_set_is_dealt_out_exactly(rule: str) -> None:
    rng = random.Random(7)
    folds_of = {"8:1:1": 10, "8:2": 5, "9:1": 10}
    held_out = "test" if rule == "8:1:1" else "val"
    for _ in range(60):
        counts = [rng.randint(1, 60) for _ in range(rng.randint(1, 5))]
        n = sum(counts)
        cases = cases_of(*counts, test=0 if rule == "8:1:1" else 3)
        if n < 25:
            continue
        splits = make_splits(cases, rule)
        assert len(splits.folds) == folds_of[rule]
        assert sizes(splits.folds[0])[:2] == split_sizes(n, rule)[:2]
        of = {case.id: case.class_name for case in cases}
        ids = sorted(case.id for case in cases)
        for fold in splits.folds:
            assert sorted(case for split in SPLITS for case in fold[split]) == ids  # a partition: all, each once
            block = fold[held_out]
            for name, count in Counter(case.class_name for case in cases if case.split != TEST).items():
                assert abs(sum(of[case] == name for case in block) - len(block) * count / n) < 1
        covered = Counter(case for fold in splits.folds for case in fold[held_out])
        assert covered == {case.id: 1 for case in cases if case.split != TEST}


@pytest.mark.parametrize(("n", "split_by"), [(10, "image"), (647, "image"), (61, "group")])
def test_a_cross_validation_tests_every_case_once(n: int, split_by: str) -> None:
    cases = [replace(case, group=f"patient {int(case.id[1:]) // 3}") for case in cases_of(n)]
    folds = make_splits(cases, "5 folds", split_by).folds
    assert len(folds) == 5
    assert Counter(case for fold in folds for case in fold["test"]) == {case.id: 1 for case in cases}
    for fold in folds:
        assert sorted(case for split in SPLITS for case in fold[split]) == sorted(case.id for case in cases)
        assert not (split_by == "group" and find_leaks(cases, fold))
    if split_by == "image":
        assert sizes(folds[0]) == split_sizes(n, "5 folds")
        assert max(abs(len(fold["test"]) - n / 5) for fold in folds) < 2


@pytest.mark.parametrize(
    ("counts", "folds", "expected"),
    [
        ((100,), 5, (70, 10, 20)),
        ((10,), 5, (7, 1, 2)),
        ((9,), 5, (5, 2, 2)),
        ((4,), 4, (2, 1, 1)),
        ((8, 4), 4, (6, 3, 3)),
        ((60, 3), 5, (42, 7, 14)),
    ],
)
def test_small_sets_get_as_many_folds_as_they_can_carry(
    counts: tuple[int, ...], folds: int, expected: tuple[int, int, int]
) -> None:
    cases = cases_of(*counts)
    rule = cross_validation(cases, 5)
    assert rule == f"{folds} folds"
    made = make_splits(cases, rule).folds
    assert sizes(made[0]) == expected
    of = {case.id: case.class_name for case in cases}
    for fold in made:
        assert all(sizes(fold))
        if counts == (8, 4):  # each split has both classes: else nothing could be chosen or tested
            assert all({of[case] for case in fold[split]} == {"c0", "c1"} for split in SPLITS)


@pytest.mark.parametrize(("n", "folds", "expected"), [(100, 2, (40, 10, 50)), (100, 3, (59, 9, 32)), (6, 2, (2, 1, 3))])
def test_few_folds_validate_with_few_cases(n: int, folds: int, expected: tuple[int, ...]) -> None:
    assert sorted(sizes(make_splits(cases_of(n), f"{folds} folds").folds[-1])) == sorted(expected)


def test_two_folds_of_three_cases_would_leave_nothing_to_train_on() -> None:
    with pytest.raises(HtunetError, match="4 blocks"):
        make_splits(cases_of(3), "2 folds")


def test_the_next_block_validates() -> None:
    folds = make_splits(cases_of(50), "8:1:1").folds
    assert [fold["val"] for fold in folds] == [folds[(k + 1) % 10]["test"] for k in range(10)]


def test_the_order_of_the_cases_changes_nothing() -> None:
    cases = [Case(id=f"x{i}", class_name="ab"[i % 2], group=f"g{i % 31}") for i in range(90)]
    shuffled = random.Random(1).sample(cases, len(cases))
    for split_by in ("image", "group"):
        assert make_splits(shuffled, "8:1:1", split_by) == make_splits(cases, "8:1:1", split_by)


def test_the_split_is_the_same_on_every_machine() -> None:
    fold = make_splits(cases_of(20), "8:1:1").folds[0]
    assert (fold["val"], fold["test"]) == (["x5", "x8"], ["x11", "x7"])


def test_another_seed_is_another_split() -> None:
    assert make_splits(cases_of(50), "8:1:1", seed=1) != make_splits(cases_of(50), "8:1:1", seed=2)


def test_groups_stay_whole_and_splits_stay_near_their_sizes() -> None:
    rng = random.Random(3)
    for trial in range(20):
        cases, target = [], rng.randint(200, 700)
        while len(cases) < target:
            size = rng.choice((1, 1, 2, 3, 6))
            group = f"g{len(cases)}" if size > 1 else ""
            cases += [Case(id=f"x{len(cases) + k}", class_name=rng.choice("aab"), group=group) for k in range(size)]
        splits = make_splits(cases, "8:1:1", "group", seed=trial)
        ids = sorted(case.id for case in cases)
        of = {case.id: case.class_name for case in cases}
        share = sum(name == "b" for name in of.values()) / len(cases)
        for fold in splits.folds:
            assert find_leaks(cases, fold) == []
            assert sorted(case for split in SPLITS for case in fold[split]) == ids
            assert len(fold["test"]) == pytest.approx(len(cases) / 10, abs=4)
            assert sum(of[case] == "b" for case in fold["test"]) == pytest.approx(share * len(cases) / 10, abs=4)


def test_every_block_gets_a_group_when_there_are_just_enough() -> None:
    cases = [Case(id=f"x{i}", group="big" if i < 10 else "") for i in range(19)]
    assert all(fold["test"] for fold in make_splits(cases, "8:1:1", "group").folds)


def test_by_group_training_cases_of_a_test_patient_are_left_out() -> None:
    cases = [Case(id=f"x{i}", group=f"p{i % 20}") for i in range(40)] + [Case(id="t", split=TEST, group="p3")]
    splits = make_splits(cases, "8:2", "group")
    assert splits.excluded == ("x23", "x3")
    assert all(sum(sizes(fold)) == 39 for fold in splits.folds)
    assert make_splits(cases, "8:2").excluded == ()


def test_leaks_name_the_group_and_its_images() -> None:
    cases = [
        Case(id=name, group=group) for name, group in (("a", "p1"), ("b", "p1"), ("c", "p2"), ("d", ""), ("e", ""))
    ]
    (leak,) = find_leaks(cases, {"train": ["a", "d"], "val": ["c", "e"], "test": ["b"]})
    assert (leak.group, leak.members) == ("p1", {"train": ["a"], "test": ["b"]})


@pytest.mark.parametrize(
    ("cases", "rule", "words"),
    [
        pytest.param(cases_of(9), "8:1:1", "9 cases", id="fewer cases than blocks"),
        pytest.param(cases_of(4, test=2), "8:2", "4 cases", id="fewer cases than blocks of 8:2"),
        pytest.param([], "8:1:1", "0 cases", id="no case"),
        pytest.param(cases_of(30, test=2), "8:1:1", "makes the test split itself", id="two test splits"),
        pytest.param(cases_of(30), "9:1", "there is none", id="no test split"),
    ],
)
def test_a_split_that_would_be_empty_is_an_error(cases: list[Case], rule: str, words: str) -> None:
    with pytest.raises(HtunetError, match=words):
        make_splits(cases, rule)


def test_too_few_groups_are_an_error() -> None:
    cases = [Case(id=f"x{i}", group=f"p{i % 3}") for i in range(60)]
    with pytest.raises(HtunetError, match="3 groups"):
        make_splits(cases, "8:1:1", "group")


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UsageError, match="7:3"):
        make_splits(cases_of(30), "7:3")
    with pytest.raises(UsageError, match="patient"):
        make_splits(cases_of(30), "8:1:1", "patient")


def test_a_picture_in_two_splits_is_found_and_one_in_one_split_or_in_none_is_not() -> None:
    fold = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    (torn,) = find_torn_pictures([["d", "b", "a"], ["a", "b"], ["c", "unknown"]], fold)
    assert (torn.group, torn.members) == ("a", {"train": ["a", "b"], "test": ["d"]})


def test_groups_that_share_a_picture_are_dealt_as_one() -> None:
    cases = [Case(id=f"x{n}", group=f"p{n // 2}" if n < 28 else "") for n in range(30)]
    joined = joined_groups(cases, [["x27", "x0"], ["x29", "x28"], ["x1", "x5"]])  # p13 with p0, p0 with p2
    assert [case.group for case in joined[:6]] == ["p0", "p0", "p1", "p1", "p0", "p0"]
    assert [case.group for case in joined[26:]] == ["p0", "p0", "x28", "x28"]
    assert [case.id for case in joined] == [case.id for case in cases]
    assert joined_groups(cases, []) == cases


def test_too_few_cases_show_how_a_split_is_written_by_hand() -> None:
    with pytest.raises(HtunetError, match=r'by hand, a list of folds: \[\{"train": \["ID", \.\.\.\], "val": \["ID"\]'):
        make_splits(cases_of(3), "8:1:1")
