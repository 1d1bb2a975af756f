import json

import pytest

from htunet.reporting.report import parts
from htunet.reporting.report.content import ChartCurve, DatasetFacts, Gallery, GalleryItem, Table, TableCell, Training

AWKWARD = "</script><b>&\"' \u2028"


def test_json_in_a_script_element_ends_no_element_and_reads_as_it_was() -> None:
    text = parts.as_json({"name": AWKWARD})
    assert "<" not in text
    assert json.loads(text) == {"name": AWKWARD}


def test_json_that_browsers_refuse_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        parts.as_json({"dice": float("nan")})


def test_every_text_of_a_table_is_escaped() -> None:
    cell = TableCell(text=AWKWARD, below=AWKWARD, value=AWKWARD)
    text = parts.table(
        Table(id="t", title=AWKWARD, columns=(AWKWARD,), numeric=(False,), rows=((cell,),), notes=(AWKWARD,))
    )
    assert "<b>" not in text
    assert "</script>" not in text
    assert text.count("&lt;b&gt;&amp;&quot;&#x27;") == 9


def test_every_text_of_a_gallery_is_escaped() -> None:
    about = {"task": "masks", "size": "small", "group": "best"}
    items = [
        GalleryItem(dataset=text, method=text, case=text, class_name=text, facts=(text,), **about)
        for text in (AWKWARD, "b")
    ]
    legends = {AWKWARD: (("#ff0000", AWKWARD),)}
    found = Gallery(items=tuple(items), pictures=(), layers=(), legends=legends, notes=(AWKWARD,))
    text = parts.gallery(found)
    assert "<b>" not in text
    assert json.loads(parts.gallery_data(found))["items"][0]["case"] == AWKWARD


def test_a_cell_is_sorted_by_its_value_and_an_empty_one_by_nothing() -> None:
    table = Table(id="t", title="t", columns=("Method", "Dice"), numeric=(False, True),
                  rows=((TableCell(text="a", value="a"), TableCell(text="81.19 ± 0.4", value=81.19)),
                        (TableCell(text="b", value="b"), TableCell(text="-"))))  # fmt: skip
    text = parts.table(table)
    assert 'data-sort="81.19">81.19 ± 0.4<' in text
    assert '<td class="n">-<' in text
    assert '<th scope="row" data-sort="a">a</th>' in text


def test_a_curve_begins_left_and_ends_right_and_the_highest_loss_is_at_the_top() -> None:
    losses = ChartCurve(name="training loss", points=((1, 2.0), (3, 0.0)))
    text = parts.chart(Training(title="t", curves=(losses,), note=""))
    assert 'points="34.0,8.0 310.0,132.0"' in text


def test_one_epoch_is_a_dot_and_none_is_nothing() -> None:
    dot = ChartCurve(name="validation figure", points=((1, 0.5),))
    nothing = ChartCurve(name="training loss", points=())
    text = parts.chart(Training(title="t", curves=(dot, nothing), note=""))
    assert '<circle class="figure-line" cx="34.0" cy="70.0"' in text
    assert "polyline" not in text


def test_facts_are_names_with_values() -> None:
    text = parts.facts(DatasetFacts(title="BUSI", rows=(("Licence", AWKWARD),)))
    assert "<dt>Licence</dt><dd>&lt;/script&gt;" in text
