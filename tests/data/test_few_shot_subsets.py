"""Few-shot subsets: nested, stratified, of whole groups where the split is by group, and the same for every method."""

import errno
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from htunet.data.few_shot import RATIOS, few_shot_order, few_shot_subset, take
from htunet.data.preprocessed import CaseGeometry
from htunet.errors import HtunetError, UsageError
from htunet.files import read_json, write_json
from htunet.reporting.tables.paper_figures import table


def cases_of(**counts: int) -> list[CaseGeometry]:
    return [case(f"{name}{number:03d}", name) for name, count in counts.items() for number in range(count)]


def case(name: str, class_name: str, group: str = "") -> CaseGeometry:
    return CaseGeometry(name, class_name, group, (1, 1), 0, 0, (1, 1))


def classes(cases: list[CaseGeometry]) -> dict[str, str]:
    return {case.id: case.class_name for case in cases}


BUSI = cases_of(benign=350, malignant=168)
"""As many as fold 0 of BUSI has for training."""


def test_the_ratios_are_those_of_table_4() -> None:
    assert [f"{100 * ratio:g}%" for ratio in RATIOS] == list(
        dict.fromkeys(row["ratio"] for row in table("table4_fewshot"))
    )


@pytest.mark.parametrize(
    ("ratio", "count", "malignant"),
    [(0.01, 5, 2), (0.02, 10, 3), (0.05, 26, 8), (0.1, 52, 17), (0.2, 104, 34), (0.35, 181, 59), (0.5, 259, 84)],
)
def test_a_share_has_its_number_of_images_and_of_each_class(ratio: float, count: int, malignant: int) -> None:
    """518 * 0.05 = 25.9 images, of which 168 / 518 = 32.4 % malignant: 8.4."""
    subset = take(few_shot_order(BUSI, seed=1), ratio, classes(BUSI))
    assert len(subset) == len(set(subset)) == count
    assert Counter(classes(BUSI)[name] for name in subset)["malignant"] == malignant


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_subset_contains_the_smaller_ones(seed: int) -> None:
    units = few_shot_order(BUSI, seed)
    subsets = [set(take(units, ratio, classes(BUSI))) for ratio in (*RATIOS, 0.99)]
    assert all(small < large for small, large in pairwise(subsets))


def test_the_seed_chooses_and_the_order_of_the_cases_does_not() -> None:
    assert few_shot_order(BUSI, 1) == few_shot_order(BUSI[::-1], 1)
    first, second = (take(few_shot_order(BUSI, seed), 0.1, classes(BUSI)) for seed in (1, 2))
    assert first != second


def test_a_rare_class_has_at_least_one_image() -> None:
    cases = cases_of(common=199, rare=1, scarce=3)
    subset = take(few_shot_order(cases, 1), 0.01, classes(cases))
    assert sorted(classes(cases)[name] for name in subset) == ["common", "rare", "scarce"]


def test_images_without_classes_are_of_one() -> None:
    cases = [case(f"x{number}", "") for number in range(40)]
    assert len(take(few_shot_order(cases, 1), 0.1, classes(cases))) == 4


def test_groups_are_taken_as_a_whole() -> None:
    cases = [case(f"x{n:02d}", "ab"[n % 4 == 3], group=f"g{n // 4}" if n < 32 else "") for n in range(40)]
    units = few_shot_order(cases, 1, by_group=True)
    assert sorted(map(len, units)) == [1] * 8 + [4] * 8
    for ratio in (0.1, 0.2, 0.35, 0.5):
        subset = set(take(units, ratio, classes(cases)))
        for group in {case.group for case in cases} - {""}:
            members = {case.id for case in cases if case.group == group}
            assert members <= subset or not members & subset
        assert 0 <= len(subset) - 40 * ratio < 4
        assert {classes(cases)[name] for name in subset} == {"a", "b"}


def test_the_order_of_the_images_of_a_group_changes_nothing() -> None:
    cases = [case(f"x{n:02d}", "ab"[n % 2], group=f"g{n // 4}") for n in range(20)]
    assert few_shot_order(cases, 1, by_group=True) == few_shot_order(cases[::-1], 1, by_group=True)


def test_a_group_is_of_the_class_that_most_of_its_images_have() -> None:
    kinds = {f"p{n}": "aaa" for n in range(6)} | {f"q{n}": "bba" for n in range(6)}
    cases = [case(f"{group}_{n}", name, group) for group, names in kinds.items() for n, name in enumerate(names)]
    units = few_shot_order(cases, 1, by_group=True)
    assert "".join(unit[0][0] for unit in units) == "pq" * 6


def test_a_share_is_an_exact_number() -> None:
    cases = cases_of(a=10)
    assert len(take(few_shot_order(cases, 1), 0.35, classes(cases))) == 4  # of 3.5; the nearest float is below 0.35


def test_a_ratio_that_leaves_no_image_is_refused() -> None:
    cases = cases_of(a=20, b=20)
    with pytest.raises(
        UsageError, match=r"--ratio 0.01 of 40 training images selects no image: the smallest .* 0.0125"
    ):
        take(few_shot_order(cases, 1), 0.01, classes(cases))
    assert len(take(few_shot_order(cases, 1), 0.0125, classes(cases))) == 2  # half an image is one, and one a class


def subset_of(
    path: Path, cases: list[CaseGeometry], *, by_group: bool = False, usable: set[str] | None = None
) -> list[str]:
    fold = {"train": [case.id for case in cases], "val": ["v"], "test": []}
    return few_shot_subset(path, fold, cases, ratio=0.1, seed=1, by_group=by_group, usable=usable)


def test_the_order_is_written_and_what_is_written_holds(tmp_path: Path) -> None:
    path = tmp_path / "few_shot" / "fold_0_seed_1.json"
    subset = subset_of(path, BUSI)
    content = read_json(path)
    assert subset == sorted(name for unit in content["order"][:52] for name in unit)
    write_json(path, content | {"order": content["order"][::-1]})
    assert subset_of(path, BUSI) == sorted(name for unit in content["order"][-52:] for name in unit)


def test_a_file_system_without_locks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    expected = subset_of(tmp_path / "fold_0_seed_1.json", BUSI)
    monkeypatch.setattr(fcntl, "flock", flock)
    assert subset_of(tmp_path / "fold_1_seed_1.json", BUSI) == expected


def test_an_order_of_another_split_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "fold_0_seed_1.json"
    subset_of(path, BUSI)
    fewer = BUSI[::2]
    assert set(subset_of(path, fewer)) < {case.id for case in fewer}


def test_an_order_of_single_images_is_made_anew_for_groups(tmp_path: Path) -> None:
    path = tmp_path / "fold_0_seed_1.json"
    cases = [case(f"g{n // 4}_{n % 4}", "a", group=f"g{n // 4}") for n in range(40)]
    subset_of(path, cases)
    subset = subset_of(path, cases, by_group=True)
    assert [len(unit) for unit in read_json(path)["order"]] == [4] * 10
    assert len({name[:2] for name in subset}) == 1


def test_a_share_is_one_of_the_usable_images(tmp_path: Path) -> None:
    usable = {case.id for case in BUSI[::2]}
    subset = subset_of(tmp_path / "fold_0_seed_1.json", BUSI, usable=usable)
    assert set(subset) < usable
    assert len(subset) == 26  # of 259


def test_an_order_that_lacks_an_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fold_0_seed_1.json"
    subset_of(path, BUSI)
    content = read_json(path)
    write_json(path, content | {"order": content["order"][1:]})
    with pytest.raises(HtunetError, match="does not hold each training image of its fold once"):
        subset_of(path, BUSI)
