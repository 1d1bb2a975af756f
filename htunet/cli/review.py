"""Write the cases that are most worth correcting, with the predicted outlines, for annotation tools.

From the tested images it takes the worst and the most uncertain ones; from new images (-i) those in which nothing was
found, those unlike the training images, and the most uncertain ones. LabelMe opens FOLDER/images; other tools read
FOLDER/coco.json or FOLDER/masks. Correct one of the three; htunet_run -d DATASET --corrections FOLDER then continues
the training with the corrections.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from htunet.cli.arguments import add_device
from htunet.cli.command import make_parser, run_command
from htunet.errors import HtunetError, check_least, counted
from htunet.paths import find_dataset

NUMBER = 20


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_review -d MINE -o FOLDER``."""
    parser = make_parser("htunet_review", __doc__)
    parser.add_argument("-d", "--dataset", required=True, help="data set that the model was trained on, such as MINE")
    parser.add_argument("-o", "--output", type=Path, required=True, help="new folder for the cases")
    parser.add_argument("-i", "--input", type=Path, help="new images, instead of the tested images of the data set")
    parser.add_argument("-n", "--number", type=int, default=NUMBER, help="number of cases (default: %(default)s)")
    method = "method of the runs (default: the one that htunet_run chose, or the only one that is evaluated)"
    parser.add_argument("-m", "--method", help=method)
    parser.add_argument("-p", "--plan", help="plan of the runs; needed only if there are runs of several plans")
    add_device(parser)
    return run_command(parser, _review, argv)


def _review(options: argparse.Namespace) -> None:
    check_least("number", options.number, 1)
    from dataset_conversion.review_folder import write_review
    from htunet import api
    from htunet.data.raw import read_raw
    from htunet.experiments.review import UNRANKED, new_cases, runs_to_review, tested_cases

    dataset = find_dataset(options.dataset)
    runs = runs_to_review(dataset, options.method, options.plan)
    if options.input:
        folds = sorted({run.fold for run in runs})
        about = {"task": runs[0].task, "plan": runs[0].plan, "device": options.device, "seed": runs[0].seed}
        model = api.load(dataset.name, runs[0].method, folds=folds, **about)
        _ = model.predictor  # loaded, so that what is wrong with it is no reason to leave out a file
        cases, excluded = new_cases(model.predict, options.input, options.number)
        for name, reason in excluded.items():
            print(f"Excluded {name}: {reason}")
    else:
        cases = list(tested_cases(dataset, runs, options.number))
    if not cases:
        raise HtunetError(f"{options.input or dataset.short_name} has no case to correct.")
    write_review(options.output, cases, read_raw(dataset).info.labels)
    print(f"{counted(len(cases), 'case')} to look at, the most useful first, in {options.output / 'review.csv'}")
    if unranked := sum(case.facts.get("why") == UNRANKED for case in cases):
        print(f"{unranked} of them are in the order of their names: how useful they are is not known. A predicted Dice "
              "needs a model that was tested on 20 images.")  # fmt: skip
    print(f"Correct {options.output / 'images'} with LabelMe, or coco.json or masks/ with another tool. Where a "
          "prediction is right, write yes into the column accept.")  # fmt: skip
    print(f"Then:  htunet_run -d {dataset.short_name} --corrections {options.output}")


if __name__ == "__main__":
    sys.exit(main())
