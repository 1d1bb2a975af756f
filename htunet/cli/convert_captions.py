"""The part of ``htunet_convert`` for data sets of captions: its options, and what it says at the end."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from htunet.errors import counted

if TYPE_CHECKING:
    from dataset_conversion.common import ConversionReport

NAMES_SHOWN = 3


def add_caption_options(parser: argparse.ArgumentParser) -> None:
    """The options that only data sets of captions have."""
    group = parser.add_argument_group("data sets of captions (CURD, MedPix, PMC-OA)")
    group.add_argument(
        "--min-side",
        type=int,
        metavar="PIXELS",
        help="exclude images whose shorter side has fewer pixels (default: 224 for PMC-OA, otherwise 0)",
    )
    group.add_argument(
        "--translations",
        type=Path,
        metavar="CSV",
        help="CURD: table with the English translation of each text; columns source (the text) or uid, and english",
    )
    group.add_argument(
        "--translate",
        default="",
        metavar="MODEL",
        help="CURD: translate with this language model, on this machine, such as Qwen/Qwen3-8B; needs "
        "pip install 'htunet[translate]'",
    )


def describe_captions(report: "ConversionReport") -> Iterator[str]:
    """The lines to print about a converted data set of captions; ValueError for one of masks."""
    from htunet.data.caption_splits import caption_split_sizes

    info = report.captions
    if info is None:
        raise ValueError(f"{report.dataset} is not a data set of captions.")
    yield f"Found in {report.source}: {', '.join(f'{number} {kind}' for kind, number in info.found.items())}."
    yield from (f"  differs from the whole data set: {difference}" for difference in report.differences)
    yield from _describe_drops(report, info.drops)
    yield from (f"Note: {note}." for note in report.notes)
    if info.repeated_captions:
        yield f"Kept, as in the paper: {counted(info.repeated_captions, 'pair')} with the caption of another one."
    if "zh" in info.languages:
        yield (
            f"Marked as Chinese: {counted(info.languages['zh'], 'caption')}; --translations or --translate "
            "gives English."
        )
    languages = ", ".join(f"{number} {language}" for language, number in info.languages.items())
    verb = "Replaced the earlier conversion:" if report.replaced else "Wrote"
    yield f"{verb} {counted(info.pairs, 'pair')} ({languages}) in {report.folder}"
    train, val = caption_split_sizes(info.pairs, info.published)
    yield f"Split {info.split_rule}: {train} for fine-tuning, {val} for validation."


def _describe_drops(report: "ConversionReport", drops: dict[str, int]) -> Iterator[str]:
    """One line for each reason; the places of the first ones where they are named in the table."""
    if not drops:
        return
    number, listed = sum(drops.values()), len(report.excluded)
    share = "all" if listed == number else f"{listed} of them"
    yield f"Excluded {number} ({share} in {report.folder / 'excluded.csv'}):"
    for reason, number in drops.items():
        sources = [one.source for one in report.excluded if one.reason.split(":", 1)[0] == reason]
        names = "; ".join(sources[:NAMES_SHOWN]) + ("; ..." if len(sources) > NAMES_SHOWN else "")
        yield f"  {number} x {reason}" + (f": {names}" if names else "")
