"""The notebooks run from the first cell to the last, in the order in which they refer to each other."""

import json
from pathlib import Path
from typing import Any

import pytest

from htunet.paths import ROOTS

FOLDER = Path(__file__).parents[1] / "documentation" / "notebooks"
IN_ORDER = ("first_model_on_the_phantom", "predict_and_look")


def cells_of(name: str) -> list[dict[str, Any]]:
    content = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    return content["cells"]


def test_every_notebook_is_run_and_stored_without_outputs() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(IN_ORDER)
    for name in IN_ORDER:
        cells = cells_of(name)
        assert len({cell["id"] for cell in cells}) == len(cells)
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_the_notebooks_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ROOTS:
        monkeypatch.setenv(variable, "set by the notebook")  # and set back at the end of the test
    names: dict[str, Any] = {}
    for notebook in IN_ORDER:
        names = {}
        for number, cell in enumerate(cells_of(notebook)):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{notebook}, cell {number}", "exec"), names)
    assert names["prediction"].labels.shape == names["reference"].shape
    assert names["model"].describe()["figures"]["test"]["masks"]["original_size"]["Dice"]["mean"] > 0.8
    assert "read as gray, not cropped, stretched to 128 x 128" in capsys.readouterr().out
