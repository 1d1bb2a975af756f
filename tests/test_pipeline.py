"""The whole job, as `make demo` does it, only smaller: phantom, convert, plan, train, evaluate, predict."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from htunet.cli import demo
from htunet.paths import ROOTS


@pytest.mark.slow
def test_the_demonstration_goes_from_nothing_to_tables_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ROOTS:
        monkeypatch.setenv(variable, "")  # the demo sets them; monkeypatch takes that back
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ["--folder", str(tmp_path / "demo"), "--images", "24", "--num-epochs", "1"]
    assert demo.main(arguments) == 0
    shown = capsys.readouterr().out
    for command in ("convert", "plan_and_preprocess", "train", "evaluate", "predict"):
        assert f"$ htunet_{command} " in shown
    assert shown.count("before any training") + shown.count("Before any training") == 2
    run = next((tmp_path / "demo" / "results").glob("Dataset509_Phantom/*/fold_0/seed_1"))
    summary = json.loads((run / "test" / "summary.json").read_text(), parse_constant=pytest.fail)
    cases = [case["prediction_file"] for case in summary["metric_per_case"]]
    assert cases
    assert {Path(case).stem for case in cases} == {path.stem for path in (run / "test" / "overlays").iterdir()}
    assert (run / "test" / "contact_sheet.png").exists()
    table = (tmp_path / "demo" / "results" / "tables" / "segmentation.csv").read_text()
    assert "PhantomCLIP_HT" in table
    assert "pre-trained on simulation" in table
    images = sorted((tmp_path / "demo" / "predicted" / "images").iterdir())
    for image in images:
        mask = np.asarray(Image.open(tmp_path / "demo" / "predicted" / "masks" / image.name))
        assert mask.shape == np.asarray(Image.open(image)).shape
        assert set(np.unique(mask)) <= {0, 1}
    assert demo.main(arguments) == 0
    assert "Already finished" in capsys.readouterr().out
    assert not [name for name in os.listdir(tmp_path / "demo") if name.startswith(".part-")]
