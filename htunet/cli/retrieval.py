"""Retrieve the caption of each image and the image of each caption: recall at 1, 5 and 10, and the median rank.

Where several pairs have the same caption, each of them counts as correct.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from htunet.cli.command import make_parser, run_command
from htunet.cli.zero_shot import add_text_side, chosen_encoders
from htunet.errors import counted
from htunet.paths import find_dataset

if TYPE_CHECKING:
    from htunet.evaluation.retrieval import Retrieval


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_retrieval CLIP_HT -d MedPix``."""
    parser = make_parser("htunet_retrieval", __doc__)
    parser.add_positional("method", "-m", help="method, such as CLIP or, with a fine-tuned adapter, CLIP_HT")
    parser.add_argument("-d", "--dataset", required=True, help="data set of captions, such as MedPix or 510")
    split = "val: the validation pairs, which fine-tuning does not train on; all: all pairs (default: %(default)s)"
    parser.add_argument("--split", default="val", choices=("val", "all"), help=split)
    size = "images are resized to squares of this side, in pixels (default: as the adapter was trained, else 224)"
    parser.add_argument("--input-size", type=int, help=size)
    add_text_side(parser)
    return run_command(parser, _retrieval, argv)


def _retrieval(options: argparse.Namespace) -> None:
    dataset = find_dataset(options.dataset)
    from htunet.experiments.zero_shot_retrieval import retrieve
    from htunet.files import read_json
    from htunet.reporting.tables.rows import weights_marks

    found = retrieve(dataset, chosen_encoders(options), split=options.split, input_size=options.input_size)
    counts = (
        f"{counted(found.pairs, 'pair')} ({options.split}), {counted(found.distinct_captions, 'different caption')}"
    )
    print(f"{dataset.short_name} {options.method}, {counts}; all equal captions count as correct")
    print(f"  image to text: {_line(found.image_to_text)}")
    print(f"  text to image: {_line(found.text_to_image)}")
    marks = weights_marks(read_json(found.folder / "summary.json")["weights"])
    for note in filter(None, (*(mark for mark in marks if marks[mark]), found.long_texts, found.pairs_note)):
        print(f"  {note}")
    print(f"Written: {found.folder / 'summary.json'}")


def _line(found: "Retrieval") -> str:
    from htunet.evaluation.statistics import percent_text

    parts = [f"R@{k} {percent_text(value, 2)} (chance {percent_text(found.chance[k], 2)})"
             for k, value in found.recall.items()]  # fmt: skip
    return " · ".join([*parts, f"median rank {found.values['median_rank']:g}"])


if __name__ == "__main__":
    sys.exit(main())
