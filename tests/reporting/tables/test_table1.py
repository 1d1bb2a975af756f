import csv
from pathlib import Path

import pytest
from builders.raw import build_raw

from htunet.cli.table1 import main
from htunet.data.captions import CaptionInfo, CaptionPair, write_captions
from htunet.data.raw import read_raw
from htunet.data.split_files import save_splits, settle_splits
from htunet.files import write_text
from htunet.paths import DatasetPaths, root
from htunet.reporting.tables.table1 import COLUMNS, Sizes, SizesRow, sizes_data, sizes_table, table1_rows
from htunet.reporting.tables.write import as_csv, as_markdown, as_text


def row_of(dataset: str) -> SizesRow:
    (row,) = (row for row in table1_rows() if row.dataset == dataset)
    return row


def test_the_papers_nine_data_sets_are_shown_before_anything_is_converted(home: Path) -> None:
    rows = table1_rows()
    names = ["PMC-OA", "CURD", "MedPix", "LN-INT", "LN-EXT", "BUSI", "DDTI", "TN3K", "Prostate"]
    assert [row.dataset for row in rows] == names
    assert {(row.ours, row.same, row.notes[0]) for row in rows} == {(None, None, "not converted yet")}
    assert rows[7].paper == Sizes(2304, 575, 614)


def test_the_printed_total_that_is_no_sum_is_told(home: Path) -> None:
    row = row_of("MedPix")
    assert (row.paper, row.paper_total) == (Sizes(21512, 2391, 0), 23910)
    assert row.notes[1] == "the paper prints the total 23910; its splits add up to 23903"
    assert sum(len(row.notes) > 1 for row in table1_rows()) == 1


def test_without_a_split_the_rule_tells_what_would_come_out(home: Path) -> None:
    build_raw(647, name="Dataset503_BUSI", sizes=((8, 8),))
    build_raw(20, name="Dataset502_LN-EXT", rule="test only")
    build_raw(21, test=7, name="Dataset505_TN3K", rule="8:2", classes=())
    busi, external, tn3k = (row_of(name) for name in ("Dataset503_BUSI", "Dataset502_LN-EXT", "Dataset505_TN3K"))
    assert (busi.ours, busi.origin, busi.same) == (Sizes(518, 65, 64), "rule", True)
    assert (external.ours, external.same) == (Sizes(0, 0, 20), False)
    assert (tn3k.ours, tn3k.same, tn3k.notes) == (Sizes(17, 4, 7), False, ())


def test_the_split_on_disk_counts_and_its_way_is_told(home: Path) -> None:
    paths = build_raw(30, groups=15)
    settle_splits(read_raw(paths), "group")
    row = row_of(paths.name)
    assert (row.ours, row.origin, row.paper, row.same) == (Sizes(24, 2, 4), "split", None, None)
    assert row.notes == ("split by group, where the paper splits by image",)
    paths.splits_made_json.unlink()
    save_splits(paths.splits_json, [{"train": ["case_0000"], "val": ["case_0001"], "test": []}])
    row = row_of(paths.name)
    assert (row.ours, row.notes) == (Sizes(1, 1, 0), ("a split of your own",))


def test_captions_are_counted_with_their_own_split(home: Path) -> None:
    paths = DatasetPaths("Dataset508_CURD")
    (paths.raw / "images").mkdir(parents=True)
    pairs = [
        CaptionPair(image=f"images/c{n}.png", caption=f"a liver {n}", source=f"{n}.jpeg", id=f"c{n}", language="en")
        for n in range(20)
    ]
    for pair in pairs:
        (paths.raw / pair.image).write_bytes(b"")
    write_captions(paths.raw, CaptionInfo(name="CURD", licence="", reference="", description=""), pairs, [])
    row = row_of(paths.name)
    assert (row.ours, row.origin, row.paper, row.same) == (Sizes(18, 2, 0), "rule", Sizes(13228, 1500, 0), False)


def test_the_same_total_in_other_splits_is_not_the_same(home: Path) -> None:
    paths = build_raw(647, name="Dataset503_BUSI", sizes=((8, 8),))
    ids = [case.id for case in read_raw(paths).cases]
    save_splits(paths.splits_json, [{"train": ids[:517], "val": ids[517:583], "test": ids[583:]}])
    row = row_of(paths.name)
    assert (row.ours, row.same) == (Sizes(517, 66, 64), False)


def test_a_broken_data_set_is_named_and_the_others_are_shown(home: Path) -> None:
    write_text(build_raw(12, name="Dataset504_DDTI").cases_csv, "id\n")
    build_raw(12, name="Dataset503_BUSI")
    broken = row_of("Dataset504_DDTI")
    assert broken.ours is None
    assert "lacks the columns" in broken.notes[0]
    assert row_of("Dataset503_BUSI").ours == Sizes(10, 1, 1)


def test_two_versions_of_a_data_set_stand_below_each_other(home: Path) -> None:
    build_raw(12, name="Dataset503_BUSI")
    build_raw(20, name="Dataset603_BUSI")
    assert [row.dataset for row in table1_rows()][5:7] == ["Dataset503_BUSI", "Dataset603_BUSI"]


def test_all_formats_hold_the_same_figures(home: Path) -> None:
    build_raw(647, name="Dataset503_BUSI", sizes=((8, 8),))
    rows = table1_rows()
    lines = csv.DictReader(as_csv(sizes_data(rows)).splitlines())
    (busi,) = (line for line in lines if line["dataset"] == "Dataset503_BUSI")
    assert [busi[column] for column in COLUMNS[1:10]] == ["518", "65", "64", "647", "518", "65", "64", "647", "yes"]
    line = r"| Dataset503\_BUSI | 518 | 65 | 64 | 647 | 518 / 65 / 64 (647) | yes | rule |  |"
    assert line in as_markdown(sizes_table(rows)).splitlines()
    assert "Dataset503_BUSI    518   65    64    647  518 / 65 / 64 (647)" in as_text(sizes_table(rows, narrow=True))


def test_the_command_prints_and_writes_the_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_raw(12, name="Dataset503_BUSI")
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "MedPix: the paper prints the total 23910; its splits add up to 23903" in printed
    folder = root("htunet_results") / "tables"
    assert printed.splitlines()[-1] == f"Written to {folder}: table1.csv, .md"
    assert (folder / "table1.csv").read_text(encoding="utf-8").count("\n") == 10
