"""Two seeds of one method, a random run and a baseline: every figure can be checked by hand."""

import csv
import io
from typing import Any

import pytest
from builders.metrics import without_new_metrics
from builders.results import classes

from htunet.evaluation.metrics import METRICS
from htunet.reporting.tables.kinds import CLASSIFICATION, PrintedEstimate
from htunet.reporting.tables.paper_figures import ADAPTERS, METHODS, segmentation_figures, table, table_names
from htunet.reporting.tables.rows import Row, averaged_as, row_data, row_tables, table_rows
from htunet.reporting.tables.write import (
    Table,
    as_csv,
    as_latex,
    as_markdown,
    as_text,
    data_table,
    escape_latex,
    word_columns,
    words,
)

FINE_TUNED = {"datasets": ["Dataset507_PMC-OA", "Dataset509_CURD", "Dataset510_MedPix"], "shuffled_captions": False}
KEYS = ("Dice", "IoU", "HD95", "ASD", "HD95_max", "ASD_directed")


def content(method: str = "CLIP_HT", *, dice: float | None = 0.8, seed: int = 1, **changes: Any) -> dict[str, Any]:
    figures = {key: {"mean": 20.0} for key in KEYS} | {"Dice": {"mean": dice}, "IoU": {"mean": 0.7}}
    own = {
        "dataset": "Dataset503_BUSI",
        "trainer": "SegmentationTrainer",
        "method": method,
        "plan": "paper",
        "fold": 0,
        "seed": seed,
        "policy": "penalise",
        "num_epochs": 200,
        "epochs": 200,
        "trainable_parameters": 4_118_568,
        "weights": {"source": "pretrained"},
        "settings": {"adapter": FINE_TUNED if method == "CLIP_HT" else None},
        "n_cases": 64,
        "empty": {"input_size": {"prediction": ["a"], "reference": [], "both": []}},
        "means": {"input_size": figures},
    }
    return {"htunet": own | changes}


def only(*contents: dict[str, Any]) -> Row:
    (row,) = table_rows(contents)
    return row


def baseline() -> dict[str, Any]:
    own = content("all background", dice=0.0)["htunet"]
    dropped = ("seed", "weights", "num_epochs", "epochs", "trainable_parameters", "trainer")
    return {"htunet": {key: value for key, value in own.items() if key not in dropped}}


def test_seeds_share_a_row_with_mean_and_sample_deviation() -> None:
    row = only(content(dice=0.80, seed=1), content(dice=0.82, seed=2), content(dice=0.84, seed=3))
    assert row.values["dice"].text() == "82.00 ± 2.00"
    assert (row.seeds, row.n_runs, row.counted, row.marks) == ((1, 2, 3), 3, "3/192", ())


def test_the_deviation_is_over_seeds_not_over_folds() -> None:
    row = only(*(content(dice=d, seed=s, fold=f) for d, s, f in [(0.6, 1, 0), (0.8, 1, 1), (0.7, 2, 0), (0.9, 2, 1)]))
    assert row.values["dice"].mean == pytest.approx(75.0)
    assert row.values["dice"].std == pytest.approx(7.0710678)  # of 70 and 80
    assert "folds 0, 1" in row.marks


def test_seeds_of_unlike_folds_are_said() -> None:
    unlike = "the seeds have unlike folds, so that their deviation is between images, too"
    places = [(1, 0), (1, 1), (2, 0)]
    assert unlike in only(*(content(seed=seed, fold=fold) for seed, fold in places)).marks
    assert unlike not in only(*(content(seed=seed, fold=fold) for seed, fold in [*places, (2, 1)])).marks


def test_runs_that_differ_in_more_than_seed_and_fold_are_never_averaged() -> None:
    rows = table_rows([content(), content(weights={"source": "random"}), content(num_epochs=20), content(plan="wide")])
    assert len(rows) == 4


def test_runs_whose_adapters_started_elsewhere_have_rows_of_their_own_that_say_so() -> None:
    tuned = {"datasets": ["Dataset507_PMC-OA", "Dataset510_MedPix"], "shuffled_captions": False}
    started = [None, tuned, tuned | {"shuffled_captions": True}]
    rows = table_rows([content(settings={"adapter": adapter}) for adapter in started])
    assert [row.n_runs for row in rows] == [1, 1, 1]
    shown = {mark for row in rows for mark in row.marks if "adapter" in mark}
    assert shown == {
        "adapter not fine-tuned on captions",
        "adapter from PMC-OA+MedPix",
        "adapter from PMC-OA+MedPix (shuffled captions)",
    }


def test_only_what_the_paper_fine_tunes_is_said_to_lack_it() -> None:
    anew = {"settings": {"adapter": None}}
    shown = {
        row.method: row.marks for row in table_rows([content(name, **anew) for name in ("CLIP", "UNet", "DINOv2_HT")])
    }
    assert not any("captions" in mark for marks in shown.values() for mark in marks)
    everything = {"adapter": {"datasets": FINE_TUNED["datasets"][::-1]}}
    assert not any("adapter" in mark for mark in only(content(settings=everything)).marks)


def test_what_a_run_began_with_is_a_mark() -> None:
    settings = {"start_checkpoint": {"dataset": "Dataset504_DDTI", "fold": 0, "num_epochs": 200}}
    assert "started from a run on DDTI (fold 0, 200 epochs)" in only(content(settings=settings)).marks
    assert not any("started from" in mark for mark in only(content(settings={})).marks)
    between = {"dataset": "Dataset503_BUSI", "fold": 1, "num_epochs": 9, "weights": "none"}
    between["start_checkpoint"] = settings["start_checkpoint"] | {"weights": "phantom"}
    for start in (between, between["start_checkpoint"]):
        marks = only(content(settings={"start_checkpoint": start})).marks
        assert sum(mark.endswith("epochs), itself pre-trained on simulation") for mark in marks) == 1


def test_marks_say_what_differs_from_the_paper() -> None:
    row = only(content(weights={"source": "random"}, plan="adaptive", num_epochs=20, epochs=12, policy="exclude"))
    assert row.marks == (
        "random weights",
        "plan adaptive",
        "12 of the paper's 200 epochs",
        "1 of the paper's 3 seeds",
        "policy exclude",
    )


def test_the_policy_is_a_mark_of_masks_and_of_classes_where_nothing_else_tells_rows_apart() -> None:
    probabilities = {"a": 0.9, "b": 0.2}, {"a": "malignant", "b": "benign"}
    joint = [classes("CLIP_HT", *probabilities, seed=seed) for seed in (1, 2)]
    for one, policy in zip(joint, ("exclude", "penalise"), strict=True):
        one["htunet"] |= {"task": "seg+cls", "policy": policy}
    (alone,) = table_rows(joint[:1], kind=CLASSIFICATION)
    (usual,) = table_rows(joint[1:], kind=CLASSIFICATION)
    assert not any("policy" in mark for mark in alone.marks)
    assert averaged_as(alone) == averaged_as(usual)
    assert ["policy exclude" in row.marks for row in table_rows(joint, kind=CLASSIFICATION)].count(True) == 1
    masks = [only(content(policy=policy)) for policy in ("exclude", "penalise")]
    assert averaged_as(masks[0]) != averaged_as(masks[1])


def test_a_run_from_a_weights_file_is_told_from_one_from_scratch() -> None:
    of_file = {"source": "file", "file": "mine.safetensors", "sha256": "ab"}
    rows = table_rows([content("UNet", weights={"source": "none"}), content("UNet", weights=of_file)])
    assert len(rows) == 2
    assert ["weights of mine.safetensors" in row.marks for row in rows].count(True) == 1
    imported = {"source": "pretrained", "file": "imported.pt"}
    assert "weights of imported.pt" in only(content(weights=imported)).marks
    assert not any("weights of" in mark for mark in only(content(weights=imported | {"file": "model.pt"})).marks)


def test_a_metric_without_value_is_a_dash_not_a_zero() -> None:
    assert only(content(dice=None)).values["dice"].text() == "-"


def test_data_sets_and_methods_stand_in_the_papers_order_and_baselines_last() -> None:
    contents = [content("Mine"), content("CLIP_HT"), content("UNet"), content("UNet", dataset="Dataset501_LN-INT")]
    rows = table_rows(contents, [baseline()])
    order = [(row.dataset[7:10], row.method) for row in rows]
    assert order == [("501", "UNet"), ("503", "UNet"), ("503", "CLIP_HT"), ("503", "Mine"), ("503", "all background")]


def test_csv_holds_every_figure_and_the_papers() -> None:
    text = as_csv(row_data(table_rows([content(dice=0.80, seed=1), content(dice=0.82, seed=2)])))
    (row,) = csv.DictReader(io.StringIO(text))
    assert (float(row["dice"]), float(row["paper_dice"]), row["seeds"]) == (pytest.approx(81.0), 81.19, "1 2")
    assert (row["hd95_max"], row["marks"]) == ("20.0", "2 of the paper's 3 seeds")


def test_markdown_is_this_table(monkeypatch: pytest.MonkeyPatch) -> None:
    without_new_metrics(monkeypatch)
    lines = as_markdown(*row_tables(table_rows([content()]))).splitlines()
    assert lines[0] == "## Dataset503_BUSI"
    assert lines[2].count("|") == len(row_tables(table_rows([content()]))[0].columns) + 1
    assert lines[4] == (
        r"| CLIP\_HT | 4.1 M | 80.00 | 81.19 | 70.00 | 71.25 | 20.00 | 20.00 | 20.00 | 17.84 | 20.00 | 5.45 | 1 | 1/64 "
        "| 0/64 | 1 of the paper's 3 seeds |"
    )


def test_latex_escapes_what_latex_would_read() -> None:
    assert escape_latex(r"a_b 5 % {x} & \y ± z") == r"a\_b 5 \% \{x\} \& \textbackslash{}y $\pm$ z"
    text = as_latex(*row_tables(table_rows([content(), content(seed=2)]), narrow=True))
    assert r"CLIP\_HT & 4.1 M & 80.00 $\pm$ 0.00 & 81.19" in text
    assert r"Dice \% & paper" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_latex_takes_no_cell_for_the_end_of_the_row_above_and_names_what_its_fonts_lack() -> None:
    r"""After ``\\``, ``[2]`` is a distance and ``*`` forbids a new page; ``|`` is a dash in the standard fonts."""
    table = Table(columns=word_columns("a"), rows=((words("[2] a|é"),), (words("*b \u2013 c"),)))
    lines = as_latex(table).splitlines()
    assert r"{[}2] a\textbar{}é \\" in lines
    assert r"{*}b -- c \\" in lines
    assert lines[0] == r"% needs \usepackage{booktabs,graphicx}"
    other = as_latex(Table(columns=word_columns("良性", "≥ 1"), rows=()))
    assert other.startswith(lines[0] + ", XeLaTeX or LuaLaTeX, and a font that has ≥ 性 良\n")


def test_random_weights_are_said_in_the_row_and_below_the_table() -> None:
    rows = table_rows([content(weights={"source": "random"})], [baseline()])
    for text in (write(*row_tables(rows)) for write in (as_text, as_markdown, as_latex)):
        row = next(line for line in text.splitlines() if "CLIP" in line)
        assert "random weights" in row
        assert "random weights: the results test the program and say nothing about the method." in text


def test_columns_of_the_terminal_table_are_aligned() -> None:
    lines = as_text(*row_tables(table_rows([content(), content("UNet", dice=None)]), narrow=True)).splitlines()
    assert lines[1].index("paper") + len("paper") == lines[3].index("81.19") + len("81.19")


def test_the_papers_tables_are_complete() -> None:
    assert len(table_names()) == 7
    datasets = ("LN-INT", "LN-EXT", "BUSI", "DDTI", "TN3K", "Prostate")
    assert len(table("table2_segmentation")) == len(METHODS) * len(datasets)
    assert all(segmentation_figures(dataset, method) for dataset in datasets for method in (*METHODS, *ADAPTERS))


def test_figures_are_those_that_the_paper_prints() -> None:
    found = segmentation_figures("BUSI", "CLIP_HT")
    assert found == {"dice": 81.19, "iou": 71.25, "hd95_max": 17.84, "asd_directed": 5.45}
    assert segmentation_figures("TN3K", "BiomedCLIP_Mona")["dice"] == 79.84


def test_what_the_paper_does_not_have_has_no_figures() -> None:
    assert segmentation_figures("BUSI", "CLIP_HTSpectral") == segmentation_figures("Phantom", "CLIP_HT") == {}
    with pytest.raises(ValueError, match="table2_segmentation"):
        table("table9")


def test_dinov2_is_compared_with_the_paper_at_its_own_size() -> None:
    assert "plan paper_518" not in only(content("DINOv2", plan="paper_518")).marks
    assert "plan paper" in only(content("DINOv2", plan="paper")).marks
    assert "plan paper_518" in only(content("CLIP_HT", plan="paper_518")).marks


def test_the_papers_figures_stand_beside_the_metrics_that_its_code_computes_and_the_left_out_are_counted() -> None:
    measured = {"HD95": {"mean": 40.0}, "HD95_max": {"mean": 22.0, "n_used": 61}, "ASD_directed": {"mean": 7.0}}
    found = content("UNet")
    found["htunet"]["means"]["input_size"] |= measured
    (table,) = row_tables(table_rows([found]))
    cells = {column.label: cell.text for column, cell in zip(table.columns, table.rows[0], strict=True)}
    assert (cells["HD95"], cells["HD95 max"], cells["Excluded"], cells["Missed"]) == ("40.00", "22.00", "3/64", "1/64")
    labels = [column.label for column in table.columns]
    assert labels[labels.index("HD95 max") + 1] == labels[labels.index("ASD directed") + 1] == "paper"
    assert labels[labels.index("HD95") + 1] != "paper"
    definitions = next(note for note in table.notes if note.startswith("Dice:"))
    assert "HD95 max: The larger of the two directed 95th percentiles, cases with an empty mask excluded" in definitions


@pytest.mark.parametrize("changes", [{"n_cases": 30}, {"split_sizes": {"train": 453, "val": 130, "test": 64}}])
def test_other_images_under_the_papers_name_have_none_of_its_figures(changes: dict[str, Any]) -> None:
    rows = table_rows([content("UNet", **changes)])
    assert not rows[0].paper
    assert any(mark.startswith("not the paper's images: ") for mark in rows[0].marks)
    assert "paper_dice" not in as_csv(row_data(rows))
    assert "paper" not in [column.label for column in row_tables(rows)[0].columns]


def test_own_data_are_not_measured_by_the_paper() -> None:
    own = only(content("CLIP_HT", dataset="Dataset600_Mine", epochs=20, settings={"adapter": None}))
    assert (own.paper, own.marks) == ({}, ("20 epochs",))
    (table,) = row_tables([own])
    assert not any("aper" in text for text in (*(column.label for column in table.columns), *table.notes))


def test_rows_that_the_public_codes_defects_explain_carry_a_footnote() -> None:
    methods = ("BiomedCLIP_LoRA", "DINOv2", "UniMedCLIP_HT", "UniMedCLIP", "CLIP_HT")
    shown = {method: only(content(method)).marks[-1] for method in methods}
    assert shown["BiomedCLIP_LoRA"].endswith("does not save what LoRA learns and tests without it")
    assert shown["DINOv2"].endswith("drops DINOv2's LayerScale")
    assert shown["UniMedCLIP_HT"].endswith("gives UniMedCLIP a random text encoder")
    assert not any("paper's result" in shown[method] for method in ("UniMedCLIP", "CLIP_HT"))
    assert not any("paper's result" in mark for mark in only(content("DINOv2", n_cases=30)).marks)


def test_few_test_cases_are_said_and_shown_with_their_interval() -> None:
    found = content("UNet", dataset="Dataset600_Mine", n_cases=12)
    found["htunet"]["means"]["input_size"]["Dice"] |= {"low": 0.55, "high": 0.91}
    row = only(found)
    cells = [cell.text for cell in row_tables([row])[0].rows[0]]
    assert cells[2:4] == ["80.00 [55.00, 91.00]", "70.00"]
    assert "few test cases: 12" in row.marks
    assert "chance has a large effect" in as_text(*row_tables([row], narrow=True))
    assert only(content("UNet")).few == ""


@pytest.mark.parametrize(
    ("entry", "name", "expected"),
    [
        ({"mean": 0.5, "low": 0.25, "high": None, "n_used": 3}, "dice", (50, None, 25, None)),
        ({"value": 0.75, "low": 0.5, "high": 1.0}, "auc", (75, None, 50, 100)),
        ({"mean": 12.5, "std": 1.5, "low": 0.0, "high": 20.0, "n_seeds": 2}, "hd95", (12.5, 1.5, 0, 20)),
        ({}, "dice", (None, None, None, None)),
    ],
)
def test_summaries_and_statistics_are_printed_in_one_unit(
    entry: dict[str, Any], name: str, expected: tuple[float | None, ...]
) -> None:
    known = PrintedEstimate(*expected, n_used=entry.get("n_used"))  # type: ignore[arg-type]
    assert PrintedEstimate.of(entry, METRICS[name]) == known


def test_a_fold_counts_as_many_times_as_it_has_cases() -> None:
    def fold(number: int, dice: float, n: int) -> dict[str, Any]:
        figures = {key: {"mean": 20.0, "n_used": n} for key in KEYS} | {"Dice": {"mean": dice, "n_used": n}}
        return content("UNet", fold=number, n_cases=n, means={"input_size": figures})

    row = only(fold(0, 0.4, 30), fold(1, 0.8, 10))
    assert row.values["dice"].text(with_interval=True) == "50.00"  # the two folds' mean is 60
    assert row.tested.n_cases == len(row.tested.cases) == 40


def test_a_case_of_several_labels_is_missed_when_nothing_at_all_is_found() -> None:
    of_labels = {"1": {}, "2": {}}
    names = {"prediction": ["a (label 1)", "a (label 2)", "b (label 1)", "c (label 2)"], "reference": ["d (label 1)"],
             "both": ["c (label 1)", "d (label 2)"]}  # fmt: skip
    row = only(content("UNet", empty={"input_size": names}, means_by_label={"input_size": of_labels}))
    assert row.tested.n_missed == 2  # a, and c, which has label 2 alone; of b something is found


def test_names_in_brackets_are_names() -> None:
    names = {"prediction": ["scan (label 1)", "scan (label 2)"], "reference": [], "both": []}
    assert only(content("UNet", empty={"input_size": names})).tested.n_missed == 2


def test_folds_that_share_their_test_images_do_not_make_them_many() -> None:
    cases = [{"htunet": {"case": f"case_{number}"}} for number in range(15)]
    rows = table_rows([content("UNet", fold=fold, n_cases=15) | {"metric_per_case": cases} for fold in range(3)])
    assert rows[0].few == "few test cases: 15"


def test_a_mean_over_fewer_predictions_than_there_are_says_over_how_many_in_every_format() -> None:
    def seed(number: int, n_used: int) -> dict[str, Any]:
        figures = {key: {"mean": 20.0, "n_used": n_used} for key in KEYS} | {"ASD": {"mean": 7.0, "n_used": 64}}
        return content("UNet", seed=number, means={"input_size": figures})

    rows = table_rows([seed(1, 60), seed(2, 61)])
    mark = "Dice, IoU, HD95: mean over 121 of 128 predictions, the others have no value"
    assert mark in rows[0].marks
    tables = row_tables(rows)
    for text in (as_csv(row_data(rows)), as_markdown(*tables), as_latex(*tables), as_text(*tables)):
        assert mark in text
    assert not any("no value" in mark for mark in only(seed(1, 64)).marks)


def test_a_metric_that_some_runs_have_no_value_of_says_so() -> None:
    row = only(content("UNet", dice=0.8), content("UNet", dice=None, fold=1))
    assert row.values["dice"].mean == 80
    assert "Dice of 1 of 2 runs" in row.marks


def test_baselines_say_which_folds_they_are_of() -> None:
    other = baseline()
    other["htunet"]["fold"] = 1
    _, row = table_rows([content("UNet")], [baseline(), other])
    assert row.marks == ("trivial baseline", "folds 0, 1")


def test_baselines_of_another_plan_say_so() -> None:
    other = baseline()
    other["htunet"]["plan"] = "mine"
    rows = table_rows([content("UNet")], [baseline(), other])
    assert sorted(row.marks for row in rows[1:]) == [("trivial baseline",), ("trivial baseline", "plan mine")]


def test_text_of_several_lines_and_with_signs_of_markdown_stays_in_its_cell() -> None:
    table = Table(columns=word_columns("a", "b"), rows=((words("one\ntwo"), words(r"<b> *x* `y` a|b \\ z_1")),))
    line = as_markdown(table).splitlines()[2]
    assert line == r"| one two | \<b> \*x\* \`y\` a\|b \\\\ z\_1 |"
    assert as_text(table).splitlines()[1].startswith("one two  <b>")
    assert "one two &" in as_latex(table)
    assert next(csv.reader(as_csv(table).splitlines(keepends=True)[1:])) == ["one\ntwo", r"<b> *x* `y` a|b \\ z_1"]


def test_a_spreadsheet_computes_no_cell_of_a_table() -> None:
    table = data_table(("class", "dice"), [{"class": "=1+1", "dice": -0.5}])
    assert as_csv(table) == "class,dice\n'=1+1,-0.5\n"
