"""The figures on the page of results are those of the stored files, computed here from the metrics of each case."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders.pages import numbers, rows_below
from scipy.stats import wilcoxon

from benchmarks.public_code import read_recorded

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (RESULTS / "README.md").read_text(encoding="utf-8")
DIAGONAL = float(np.hypot(224, 224))
SHORT = "few_shot_pretrained_on_simulation"


def cases_of(folder: Path, name: str) -> pd.DataFrame:
    """Cases of all seeds, at the input size where the file has several sizes."""
    tables = [pd.read_csv(path).assign(run=path.parent.name) for path in sorted(folder.glob(f"seed_*/{name}"))]
    cases = pd.concat(tables, ignore_index=True)
    return cases[cases.resolution == "input_size"] if "resolution" in cases else cases


def of_row(cells: list[str]) -> pd.DataFrame:
    """The cases of a row such as ``BUSI, 64 images | `public`, by image`` (of one cell or two)."""
    text = " ".join(cells)
    name = "split_by_group" if "by group" in text else f"split_by_image{'_public' if '`public`' in text else ''}"
    return cases_of(RESULTS / name / f"{text[:4]}_UNet", "per_case.csv")


UNET = [row for row in rows_below("| data | plan, split |", PAGE) if "the paper" not in row[0]]
PAPERS = rows_below("| data, plan | HD95 px |", PAGE)
ADAPTERS = rows_below("| adapter | trained parameters |", PAGE)
ADAPTERS_DDTI = rows_below("| adapter, DDTI |", PAGE)
CURVE = rows_below("| images | epochs, steps |", PAGE)


@pytest.mark.parametrize("row", UNET, ids=lambda row: " ".join(row[:2]))
def test_a_row_of_unet(row: list[str]) -> None:
    cases = of_row(row[:2])
    for cell, metric, scale in ((3, "dice", 100), (4, "iou", 100), (5, "hd95", 1), (6, "asd", 1)):
        mean, *spread = numbers(row[cell])
        assert mean == pytest.approx(scale * cases[metric].mean(), abs=0.0501)
        deviation = scale * cases.groupby("run")[metric].mean().std()
        assert "±" not in row[cell] or spread[0] == pytest.approx(deviation, abs=0.0501)
    assert numbers(row[7]) == [np.isclose(cases.hd95, DIAGONAL).sum(), len(cases)]
    assert numbers(row[8]) == [pytest.approx(100 * cases.dice.median(), abs=0.0501)]


@pytest.mark.parametrize("row", PAPERS, ids=lambda row: row[0])
def test_a_row_of_the_papers_definitions(row: list[str]) -> None:
    cases = of_row(row[:1])
    found = cases[~np.isclose(cases.hd95, DIAGONAL)]
    assert numbers(row[1]) == [pytest.approx(found.hd95_max.mean(), abs=0.0501)]
    assert numbers(row[3]) == [pytest.approx(found.asd_directed.mean(), abs=0.0501)]
    assert numbers(row[5])[0] == pytest.approx((len(cases) - len(found)) / cases.run.nunique(), abs=0.0501)


@pytest.mark.parametrize(("data", "row"), [*(("BUSI", [row[0], *row[2:]]) for row in ADAPTERS),
                                       *(("DDTI", row) for row in ADAPTERS_DDTI)], ids=str)  # fmt: skip
def test_a_row_of_the_adapters(data: str, row: list[str]) -> None:
    cases = {name: cases_of(RESULTS / SHORT / f"{data}_PhantomCLIP{end}", "per_case.csv")
             for name, end in (("none", ""), ("LoRA", "_LoRA"), ("HT", "_HT"), ("Mona", "_Mona"))}  # fmt: skip
    means = cases[row[0]].groupby("run")[["dice", "iou", "hd95"]].mean()
    assert numbers(row[1]) == pytest.approx(100 * means.dice.to_numpy(), abs=0.0501)
    assert numbers(row[2]) == pytest.approx(100 * means.iou.to_numpy(), abs=0.0501)
    assert numbers(row[3]) == pytest.approx(means.hd95.to_numpy(), abs=0.501)
    if row[0] != "HT":
        own, ht = (100 * cases[name].groupby("case").dice.mean() for name in (row[0], "HT"))
        apart = (own - ht).to_numpy()
        drawn = apart[np.random.default_rng(0).integers(0, len(apart), (4000, len(apart)))].mean(axis=1)
        assert numbers(row[4]) == pytest.approx([apart.mean(), *np.percentile(drawn, [2.5, 97.5])], abs=0.25)


@pytest.mark.parametrize("row", CURVE, ids=lambda row: row[0])
def test_a_row_of_the_curve_over_fractions(row: list[str]) -> None:
    ratio = f"ratio_{numbers(row[0])[1] / 100:g}"
    for cell, method in ((2, "BUSI_UNet"), (3, "BUSI_UNet_from_phantom")):
        if row[cell]:
            cases = cases_of(RESULTS / "few_shot_from_simulation" / method / ratio, "test.csv")
            assert numbers(row[cell]) == [pytest.approx(100 * cases.dice.mean(), abs=0.0501)]
    assert not row[4] or numbers(row[4])[0] == pytest.approx(numbers(row[3])[0] - numbers(row[2])[0], abs=0.1001)


def test_five_images_of_ddti() -> None:
    columns, means = ["dice", "iou", "hd95", "asd"], []
    for start, method in (("from scratch", "DDTI_UNet"), ("from simulation", "DDTI_UNet_from_phantom")):
        cases = cases_of(RESULTS / "few_shot_from_simulation" / method / "ratio_0.01", "test.csv")
        means.append((cases[columns].mean() * [100, 100, 1, 1]).round(1).tolist())
        assert f"| {start} | {' | '.join(f'{value:.1f}' for value in means[-1])} |" in PAGE
    assert means[1][0] - means[0][0] == pytest.approx(5.8, abs=0.1)


SIMULATION = ROOT / "documentation" / "explanation" / "simulation.md"
RANGES = rows_below("| simulated |", SIMULATION.read_text(encoding="utf-8"))
OF_ORGANS = {"all ranges": "all", "breast": "organs", "thyroid": "t", "breast,thyroid": "bt"}


@pytest.mark.parametrize("row", RANGES, ids=lambda row: row[0])
@pytest.mark.parametrize(("data", "cell"), [("BUSI", 1), ("DDTI", 3)])
def test_a_row_of_the_simulated_ranges(row: list[str], data: str, cell: int) -> None:
    dice = 100 * pd.read_csv(RESULTS / "simulated_ranges" / f"{data}.csv", index_col="case")
    what = row[0].strip("`").removeprefix("--without ").removeprefix("--organs ")
    name = OF_ORGANS.get(what, what)
    runs = [column for column in dice if column.rpartition("_")[0] == name]
    assert numbers(row[cell]) == pytest.approx(dice[runs].mean().to_numpy(), abs=0.0501)
    differences = [(dice[run] - dice[f"all_{run[-1]}"]).mean() for run in runs] if name != "all" else []
    each, _, interval = row[cell + 1].partition("[")
    assert numbers(each.replace("+", "")) == pytest.approx(differences, abs=0.0501)
    assert not interval or numbers(interval)[0] < np.mean(differences) < numbers(interval)[1]


def test_the_command_of_the_readme_gave_what_the_page_says() -> None:
    dice = 100 * pd.read_csv(RESULTS / "simulated_ranges" / "BUSI.csv").readme.mean()
    found = re.search(r"by the command of the README [^%]*gave ([\d.]+) %", SIMULATION.read_text(encoding="utf-8"))
    assert found is not None
    assert float(found[1]) == pytest.approx(dice, abs=0.0501)


def test_the_readme_has_the_figures_of_the_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"\(Dice ([\d.]+) % and ([\d.]+) %.*?\(([\d.]+) % and ([\d.]+) %\)", text, re.DOTALL)
    assert found is not None
    shown = {(row[0][:4], row[1]): numbers(row[3])[0] for row in UNET}
    by_image = [shown[data, f"`{plan}`, by image"] for plan in ("paper", "public") for data in ("BUSI", "DDTI")]
    assert [float(number) for number in found.groups()] == by_image


def test_the_page_that_compares_the_paper_has_what_the_benchmark_prints(capsys: pytest.CaptureFixture[str]) -> None:
    read_recorded()
    printed = {line[:40].strip(): numbers(line[40:]) for line in capsys.readouterr().out.splitlines()}
    text = (ROOT / "documentation" / "explanation" / "paper_code_htunet.md").read_text(encoding="utf-8")
    for metric in ("HD95", "ASD"):
        row = re.search(rf"^\| {metric} \|.*$", text, re.MULTILINE)
        assert row is not None
        parts = re.split(r"BUSI|DDTI", row[0].split("|")[5])[1:]
        for data, found in zip(("BUSI", "DDTI"), parts, strict=True):
            every, *_, kept, directed = printed[f"split_by_image, {data}_UNet, {metric}"]
            assert {every, kept, directed} <= set(numbers(found))


def test_the_curve_of_20_epochs_on_a_cpu_is_within_the_seeds_on_a_gpu() -> None:
    columns = ["train_loss", "val_loss", "val_metric"]
    before = [
        pd.read_csv(RESULTS / "split_by_image" / "BUSI_UNet" / f"seed_{seed}" / "progress.csv")[columns].head(20)
        for seed in (1, 2, 3)
    ]
    after = pd.read_csv(RESULTS / "unet_20_epochs.csv")[columns]
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    page = page[page.index("| GPU, bf16, seeds 1, 2, 3 |") :].split("\n\n")[0]
    rows = {
        row[0]: row[1:] for row in ([cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines())
    }
    for name, curves in (("GPU, bf16, seeds 1, 2, 3", before), ("CPU, fp32, seed 1", [after])):
        ends = np.array([curve.tail(5).mean() for curve in curves])
        assert [numbers(cell) for cell in rows[name]] == [pytest.approx(column, abs=6e-4) for column in ends.T]
    apart = (after - before[0]).abs().mean()
    deviation = np.std(np.stack(before), axis=0, ddof=1).mean(axis=0)
    assert apart.to_numpy() == pytest.approx([0.0017, 0.0074, 0.0124], rel=0.05)
    assert deviation == pytest.approx([0.0742, 0.0525, 0.0327], rel=0.02)


BY_FRACTION = RESULTS / "few_shot_by_fraction"
HEADS = [line for line in PAGE.splitlines() if re.match(r"\| (BUSI|DDTI), images \|", line)]


@pytest.mark.parametrize("head", HEADS)
def test_a_table_over_fractions(head: str) -> None:
    data = head[2:6]
    folder = "UNet_112" if "UNet" in head else "PhantomCLIP_224"
    cases = pd.concat(map(pd.read_csv, sorted(BY_FRACTION.glob(f"{folder}*/{data}_cases.csv"))))
    columns = [cell.strip() for cell in head.strip("|").split("|")][1:]
    rows = rows_below(head, PAGE)
    arms = [column for column in columns if "-" not in column]
    least = [arm for arm in arms if arm.endswith((":random", "FullFT"))] or arms  # trained at some fractions only
    trained = set.intersection(*(set(cases[cases.arm == arm].images) for arm in least))
    assert [int(row[0]) for row in rows] == sorted(trained)
    p = {}
    for row in rows:
        of_row = cases[cases.images == int(row[0])].pivot(columns="arm", index=["seed", "case"], values="dice") * 100
        for column, cell in zip(columns, row[1:], strict=True):
            one, minus, other = column.partition("-")
            if not cell:
                assert not {one, other or one} <= {*of_row.columns}
            elif not minus:
                assert numbers(cell)[0] == pytest.approx(of_row[one].groupby("seed").mean().mean(), abs=0.0501)
            else:
                apart = (of_row[one] - of_row[other]).groupby("case").mean().to_numpy()
                drawn = apart[np.random.default_rng(0).integers(0, len(apart), (4000, len(apart)))].mean(axis=1)
                expected = [apart.mean(), *np.percentile(drawn, [2.5, 97.5])]
                assert numbers(cell.replace("+", "")) == pytest.approx(expected, abs=1.0)  # BCa is not symmetric
                assert numbers(cell.replace("+", ""))[0] == pytest.approx(apart.mean(), abs=0.0501)
                p[cell, row[0], column] = wilcoxon(apart.round(12), method="asymptotic", correction=False).pvalue
    by_size = sorted(p, key=lambda key: p[key])
    largest = np.maximum.accumulate([p[key] * (len(p) - place) for place, key in enumerate(by_size)])
    for key, value in zip(by_size, largest, strict=True):
        assert key[0].endswith("*") == (value < 0.05), (key, value)


def test_the_page_on_simulation_has_the_adapters_figures() -> None:
    *rows, paper = rows_below("| training images |", SIMULATION.read_text(encoding="utf-8"))
    table = pd.read_csv(ROOT / "results_template" / "table5_adapters_segmentation.csv").set_index(["dataset", "method"])
    theirs = [table.dice[data, arm] for data in ("BUSI", "DDTI") for arm in ("Baseline", "LoRA", "HT", "Mona")]
    assert ("Table V" in paper[0], [float(cell) for cell in paper[1:]]) == (True, theirs)
    shown = {
        (data, int(images)): [float(cell) for cell in row[first : first + 4]]
        for row in rows
        for data, images, first in zip(("BUSI", "DDTI"), row[0].split(":")[1].split(","), (1, 5), strict=True)
    }
    arms = ["PhantomCLIP", "PhantomCLIP_LoRA", "PhantomCLIP_HT", "PhantomCLIP_Mona"]
    for data in ("BUSI", "DDTI"):
        cases = pd.concat(map(pd.read_csv, sorted(BY_FRACTION.glob(f"PhantomCLIP_224*/{data}_cases.csv"))))
        means = 100 * cases.pivot_table(index="images", columns="arm", values="dice")[arms]
        assert {images: shown[data, images] for images in means.index} == {
            images: pytest.approx(row.to_list(), abs=0.0501) for images, row in means.iterrows()
        }


def gained(folder: str, data: str, one: str, other: str, seed: int | None = None) -> pd.Series:
    """Points of Dice by which ``one`` is ahead of ``other``, by number of training images."""
    cases = pd.concat(map(pd.read_csv, sorted(BY_FRACTION.glob(f"{folder}*/{data}_cases.csv"))))
    cases = cases if seed is None else cases[cases.seed == seed]
    means = 100 * cases.pivot_table(index="images", columns="arm", values="dice")
    return (means[one] - means[other]).dropna()


def ends(points: pd.Series, digits: int = 0) -> list[float]:
    return [round(points.min(), digits), round(points.max(), digits)]


def stated(pattern: str, path: Path = SIMULATION) -> list[float]:
    found = re.search(pattern, path.read_text(encoding="utf-8"))
    assert found is not None, pattern
    return [float(number) for number in found.groups()]


def test_the_page_on_simulation_says_what_a_unet_gains() -> None:
    busi, ddti = (gained("UNet_112", data, "UNet:phantom", "UNet") for data in ("BUSI", "DDTI"))
    assert stated(
        r"on BUSI the weights gain (\d+) to (\d+) points with 5 to 26 images and (\d+) to (\d+) with more; "
        r"on DDTI (\d+) points with 5 images, (\d+) with 10, (\d+) to (\d+) with 26 to 179.*nothing with more"
    ) == [*ends(busi.loc[:26]), *ends(busi.loc[27:]), round(ddti[5]), round(ddti[10]), *ends(ddti.loc[26:179])]
    assert ends(ddti.loc[180:]) == [0, 0]


def test_pages_say_what_adapters_and_the_pre_trained_encoder_gain() -> None:
    folder, decoder, ht = "PhantomCLIP_224", "PhantomCLIP", "PhantomCLIP_HT"
    arms = [(data, arm) for data in ("BUSI", "DDTI") for arm in (ht, "PhantomCLIP_Mona")]
    adapters = ends(pd.concat([gained(folder, data, arm, decoder).loc[10:] for data, arm in arms]))
    assert stated(r"HT and Mona gain (\d+) to (\d+) points over the decoder alone") == adapters
    assert stated(r"HT and Mona have (\d+) to (\d+) points", ROOT / "CHANGELOG.md") == adapters
    encoder = pd.concat([gained(folder, "BUSI", arm, f"{arm}:random", seed=1) for arm in (decoder, ht)])
    assert stated(r"(\d+) to (\d+) points less than with the encoder of htunet") == ends(encoder)
    busi, ddti = (gained(folder, data, ht, "PhantomCLIP_FullFT") for data in ("BUSI", "DDTI"))
    page = ROOT / "documentation" / "how_to" / "choose_a_method.md"
    *of_ddti, of_busi = stated(r"by (\d+) to (\d+) points of Dice on DDTI; on BUSI by ([\d.]+),", page)
    assert (of_ddti, [of_busi, of_busi]) == (ends(ddti), ends(busi, 1))


def test_the_page_on_simulation_counts_the_lesions_that_networks_for_one_organ_miss() -> None:
    missed = {
        data: (pd.read_csv(RESULTS / "simulated_ranges" / f"{data}.csv", index_col="case") == 0).sum()
        for data in ("BUSI", "DDTI")
    }
    breast, every = missed["BUSI"][["organs_1", "organs_2", "readme"]], missed["BUSI"][["all_1", "all_2"]]
    assert stated(
        r"no pixel right in (\d+) to (\d+) of BUSI's 647 lesions, those for all organs in (\d+) and (\d+)"
    ) == [*(breast.min(), breast.max(), every.min(), every.max())]
    every = missed["DDTI"][["all_1", "all_2"]]
    assert stated(r"for thyroids misses (\d+) of 637, those for all organs (\d+) and (\d+)") == [
        *(missed["DDTI"]["t_1"], every.min(), every.max())
    ]
