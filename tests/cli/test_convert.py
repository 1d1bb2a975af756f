import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from builders.busi import BuiltBusi, build_busi

from htunet.cli.convert import main
from htunet.paths import root


@pytest.fixture
def built(home: Path) -> BuiltBusi:
    return build_busi(home / "download" / "Dataset_BUSI_with_GT")


def test_it_prints_what_became_of_every_file_and_the_next_command(
    built: BuiltBusi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["BUSI", str(built.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Found 18 images in {built.folder}: 10 benign, 6 malignant, 2 normal."
    assert "  benign_0002 (2 masks)" in lines
    assert any(built.misfit in line and "differ in size" in line for line in lines)
    assert any(built.unreadable in line and "cannot be read" in line for line in lines)
    assert any(line.startswith("  2 x normal: no lesion") for line in lines)
    assert f"  {' and '.join(built.two_classes)}" in lines
    folder = root("htunet_raw") / "Dataset503_BUSI"
    assert lines[-2] == f"Wrote 13 cases (7 benign, 6 malignant) in {folder}"
    assert lines[-1] == "Next: htunet_plan_and_preprocess -d BUSI"


def test_running_again_says_that_it_replaced(built: BuiltBusi, capsys: pytest.CaptureFixture[str]) -> None:
    main(["BUSI", str(built.folder)])
    assert main(["BUSI", str(built.folder), "--fit-masks", "--workers", "2"]) == 0
    assert "Replaced the earlier conversion: 14 cases" in capsys.readouterr().out


def test_names_that_a_terminal_would_obey_are_spelled_out(
    built: BuiltBusi, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (built.folder / "benign" / "a\x1b[31m\nb.txt").write_text("x")
    assert main(["BUSI", str(built.folder)]) == 0
    printed = capsys.readouterr().out
    assert r"benign/a\x1b[31m\nb.txt" in printed
    assert "\x1b" not in printed
    assert main(["BUSI", str(home / "no\x1b]where")]) == 2
    assert r"no\x1b]where does not exist" in capsys.readouterr().err


def test_another_name_is_used_in_the_next_command(built: BuiltBusi, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["BUSI", str(built.folder), "--name", "Dataset510_Mine"]) == 0
    assert "Next: htunet_plan_and_preprocess -d Dataset510_Mine" in capsys.readouterr().out


def test_the_zip_as_distributed_gives_the_same_files_as_the_folder(built: BuiltBusi, home: Path) -> None:
    main(["BUSI", str(built.folder)])
    raw = root("htunet_raw") / "Dataset503_BUSI"
    expected = {path.relative_to(raw): path.read_bytes() for path in raw.rglob("*") if path.is_file()}
    archive_path = home / "archive.zip"
    with zipfile.ZipFile(archive_path, "w") as archive:
        for path in built.folder.rglob("*"):
            archive.write(path, path.relative_to(built.folder.parent))
    assert main(["BUSI", str(archive_path)]) == 0
    assert {path.relative_to(raw): path.read_bytes() for path in raw.rglob("*") if path.is_file()} == expected


def test_the_list_states_licence_source_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    text = capsys.readouterr().out
    for words in (
        "BUSI (Dataset503_BUSI)",
        "437 benign, 210 malignant, 133 normal",
        "Data in Brief",
        "licence",
        "8:1:1",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["BUSY", "x"], 2, "Did you mean 'BUSI'?"),
        ([], 2, "Name a data set (BUSI"),
        (["BUSI"], 2, "Dataset_BUSI.zip"),
        (["BUSI", "nowhere"], 2, "does not exist"),
        (["BUSI", ".", "--name", "wrong"], 2, "DatasetNNN_NAME"),
        (["BUSI", ".", "--workers", "0"], 2, "--workers must be at least 1"),
        (["BUSI", "."], 1, "Looked for: a folder with the folders benign/ and malignant/"),
    ],
)
def test_wrong_usage_says_the_way_out_and_writes_nothing(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    (home / "empty").mkdir()
    monkeypatch.chdir(home / "empty")
    assert main(arguments) == code
    assert words in capsys.readouterr().err
    assert not root("htunet_raw").exists()


def test_help_answers_without_loading_numpy() -> None:
    code = "import sys, htunet.cli.convert; sys.exit(any(name in sys.modules for name in ('numpy', 'PIL', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
