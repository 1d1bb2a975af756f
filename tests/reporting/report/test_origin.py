from types import SimpleNamespace
from typing import Any

from htunet.reporting.report.origin import collect_versions


def test_a_run_that_was_resumed_with_another_version_has_both() -> None:
    resumed = {
        "made_by": {"torch": "2.9"},
        "continued_with": [{"epoch": 7, "torch": ["2.8", "2.9"], "threads": [1, 2]}],
    }
    study: Any = SimpleNamespace(
        settings={"one": {"made_by": {"torch": "2.9"}}, "two": resumed},
        runs={"one": {"evaluated_with": {"numpy": "2.4"}}, "two": {"evaluated_with": {"numpy": "2.4"}}},
    )
    found = {(facts.title, facts.rows) for facts in collect_versions(study)}
    assert found == {
        ("Trained with (1 run)", (("torch", "2.9"),)),
        ("Trained with (1 run)", (("torch", "2.9"), ("before epoch 7", "torch 2.8, threads 1"))),
        ("Evaluated with (2 runs)", (("numpy", "2.4"),)),
    }
