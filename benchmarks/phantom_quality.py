"""How well the model phantom knows what it is worth: calibrate what it says of its own masks, and compare with truth.

    python -m benchmarks.phantom_quality calibrate --out OUT [--images 160]
    python -m benchmarks.phantom_quality check PREPROCESSED [...] [--normals FOLDER] --out OUT [--every 3]

``calibrate``: the file quality.json beside the shipped weights, from simulated images of seeds that were not learnt
from, half of them with ranges beyond those that were. ``check``: what the model then says of real images; PREPROCESSED
are folders of a plan, such as htunet_preprocessed/Dataset503_BUSI/paper.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.phantom_transfer import BOTH, images_without_lesion
from htunet import api
from htunet.data.expected_dice import expected_dice
from htunet.data.preprocessed import PreprocessedDataset
from htunet.evaluation.classification import auc
from htunet.evaluation.metrics import PENALISE, score_mask
from htunet.files import read_object, write_json
from htunet.inference.unlike_images import learn_familiar
from htunet.models.weights.store import SHIPPED
from htunet.records import record_from
from htunet.simulation.settings import SimulationSettings
from htunet.simulation.simulate import simulate

UNSEEN = 40_000
"""A seed that nothing was trained with."""
BEYOND: dict[str, Any] = {
    **{"contrast_db": (1.0, 32.0), "isoechoic": 0.35, "isoechoic_db": (-2.0, 3.0), "area": (0.003, 0.6), "flat": 0.3},
    **{"blotches_db": (0.0, 12.0), "look_alikes": (3.0, 10.0), "broad_shadow": 0.5, "shadow": 0.6, "contact": 0.4},
    **{"noise_db": (-46.0, -26.0), "dynamic_range_db": (32.0, 80.0), "gamma": (0.6, 2.4), "tgc_db": (0.0, 55.0)},
    **{"frequency_mhz": (2.0, 18.0), "texture_db": (0.6, 6.0), "blur_mm": (0.1, 4.0), "blur_pixels": (0.0, 2.0)},
}
"""Ranges and shares beyond those of the training, most of them harder: real images are outside, too."""


def calibrate(options: argparse.Namespace) -> None:
    """Predict simulated images, and write what calibrates the model phantom."""
    recipes = {name: read_object(SHIPPED / name / "recipe.json") for name in BOTH}
    identity = recipes[BOTH[0]]["identity"]
    usual = record_from(SimulationSettings, identity["simulation"], "The settings of the simulation")
    predictor, found = api.load("phantom", device="cpu").predictor, {name: ([], []) for name in BOTH}
    like, held_out = [], []
    for index in range(options.images):
        like += [simulate(usual, identity["seed"], 2 * index + half).image[None] for half in (0, 1)]
        held_out.append(simulate(usual, UNSEEN, index).image[None])
        for settings in (replace(usual, no_lesion=0.0), replace(usual, no_lesion=0.0, **BEYOND)):
            one = simulate(settings, UNSEEN + 1, index)
            members = predictor.probabilities(one.image[None, None]).members_MBKHW
            assert members is not None
            for name, map_KHW in zip(BOTH, members[:, 0], strict=True):
                if (expected := expected_dice(map_KHW)) is not None:
                    dice = score_mask(map_KHW[1] > 0.5, one.lesion > 0).values(PENALISE)["dice"]
                    for values, value in zip(found[name], (expected, dice), strict=True):
                        values.append(round(float(value), 4))
    familiar = learn_familiar(like, held_out)
    assert familiar is not None
    content = json.loads(json.dumps(familiar.content()), parse_float=lambda text: float(f"{float(text):.5g}"))
    methods = {name: {"expected": expected, "dice": dice} for name, (expected, dice) in found.items()}
    weights = {name: recipe["sha256"] for name, recipe in recipes.items()}
    of_all = {"calibrated_on": "simulated images", "weights": weights, "methods": methods, "familiar": [content]}
    write_json(options.out / "quality.json", of_all)


def check(options: argparse.Namespace) -> None:
    """What the model says of its own masks of real images, and what is true of them."""
    model, summary = api.load("phantom", device="cpu"), dict[str, object]()
    lesions = dict[str, list[float]]()
    for folder in options.preprocessed:
        data, rows = PreprocessedDataset(folder), []
        for index in range(0, len(data.cases), options.every):
            one = model.predict(data.images[index, 0])
            dice = score_mask(one.labels > 0, data.masks[index] > 0).values(PENALISE)["dice"]
            known = one.predicted_dice
            expected = (known.value, known.low, known.high) if known else (np.nan,) * 3
            rows.append((dice, *expected, one.distance, one.classes["lesion"]))
        dice, value, low, high, distance, lesion = np.array(rows, dtype=float).T
        marked = ~np.isnan(value)
        inside = (low <= dice) & (dice <= high)
        lesions[folder.parent.name] = lesion.tolist()
        summary[folder.parent.name] = {
            "images": len(rows),
            "dice": float(dice.mean()),
            "predicted_dice": float(value[marked].mean()),
            "inside_90_percent_interval": float(inside[marked].mean()),
            "rank_correlation": float(spearmanr(value[marked], dice[marked]).statistic),
            "unlike": float((distance > 1).mean()),
            "lesion_found_by_class": float((lesion > 0.5).mean()),
        }
        cases = pd.Index([case.id for case in data.cases[:: options.every]], name="case")
        columns = ["dice", "predicted_dice", "low", "high", "distance", "lesion_probability"]
        table = pd.DataFrame(rows, cases, columns, dtype=float)
        table.to_csv(options.out / f"check_{folder.parent.name}.csv", float_format="%.5f")
    if options.normals:
        normals = images_without_lesion(options.normals, options.side)
        found = [model.predict(image) for image in normals.values()]
        normal = np.array([one.classes["lesion"] for one in found])
        of_normals: dict[str, object] = {
            "images": len(found),
            "nothing_marked": sum(not one.labels.any() for one in found),
            "no_lesion_by_class": int((normal <= 0.5).sum()),
            "doubted": sum(one.doubted for one in found),
            "unlike": sum(bool(one.unlike) for one in found),
        }
        for name, values in lesions.items():
            truth = np.array([1] * len(values) + [0] * len(normal))
            scores = np.concatenate([values, normal])
            scores_SNK, once = np.stack([1 - scores, scores], axis=1)[None], np.ones((1, len(truth)))
            of_normals[f"auc_{name}"] = float(auc(scores_SNK, truth, once)[0])
        summary["without a lesion"] = of_normals
        cases = pd.Index([*normals], name="case")
        table = pd.DataFrame({"distance": [one.distance for one in found], "lesion_probability": normal}, cases)
        table.to_csv(options.out / "check_normals.csv", float_format="%.5f")
    write_json(options.out / "check.json", summary)
    print(json.dumps(summary, indent=1, default=float))


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(required=True)
    for_calibrate = actions.add_parser("calibrate")
    for_calibrate.add_argument("--images", type=int, default=160, help="of each kind")
    for_calibrate.set_defaults(act=calibrate)
    for_check = actions.add_parser("check")
    for_check.add_argument("preprocessed", type=Path, nargs="+")
    for_check.add_argument("--normals", type=Path)
    for_check.add_argument("--side", type=int, default=224)
    for_check.add_argument("--every", type=int, default=1, help="only every so many images")
    for_check.set_defaults(act=check)
    for action in (for_calibrate, for_check):
        action.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    options.act(options)


if __name__ == "__main__":
    main()
