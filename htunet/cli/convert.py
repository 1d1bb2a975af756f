"""Convert a data set as you downloaded it, or images of your own, to the raw folder that all other commands read."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_conversion import CONVERTERS
from htunet.cli.arguments import settings_from
from htunet.cli.command import make_parser, print_next, run_command, tell
from htunet.cli.convert_captions import add_caption_options, describe_captions
from htunet.cli.convert_general import add_own_options, convert_own_images, own_options
from htunet.data.names import printable
from htunet.errors import HtunetError, UsageError, check_least, counted
from htunet.paths import PAPER_FOLD, DatasetPaths

if TYPE_CHECKING:
    from dataset_conversion.common import ConversionReport, SourceFacts

RELEASE = "NextGen-UIA"
SHOWN = 20
"""Names printed of one kind; excluded.csv has them all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``htunet_convert``."""
    parser = make_parser("htunet_convert", __doc__)
    names = f"name such as BUSI, or {RELEASE} for all data sets that the paper's authors released; --list shows all"
    parser.add_positional("dataset", "-d", required=False, help=names)
    parser.add_positional("source", "-i", required=False, type=Path, help="the downloaded folder or zip")
    parser.add_argument("--list", action="store_true", help="list the data sets, their licences and what to download")
    parser.add_argument("--name", default="", help="name of the raw folder, such as Dataset610_Mine")
    fit = "resize a mask whose size differs from that of its image (nearest neighbour), instead of excluding the image"
    parser.add_argument("--fit-masks", action="store_true", help=fit)
    crop = "LN-INT, LN-EXT: crop the images to the ultrasound field, without the border, its text and scales"
    parser.add_argument("--crop-overlays", action="store_true", help=crop)
    drop = "Prostate: exclude slices on which nothing is marked"
    parser.add_argument("--drop-empty-slices", action="store_true", help=drop)
    parser.add_argument(
        "--workers", type=int, help="number of processes or threads (default: chosen by the number of images)"
    )
    add_caption_options(parser)
    add_own_options(parser, "DATASET and SOURCE")
    parser.lists["Data sets"] = CONVERTERS
    return run_command(parser, _run, argv)


def _run(options: argparse.Namespace) -> None:
    from dataset_conversion import CONVERTERS, convert
    from dataset_conversion.common import Options
    from htunet.reproducibility import record_command

    if options.list:
        for name, converter in CONVERTERS.items(broken=tell):
            print("\n".join(_describe_facts(name, converter.facts)))
        print(
            f"{RELEASE}: the release of the paper's authors, with their lists; it contains several of these data sets"
        )
        return
    check_least("workers", options.workers, 1)
    if own_options(options):
        report = convert_own_images(options)
        record_command(DatasetPaths(report.dataset).conversion_json, options.typed)
        _print(_describe(report))
        _print_next(report.dataset.split("_", 1)[1])
        return
    if options.dataset == RELEASE:
        _convert_release(options)
        return
    if options.dataset is None:
        raise UsageError(
            f"Name a data set ({', '.join(CONVERTERS.names())}; {RELEASE}: the authors' release) and its SOURCE, or "
            "use --list. Images of your own: --images DIR --masks DIR --name MYDATA."
        )
    converter = CONVERTERS[options.dataset]
    if options.source is None:
        raise UsageError(f"Name the SOURCE of {options.dataset}: {converter.facts.download}.")
    report = convert(options.dataset, options.source, settings_from(Options, options))
    if report.captions is None:
        record_command(DatasetPaths(report.dataset).conversion_json, options.typed)
    _print(_describe(report))
    if report.captions is None:
        _print_next(options.name or options.dataset)


def _convert_release(options: argparse.Namespace) -> None:
    """Every set of the authors' release, one after another; what is missing or fails does not stop the others."""
    from dataset_conversion.common import Options
    from dataset_conversion.nextgen_uia import convert_release

    if options.source is None:
        raise UsageError(f"Name the SOURCE of {RELEASE}: the folder or the zip with all/, segmentation/ and so on.")
    done: list[str] = []
    failed: dict[str, str] = {}
    of_release = settings_from(Options, options)
    for result in convert_release(options.source, of_release, lambda text: _print([f"Note: {text}."])):
        if result.report is None:
            _print([f"{result.name}: {'FAILED: ' if result.failed else ''}{result.reason.rstrip('.')}."])
            failed |= {result.name: result.reason} if result.failed else {}
            continue
        _print([result.name, *(f"  {line}" for line in _describe(result.report))])
        done += [result.name] * (result.report.captions is None)
    if failed:
        raise HtunetError(
            f"{counted(len(failed), 'data set')} could not be converted: {'; '.join(map(': '.join, failed.items()))}"
        )
    if done:
        print(f"Next: htunet_plan_and_preprocess -d {' '.join(done)}, then htunet_train {done[0]} CLIP_HT {PAPER_FOLD}")


def _print(lines: Iterable[str]) -> None:
    print("\n".join(map(printable, lines)))


def _describe_facts(name: str, facts: "SourceFacts") -> Iterator[str]:
    yield f"{name} ({facts.dataset}): {facts.title}"
    yield f"  holds     {_counts(facts.expected) if facts.expected else 'any number of images'}"
    yield f"  split     {facts.split_rule}"
    yield f"  licence   {facts.licence}"
    yield f"  home      {facts.home}"
    yield f"  download  {facts.download}"
    if facts.citation:
        yield f"  cite      {facts.citation}"


def _print_next(name: str) -> None:
    """``name`` is how the next command calls the data set."""
    print_next(printable(f"Next: htunet_plan_and_preprocess -d {name}"))


def _describe(report: "ConversionReport") -> Iterator[str]:
    """The lines to print."""
    if report.captions is not None:
        yield from describe_captions(report)
        return
    yield f"Found {counted(sum(report.found.values()), 'image')} in {report.source}: {_counts(report.found)}."
    for difference in report.differences:
        yield f"  differs from the whole data set: {difference}"
    if report.merged:
        yield from _block(
            "Merged the masks of", [f"{case} ({counted(number, 'mask')})" for case, number in report.merged.items()]
        )
    if report.fitted:
        yield from _block("Resized the masks of", report.fitted)
    if report.empty_masks:
        yield from _block("Kept with an EMPTY mask", report.empty_masks)
    yield from _describe_excluded(report)
    if report.duplicates:
        yield from _block("Same picture in", [" = ".join(ids) for ids in report.duplicates], "group")
        yield "  --split-by group of htunet_plan_and_preprocess keeps the cases of a group in one split"
    if report.contradictions:
        pairs = [" and ".join(pair) for pair in report.contradictions]
        yield from _block("Same picture with TWO CLASSES in", pairs, "pair")
    yield from (f"Note: {note}." for note in report.notes)
    verb = "Replaced the earlier conversion:" if report.replaced else "Wrote"
    yield f"{verb} {counted(sum(report.converted.values()), 'case')} ({_counts(report.converted)}) in {report.folder}"


def _describe_excluded(report: "ConversionReport") -> Iterator[str]:
    """One line for each file, or one for many files with the same reason."""
    if not report.excluded:
        return
    yield f"Excluded {len(report.excluded)} (all in {report.folder / 'excluded.csv'}):"
    by_reason = Counter(one.reason for one in report.excluded)
    for reason, number in by_reason.items():
        sources = [one.source for one in report.excluded if one.reason == reason]
        names = "; ".join(sources[:3]) + ("; ..." if number > 3 else "")
        yield f"  {number} x {reason}: {names}"


def _block(title: str, names: Sequence[str], unit: str = "case") -> Iterator[str]:
    yield f"{title} {counted(len(names), unit)}:"
    yield from (f"  {name}" for name in names[:SHOWN])
    if len(names) > SHOWN:
        yield f"  and {len(names) - SHOWN} more"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in counts.items())


if __name__ == "__main__":
    raise SystemExit(main())
