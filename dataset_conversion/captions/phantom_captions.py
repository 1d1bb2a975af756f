"""The phantom's captions: ``captions.jsonl`` beside the phantom's images, one sentence or more for each of them."""

import re
from collections.abc import Iterator
from pathlib import Path

from dataset_conversion.captions.common import GENERAL, Reading, Text, convert_captions
from dataset_conversion.common import ConversionReport, Converter, Options, SourceFacts
from dataset_conversion.source import Layout
from htunet.errors import HtunetError
from htunet.files import read_csv, read_json_lines

CAPTIONS, IMAGES, PATIENTS = "captions.jsonl", "Dataset_BUSI_with_GT", "patients.csv"

PHANTOM_CAPTIONS = SourceFacts(
    dataset="Dataset511_PhantomCaptions",
    title="Synthetic ultrasound images with sentences about what they show",
    licence="Apache-2.0, as htunet",
    home="made by htunet itself",
    citation="",
    download="nothing: htunet_demo makes the phantom; name the folder that holds its captions.jsonl",
    split_rule="9:1",
)


def is_here(folder: Path) -> bool:
    """Does ``folder`` hold the phantom's captions beside its images?"""
    return (folder / CAPTIONS).is_file() and (folder / IMAGES).is_dir()


LAYOUT = Layout(
    looked_for=f"a folder with {CAPTIONS} beside {IMAGES}/",
    is_here=is_here,
    member=re.compile(rf"(?:^|/){re.escape(CAPTIONS)}$"),
)


def convert_phantom_captions(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder``; each patient is a group. Raises HtunetError as ``convert_captions`` and for a broken line."""
    reading = Reading()
    return convert_captions(folder, facts, read_texts(folder, reading), reading, options)


CONVERTER = Converter(facts=PHANTOM_CAPTIONS, layout=LAYOUT, run=convert_phantom_captions, general=GENERAL)


def read_texts(folder: Path, reading: Reading) -> Iterator[Text]:
    """The captions with their patients; all names are htunet's own, so that a line that differs raises HtunetError."""
    patients = {row["image"]: row["patient"] for row in read_csv(folder / IMAGES / PATIENTS, ("image", "patient"))}
    for number, line in read_json_lines(folder / CAPTIONS):
        where = f"{CAPTIONS}, line {number}"
        values = [line.get(key) for key in ("image", "caption", "id")]
        if not all(isinstance(value, str) and value for value in values):
            raise HtunetError(
                f"{folder / CAPTIONS}, line {number}: image, caption and id must be texts. Make it again."
            )
        image, caption, pair_id = map(str, values)
        class_name = Path(image).parent.name
        reading.found[class_name] += 1
        patient = patients.get(image.removeprefix(f"{IMAGES}/"), "")
        yield Text(caption=caption, image=image, where=where, id=pair_id, group=patient, folder=class_name)
