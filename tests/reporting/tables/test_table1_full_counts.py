"""Every row of Table I from the distributed layouts at their full counts, with tiny images."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.busi import build_busi
from builders.curd import FULL as FULL_PATIENTS
from builders.curd import FULL_WITH_ONE_VIEW, build_curd
from builders.ddti import build_ddti_png
from builders.lymph_node import FULL_COUNTS, build_lymph_node
from builders.medpix import build_medpix_table
from builders.pmc_oa import build_pmc_oa
from builders.prostate import build_prostate, full_counts
from builders.tn3k import build_tn3k

from dataset_conversion import CONVERTERS, convert
from dataset_conversion.common import Options
from htunet.data.caption_splits import save_caption_split, settle_caption_split
from htunet.data.captions import read_captions
from htunet.data.raw import read_raw
from htunet.data.split_files import settle_splits
from htunet.paths import DatasetPaths
from htunet.reporting.tables.table1 import SPLIT, table1_rows

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


def pmc_oa(folder: Path) -> None:
    build_pmc_oa(folder, ultrasound=5476, others=524, quirks=False, zipped=False)


def curd(folder: Path) -> None:
    build_curd(folder, patients=FULL_PATIENTS, one_view=FULL_WITH_ONE_VIEW, quirks=False)


def medpix(folder: Path) -> None:
    build_medpix_table(folder, pairs=23903, short=575, missing=7, side=4)


@pytest.mark.parametrize(
    ("name", "build", "options"),
    [
        ("PMC-OA", pmc_oa, Options(min_side=8, workers=1)),
        ("CURD", curd, Options(workers=1)),
        ("MedPix", medpix, Options(workers=1)),
    ],
)
def test_the_rows_of_the_caption_sets_come_out(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, build: Callable[[Path], None], options: Options
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    build(home / "download")
    convert(name, home / "download", options)
    dataset = read_captions(DatasetPaths(CONVERTERS[name].facts.dataset))
    save_caption_split(dataset.paths, settle_caption_split(dataset))
    (row,) = (row for row in table1_rows() if row.dataset == dataset.paths.name)
    assert row.ours == row.paper
    assert row.origin == SPLIT
    assert row.ours is not None
    assert row.ours.total == len(dataset.pairs)
    assert row.paper_total - row.ours.total == (7 if name == "MedPix" else 0)
