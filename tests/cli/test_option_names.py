"""One spelling of options for all commands, the spellings of earlier versions, and the short forms of nnU-Net."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "documentation" / "make_reference.py"


def load_reference() -> ModuleType:
    spec = spec_from_file_location("make_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = load_reference()
COMMANDS = tuple(name.rstrip("_") for name in REFERENCE.command_names())

# Command; what a user types; the same with other spellings.
SAME = [
    ("convert", "BUSI dataset.zip", "-d BUSI -i dataset.zip"),
    ("convert", "--images A --masks B --name Mine --fit-masks", "--images A --masks B --name Mine --fit_masks"),
    ("plan_and_preprocess", "-d BUSI 504 --plan paper adaptive", "--datasets BUSI 504 -p paper adaptive"),
    ("plan_and_preprocess", "-d BUSI --plan paper", "-d BUSI --plans paper"),
    ("plan_and_preprocess", "-d BUSI --memory-gb 8 --verify-only", "-d BUSI --memory_gb 8 --verify_only"),
    ("plan_and_preprocess", "-d BUSI --split-by group", "-d BUSI --split_by group"),
    ("finetune", "CLIP_HT -d CURD MedPix", "-m CLIP_HT --datasets CURD MedPix"),
    ("finetune", "CLIP_HT -d CURD --batch-size 8 --input-size 32", "CLIP_HT -d CURD --batch_size=8 --input_size=32"),
    ("finetune", "CLIP_HT -d CURD --shuffle-captions", "CLIP_HT -d CURD --shuffle_captions"),
    ("finetune", "CLIP_HT -d CURD --split-by image", "CLIP_HT -d CURD --split_by image"),
    ("train", "BUSI CLIP_HT fold0", "-d BUSI -m CLIP_HT -f 0"),
    ("train", "BUSI CLIP_HT 1 -p paper", "--method CLIP_HT --plan paper --fold fold1 --dataset BUSI"),
    ("train", "BUSI CLIP_HT fold0 --num-epochs 3", "BUSI --num_epochs 3 CLIP_HT fold0"),
    ("train", "BUSI CLIP_HT fold0", "BUSI fold0 -m CLIP_HT"),
    ("predict", "-i A -o B -d BUSI -m CLIP", "--input A --output B --dataset BUSI --method CLIP"),
    ("predict", "-i A -o B -d BUSI -m CLIP -f 0 -p paper", "-i A -o B -d BUSI -m CLIP --fold fold0 --plan paper"),
    ("predict", "-i A -o B --model M --npz", "-i A -o B --model M --save_probabilities"),
    ("predict", "-i A -o B --model M --npz", "-i A -o B --model M --save-probabilities"),
    ("zero_shot", "BUSI CLIP_HT --plan paper", "-d BUSI -m CLIP_HT -p paper"),
    ("retrieval", "CLIP_HT -d MedPix --input-size 32", "-m CLIP_HT --dataset MedPix --input_size 32"),
    ("evaluate", "BUSI CLIP_HT --plan paper", "-d BUSI -m CLIP_HT -p paper"),
    ("evaluate", "--prediction-folder A --reference-folder B", "--prediction_folder A --reference_folder B"),
    ("evaluate", "--prediction-folder A --output C", "--prediction-folder A -o C"),
    ("evaluate", "LN-EXT --trained-on LN-INT", "-d LN-EXT --trained_on LN-INT"),
    ("tables", "table2 --datasets BUSI --methods CLIP CLIP_HT", "table2 -d BUSI -m CLIP CLIP_HT"),
    ("reproduce", "table2 --datasets BUSI --methods CLIP --plan tiny", "table2 -d BUSI -m CLIP -p tiny"),
    ("reproduce", "table2 --num-epochs 1 --dry-run --jobs 2", "table2 --num_epochs 1 --dry_run --jobs 2"),
    ("figures", "roc --datasets BUSI --methods CLIP", "roc -d BUSI -m CLIP"),
    ("robustness", "BUSI UNet CLIP --plan paper", "-d BUSI -m UNet CLIP -p paper"),
    ("robustness", "BUSI UNet -f 0 --artefact-seed 3", "BUSI UNet --fold fold0 --artefact_seed 3"),
    ("report", "BUSI DDTI --output page.html", "-d BUSI DDTI -o page.html"),
    ("export", "BUSI CLIP_HT fold0 -o busi.zip", "-d BUSI -m CLIP_HT -f 0 --output busi.zip"),
    ("export", "BUSI CLIP fold0 -o A --plan paper --with-backbone", "BUSI CLIP fold0 -o A -p paper --with_backbone"),
    ("import", "busi.zip", "-i busi.zip"),
    ("demo", "--folder here --num-epochs 1", "-o here --num_epochs 1"),
]  # fmt: skip
SHORT = {"dataset": "-d", "datasets": "-d", "method": "-m", "methods": "-m", "fold": "-f", "plan": "-p", "plans": "-p"}
SHORT |= {"input": "-i", "source": "-i", "output": "-o", "save_probabilities": "--npz"}


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_written_with_dashes_and_have_the_short_forms_of_nnunet(name: str) -> None:
    for action in REFERENCE.parser_of(name)._actions:
        for option in action.option_strings:
            assert re.fullmatch(r"-[a-z]|--[a-z]+(-[a-z]+)*", option), f"htunet_{name} {option}"
        if action.dest in SHORT:
            assert SHORT[action.dest] in action.option_strings, f"htunet_{name} has no {SHORT[action.dest]}"


@pytest.mark.parametrize(("name", "typed", "other"), SAME)
def test_both_spellings_mean_the_same(name: str, typed: str, other: str) -> None:
    parser = REFERENCE.parser_of(name)
    assert vars(parser.parse_args(typed.split())) == vars(parser.parse_args(other.split()))


def test_the_values_arrive_where_they_belong() -> None:
    options = REFERENCE.parser_of("train").parse_args(["-m", "CLIP_HT", "BUSI", "--num_epochs", "3", "fold2"])
    assert (options.dataset, options.method, options.fold, options.num_epochs) == ("BUSI", "CLIP_HT", 2, 3)
    options = REFERENCE.parser_of("robustness").parse_args(["BUSI", "--force", "UNet", "CLIP"])
    assert (options.dataset, options.methods, options.force) == ("BUSI", ["UNet", "CLIP"], True)
    assert REFERENCE.parser_of("report").parse_args([]).datasets == []
    assert REFERENCE.parser_of("evaluate").parse_args([]).dataset is None


def test_underscores_in_values_stay() -> None:
    options = REFERENCE.parser_of("finetune").parse_args(["CLIP_HT", "-d", "my_captions", "--weights=a_b=c_d.pt"])
    assert (options.method, options.datasets, options.weights) == ("CLIP_HT", ["my_captions"], "a_b=c_d.pt")


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("train", "BUSI CLIP_HT", "required: FOLD"),
        ("train", "-f 0", "required: DATASET, METHOD"),
        ("train", "BUSI CLIP_HT fold0 more", "unrecognized arguments: more\n"),
        ("train", "BUSI CLIP_HT --restart fold0 more", "unrecognized arguments: more\n"),
        ("train", "BUSI CLIP_HT fold0 --seed 1 2 3", "2 3; --seed takes one value, so repeat the command for each"),
        ("train", "BUSI CLIP_HT fold0 -f 1", "unrecognized arguments: fold0"),
        ("train", "BUSI CLIP_HT first", "argument FOLD: 'first' is not a fold; write fold0 or 0"),
        ("train", "BUSI CLIP_HT -f first", "'first' is not a fold; write fold0 or 0"),
        ("train", "BUSI CLIP_HT fold0 --no-such 3", "unrecognized arguments: --no-such"),
        ("robustness", "BUSI", "required: METHOD"),
    ],
)
def test_wrong_usage_is_explained(name: str, typed: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        REFERENCE.parser_of(name).parse_args(typed.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
