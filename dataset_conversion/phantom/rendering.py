"""The test images of a data set that was converted from a phantom, simulated again with an artefact."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset_conversion.phantom.changes import CHANGES, Change
from dataset_conversion.phantom.scan import CAPTIONS, FOLDER, render
from htunet.data.image_io import UInt8
from htunet.data.raw import Case
from htunet.errors import HtunetError
from htunet.files import read_json_lines


class RenderedPhantom:
    """Called with a case and its image (C, H, W): the same scene, scanned with an artefact of each strength."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        """``folder`` is what ``write_phantom`` wrote; raises HtunetError where it is none."""
        path = folder / CAPTIONS
        if not path.is_file():
            raise HtunetError(
                f"{folder} is no phantom: it has no {CAPTIONS}. Name the folder that the phantom was written to; "
                "htunet_demo writes it to demo/phantom."
            )
        self.folder, self.seed = folder, seed
        self.origin: dict[str, tuple[int, int]] = {}
        for _, row in read_json_lines(path):
            try:
                _, phantom_seed, index = str(row["id"]).split("_")
                self.origin[str(row["image"]).removeprefix(f"{FOLDER}/")] = (int(phantom_seed), int(index))
            except ValueError:
                raise HtunetError(f"{path} has the id {row['id']!r}; an id of a phantom has two numbers.") from None

    def __call__(self, case: Case, image_CHW: UInt8, artefact: str, strengths: Sequence[float]) -> list[UInt8]:
        """Raises HtunetError for an image that is not of this phantom, UsageError for an unknown artefact."""
        CHANGES[artefact]
        if case.source not in self.origin:
            raise HtunetError(f"{case.id} ({case.source}) is not of the phantom in {self.folder}. Name its own folder.")
        seed, index = self.origin[case.source]
        changes = [Change(artefact=artefact, strength=strength, case=case.id, seed=self.seed) for strength in strengths]
        phantom, pictures = render(seed, index, case.source.split("/")[0], changes)
        if phantom.image.shape != image_CHW.shape[1:] or not (image_CHW == phantom.image).all():
            raise HtunetError(
                f"{case.id} is not the image that the phantom in {self.folder} has as {case.source}: the data set came "
                "from another phantom, or was made by another version. Make the phantom and the data set again."
            )
        return [np.repeat(picture[None], len(image_CHW), axis=0) for picture in pictures]
