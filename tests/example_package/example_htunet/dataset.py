"""A data set: a folder with ``images/NAME.png`` and ``masks/NAME.png``."""

from pathlib import Path

from dataset_conversion.common import (
    Collected,
    ConversionReport,
    Converter,
    ImageWithMasks,
    Options,
    SourceFacts,
    convert_images,
    write_image_with_masks,
)
from dataset_conversion.source import Layout
from htunet.data.raw import Case, Excluded

FACTS = SourceFacts(
    dataset="Dataset950_Plain",
    title="An example with lesion masks",
    licence="Apache-2.0",
    home="https://example.org",
    citation="Nobody 2026",
    download="a folder with images/ and masks/",
    split_rule="8:1:1",
)
LAYOUT = Layout(
    looked_for="a folder with images/NAME.png and masks/NAME.png",
    is_here=lambda folder: (folder / "images").is_dir() and (folder / "masks").is_dir(),
)


def convert_plain(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Each image with its mask is a case; an image without one is excluded, with the reason."""
    images = sorted((folder / "images").glob("*.png"))
    pairs = {image: folder / "masks" / image.name for image in images}
    jobs = [
        ImageWithMasks(case=Case(id=image.stem, source=f"images/{image.name}"), image=image, masks=(mask,))
        for image, mask in pairs.items()
        if mask.exists()
    ]
    excluded = [
        Excluded(source=f"images/{image.name}", class_name="", reason="no mask of this name")
        for image, mask in pairs.items()
        if not mask.exists()
    ]
    collected = Collected(jobs=jobs, found={"image": len(images)}, excluded=excluded)
    return convert_images(folder, facts, collected, write_image_with_masks, workers=options.workers)


CONVERTER = Converter(facts=FACTS, layout=LAYOUT, run=convert_plain)
