import numpy as np
import pytest

from htunet.reporting.overlays.contact_sheet import SHEET_COLOUR, CaseResult, contact_sheet, representative


def result(number: int, dice: float | None = None, **changes: object) -> CaseResult:
    fields = {"case": f"case_{number:04d}", "dice": dice, "hd95": 12.34, "class_name": "benign"}
    return CaseResult(**(fields | changes))  # type: ignore[arg-type]


def sheet_of(n: int, *facts: str) -> np.ndarray:
    results = [result(number, number / 20) for number in range(n)]
    pictures = {one.case: np.full((60, 90, 3), 100 + number, np.uint8) for number, one in enumerate(results)}
    return contact_sheet(representative(results, 4), pictures, facts, n=4)


def test_worst_comes_first_and_no_value_before_all() -> None:
    results = [result(1, 0.9), result(2, 0.0, hd95=5.0), result(3, 0.0, hd95=50.0), result(4, None)]
    assert [one.case[-1] for one in representative(results, 2)[""]] == ["4", "3", "2", "1"]


def test_representative_cases_are_the_ends_and_the_middle() -> None:
    found = representative([result(number, number / 10) for number in range(10)], 3)
    assert {name: [one.case[-1] for one in members] for name, members in found.items()} == {
        "Worst": ["0", "1", "2"],
        "Median": ["3", "4", "5"],
        "Best": ["7", "8", "9"],
    }


def test_few_cases_are_there_once() -> None:
    assert [len(members) for members in representative([result(number, 0.5) for number in range(12)], 4).values()] == [
        12
    ]


@pytest.mark.parametrize(
    ("changes", "caption"),
    [
        ({"dice": 0.5, "empty": "prediction"}, "Dice 50.0 % · HD95 12.3 px · benign · prediction empty"),
        ({"dice": 1.0, "empty": "both", "class_name": ""}, "Dice 100.0 % · HD95 12.3 px · both masks empty"),
        ({"dice": None, "hd95": None}, "no Dice · no HD95 · benign"),
    ],
)
def test_captions(changes: dict[str, object], caption: str) -> None:
    assert result(1, **changes).caption == caption  # type: ignore[arg-type]


def test_the_sheet_has_three_rows_of_the_chosen_pictures_in_their_order() -> None:
    sheet = sheet_of(20)
    assert sheet.shape[1] == 4 * 300
    row = sheet_of(4).shape[0]
    strip = row - (sheet.shape[0] - row) // 2  # a row of pictures is what three rows have more than one, halved
    height = row - strip
    middles = [[int(sheet[y * height + 150, x * 300 + 150, 0]) for x in range(4)] for y in range(3)]
    assert middles == [[100, 101, 102, 103], [108, 109, 110, 111], [116, 117, 118, 119]]


def test_a_sheet_of_few_cases_has_no_empty_columns_and_fills_its_last_row() -> None:
    assert sheet_of(2).shape[1] == 2 * 300
    six = sheet_of(6)
    assert six.shape[1] == 4 * 300
    assert (six[sheet_of(4).shape[0] : sheet_of(4).shape[0] + 250, 900:] == SHEET_COLOUR).all()


def test_facts_are_in_the_strip_below() -> None:
    assert sheet_of(4, "Made with random weights.").shape[0] > sheet_of(4).shape[0]


def test_images_without_a_lesion_in_which_none_is_found_are_not_the_worst() -> None:
    nothing = [result(100 + number, None, hd95=None, empty="both") for number in range(5)]
    lesions = [result(number, number / 10) for number in range(10)]
    assert [one.case[-1] for one in representative([*nothing, *lesions], 3)["Worst"]] == ["0", "1", "2"]
    assert representative([*nothing, *nothing], 3)["Worst"]  # there are no others
    assert len(representative([*nothing, *lesions[:2]], 3)[""]) == 7
