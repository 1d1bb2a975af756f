"""What the pages say of the weights that come with htunet is what the stored files hold, image by image."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.pages import numbers, rows_below
from scipy.stats import mannwhitneyu, spearmanr

from htunet.evaluation.classification import auc
from htunet.evaluation.statistics import bootstrap_estimates, bootstrap_means
from htunet.files import file_hash
from htunet.inference import phantom_model
from htunet.models.weights.store import SHIPPED

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "benchmarks" / "results" / "shipped_weights"
NETWORKS = ("UNet", "PhantomCLIP", "mean", "UNet+PhantomCLIP")
CARD = (SHIPPED / "README.md").read_text(encoding="utf-8")
SIMULATION = (ROOT / "documentation" / "explanation" / "simulation.md").read_text(encoding="utf-8")
TABLE = rows_below("| | UNet | PhantomCLIP | both together", CARD)
OTHERS = rows_below("| images not used to choose the views |", CARD)
CHECKED = rows_below("| | BUSI, 162 images |", CARD)


def cases_of(network: str, data: str) -> pd.DataFrame:
    return pd.read_csv(RECORD / f"{network}_{data}.csv", index_col="case")


def dice_and_missed(cases: pd.DataFrame, digits: int = 1) -> list[float]:
    return [round(100 * cases.dice.mean(), digits), int(cases.missed.sum())]


def below(text: str, begin: str) -> str:
    """The paragraph that begins so."""
    return text[text.index(begin) :].split("\n\n")[0]


@pytest.mark.parametrize("network", ["UNet", "PhantomCLIP", "UNet+PhantomCLIP"])
@pytest.mark.parametrize(("data", "first"), [("BUSI", 0), ("DDTI", 3)])
def test_a_network_on_the_model_card(network: str, data: str, first: int) -> None:
    cases = cases_of(network, data)
    names, rows = TABLE[first][0], TABLE[first : first + 3]
    assert names.startswith(data)
    assert numbers(names) == [len(cases)]
    dice, missed, hd95 = (numbers(row[1 + ["UNet", "PhantomCLIP", "UNet+PhantomCLIP"].index(network)]) for row in rows)
    assert missed == [cases.missed.sum(), pytest.approx(100 * cases.missed.mean(), abs=0.0501)]
    means = bootstrap_means(np.stack([100 * cases.dice, cases.hd95], axis=1))
    for cell, found, rounding in zip((dice, hd95), means, (0.0501, 0.501), strict=True):
        assert cell == pytest.approx([found.mean, found.low, found.high], abs=rounding)


def test_images_without_a_lesion_on_the_model_card() -> None:
    found = pd.read_csv(RECORD / "found_pixels_without_a_lesion.csv", index_col="case")
    row = TABLE[6]
    assert numbers(row[0]) == [len(found)]
    assert [int(cell) for cell in row[1:]] == [(found[name] == 0).sum() for name in (*NETWORKS[:2], NETWORKS[3])]
    stated = re.search(r"in each of BUSI's 133 images .* \(with the first line in all but (\w+)\)", SIMULATION)
    assert stated is not None
    assert stated[1] == {1: "one", 2: "two", 3: "three"}[int((found["mean"] == 0).sum())]


@pytest.mark.parametrize(("row", "column"), [(7, "malignant_by_class"), (8, "malignant_by_sentence")])
def test_benign_against_malignant_on_the_model_card(row: int, column: str) -> None:
    cases = cases_of("PhantomCLIP", "BUSI")
    truth, scores = (cases["class"] == "malignant").to_numpy(), cases[column].to_numpy()
    value, low, high = numbers(TABLE[row][2])
    pairs = mannwhitneyu(scores[truth], scores[~truth]).statistic / (truth.sum() * (~truth).sum())
    assert value == pytest.approx(pairs, abs=6e-4)
    both = np.stack([1 - scores, scores], axis=1)[None]
    found = bootstrap_estimates(lambda weights: {"auc": auc(both, truth.astype(int), weights)}, len(truth))["auc"]
    assert (low, high) == pytest.approx((found.low, found.high), abs=6e-4)


@pytest.mark.parametrize(("data", "row"), [("BUSI", 0), ("DDTI", 1)])
def test_images_on_which_the_views_were_not_chosen(data: str, row: int) -> None:
    others = {network: (cases := cases_of(network, data))[cases.split != "train"] for network in NETWORKS}
    assert numbers(OTHERS[row][0]) == [len(others["UNet"])]
    for network, cell in zip(NETWORKS, OTHERS[row][1:], strict=True):
        found = bootstrap_means(100 * others[network][["dice"]].to_numpy())[0]
        dice, low, high, missed = numbers(cell)
        assert (dice, low, high) == pytest.approx((found.mean, found.low, found.high), abs=0.0501)
        assert missed == others[network].missed.sum()
    both = others["UNet+PhantomCLIP"]
    text = below(SIMULATION, "The last line is what `--model phantom` does")
    stated = re.search(
        rf"([\d.]+) (?:points of Dice )?(\[[^\]]*\])[^\]]* on (\d+) images of {data} \(([\d.]+) %\)", text
    )
    assert stated is not None
    gain = bootstrap_means(100 * (both.dice - others["mean"].dice).to_numpy()[:, None])[0]
    assert numbers(" ".join(stated.groups()[:2])) == pytest.approx([gain.mean, gain.low, gain.high], abs=0.0501)
    assert numbers(" ".join(stated.groups()[2:])) == [len(both), dice_and_missed(both)[0]]


@pytest.mark.parametrize(("data", "cell"), [("BUSI", 2), ("DDTI", 3)])
def test_the_page_on_simulation_has_the_figures_of_both_networks(data: str, cell: int) -> None:
    rows = rows_below("| each network is the mean of |", SIMULATION)
    for network, row in (("mean", rows[0]), ("UNet+PhantomCLIP", rows[-1])):
        cases = cases_of(network, data)
        chosen_on = cases[cases.split == "train"]
        percent = 100 * chosen_on[["dice", "missed"]].mean().to_numpy()
        assert numbers(row[cell]) == pytest.approx(percent, abs=0.0501)
        assert f"{len(chosen_on)} of {data}" in below(SIMULATION, "What `--model phantom` does with an image")
    attempts = {row[0]: row[cell - 1] for row in rows_below("| tried | BUSI", SIMULATION)}
    for name, network in (("UNet of htunet at 224 x 224", "UNet"),
                          ("mean of both at 224 x 224, for comparison", "mean")):  # fmt: skip
        assert numbers(attempts[name]) == dice_and_missed(cases_of(network, data))


def test_every_page_has_the_figures_of_the_model_card() -> None:
    both = {data: cases_of("UNet+PhantomCLIP", data) for data in ("BUSI", "DDTI")}
    every = [dice_and_missed(cases)[0] for cases in both.values()]
    others = [dice_and_missed(cases[cases.split != "train"])[0] for cases in both.values()]
    plain = [dice_and_missed(cases_of("mean", data)) for data in ("BUSI", "DDTI")]
    of_card = numbers(below(CARD, "  - The mean of both at 224 x 224 alone").split("`--tta`")[0])
    assert of_card[2:] == [*plain[0], *plain[1]]
    of_readme = below((ROOT / "README.md").read_text(encoding="utf-8"), "segments lesions with two small networks")
    for text in (of_readme, phantom_model.NOTE):
        assert [float(f) for f in re.findall(r"([\d.]+) %(?! interval)", text)][:4] == [*every, *others]
        assert {129, 127} <= set(numbers(text))
    alone = [dice_and_missed(cases_of(name, "BUSI"))[0] for name in ("UNet", "PhantomCLIP")]
    assert phantom_model.__doc__ is not None
    stated = re.search(
        r"more than either\s+network: ([\d.]+) against\s+([\d.]+)\s+and\s+([\d.]+)", phantom_model.__doc__
    )
    assert stated is not None
    assert [float(f) for f in stated.groups()] == [every[0], *alone]
    of_others = re.search(r"([\d.]+) against ([\d.]+) and ([\d.]+) % over the 129", phantom_model.__doc__)
    assert of_others is not None
    alone = [numbers(cell)[0] for cell in OTHERS[0][1:3]]
    assert [float(f) for f in of_others.groups()] == [others[0], *alone]


@pytest.mark.parametrize(("data", "cell"), [("BUSI", 1), ("DDTI", 2)])
def test_how_sure_the_model_is_of_a_data_set(data: str, cell: int) -> None:
    known = pd.read_csv(RECORD / f"check_{data}.csv", index_col="case")
    measured = cases_of("UNet+PhantomCLIP", data)
    assert known.index.tolist() == measured.index[::4].tolist()
    assert known.dice.to_numpy() == pytest.approx(measured.dice[::4].to_numpy(), abs=6e-5)
    inside = (known.low <= known.dice) & (known.dice <= known.high)
    assert [numbers(row[cell]) for row in CHECKED] == [
        [pytest.approx(100 * known.dice.mean(), abs=0.0501)],
        [pytest.approx(100 * known.predicted_dice.mean(), abs=0.0501)],
        [pytest.approx(100 * inside.mean(), abs=0.501), pytest.approx((known.high - known.low).mean(), abs=0.00501)],
        [pytest.approx(spearmanr(known.predicted_dice, known.dice).statistic, abs=0.00501)],
        [pytest.approx(100 * known.dice[third].mean(), abs=0.501)
         for third in np.array_split(known.predicted_dice.sort_values(kind="stable").index, 3)],
        [pytest.approx(100 * (known.distance > 1).mean(), abs=0.501)],
        [pytest.approx(100 * (known.lesion_probability > 0.5).mean(), abs=0.501)],
    ]  # fmt: skip
    normals = pd.read_csv(RECORD / "check_normals.csv", index_col="case")
    text = below(CARD, "  Of BUSI's 133 images without a lesion")
    none = int((normals.lesion_probability <= 0.5).sum())
    assert f"{len(normals)} images without a lesion {none} ({100 * none / len(normals):.0f} %) are said" in text
    pairs = mannwhitneyu(known.lesion_probability, normals.lesion_probability).statistic / len(known) / len(normals)
    assert re.search(rf"{pairs:.2f} against {data}'s", text)
    # the note that predictions carry
    assert f"{100 * inside.mean():.0f} % of {len(known)} {data}" in phantom_model.NOTE
    assert f"of BUSI's {len(normals)} images without one {none} are said" in phantom_model.NOTE


def test_the_record_is_of_these_weights() -> None:
    page = (Path(RECORD).parent / "README.md").read_text(encoding="utf-8")
    for network in ("UNet", "PhantomCLIP"):
        assert file_hash(SHIPPED / network / "checkpoint.safetensors") in page
    assert max(path.stat().st_size for path in RECORD.iterdir()) < 100_000
