import json
from dataclasses import replace

import pytest

from htunet.reporting.report.content import (
    ChartCurve,
    ClassPicture,
    DatasetFacts,
    Gallery,
    GalleryItem,
    Headline,
    ReportContent,
    Training,
)
from htunet.reporting.report.page import as_json, choosers, gallery_data, render
from htunet.reporting.tables.write import Table, TableCell, number_columns, templates, word_columns

AWKWARD = "</script><b>&\"' \u2028"
ESCAPED = "&lt;b&gt;&amp;&#34;&#39;"


def gallery_of(*texts: str) -> Gallery:
    about = {"task": "masks", "size": "small", "group": "best"}
    items = [
        GalleryItem(dataset=text, method=text, case=text, class_name=text, facts=(text,), **about) for text in texts
    ]
    legends = {AWKWARD: (("#ff0000", AWKWARD),)}
    return Gallery(items=tuple(items), pictures=(b"x",), layers=(), legends=legends, notes=(AWKWARD,))


def table_of(text: str) -> Table:
    cell = TableCell(text=text, below=text, value=text)
    return Table(id="t", title=text, columns=word_columns(text), rows=((cell,),), notes=(text,))


def report_of(text: str = "text", *, curves: tuple[ChartCurve, ...] = ()) -> ReportContent:
    """A page of which every text is ``text``."""
    facts = DatasetFacts(title=text, rows=((text, text),))
    headline = Headline(
        dataset=text, task="masks", method=text, estimate=text, interval=text, facts=(text,), weights=text, random=True
    )  # fmt: skip
    return ReportContent(
        title=text,
        subtitle=text,
        warnings=(text,),
        headlines=(headline,),
        gallery=gallery_of(text, "b"),
        tables=(table_of(text),),
        training=(Training(title=text, curves=curves, note=text),),
        class_pictures=(ClassPicture(title=text, png=b"png"),),
        plans=(table_of(text),),
        planning_warnings=(facts,),
        datasets=(facts,),
        weights=(facts,),
        versions=(facts,),
        commands=(text,),
        notes=(text,),
    )


def test_json_in_a_script_element_ends_no_element_and_reads_as_it_was() -> None:
    text = as_json({"name": AWKWARD})
    assert "<" not in text
    assert json.loads(text) == {"name": AWKWARD}


def test_json_that_browsers_refuse_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        as_json({"dice": float("nan")})


def test_every_text_of_the_page_is_escaped() -> None:
    page = render(report_of(AWKWARD))
    assert "<b>" not in page
    assert page.count("</script>") == page.count("<script") == 2
    assert page.count(ESCAPED) > 40


def as_html(table: Table) -> str:
    return str(templates().get_template("table.html").module.table(table, "results"))  # type: ignore[attr-defined]


def test_every_text_of_a_table_is_escaped() -> None:
    text = as_html(table_of(AWKWARD))
    assert "<b>" not in text
    assert "</script>" not in text
    assert text.count(ESCAPED) == 9


def test_the_script_has_the_cases_as_they_are() -> None:
    data = json.loads(gallery_data(gallery_of(AWKWARD, "b")))
    assert [(item["case"], item["class"], item["picture"]) for item in data["items"]] == [
        (AWKWARD, AWKWARD, None),
        ("b", "b", None),
    ]
    assert (data["pictures"], data["layers"]) == (["eA=="], [])


def test_the_gallery_is_narrowed_down_by_what_differs() -> None:
    found = choosers(gallery_of("a", "b"))
    assert list(found) == ["dataset", "method", "class"]
    assert found["class"] == ("Class", {"a": "a", "b": "b"})
    assert choosers(gallery_of("a")) == {}


def test_a_cell_is_sorted_by_its_value_and_an_empty_one_by_nothing() -> None:
    rows = ((TableCell(text="a", value="a"), TableCell(text="81.19 ± 0.4", value=81.19)),
            (TableCell(text="b", value="b"), TableCell(text="-")))  # fmt: skip
    text = as_html(Table(id="t", title="t", columns=(*word_columns("Method"), *number_columns("Dice")), rows=rows))
    assert 'data-sort="81.19">81.19 ± 0.4<' in text
    assert '<td class="n">-<' in text
    assert '<th scope="row" data-sort="a">a</th>' in text


def test_a_curve_begins_left_and_ends_right_and_the_highest_loss_is_at_the_top() -> None:
    losses = ChartCurve(name="training loss", points=((1, 2.0), (3, 0.0)))
    assert 'points="34.0,8.0 310.0,132.0"' in render(report_of(curves=(losses,)))


def test_a_large_loss_is_a_plain_number() -> None:
    losses = ChartCurve(name="training loss", points=((1, 123.0), (3, 0.0)))
    assert 'text-anchor="end">120</text>' in render(report_of(curves=(losses,)))


def test_one_epoch_is_a_dot_and_none_is_nothing() -> None:
    dot = ChartCurve(name="validation metric", points=((1, 0.5),))
    text = render(report_of(curves=(dot, ChartCurve(name="training loss", points=()))))
    assert '<circle class="figure-line" cx="34.0" cy="70.0"' in text
    assert "polyline" not in text.split("</style>")[1].split("<script")[0]


def test_sections_without_content_are_not_there() -> None:
    empty = ReportContent(
        title="t",
        subtitle="s",
        warnings=(),
        headlines=(),
        gallery=Gallery(items=(), pictures=(), layers=(), legends={}),
        tables=(),
    )
    page = render(empty)
    assert [name for name in ("overview", "cases", "tables", "training", "plans", "origin", "repeat")
            if f'<section id="{name}"' in page] == ["overview", "origin", "repeat"]  # fmt: skip
    assert page.count('<a href="#') == 3


def test_uncertainty_has_a_switch_where_it_is_known() -> None:
    report = report_of()
    assert 'data-layer="uncertainty"' not in render(report)
    known = replace(report.gallery, layers=(b"l",), outlines=(b"o",), uncertainties=(b"u",))
    page = render(replace(report, gallery=known))
    assert page.count('data-layer="uncertainty"') == 2  # above the gallery and in the viewer
    assert "u shows in pink where the network is undecided" in page
    assert '"uncertainties":["dQ=="]' in page
