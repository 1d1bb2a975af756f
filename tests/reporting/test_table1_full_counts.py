"""Every row of Table I from the distributed layouts at their full counts, with tiny images."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.busi import build_busi
from builders.ddti import build_ddti_png
from builders.lymph_node import FULL_COUNTS, build_lymph_node
from builders.prostate import build_prostate, full_counts
from builders.tn3k import build_tn3k

from dataset_conversion.common import CONVERTERS, Options, convert
from htunet.data.raw import read_raw
from htunet.data.split_files import settle_splits
from htunet.paths import DatasetPaths
from htunet.reporting.table1 import SPLIT, table1_rows

TINY = (16, 20)


def ddti(folder: Path) -> None:
    build_ddti_png(folder, images=637, quirks=False, sizes=TINY)


def tn3k(folder: Path) -> None:
    build_tn3k(folder, trainval=2879, test=614, quirks=False, sizes=TINY)


def busi(folder: Path) -> None:
    build_busi(folder, benign=437, malignant=210, normal=133, quirks=False, sizes=TINY)


def internal(folder: Path) -> None:
    build_lymph_node(folder, **FULL_COUNTS["LN-INT"], quirks=False, size=(24, 24))


def external(folder: Path) -> None:
    build_lymph_node(folder, **FULL_COUNTS["LN-EXT"], quirks=False, size=(24, 24))


def prostate(folder: Path) -> None:
    build_prostate(folder, **full_counts(), quirks=False, size=(16, 20))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("LN-INT", internal),
        ("LN-EXT", external),
        ("BUSI", busi),
        ("DDTI", ddti),
        ("TN3K", tn3k),
        ("Prostate", prostate),
    ],
)
def test_the_rows_of_the_image_sets_come_out(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, build: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # two for each case; what a power cut would lose is not asked here
    build(home / "download")
    report = convert(name, home / "download", Options(workers=1))
    assert report.differences == report.duplicates == ()
    raw = read_raw(DatasetPaths(CONVERTERS[name].facts.dataset))
    settle_splits(raw)
    (row,) = (row for row in table1_rows() if row.dataset == raw.paths.name)
    assert row.ours == row.paper
    assert row.same
    assert row.origin == SPLIT
    assert row.ours is not None
    assert row.ours.total == row.paper_total == len(raw.cases)
