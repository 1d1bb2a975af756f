"""PMC-OA, figures of open articles: ``pmc_oa.jsonl`` with one image and caption a line, and ``images.zip``.

The ultrasound images are chosen by their captions; the million others are read past, line by line.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from dataset_conversion.captions.common import GENERAL, Reading, Text, convert_captions, excluded_text
from dataset_conversion.captions.ultrasound import names_another_modality, speaks_of_ultrasound
from dataset_conversion.common import ConversionReport, Converter, Options, SourceFacts
from dataset_conversion.source import Layout
from htunet.data.raw import Excluded
from htunet.errors import HtunetError
from htunet.files import lines, parse_json

FILES = (("pmc_oa.jsonl",), ("pmc_oa_beta.jsonl",), ("train.jsonl", "valid.jsonl", "test.jsonl"))
"""The forms in which the captions are distributed; where several are there, the first one is read."""
MIN_SIDE = 224
"""Pixels: the networks' input. The paper leaves low-resolution images out and gives no number; an image below this one
would have to be enlarged, and shows nothing that the enlargement adds."""
HOPELESS = 1000
"""Malformed lines without a sound one before them, after which the file is no JSONL."""
ARTICLE = re.compile(r"PMC\d+")
CAPTIONS, ULTRASOUND = "captions", "about ultrasound"
NOT_ULTRASOUND = "caption is not about ultrasound"

PMC_OA = SourceFacts(
    dataset="Dataset507_PMC-OA",
    title="Ultrasound figures of open-access articles with their captions",
    licence="that of each article (PubMed Central Open Access Subset); not one for all",
    home="https://huggingface.co/datasets/axiong/pmc_oa",
    citation=(
        "Lin W, Zhao Z, Zhang X, Wu C, Zhang Y, Wang Y, Xie W: PMC-CLIP: contrastive language-image pre-training using "
        "biomedical documents. MICCAI 2023, 525-536. https://doi.org/10.1007/978-3-031-43993-3_51"
    ),
    download="pmc_oa.jsonl (or pmc_oa_beta.jsonl) and images.zip, packed or unpacked, in one folder",
    split_rule="9:1",
    published=(4942, 534),
)


def caption_files(folder: Path) -> list[Path]:
    """The caption files of this very folder, of the first form that is there; empty where there is none."""
    for names in FILES:
        if all((folder / name).is_file() for name in names):
            return [folder / name for name in names]
    return []


LAYOUT = Layout(
    looked_for="a folder with pmc_oa.jsonl or pmc_oa_beta.jsonl (or train.jsonl, valid.jsonl and test.jsonl)",
    is_here=lambda folder: bool(caption_files(folder)),
    member=re.compile(r"(?:^|/)(?:pmc_oa(?:_beta)?|valid)\.jsonl$"),
)


def convert_pmc_oa(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder``, which holds the caption files; raises HtunetError as ``convert_captions``."""
    reading = Reading()
    return convert_captions(folder, facts, read_texts(folder, reading), reading, options, min_side=MIN_SIDE)


CONVERTER = Converter(facts=PMC_OA, layout=LAYOUT, run=convert_pmc_oa, general=GENERAL, takes=frozenset({"min_side"}))


def read_texts(folder: Path, reading: Reading) -> Iterator[Text | Excluded]:
    """The captions that speak of ultrasound, and the malformed lines; the others are counted in ``reading``.

    Memory does not grow with the captions that are passed over. Raises HtunetError when a file is no JSONL.
    """
    read = {path.name for path in caption_files(folder)}
    if others := [name for names in FILES for name in names if name not in read and (folder / name).is_file()]:
        form = f"read {', '.join(sorted(read))}, not {', '.join(others)}"
        reading.notes.append(f"{form}: another form of the same captions")
    several = 0
    for path in caption_files(folder):
        for number, line in read_lines(path):
            where = f"{path.name}, line {number}"
            text = _parse(line, where)
            if isinstance(text, Excluded):
                yield text
                if not reading.found and number >= HOPELESS:
                    raise HtunetError(f"{path} is not a JSON Lines file: {text.source}: {text.reason}.")
                continue
            reading.found[CAPTIONS] += 1
            if not speaks_of_ultrasound(text.caption):
                reading.passed_over[NOT_ULTRASOUND] += 1
                continue
            reading.found[ULTRASOUND] += 1
            several += names_another_modality(text.caption)
            yield text
    if several:
        reading.notes.append(f"{several} of the chosen captions also name another modality, which their image may show")


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line) of the lines that are not empty, with a bar of the bytes read."""
    with tqdm(total=path.stat().st_size, desc=f"read {path.name}", unit="B", unit_scale=True, disable=None) as bar:
        for number, line in lines(path):
            bar.update(len(line))
            yield number, line


def _parse(line: bytes, where: str) -> Text | Excluded:
    """The line as text; keys beyond image, caption and pmcid (alignment_type, alignment_score) are not used."""
    try:
        content = parse_json(line, "it")
    except HtunetError as error:
        return excluded_text(where, f"malformed line: {error}")
    if not isinstance(content, dict):
        return excluded_text(where, "malformed line: no JSON object")
    image, caption = content.get("image"), content.get("caption")
    if not isinstance(image, str) or not image.strip() or not isinstance(caption, str):
        return excluded_text(where, "malformed line: image and caption must be texts, and image must not be empty")
    article = ARTICLE.match(image) or ARTICLE.match(str(content.get("pmcid") or ""))
    return Text(caption=caption, image=image, where=where, id=Path(image).stem, group=article[0] if article else "")
