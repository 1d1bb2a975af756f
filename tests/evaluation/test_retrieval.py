"""Retrieval: places by hand, chunks against the whole matrix, and equal captions."""

import tracemalloc

import numpy as np
import pytest

from htunet.evaluation import retrieval as module
from htunet.evaluation.retrieval import ranks, retrieval


def unit(rng: np.random.Generator, count: int, width: int = 16) -> np.ndarray:
    values = rng.standard_normal((count, width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_places_that_can_be_read_off() -> None:
    queries = np.eye(3, dtype=np.float32)
    answers = np.array([[0.9, 0.0, 0.0], [0.5, 0.1, 0.0], [0.2, 0.6, 0.3]], dtype=np.float32)
    assert ranks(queries, answers, ["a", "b", "c"]).tolist() == [1, 2, 1]
    found = retrieval(queries, answers, ["a", "b", "c"])
    assert found.recall == {1: pytest.approx(2 / 3), 5: 1.0, 10: 1.0}
    assert found.values["median_rank"] == 1


def test_each_of_several_equal_captions_is_right() -> None:
    queries = np.eye(3, dtype=np.float32)
    answers = np.array([[0.1, 0, 0], [0.9, 0.2, 0], [0.5, 0.7, 0.3]], dtype=np.float32)
    assert ranks(queries, answers, ["a", "b", "c"]).tolist() == [3, 2, 1]
    assert ranks(queries, answers, ["same", "same", "c"]).tolist() == [1, 2, 1]


def test_answers_that_are_equally_similar_do_not_count_as_found() -> None:
    same = np.ones((4, 2), dtype=np.float32)
    assert ranks(same, same, ["a", "b", "c", "d"]).tolist() == [4, 4, 4, 4]
    assert ranks(same, same, ["a", "a", "c", "d"]).tolist() == [3, 3, 4, 4]


def test_chance_finds_a_caption_more_easily_that_several_pairs_have() -> None:
    same = np.eye(5, dtype=np.float32)
    chance = retrieval(same, same, ["a", "b", "a", "a", "c"]).chance
    assert chance[1] == pytest.approx((3 * 3 / 5 + 2 * 1 / 5) / 5)
    assert chance[5] == chance[10] == 1  # there are no more than five answers


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIMILARITIES", 150 * chunk)
    rng = np.random.default_rng(0)
    queries, answers = unit(rng, 150), unit(rng, 150)
    captions = [f"text {number}" for number in rng.integers(0, 90, 150)]
    scores = queries.astype(np.float64) @ answers.astype(np.float64).T
    expected = []
    for row in range(150):
        right = np.array([caption == captions[row] for caption in captions])
        expected.append(1 + int((scores[row][~right] > scores[row][right].max()).sum()))
    assert ranks(queries, answers, captions).tolist() == expected


def test_random_embeddings_are_found_as_often_as_chance_says() -> None:
    rng = np.random.default_rng(1)
    count = 3000
    captions = [f"text {number}" for number in rng.integers(0, 1000, count)]
    found = retrieval(unit(rng, count), unit(rng, count), captions)
    for depth, chance in found.chance.items():
        assert found.recall[depth] == pytest.approx(chance, abs=4 * np.sqrt(chance / count))
    assert retrieval(unit(rng, 50), unit(rng, 50), list(map(str, range(50)))).chance[5] == pytest.approx(0.1)


def test_only_a_chunk_of_the_similarities_is_in_memory() -> None:
    rng = np.random.default_rng(2)
    count = 8000
    queries, answers, captions = unit(rng, count), unit(rng, count), list(map(str, range(count)))
    tracemalloc.start()
    ranks(queries, answers, captions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * 4 * module.SIMILARITIES < count * count * 4 / 4


def test_what_is_no_number_has_no_rank() -> None:
    pairs = np.eye(3, dtype=np.float32)
    pairs[1] = np.nan
    for both in ((pairs, np.eye(3, dtype=np.float32)), (np.eye(3, dtype=np.float32), pairs)):
        with pytest.raises(ValueError, match="NaN"):
            retrieval(*both, ["a", "b", "c"])
