"""What the loop over jobs begins, repeats, skips and gives up, with an engine that only pretends."""

from pathlib import Path

import pytest
from builders.jobs import PretendEngine, job

from htunet.experiments.jobs import RETRIES, Job, Result, in_order, run_jobs


def run(jobs: list[Job], engine: PretendEngine, folder: Path, **more: object) -> tuple[dict[str, Result], list[str]]:
    reported: list[str] = []
    results = run_jobs(jobs, engine, folder / "logs", tell=lambda j, what: reported.append(f"{j.name} {what}"), **more)  # type: ignore[arg-type]
    return results, reported


def statuses(results: dict[str, Result]) -> dict[str, str]:
    return {name: result.status for name, result in results.items()}


def succeeds(folder: Path, name: str) -> int:
    (folder / name).touch()
    return 0


def test_a_job_begins_after_those_that_it_needs(tmp_path: Path) -> None:
    engine = PretendEngine(tmp_path, lambda name: succeeds(tmp_path, name), slots=9)
    jobs = [job(tmp_path, "c", "a", "b"), job(tmp_path, "b", "a"), job(tmp_path, "a"), job(tmp_path, "d")]
    results, _ = run(jobs, engine, tmp_path)
    assert engine.begun == ["a", "d", "b", "c"]
    assert set(statuses(results).values()) == {"done"}


def test_no_more_workers_than_there_is_room_for(tmp_path: Path) -> None:
    engine = PretendEngine(tmp_path, lambda name: succeeds(tmp_path, name), slots=2)
    run([job(tmp_path, name) for name in "abcde"], engine, tmp_path)
    assert (engine.most, engine.begun) == (2, list("abcde"))


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    engine = PretendEngine(tmp_path, lambda name: succeeds(tmp_path, name))
    results, _ = run([job(tmp_path, "a"), job(tmp_path, "b", "a")], engine, tmp_path)
    assert engine.begun == ["b"]
    assert statuses(results) == {"a": "done", "b": "done"}


def test_a_killed_worker_begins_again_and_not_for_ever(tmp_path: Path) -> None:
    codes = iter([-9, -11])
    twice = PretendEngine(tmp_path, lambda name: next(codes, None) or succeeds(tmp_path, name))
    results, reported = run([job(tmp_path, "a")], twice, tmp_path)
    assert (results["a"].status, results["a"].attempts) == ("done", 3)
    assert reported[1] == "a ended by signal 9; it starts again"
    always = PretendEngine(tmp_path, lambda _: -9)
    results, _ = run([job(tmp_path, "b")], always, tmp_path)
    assert (results["b"].status, results["b"].attempts, results["b"].reason) == ("failed", 1 + RETRIES, "signal 9")


def test_an_exit_code_of_0_without_the_product_is_not_believed(tmp_path: Path) -> None:
    engine = PretendEngine(tmp_path, lambda _: 0)
    results, _ = run([job(tmp_path, "a")], engine, tmp_path)
    assert (results["a"].status, results["a"].attempts) == ("failed", 1 + RETRIES)


def test_a_failure_is_not_repeated_stops_only_what_needs_it_and_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text("epoch 1\nhtunet_train: error: no weights.\nmore\n")
    engine = PretendEngine(tmp_path, lambda name: 1 if name == "a" else succeeds(tmp_path, name))
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", "a"), job(tmp_path, "c", "b"), job(tmp_path, "d")]
    results, _ = run(jobs, engine, tmp_path)
    assert statuses(results) == {"a": "failed", "b": "not started", "c": "not started", "d": "done"}
    assert engine.begun == ["a", "d"]
    assert results["a"].reason == "htunet_train: error: no weights."
    assert results["a"].log == tmp_path / "logs" / "a.log"


def test_when_asked_to_stop_nothing_begins_any_more(tmp_path: Path) -> None:
    engine = PretendEngine(tmp_path, lambda name: succeeds(tmp_path, name), slots=1)
    results, _ = run(
        [job(tmp_path, "a"), job(tmp_path, "b")], engine, tmp_path, stop_requested=lambda: bool(engine.begun)
    )
    assert engine.begun == ["a"]
    assert statuses(results) == {"a": "done", "b": "stopped"}


def test_needs_that_nobody_meets_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wait for each other"):
        in_order([job(tmp_path, "a", "b"), job(tmp_path, "b", "a")])
