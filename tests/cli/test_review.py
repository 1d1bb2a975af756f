"""The loop of corrections as a user goes through it: run, review, correct, run again with the corrections."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builders.raw import blob, speckled
from PIL import Image

from htunet.cli.review import main as review
from htunet.cli.run import main as run
from htunet.cli.train import main as train
from htunet.data.image_io import read_labels
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits
from htunet.experiments import cross_validation
from htunet.experiments.cost import START_SECONDS, Cost
from htunet.experiments.review import UNRANKED, new_cases
from htunet.files import read_csv, read_json, write_csv
from htunet.paths import find_dataset, find_runs
from htunet.planning.configuration import digest

pytestmark = pytest.mark.usefixtures("home", "log_handlers")


def test_corrections_become_training_cases_of_a_data_set_beside_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        cross_validation, "costs_of", lambda jobs: {job.name: Cost(START_SECONDS + 0.5, "made up") for job in jobs}
    )
    rng = np.random.default_rng(0)
    for folder in ("images", "masks", "new"):
        (tmp_path / folder).mkdir()
    for index in range(12):
        mask = blob((40, 50), radius=0.2 + 0.01 * index)
        name = f"patient{index // 2}_{index}.png"
        Image.fromarray(np.where(mask, 20, speckled((40, 50), rng)).astype(np.uint8)).save(tmp_path / "images" / name)
        Image.fromarray(255 * mask).save(tmp_path / "masks" / name)
    own = ("--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks"), "--groups", r"patient(\d)")
    assert run([*own, "--name", "Mine", "--methods", "UNet", "--num-folds", "2", "--hours", "0.000001"]) == 0
    mine = find_dataset("Mine")
    before = {path: path.read_bytes() for path in mine.results.rglob("checkpoint_best.safetensors")}

    folder = tmp_path / "review"
    assert review(["-d", "Mine", "-o", str(folder), "-n", "4"]) == 0
    assert f"htunet_run -d Mine --corrections {folder}" in capsys.readouterr().out
    rows = read_csv(folder / "review.csv", ("name", "dice", "group"))
    dice = {row["case"]: float(row["dice"]) for one in find_runs(mine) for row in
            read_csv(one.test_folder / "per_case.csv", ("case", "resolution", "dice"))
            if row["resolution"] == "original_size"}  # fmt: skip
    assert len(rows) == 4
    assert float(rows[0]["dice"]) == pytest.approx(min(dice.values()), abs=1e-3)
    assert run(["-d", "Mine", "--corrections", str(folder)]) == 1
    assert "Nothing in" in capsys.readouterr().err

    shown = Image.fromarray(np.zeros((40, 50), np.uint8))
    shown.save(tmp_path / "new" / "one.png")
    shown.save(tmp_path / "new" / "cine.tif", save_all=True, append_images=[shown])
    (tmp_path / "new" / "broken.png").write_bytes(b"x")
    assert review(["-d", "Mine", "-o", str(tmp_path / "of_new"), "-i", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert "Excluded broken.png: The image" in out
    assert "Excluded cine.tif: 2 frames; save" in out
    assert [row["source"] for row in read_csv(tmp_path / "of_new" / "review.csv", ("source",))] == ["one.png"]

    name = rows[0]["name"]
    mask = np.zeros((40, 50), np.uint8)
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    corrections = ["-d", "Mine", "--corrections", str(folder)]
    also_accepted = shutil.copytree(folder, tmp_path / "also_accepted")
    table = read_csv(folder / "review.csv", ("name", "accept"))
    table[1]["accept"] = "yes"
    write_csv(also_accepted / "review.csv", list(table[0]), table)
    assert run([*corrections[:-1], str(also_accepted), "--dry-run"]) == 0
    assert "also_accepted: 1 case corrected as mask, 1 prediction accepted unchanged." in capsys.readouterr().out
    assert run([*corrections, "-i", "x", "-o", "y", "--hours", "1"]) == 2
    assert "--input, --hours: not with --corrections" in capsys.readouterr().err
    assert run(corrections) == 0
    output = capsys.readouterr().out
    assert f"{folder}: 1 case corrected as mask.\n" in output
    assert "Dice" in output.splitlines()[-3]
    assert output.splitlines()[-1].endswith("-d Mine_corrected -m UNet -p run --task seg -f 0 1 --overlays")
    target = find_dataset("Mine_corrected")
    cases = {case.id: case for case in read_raw(target).cases}
    new = cases[f"{name}_corrected"]
    assert (len(cases), new.group, new.source) == (13, rows[0]["group"], f"case {name}: corrected as mask")
    assert int((read_labels(read_raw(target).label_path(new)) > 0).sum()) == 400
    folds = list(zip(load_splits(mine.splits_json), load_splits(target.splits_json), strict=True))
    for was, now in folds:  # of two folds one tests the case's patient, or validates by them
        assert (was["val"], was["test"]) == (now["val"], now["test"])
        held_out = {case[:8] for case in was["val"] + was["test"]}
        assert (new.id in now["train"]) == (name[:8] not in held_out)
        assert not (new.id in now["train"] and name in now["train"])
    table = (target.results.parent / "tables" / "segmentation.csv").read_text()
    assert sum("Mine_corrected,UNet" in line for line in table.splitlines()) == 1  # both folds are one method
    for one in find_runs(target):
        start = read_json(one.settings_json)["start_checkpoint"]
        assert (start["dataset"], start["fold"]) == (mine.name, one.fold)
        trained = next(read_json(old.settings_json) for old in find_runs(mine) if old.fold == one.fold)
        assert (start["configuration"], start["num_epochs"]) == (digest(trained), trained["num_epochs"])
    assert {path: path.read_bytes() for path in before} == before
    assert run(corrections) == 0  # all of it is done
    assert len(list(find_runs(target))) == 2

    first = min(find_runs(mine), key=lambda one: one.fold)
    assert train([target.name, "UNet", "fold1", "--plan", "run", "--seed", "5", "--start-from",
                  str(first.checkpoint_best)]) == 1  # fmt: skip
    assert "were trained on" in capsys.readouterr().err
    assert review(["-d", "Mine", "-i", str(tmp_path / "images"), "-o", str(tmp_path / "more"), "-n", "2"]) == 0
    assert len(list((tmp_path / "more" / "images").glob("*.png"))) == 2
    assert review(["-d", "Mine", "-o", str(folder)]) == 2


def test_new_images_without_a_predicted_dice_are_not_said_to_be_ranked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{name}.png")
    found = SimpleNamespace(
        **{"predicted_dice": None, "unlike": False, "labels": np.ones((8, 8), np.uint8), "spacing_mm": None},
        image_CHW=np.zeros((1, 8, 8), np.uint8),
    )
    cases, _ = new_cases(lambda _: found, tmp_path, 2)  # type: ignore[arg-type, return-value]
    assert [case.facts["why"] for case in cases] == [UNRANKED] * 2
