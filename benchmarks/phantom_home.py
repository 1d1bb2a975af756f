"""Images, converted, split and preprocessed for small networks: what the benchmarks of learning start from."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.stage1_learning import run
from dataset_conversion.phantom.scan import NORMAL_SHARE, write_phantom
from htunet.cli.convert import main as convert
from htunet.cli.plan_and_preprocess import main as plan_and_preprocess
from htunet.paths import ROOTS, DatasetPaths, find_dataset
from htunet.planning.plans import load_plans, save_plans


def prepare_phantom(
    home: Path,
    plan: str,
    *,
    images: int,
    split_by: str,
    normal_share: float = NORMAL_SHARE,
    **changes: Any,  # noqa: ANN401
) -> DatasetPaths:
    """``prepare`` with phantom images."""
    if not (home / "phantom").exists():
        write_phantom(home / "phantom", num_images=images, seed=1, normal_share=normal_share)
    return prepare(home, "Phantom", home / "phantom", plan, split_by=split_by, **changes)


def prepare(
    home: Path,
    name: str,
    source: Path,
    plan: str,
    *,
    split_by: str,
    **changes: Any,  # noqa: ANN401
) -> DatasetPaths:
    """Make ``home`` htunet's folder; the plan ``plan`` is the paper's with ``changes``. What is there already stays."""
    for variable, folder in ROOTS.items():
        os.environ[variable] = str(home / folder)
    run(convert, name, str(source), "--workers", "1")
    run(plan_and_preprocess, "-d", name, "--plan", "paper", "--split-by", split_by, "--workers", "0")
    dataset = find_dataset(name)
    plans = load_plans(dataset.plans_json)
    save_plans(dataset.plans_json, plans | {plan: replace(plans["paper"], name=plan, **changes)})
    run(plan_and_preprocess, "-d", name, "--plan", plan, "--workers", "0")
    return dataset
