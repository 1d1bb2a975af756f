"""Threads that wait for each other leave the core to other programs."""

import argparse
import os

import pytest

from htunet.cli.command import make_parser, run_command


def spins_of_a_command() -> str | None:
    seen: list[str | None] = []

    def action(_: argparse.Namespace) -> None:
        seen.append(os.environ.get("GOMP_SPINCOUNT"))

    assert run_command(make_parser("htunet_test", "A test."), action, [], announce=False) == 0
    return seen[0]


def test_threads_sleep_soon_unless_the_user_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert spins_of_a_command() == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert spins_of_a_command() == "1000"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert spins_of_a_command() is None
