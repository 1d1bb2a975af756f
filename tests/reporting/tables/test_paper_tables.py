"""Tables II to VII from a few runs: what stands in a cell, what is marked, and what is missing."""

import csv
from pathlib import Path

import pytest
from builders.results import classes, masks

from htunet.cli.tables import main
from htunet.errors import UsageError
from htunet.evaluation.case_table import case_table
from htunet.evaluation.study import study
from htunet.files import write_json
from htunet.paths import DatasetPaths, RunPaths, root
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.few_shot_means import few_shot_rows
from htunet.reporting.tables.kinds import CLASSIFICATION
from htunet.reporting.tables.paper_layouts import TABLES, chosen, find_table
from htunet.reporting.tables.paper_print import missing, paper_data, paper_markdown, paper_text, printed_parts
from htunet.reporting.tables.paper_tables import Cell, fill, zero_shot_row
from htunet.reporting.tables.rows import table_rows
from htunet.reporting.tables.study_files import write_paper_tables
from htunet.reporting.tables.write import as_csv, as_latex

BUSI = ["BUSI"]


def cell(cells: list[Cell], method: str, dataset: str = "BUSI", metric: str = "dice") -> Cell:
    (found,) = (c for c in cells if (c.line.method, c.dataset, c.metric) == (method, dataset, metric))
    return found


def seeds(method: str, *means: float, **about: object) -> list[dict]:
    fine_tuned = {"adapter": {"datasets": list(paper.CAPTIONS)}} if "_" in method else {}
    about = {"settings": fine_tuned} | about
    return [masks(method, [mean] * 64, seed=seed, **about) for seed, mean in enumerate(means, start=1)]


@pytest.mark.parametrize("name", TABLES)
def test_every_figure_of_the_paper_has_its_cell(name: str) -> None:
    table = TABLES[name]
    printed = sum(value != "" for row in paper.table(table.source) for key, value in row.items()
                  if key not in ("method", "dataset", "ratio", "setting", "trainable_params"))  # fmt: skip
    cells = fill(table, [])
    own = [c for c in cells if c.metric in ("hd95", "asd")]  # by the definitions of the paper's text
    assert len([c for c in cells if c.paper is not None]) == len(cells) - len(own) == printed
    assert not any(c.paper for c in own)
    for text in (
        paper_markdown(table, cells),
        as_latex(*printed_parts(table, cells)),
        as_csv(paper_data(table, cells)),
        paper_text(table, cells),
    ):
        assert text


def test_the_papers_figures_stand_at_their_places() -> None:
    assert cell(fill(TABLES["table2"], []), "CLIP_HT").paper == 81.19
    assert cell(fill(TABLES["table5"], []), "BiomedCLIP_Mona", "Average").paper == 82.32
    few = [c for c in fill(TABLES["table4"], []) if c.line.ratio == 0.35 and c.line.name == "HT"]
    assert [c.paper for c in few if c.paper] == [78.94, 69.28, 22.24, 7.83, 76.76, 58.86, 83.44, 67.83, 86.06]
    (zero,) = (c for c in fill(TABLES["table3"], []) if c.line.group == "zero-shot" and c.line.method == "CLIP"
               and (c.dataset, c.metric) == ("BUSI", "auc"))  # fmt: skip
    assert zero.paper == 69.96


def test_a_complete_cell_has_mean_and_deviation_and_nothing_to_do() -> None:
    found = cell(fill(TABLES["table2"], seeds("CLIP_HT", 0.80, 0.82, 0.84)), "CLIP_HT")
    assert (found.estimate.text(), found.marks, found.commands) == ("82.00 ± 2.00", (), ())


def test_a_missing_seed_is_marked_and_its_command_told() -> None:
    found = cell(fill(TABLES["table2"], seeds("CLIP_HT", 0.80, 0.82)), "CLIP_HT")
    assert found.marks == ("2 of the paper's 3 seeds",)
    assert found.commands == (
        "htunet_finetune CLIP_HT -d PMC-OA CURD MedPix --seed 1",
        "htunet_train BUSI CLIP_HT fold0 --seed 3 --adapter finetuned",
    )


def test_a_missing_cell_says_the_commands_with_the_papers_plan_task_and_share() -> None:
    assert (
        cell(fill(TABLES["table2"], []), "DINOv2").commands[0]
        == "htunet_train BUSI DINOv2 fold0 --seed 1 --plan paper_518"
    )
    external = cell(fill(TABLES["table6"], []), "BiomedCLIP_HT", "LN-EXT", "auc").commands
    assert external[0] == "htunet_finetune BiomedCLIP_HT -d PMC-OA CURD MedPix --seed 1"
    assert external[1] == "htunet_train LN-INT BiomedCLIP_HT fold0 --seed 1 --task cls --adapter finetuned"
    assert external[-1] == "htunet_evaluate LN-EXT BiomedCLIP_HT --trained-on LN-INT"
    few = fill(chosen(TABLES["table4"], BUSI, ["BiomedCLIP_HT"]), [])
    assert "htunet_train BUSI BiomedCLIP_HT fold0 --seed 2 --ratio 0.02 --adapter finetuned" in missing(few)


def test_runs_on_other_data_fill_only_the_cells_where_the_paper_does_the_same() -> None:
    about = {"dataset": "Dataset502_LN-EXT", "trained_on": {"dataset": "Dataset501_LN-INT", "part": "all"}}
    cells = fill(TABLES["table2"], [*seeds("CLIP", 0.7, **about), *seeds("UNet", 0.9, **about | {"trained_on": None})])
    assert cell(cells, "CLIP", "LN-EXT").estimate.mean == pytest.approx(70)
    assert cell(cells, "UNet", "LN-EXT").estimate.mean is None


def test_the_nearest_to_the_paper_stands_in_the_cell_and_the_marks_say_the_rest() -> None:
    random = seeds("CLIP", 0.9, weights={"source": "random"})
    wide = seeds("CLIP", 0.8, 0.8, plan="wide", num_epochs=20, epochs=20)
    assert cell(fill(TABLES["table2"], random), "CLIP").marks[0] == "random weights"
    found = cell(fill(TABLES["table2"], [*random, *wide]), "CLIP")
    assert found.estimate.mean == pytest.approx(80)
    assert found.marks == ("plan wide", "20 of the paper's 200 epochs", "2 of the paper's 3 seeds")


def test_larger_dice_and_smaller_distances_are_best() -> None:
    cells = fill(TABLES["table2"], [*seeds("CLIP", 0.7), *seeds("UNet", 0.6), *seeds("CLIP_HT", 0.8)])
    ranks = {m: [cell(cells, m, metric=k).rank for k in ("dice", "hd95")] for m in ("CLIP_HT", "CLIP", "UNet")}
    assert ranks == {"CLIP_HT": [1, 1], "CLIP": [2, 2], "UNet": [0, 0]}


def test_equal_figures_share_a_rank_and_a_single_one_has_none() -> None:
    cells = fill(TABLES["table2"], [*seeds("CLIP", 0.7), *seeds("UNet", 0.7), *seeds("CLIP_HT", 0.6)])
    assert [cell(cells, m).rank for m in ("CLIP", "UNet", "CLIP_HT")] == [1, 1, 2]
    assert cell(fill(TABLES["table2"], seeds("CLIP", 0.7)), "CLIP").rank == 0


def test_the_mean_over_data_sets_waits_for_all_of_them_and_spreads_over_seeds() -> None:
    table = chosen(TABLES["table5"], ["BUSI", "TN3K"])
    busi, other = seeds("BiomedCLIP", 0.6, 0.8), seeds("BiomedCLIP", 0.7, 0.5, dataset="Dataset505_TN3K")
    alone = cell(fill(table, busi), "BiomedCLIP", "Average")
    assert (alone.estimate.mean, alone.paper) == (None, None)
    both = cell(fill(table, [*busi, *other]), "BiomedCLIP", "Average")
    assert both.estimate.mean == pytest.approx(65)
    assert both.estimate.std == pytest.approx(0.0, abs=1e-9)  # 65 in either seed


def test_means_over_data_sets_have_the_papers_recall_beside_that_of_the_same_class_alone() -> None:
    truth = {f"c{i}": "malignant" if i % 2 else "benign" for i in range(4)}
    names = ("Dataset501_LN-INT", "Dataset502_LN-EXT", "Dataset503_BUSI")
    found = [classes("BiomedCLIP_HT", dict.fromkeys(truth, 0.75), truth, dataset=name) for name in names]
    found[1]["htunet"]["trained_on"] = {"dataset": "Dataset501_LN-INT", "part": "all", "cases": []}
    few = [{"htunet": content["htunet"] | {"ratio": 0.05}} for content in found]

    def printed(metric: str) -> list[bool]:
        one = cell(fill(TABLES["table6"], found), "BiomedCLIP_HT", "Average", metric)
        (row,) = few_shot_rows(table_rows(few, kind=CLASSIFICATION))
        return [one.paper is not None, metric in row.paper]

    assert printed("recall") == printed("accuracy") == [True, True]
    for content in (found[2], few[2]):
        content["htunet"]["classification"] |= {"positive": "benign"}
    assert (printed("recall"), printed("accuracy")) == ([False, False], [True, True])


def test_a_table_that_is_there_never_keeps_results_that_are_gone(tmp_path: Path) -> None:
    table, contents = TABLES["table2"], seeds("CLIP", 0.7)
    for found in (contents, []):
        written = write_paper_tables(tmp_path, found, study(case_table(found)), tables=[table], only_of_paper=True)
        assert [*written] == ["table2"]
        assert ("70.0" in (tmp_path / "table2.csv").read_text(encoding="utf-8")) == bool(found)
    assert not write_paper_tables(tmp_path / "new", [], study(case_table([])), tables=[table], only_of_paper=True)


def test_other_data_sets_and_methods_than_the_papers_can_be_asked_for() -> None:
    cells = fill(chosen(TABLES["table5"], ["Phantom"], ["BiomedCLIP_HT", "CLIP_Mona"]),
                 seeds("CLIP_Mona", 0.5, dataset="Dataset509_Phantom"))  # fmt: skip
    assert {c.line.method for c in cells} == {"BiomedCLIP_HT", "CLIP_Mona"}
    assert cell(cells, "CLIP_Mona", "Phantom").estimate.mean == pytest.approx(50)
    assert cell(cells, "BiomedCLIP_HT", "Phantom").paper is None


def test_a_classification_by_sentences_fills_its_rows() -> None:
    figure = {"value": 0.6, "low": 0.5, "high": 0.7}
    content = {"dataset": "Dataset503_BUSI", "method": "CLIP", "plan": "paper", "part": "all", "seed": 1,
               "weights": {"source": "random"}, "adapter": None,
               "zero_shot": {"n_cases": 647, "auc": figure, "accuracy": figure}}  # fmt: skip
    cells = fill(TABLES["table3"], [], zero_shot=[content])
    (found,) = (c for c in cells if c.estimate.mean is not None and c.metric == "auc")
    assert (found.line.group, found.dataset, found.estimate.mean, found.estimate.low, found.estimate.high) == (
        "zero-shot",
        "BUSI",
        60,
        50,
        70,
    )
    assert found.marks == ("random weights",)
    assert found.commands == ()
    few = zero_shot_row(content | {"zero_shot": content["zero_shot"] | {"n_cases": 9}})
    assert (few.few, few.marks[-1]) == ("few test cases: 9", "few test cases: 9")
    own = {"weights": {"source": "file", "file": "my.pt"}, "prompts": "my/own.json", "earlier": "of earlier images"}
    assert zero_shot_row(content | own).marks == ("weights of my.pt", "prompts own.json", "of earlier images")
    assert zero_shot_row(content | {"prompts": "thyroid"}).marks == ("random weights", "prompts thyroid")
    of_paper = {"weights": {"source": "pretrained"}, "prompts": "breast"}
    assert zero_shot_row(content | of_paper | {"plan_edited": False}).marks == ()
    assert zero_shot_row(content | of_paper | {"plan_edited": True}).marks == ("plan paper, edited",)


def test_cells_look_alike_in_every_format() -> None:
    table = chosen(TABLES["table2"], BUSI, ["CLIP", "CLIP_HT", "UNet"])
    contents = [*seeds("CLIP", 0.7), *seeds("CLIP_HT", 0.80, 0.82, 0.84), *seeds("UNet", 0.6)]
    cells = fill(table, contents)
    assert "| CLIP (HT) | 4.1 M | **82.00 ± 2.00** (81.19) |" in paper_markdown(table, cells)
    assert "| CLIP | 4.1 M | <u>70.00</u><sup>a</sup> (77.31) |" in paper_markdown(table, cells)
    assert "a: 1 of the paper's 3 seeds." in paper_markdown(table, cells)
    assert r"CLIP (HT) & 4.1 M & \textbf{82.00 $\pm$ 2.00} (81.19)" in as_latex(*printed_parts(table, cells))
    assert r"\underline{70.00}\textsuperscript{a} (77.31)" in as_latex(*printed_parts(table, cells))
    assert "82.00 ± 2.00* (81.19)" in paper_text(table, cells)
    (row,) = (
        r
        for r in csv.DictReader(as_csv(paper_data(table, cells)).splitlines())
        if (r["method"], r["metric"]) == ("CLIP", "dice")
    )
    assert (round(float(row["value"]), 9), row["rank"], row["paper"], row["marks"]) == (
        70.0,
        "2",
        "77.31",
        "1 of the paper's 3 seeds",
    )
    assert row["commands"].startswith("htunet_train BUSI CLIP fold0 --seed 2; htunet_train BUSI CLIP fold0 --seed 3")


def test_tables_in_latex_are_closed_and_their_columns_counted() -> None:
    for table in TABLES.values():
        text = as_latex(*printed_parts(table, fill(table, [])))
        for name in ("table*", "tabular"):
            assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") > 0
        for part in text.split(r"\begin{tabular}")[1:]:
            columns = part.split("@{}")[1]
            rows = [line for line in part.split(r"\midrule")[1].splitlines() if line.endswith(r"\\")]
            assert {row.count(" & ") + 1 for row in rows} == {len(columns)}


def test_an_unknown_table_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Did you mean 'table5'"):
        find_table("tabel5")


def test_the_command_prints_one_table_and_writes_the_statistics(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method, dice in (("CLIP", [0.5, 0.6, 0.7]), ("CLIP_HT", [0.6, 0.8, 0.75])):
        run = RunPaths(DatasetPaths("Dataset503_BUSI"), "SegmentationTrainer", "paper", method, 0, 1)
        for path, content in (
            (run.settings_json, {}),
            (run.finished_json, {}),
            (run.summary_json, masks(method, dice)),
        ):
            write_json(path, content)
    assert main(["table2", "--datasets", "BUSI", "--methods", "CLIP", "CLIP_HT"]) == 0
    out = capsys.readouterr().out
    assert "Table II: Segmentation" in out
    assert "htunet_train BUSI CLIP_HT fold0 --seed 2" in out
    folder = root("htunet_results") / "tables"
    statistics = {f"{name}.csv" for name in ("cases", "means", "by_size", "by_class", "comparisons")}
    assert {path.name for path in folder.iterdir()} == {*statistics, "table2.csv", "table2.md", "table2.tex"}
    row = next(r for r in csv.DictReader((folder / "table2.csv").open()) if (r["method"], r["metric"], r["dataset"])
               == ("CLIP_HT", "dice", "BUSI"))  # fmt: skip
    assert float(row["low"]) < float(row["value"]) < float(row["high"])
    assert "Differences on the same cases" in (folder / "table2.md").read_text(encoding="utf-8")


def test_the_letters_of_a_cell_stand_in_their_order() -> None:
    contents = [
        *seeds("UNet", 0.5, num_epochs=2, epochs=2),
        *seeds("CLIP", 0.4, weights={"source": "random"}, epochs=2),
    ]
    table = chosen(TABLES["table2"], BUSI, ["UNet", "CLIP"])
    text = paper_text(table, fill(table, contents))
    assert "50.00*ab (" in text
    assert "40.00+abc (" in text


def test_left_out_cases_are_counted_beside_the_metrics_that_leave_them_out() -> None:
    missed = masks("UNet", [0.0, *[0.6] * 63], settings={})
    table = chosen(TABLES["table2"], BUSI, ["UNet"])
    cells = fill(table, [missed])
    (part,) = printed_parts(table, cells)
    shown = {column.label: cell.text + cell.after for column, cell in zip(part.columns, part.rows[0], strict=True)}
    assert (shown["HD95 max"], shown["Excluded"]) == ("40.00 (26.42)", "1")
    assert shown["HD95"] == f"{(300 + 63 * 40) / 64:.2f}"  # by the text's definition a missed lesion costs, no figure
    (row,) = (r for r in csv.DictReader(as_csv(paper_data(table, cells)).splitlines()) if r["metric"] == "hd95_max")
    assert (row["n_excluded"], row["paper"]) == ("1", "26.42")


def test_other_images_fill_a_cell_without_the_papers_figure() -> None:
    few = masks("UNet", [0.6] * 30, split_sizes={"train": 20, "val": 5, "test": 5})
    found = cell(fill(TABLES["table2"], [few]), "UNet")
    assert (found.paper, found.estimate.mean) == (None, pytest.approx(60))
    assert found.marks[0].startswith("not the paper's images: 20 train, 5 val, 5 test, the paper's BUSI 518 train")


def test_rows_of_methods_with_a_defect_in_the_public_code_have_a_letter_that_is_explained() -> None:
    text = paper_markdown(TABLES["table5"], fill(TABLES["table5"], []))
    assert "LoRA<sup>a</sup> |" in text
    assert "a: paper's result: its public code does not save what LoRA learns and tests without it." in text
    assert "HT<sup>" not in text


def test_recall_and_precision_name_their_positive_class() -> None:
    truth = {f"case_{n}": "malignant" if n % 2 else "benign" for n in range(40)}
    found = classes("BiomedCLIP_HT", dict.fromkeys(truth, 0.7), truth, settings={})
    table = chosen(TABLES["table6"], BUSI, ["BiomedCLIP_HT"])
    assert "Rec, Pre, F1: of malignant (BUSI)." in paper_text(table, fill(table, [found]))


def test_differences_are_those_of_the_runs_in_the_table_also_where_there_are_other_plans() -> None:
    low, high = [0.5, 0.55, 0.6, 0.65] * 16, [0.7, 0.75, 0.8, 0.85] * 16
    contents = [masks(name, dice, plan=plan) for plan in ("paper", "adaptive")
                for name, dice in (("CLIP", low), ("CLIP_HT", high))]  # fmt: skip
    table, found = chosen(TABLES["table2"], BUSI, ["CLIP", "CLIP_HT"]), study(case_table(contents))
    assert "CLIP (plan paper)" in set(found.comparisons["a"])
    text = paper_markdown(table, fill(table, contents, found.means), found)
    (row,) = (line for line in text.splitlines() if line.startswith(r"| Dataset503\_BUSI"))
    assert row.startswith(r"| Dataset503\_BUSI | CLIP\_HT - CLIP | Dice | 20.00 |")  # of the two runs in the table


def test_a_name_that_is_given_twice_counts_once() -> None:
    table = chosen(TABLES["table5"], ["BUSI", "BUSI"], ["Own", "Own"])
    assert [(part.datasets, line.method) for part in table.parts for line in table.lines] == [(("BUSI",), "Own")]


def test_a_method_that_does_not_exist_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table2", "--methods", "CLIP_TH"]) == 2
    assert "No method is called 'CLIP_TH'. Did you mean 'CLIP_HT'?" in capsys.readouterr().err


def test_results_in_a_format_that_is_not_read_are_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunPaths(DatasetPaths("Dataset503_BUSI"), "SegmentationTrainer", "paper", "CLIP", 0, 1)
    content = masks("CLIP", [0.5])
    write_json(run.settings_json, {})
    write_json(run.finished_json, {})
    write_json(run.summary_json, content | {"htunet": content["htunet"] | {"format": 99}})
    assert main(["table2", "--datasets", "BUSI", "--methods", "CLIP"]) == 0
    message = capsys.readouterr().err
    assert "Not in the tables: BUSI CLIP fold0 seed1 (plan paper): its summary has the format 99" in message
    assert "htunet_evaluate BUSI CLIP --force" in message


def test_a_difference_on_the_images_of_one_patient_has_no_interval_and_one_pair() -> None:
    found = [masks(name, dice, groups=["p", "p"]) for name, dice in (("CLIP_HT", [0.9, 0.8]), ("CLIP", [0.5, 0.6]))]
    table, statistics = chosen(TABLES["table2"], BUSI, ["CLIP", "CLIP_HT"]), study(case_table(found))
    text = paper_markdown(table, fill(table, found, statistics.means), statistics)
    assert r"| CLIP\_HT - CLIP | Dice | 30.00 | 30.00 | 1.000 | 1.00 | 1 |" in text


def test_what_is_rounded_is_neither_all_nor_nothing() -> None:
    found = [masks("UNet", [value] * 64, seed=seed) for seed, value in ((1, 0.99996), (2, 0.99992))]
    cells = fill(chosen(TABLES["table2"], BUSI, ["UNet"]), found)
    assert cell(cells, "UNet").text == "99.99 ± < 0.01"  # 99.994, and seeds that are 0.004 apart
    alone = fill(chosen(TABLES["table2"], BUSI, ["UNet"]), found[:1])
    assert [cell(alone, "UNet", metric=name).text for name in ("dice", "asd")] == ["> 99.99", "< 0.01"]
