"""Worker processes give the results of one process, name what fails, and end with their parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from htunet.errors import HtunetError
from htunet.parallel import (
    AHEAD,
    IN_PROCESS_BELOW,
    THREADS_BELOW,
    available_cores,
    kept_workers,
    parallel_map,
    suitable_workers,
)


def square(number: int) -> int:
    return number * number


def fail_on_3(number: int) -> int:
    if number == 3:
        raise KeyError("three")
    return number


def need_memory_for_3(number: int) -> int:
    if number == 3:
        raise MemoryError("Unable to allocate 8 GiB for an array")
    return number


def refuse_3(number: int) -> int:
    if number == 3:
        raise HtunetError("Three is missing.")
    return number


def die_on_3(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def process_of(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(parallel_map(square, range(20), workers=workers)) == [n * n for n in range(20)]
    assert list(parallel_map(square, [], workers=workers)) == []


@pytest.mark.parametrize(("workers", "threads"), [(1, False), (2, True), (3, False)])
def test_items_are_made_and_results_kept_a_few_at_a_time(workers: int, *, threads: bool) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            made.append(item)
            yield item

    results = parallel_map(square, items(), workers=workers, threads=threads, number=1000)
    for taken, found in enumerate(results):
        assert found == taken * taken
        assert len(made) <= taken + 1 + 8 * AHEAD * workers
    assert len(made) == 1000


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unexpected_error_starts_with_the_items_name(workers: int) -> None:
    with pytest.raises(RuntimeError, match="case 3: KeyError: 'three'"):
        list(parallel_map(fail_on_3, range(6), workers=workers, name=lambda n: f"case {n}"))


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_that_ran_out_is_no_bug_of_an_item(workers: int) -> None:
    with pytest.raises(MemoryError, match="8 GiB"):
        list(parallel_map(need_memory_for_3, range(6), workers=workers, name=lambda n: f"case {n}"))


def test_threads_do_it_where_two_are_enough_or_the_work_is_short() -> None:
    def here(number: int) -> tuple[int, int]:  # no process could be sent this function
        return os.getpid(), number

    assert list(parallel_map(here, range(30), workers=2, threads=True)) == [(os.getpid(), n) for n in range(30)]
    assert {pid for pid, _ in parallel_map(here, range(9), workers=3, threads=True)} == {os.getpid()}
    many = parallel_map(process_of, range(THREADS_BELOW), workers=3, threads=True)
    assert os.getpid() not in set(many)
    with pytest.raises(HtunetError, match="Three"):
        list(parallel_map(refuse_3, range(9), workers=2, threads=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_users_error_comes_as_it_is(workers: int) -> None:
    with pytest.raises(HtunetError, match=r"^Three is missing\.$"):
        list(parallel_map(refuse_3, range(6), workers=workers))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_worker_is_told_with_the_way_out() -> None:
    with pytest.raises(HtunetError, match="--workers 1"):
        list(parallel_map(die_on_3, range(6), workers=2))


def test_a_script_whose_work_begins_on_import_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text("from htunet.parallel import parallel_map\nprint(list(parallel_map(abs, range(6), workers=2)))\n")
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    # Python may warn of the queues of the workers that could not start, behind the error.
    error = next(line for line in result.stderr.splitlines() if line.startswith("htunet.errors.HtunetError: "))
    assert "if __name__ == '__main__':" in error


def test_one_worker_is_this_process_and_two_are_others() -> None:
    assert set(parallel_map(process_of, range(3), workers=1)) == {os.getpid()}
    assert os.getpid() not in set(parallel_map(process_of, range(3), workers=2))


def test_few_items_start_no_process_unless_asked() -> None:
    assert suitable_workers(IN_PROCESS_BELOW - 1) == 1
    assert suitable_workers(IN_PROCESS_BELOW) == min(available_cores(), 16)
    assert suitable_workers(5, 3) == 3
    assert suitable_workers(500, 0) == 1


def test_calls_within_kept_workers_share_processes_that_end_with_it() -> None:
    with kept_workers():
        first = set(parallel_map(process_of, range(60), workers=2))
        second = set(parallel_map(process_of, range(60), workers=2))
        with pytest.raises(HtunetError):
            list(parallel_map(refuse_3, range(6), workers=2))
        third = set(parallel_map(process_of, range(60), workers=2))
    assert len(first | second) <= 2
    assert not (first | second) & third
    for process in third:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
