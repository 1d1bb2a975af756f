import numpy as np
import pytest

from htunet.evaluation import statistics
from htunet.evaluation.statistics import bootstrap_estimates, bootstrap_means, intervals


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_the_mean_leaves_out_only_what_has_no_value_and_says_so() -> None:
    (found,) = bootstrap_means(column(1.0, 3.0, np.nan))
    assert (found.mean, found.n_used, found.n_cases) == (2.0, 2, 3)


def test_equal_values_have_an_interval_of_no_width() -> None:
    (found,) = bootstrap_means(column(0.5, 0.5, 0.5))
    assert (found.low, found.high) == (0.5, 0.5)


def test_the_interval_is_near_the_one_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(10, 2, (400, 1))
    (found,) = bootstrap_means(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


@pytest.mark.parametrize(
    ("draws", "value", "below", "above"),
    [
        (11, 0.0, 0.00855, 0.99145),  # of a normal distribution below -2.385 and 2.385
        (20_001, 0.2, 0.0302, 0.99808),  # 60 % of the draws are below 0.2: both move by twice 0.253
    ],
)
def test_few_groups_widen_the_interval_and_a_bias_moves_it(
    draws: int, value: float, below: float, above: float
) -> None:
    # t of 9 degrees of freedom is 2.262, times sqrt(10 / 9) 2.385
    drawn, excluded = np.linspace(-1, 1, draws)[:, None], np.linspace(-1, 1, 10)[:, None]
    low, high = intervals(drawn, np.array([value]), excluded)
    assert (low[0], high[0]) == pytest.approx((2 * below - 1, 2 * above - 1), abs=1e-4)


def test_draws_that_equal_the_value_are_no_bias() -> None:
    drawn = np.concatenate([np.linspace(-1, 1, 1001), np.zeros(1000)])[:, None]
    low, high = intervals(drawn, np.zeros(1), np.linspace(-1, 1, 10)[:, None])
    assert -low[0] == pytest.approx(high[0])


def test_a_figure_that_is_a_mean_has_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(0).beta(9, 1.6, 600)
    found = bootstrap_estimates(lambda weights: {"mean": weights @ values / weights.sum(axis=1)}, 600, resamples=500)
    (mean,) = bootstrap_means(values[:, None], resamples=500)
    assert (found["mean"].low, found["mean"].high) == pytest.approx((mean.low, mean.high))


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    values = np.random.default_rng(0).random((30, 2))
    assert bootstrap_means(values, seed=1) == bootstrap_means(values, seed=1)
    assert bootstrap_means(values, seed=1) != bootstrap_means(values, seed=2)


def test_images_of_one_patient_do_not_make_a_mean_surer() -> None:
    patients = np.random.default_rng(0).random(10)
    (alone,) = bootstrap_means(column(*patients))
    repeated = np.repeat(patients, 8)
    (grouped,) = bootstrap_means(column(*repeated), [f"patient {i // 8}" for i in range(80)])
    (ungrouped,) = bootstrap_means(column(*repeated))
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low)
    assert ungrouped.high - ungrouped.low < 0.5 * (grouped.high - grouped.low)


def test_an_empty_group_name_means_that_the_case_stands_alone() -> None:
    values = column(*np.random.default_rng(0).random(12))
    assert bootstrap_means(values, [""] * 12) == bootstrap_means(values)


@pytest.mark.parametrize(("values", "groups"), [((1.0,), None), ((1.0, 2.0), ["one", "one"])])
def test_fewer_than_two_groups_give_no_interval(values: tuple[float, ...], groups: list[str] | None) -> None:
    (found,) = bootstrap_means(column(*values), groups)
    assert found.mean == np.mean(values)
    assert (found.low, found.high) == (None, None)


def test_one_group_with_a_value_gives_no_interval() -> None:
    (found,) = bootstrap_means(column(1.0, np.nan, np.nan))
    assert (found.mean, found.low, found.high) == (1.0, None, None)


def test_no_value_at_all_gives_no_mean() -> None:
    (found,) = bootstrap_means(column(np.nan, np.nan))
    assert (found.mean, found.low, found.n_used, found.n_cases) == (None, None, 0, 2)


def test_an_infinite_value_is_refused_with_its_row() -> None:
    with pytest.raises(ValueError, match=r"Rows \[1\]"):
        bootstrap_means(column(1.0, np.inf))


def test_a_wrong_number_of_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cases but 1 group"):
        bootstrap_means(column(1.0, 2.0), ["a"])


def test_many_groups_are_drawn_in_small_parts_that_are_not_kept_and_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(3).random((61, 2))
    whole = bootstrap_means(values, resamples=700)
    kept = statistics._kept_counts.cache_info().currsize
    monkeypatch.setattr(statistics, "KEPT", 0)
    monkeypatch.setattr(statistics, "DRAWN_AT_ONCE", 61 * 7)
    assert [len(part) for part in statistics._draws(61, 5, 15)] == [7, 7, 1]
    for one, other in zip(bootstrap_means(values, resamples=700), whole, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)
    assert statistics._kept_counts.cache_info().currsize == kept
