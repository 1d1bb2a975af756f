"""The command htunet_finetune: what it says, its exit codes, and that nothing heavy starts before an error."""

from dataclasses import fields
from pathlib import Path

import pytest
from builders.contrastive import build_captions
from builders.training import build_training

from htunet.cli.finetune import main
from htunet.data.captions import CaptionInfo, write_captions
from htunet.files import read_json
from htunet.paths import DatasetPaths, FinetuningPaths
from htunet.training.settings import FinetuneSettings

SMALL = ("--input-size", "32", "--batch-size", "8", "--num-epochs", "2", "--weights", "random")
TINY = (*SMALL, "--device", "cpu", "--precision", "fp32", "--workers", "0")
WORDS = ("CLIP_HT", "-d", "Words")
RUN = FinetuningPaths(("Dataset907_Words",), "CLIP_HT", 1)

pytestmark = pytest.mark.usefixtures("home", "log_handlers", "tiny_clip")


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in fields(FinetuneSettings):
        assert f"--{field.name.replace('_', '-')} " in text
        assert field.metadata["help"] in text


def test_a_run_is_trained_and_the_next_command_named(capsys: pytest.CaptureFixture[str]) -> None:
    build_captions()
    assert main([*WORDS, *TINY]) == 0
    output = capsys.readouterr().out
    assert "36 training and 4 validation pairs, 5 steps per epoch, 2 epochs" in output
    assert "Finished: CLIP_HT on Words seed1, lowest validation loss in epoch" in output
    assert str(RUN.folder) in output
    assert output.endswith("Next: htunet_train DATASET CLIP_HT fold0 --adapter finetuned\n")
    assert main([*WORDS, *TINY]) == 0
    assert "Already finished: CLIP_HT on Words seed1" in capsys.readouterr().out


def test_restart_forgets_the_earlier_run(capsys: pytest.CaptureFixture[str]) -> None:
    build_captions()
    assert main([*WORDS, *TINY]) == 0
    assert main([*WORDS, *TINY, "--lr", "0.01"]) == 1
    assert "was started with other settings (plan_content" in capsys.readouterr().err.replace(
        "learning", "plan_content"
    )
    assert main([*WORDS, *TINY, "--lr", "0.01", "--restart"]) == 0
    assert read_json(RUN.settings_json)["plan_content"]["learning_rate"] == 0.01


def test_patients_in_both_splits_are_said_and_kept_together_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    paths = build_captions(groups=20)
    assert main([*WORDS, *TINY]) == 0
    warning = "groups (patients, cases or articles) with pairs in both splits"
    assert warning in capsys.readouterr().out
    assert main([*WORDS, *TINY, "--split-by", "group", "--restart"]) == 0
    assert warning not in capsys.readouterr().out
    assert read_json(paths.caption_split_json)["split_by"] == "group"
    assert main([*WORDS, *TINY]) == 0  # as before
    assert read_json(paths.caption_split_json)["split_by"] == "group"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("CLIP", "-d", "Words"), 2, "has no adapter"),
        (("UNet", "-d", "Words"), 2, "has no text encoder"),
        (("CLIP_HAT", "-d", "Words"), 2, "Did you mean"),
        (("CLIP_HT", "-d", "Wrods"), 2, "Did you mean"),
        (("CLIP_HT", "-d", "Words", "--batch-size", "1"), 2, "--batch-size must be at least 2"),
        (("CLIP_HT", "-d", "Words", "--lr", "nan"), 2, "--lr must be larger than 0"),
        (("CLIP_HT", "-d", "Words", "--input-size", "33"), 1, "multiples of the patch size"),
        (("CLIP_HT", "-d", "Words", "--weights", "nowhere.pt"), 1, "nowhere.pt"),
        (("CLIP_HT", "-d", "Tiny"), 1, "images with masks, no captions"),
        (("CLIP_HT", "-d", "Empty"), 1, "holds no pair"),
        (("CLIP_HT", "-d", "Alone"), 1, "cannot be divided"),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_is_made(
    arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    build_captions()
    build_captions("Dataset908_Alone", 1)
    build_training()
    empty = DatasetPaths("Dataset906_Empty")
    empty.raw.mkdir()
    write_captions(empty.raw, CaptionInfo(name=empty.name, licence="", reference="", description=""), [], [])
    assert main([*arguments[:3], *TINY, *arguments[3:]]) == code
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert "unexpected" not in errors
    assert not list(home.rglob("images.npy.part")) + list(home.glob("preprocessed/*/captions_*"))
    assert not list(home.glob("results/finetuning/*/*/*/settings.json"))
