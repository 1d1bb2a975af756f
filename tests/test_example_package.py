"""A package that adds one of each kind through entry points: listed, trained, evaluated, reported."""

import csv
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from builders.raw import blob
from PIL import Image

from dataset_conversion import CONVERTERS
from htunet.cli import convert, evaluate, figures, plan_and_preprocess, report, robustness, train
from htunet.data.artefacts import ARTEFACTS
from htunet.evaluation.metrics import METRICS
from htunet.files import read_json, write_json
from htunet.models.adapters import ADAPTERS
from htunet.models.backbones import BACKBONES
from htunet.models.heads import HEADS
from htunet.models.standalone import STANDALONE
from htunet.registry import Registry
from htunet.reporting.figures import FIGURES
from htunet.training.augmentation import AUGMENTATIONS
from htunet.training.losses import LOSSES

PACKAGE = Path(__file__).parent / "example_package"
PAGES = Path(__file__).parents[1] / "documentation" / "how_to"
REGISTRIES: list[Registry] = [
    *(ADAPTERS, ARTEFACTS, AUGMENTATIONS, BACKBONES, CONVERTERS, FIGURES, HEADS, LOSSES, METRICS, STANDALONE)
]
ENTRIES = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
METHOD = "Patches_Scale"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip leaves of an installed package: its modules, and its entry points in a .dist-info folder."""
    site = tmp_path / "site-packages"
    shutil.copytree(PACKAGE / "example_htunet", site / "example_htunet")
    about = site / "example_htunet-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: example-htunet\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"\n[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in ENTRIES.items()]
    (about / "entry_points.txt").write_text("".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(site)
    for name in [name for name in sys.modules if name.split(".")[0] == "example_htunet"]:
        monkeypatch.delitem(sys.modules, name)


def build_download(folder: Path) -> None:
    """16 images with a lesion, and one without a mask."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number in range(17):
        mask = blob((48, 48), (0.3 + 0.4 * rng.random(), 0.3 + 0.4 * rng.random()), 0.1 + 0.1 * rng.random())
        image = (200 * mask + rng.integers(0, 50, mask.shape)).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"case{number:02d}.png")
        if number < 16:
            Image.fromarray((255 * mask).astype(np.uint8)).save(folder / "masks" / f"case{number:02d}.png")


def test_the_package_adds_one_of_each_kind() -> None:
    assert set(ENTRIES) == {registry.group for registry in REGISTRIES}
    assert not any(registry._installed() for registry in REGISTRIES)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_an_entry_is_listed_and_loaded(installed: None, registry: Registry) -> None:
    (name,) = ENTRIES[registry.group]
    assert name in registry.names()
    assert registry._installed()[name][0].package == "example-htunet"
    assert registry[name] is not None


@pytest.mark.parametrize(
    ("command", "groups"),
    [
        (train, ("adapters", "backbones", "heads", "losses", "augmentations", "standalone_networks")),
        (convert, ("datasets",)),
        (figures, ("figures",)),
        (robustness, ("artefacts",)),
        (evaluate, ("metrics",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_help_lists_what_a_package_adds(
    installed: None, capsys: pytest.CaptureFixture[str], command: object, groups: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])  # type: ignore[attr-defined]
    shown = capsys.readouterr().out.split()
    for group in groups:
        (name,) = ENTRIES[f"htunet.{group}"]
        assert name in " ".join(shown).replace(",", "").replace(".", "").split(), f"{group}: {name}"


def test_what_a_package_adds_goes_from_the_download_to_the_report(
    installed: None, home: Path, log_handlers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    build_download(home / "download")
    assert convert.main(["Plain", str(home / "download")]) == 0
    assert "no mask of this name: images/case16.png" in capsys.readouterr().out
    assert plan_and_preprocess.main(["-d", "Plain", "--plan", "paper"]) == 0
    plans = home / "preprocessed" / "Dataset950_Plain" / "plans.json"
    small = {"input_size": [32, 32], "batch_size": 4, "num_epochs": 1, "learning_rate": 1e-3}
    chosen = {
        "loss": "jaccard",
        "loss_parameters": {"smoothing": 1e-4},
        "head": "nearest",
        "head_parameters": {"dropout": 0.1},
        "adapter": {"start": 0.9},
        "more_augmentation": {"cutout": {"side": 4}},
    }
    content = read_json(plans)
    content["plans"] |= {"ours": content["plans"]["paper"] | small | chosen}
    content["plans"] |= {"plain": content["plans"]["paper"] | small}
    write_json(plans, content)
    assert plan_and_preprocess.main(["-d", "Plain", "--plan", "ours", "plain"]) == 0
    common = ["fold0", "--weights", "random", "--device", "cpu", "--precision", "fp32"]
    assert train.main(["Plain", METHOD, *common, "--plan", "ours"]) == 0
    assert train.main(["Plain", "OneLayer", *common, "--plan", "plain"]) == 0
    assert evaluate.main([]) == 0
    run = home / "results" / "Dataset950_Plain" / f"SegmentationTrainer__ours__{METHOD}" / "fold_0" / "seed_1"
    settings = read_json(run / "settings.json")
    assert {key: settings["plan_content"][key] for key in chosen} == chosen
    case = read_json(run / "test" / "summary.json")["metric_per_case"][0]
    predicted, reference = (case["metrics"]["1"][name] for name in ("n_pred", "n_ref"))
    expected = 1 - abs(predicted - reference) / (predicted + reference) if predicted else 0
    assert case["htunet"]["original_size"]["1"]["VolumeSimilarity"] == pytest.approx(expected)
    with (home / "results" / "tables" / "segmentation.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["method"] for row in rows} >= {METHOD, "OneLayer"}
    assert any("volume_similarity" in column for column in rows[0])
    assert figures.main(["lesion_sizes"]) == 0
    assert (home / "results" / "figures" / "lesion_sizes.png").stat().st_size > 2000
    assert robustness.main(["Plain", METHOD, "--artefacts", "dropout", "--strengths", "2", "--plan", "ours"]) == 0
    measured = next((home / "results").rglob("robustness.csv")).read_text(encoding="utf-8")
    assert "dropout,2.0,12.0,dB" in measured
    assert report.main(["Plain"]) == 0
    pages = [path.read_text(encoding="utf-8") for path in (home / "results").rglob("*.html")]
    assert any("Volume similarity" in page or "VS" in page for page in pages)


@pytest.mark.parametrize("module", sorted(path.stem for path in (PACKAGE / "example_htunet").glob("[a-z]*.py")))
def test_the_page_of_a_kind_shows_the_file_of_the_package(module: str) -> None:
    """So the example of each page is executed by the tests above."""
    pages = [page.read_text(encoding="utf-8") for page in sorted(PAGES.glob("add_*.md"))]
    code = (PACKAGE / "example_htunet" / f"{module}.py").read_text(encoding="utf-8")
    shown = [page for page in pages if f"```python\n{code}```\n" in page]
    assert len(shown) == 1, f"no page shows {module}.py as it is"
