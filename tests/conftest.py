"""What all tests share: the real samples where they are, and folders of their own."""

import os
from pathlib import Path

import pytest

from htunet.paths import ROOTS

SAMPLES = Path(os.environ.get("HTUNET_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real samples; tests that need it skip where it is absent."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the real samples are not at {SAMPLES}; set HTUNET_SAMPLES to their folder")
    return SAMPLES


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder that holds raw, preprocessed, results and weights."""
    for variable, name in ROOTS.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path
