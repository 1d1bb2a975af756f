"""The ultrasound phantom: simulated breast images in the layout in which BUSI is distributed.

A small physical simulator of B-mode imaging (``physics``) scans layered tissue (``tissue``) with
benign or malignant lesions (``lesions``) and the usual artefacts (``artefacts``). It stands in for
patients' images where none may be shipped: in tests, in the demonstration, and to check that a training loop learns.
It is no substitute for them in any result about patients.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from dataset_conversion.phantom.changes import Change, Scan
from dataset_conversion.phantom.examinations import Patient, draw_acquisition, draw_patient, patient_of
from htunet.errors import UsageError, counted
from htunet.files import whole_folder, write_csv, write_text
from htunet.parallel import parallel_map
from htunet.reproducibility import generator
from htunet.simulation.artefacts import shade_all
from htunet.simulation.display import annotate, scan_convert, to_gray
from htunet.simulation.distractors import add_distractors
from htunet.simulation.lesions import BENIGN, MALIGNANT, NORMAL, Lesion, insert
from htunet.simulation.physics import Float, log_compress, loudest_db
from htunet.simulation.sentences import caption
from htunet.simulation.tissue import layered_tissue

UInt8 = NDArray[np.uint8]
FOLDER = "Dataset_BUSI_with_GT"
CAPTIONS, PATIENTS = "captions.jsonl", "patients.csv"
CLASSES = (BENIGN, MALIGNANT, NORMAL)
NORMAL_SHARE = 0.17
"""BUSI: 133 normal of 780 images."""
COMPRESSION = 1
"""Fast; a file of speckle hardly shrinks further."""

MASK_MODES = {"1": 0.66, "L": 0.24, "RGB": 0.1}
"""How the mask files of lesions are stored, and how often; those of normal images are RGB throughout."""


@dataclass(frozen=True, kw_only=True)
class PhantomImage:
    """One simulated image and everything that is known about it."""

    image: UInt8
    """(H, W) gray values."""
    masks: tuple[UInt8, ...]
    """One (H, W) mask of 0 and 1 per lesion; a normal image has a single empty one."""
    class_name: str
    patient: str
    caption: str
    lesions: tuple[Lesion, ...]
    artefacts: tuple[str, ...]
    settings: dict[str, float | int | str]
    """Machine settings: geometry, depth_mm, width_mm, frequency_mhz, focus_mm, looks, dynamic_range_db, ..."""


def simulate(seed: int, index: int, *, normal_share: float = NORMAL_SHARE) -> PhantomImage:
    """Image ``index`` of the phantom ``seed``; depends on nothing else, so images can be made in any order.

    ``normal_share`` is the share of patients without a lesion, 0..1. Raises ValueError for other values, and for an
    index below 0.
    """
    if index < 0 or not 0 <= normal_share <= 1:
        raise ValueError(f"index must be at least 0 and normal_share in 0..1, got {index} and {normal_share}.")
    return render(seed, index, patient_of(seed, index, normal_share)[1])[0]


def render(seed: int, index: int, class_name: str, changes: Sequence[Change] = ()) -> tuple[PhantomImage, list[UInt8]]:
    """An image of ``simulate``, whose class is known, and its picture with each of the changes.

    Scene, speckle and marks are the same; masks do not depend on how the scene is scanned.
    """
    patient = draw_patient(seed, patient_of(seed, index, NORMAL_SHARE)[0], class_name)
    rng = generator(seed, "phantom image", index)
    acquisition = draw_acquisition(patient, rng)
    lesions, grid = list(acquisition.lesions), patient.grid
    tissue, _ = layered_tissue(patient.anatomy, grid, lesions, rng)
    artefacts = add_distractors(tissue, grid, patient.anatomy, lesions, rng)
    distances = [insert(lesion, tissue, grid, rng) for lesion in lesions]
    artefacts += shade_all(tissue, grid, rng, [lesion.outline.span_mm for lesion in lesions])
    scan = Scan(tissue=tissue, grid=grid, transducer=acquisition.transducer, receiver=acquisition.receiver)
    grays = _scanned(scan, changes, rng)
    masks = _show(patient, grays[0], distances)[1]
    before = rng.bit_generator.state
    pictures = []
    for gray in grays:  # the same marks in each
        rng.bit_generator.state = before
        image, marks = annotate(_show(patient, gray, [])[0], patient.screen, grid, lesions, rng)
        pictures.append(image)
    field = {"geometry": grid.geometry, "depth_mm": grid.depth_mm, "width_mm": grid.width_mm}
    phantom = PhantomImage(
        image=pictures[0],
        masks=masks,
        class_name=class_name,
        patient=patient.id,
        caption=caption(lesions, grid.width_mm, rng),
        lesions=acquisition.lesions,
        artefacts=artefacts + marks,
        settings={**field, **asdict(acquisition.transducer), **asdict(acquisition.receiver)},
    )
    return phantom, pictures[1:]


def _scanned(scan: Scan, changes: Sequence[Change], rng: np.random.Generator) -> list[Float]:
    """Gray values 0..1 on the beam grid: of the scan, and with each change, from the same scatterers and noise."""
    before = rng.bit_generator.state
    detected = scan.envelope(rng)
    after = rng.bit_generator.state
    grays = [log_compress(detected, scan.receiver)]
    for change in changes:
        rng.bit_generator.state = before
        other = change.applied(scan, float(loudest_db(detected)))
        grays.append(log_compress(other.envelope(rng), other.receiver, reference=detected))
    rng.bit_generator.state = after  # what follows does not depend on the changes
    return grays


def _show(patient: Patient, gray: Float, distances: list[Float]) -> tuple[UInt8, tuple[UInt8, ...]]:
    """(image, masks) on the screen. A mask ends where the lesion's outline does, whatever the image shows of it."""
    outside = [0.0] + [1.0] * len(distances)
    picture, *far = scan_convert([gray, *distances], patient.grid, patient.screen, outside)
    masks = tuple((distance < 0).astype(np.uint8) for distance in far)
    return to_gray(picture), masks or (np.zeros(picture.shape, dtype=np.uint8),)


def write_phantom(
    target: Path,
    *,
    num_images: int,
    seed: int,
    workers: int = 1,
    normal_share: float = NORMAL_SHARE,
) -> Path:
    """Write the phantom into the folder ``target``, whole or not at all, and return the data set's folder in it.

    Dataset_BUSI_with_GT/{benign,malignant,normal}/  images (RGB) and masks (modes 1, L and RGB), named as in BUSI
    Dataset_BUSI_with_GT/patients.csv   image (path below that folder), patient
    captions.jsonl                      image (path below ``target``), caption, source, id, language

    The files are the same for every number of ``workers``. Raises UsageError for impossible numbers.
    """
    if num_images < 1 or workers < 1 or not 0 <= normal_share <= 1:
        raise UsageError(
            "The phantom needs at least 1 image, at least 1 worker and a share of normal images in 0..1; "
            f"got {counted(num_images, 'image')}, {counted(workers, 'worker')}, share {normal_share}."
        )
    is_phantom = (target / FOLDER / PATIENTS).is_file()
    if target.exists() and not is_phantom and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is no phantom; it is not replaced. Name a new folder.")
    counts = dict.fromkeys(CLASSES, 0)  # names count from 1 in each class, as in BUSI
    names = []
    for index in range(num_images):
        class_name = patient_of(seed, index, normal_share)[1]
        counts[class_name] += 1
        names.append((index, f"{class_name}/{class_name} ({counts[class_name]}).png"))
    with whole_folder(target) as folder:
        for class_name in CLASSES:
            (folder / FOLDER / class_name).mkdir(parents=True)
        write_one = partial(_write_one, folder, seed, normal_share)
        done = parallel_map(write_one, names, workers=workers)
        rows = list(tqdm(done, total=num_images, desc="phantom", unit="image", disable=None))
        pairs = [{key: value for key, value in row.items() if key != "patient"} for row in rows]
        write_text(folder / CAPTIONS, "".join(json.dumps(pair) + "\n" for pair in pairs))
        patients = [{"image": path, "patient": row["patient"]} for (_, path), row in zip(names, rows, strict=True)]
        write_csv(folder / FOLDER / PATIENTS, ("image", "patient"), patients)
    return target / FOLDER


def _write_one(folder: Path, seed: int, normal_share: float, name: tuple[int, str]) -> dict[str, str]:
    """Write one image with its masks; returns its row for the text files."""
    index, path = name
    phantom = simulate(seed, index, normal_share=normal_share)
    file = folder / FOLDER / path
    Image.fromarray(phantom.image).convert("RGB").save(file, compress_level=COMPRESSION)
    mode = "RGB"
    if phantom.class_name != NORMAL:
        rng = generator(seed, "phantom mask mode", index)
        mode = str(rng.choice(list(MASK_MODES), p=list(MASK_MODES.values())))
    for number, mask in enumerate(phantom.masks):
        suffix = "_mask" if number == 0 else f"_mask_{number}"
        stored = Image.fromarray(mask * np.uint8(255)).convert(mode)
        stored.save(file.with_name(f"{file.stem}{suffix}.png"), compress_level=COMPRESSION)
    return {
        "image": f"{FOLDER}/{path}",
        "caption": phantom.caption,
        "source": "phantom",
        "id": f"phantom_{seed}_{index:05d}",
        "language": "en",
        "patient": phantom.patient,
    }
