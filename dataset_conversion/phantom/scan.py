"""The ultrasound phantom: simulated breast images in the layout in which BUSI is distributed.

A small physical simulator of B-mode imaging (``phantom_physics``) scans layered tissue (``phantom_tissue``) with
benign or malignant lesions (``phantom_lesions``) and the usual artefacts (``phantom_artefacts``). It stands in for
patients' images where none may be shipped: in tests, in the demonstration, and to check that a training loop learns.
It is no substitute for them in any result about patients.
"""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from dataset_conversion.phantom.artefacts import shade_all
from dataset_conversion.phantom.captions import caption
from dataset_conversion.phantom.changes import Change, Scan
from dataset_conversion.phantom.display import annotate, scan_convert, to_gray
from dataset_conversion.phantom.distractors import add_distractors
from dataset_conversion.phantom.lesions import BENIGN, MALIGNANT, NORMAL, Lesion, insert
from dataset_conversion.phantom.patients import Acquisition, Patient, draw_acquisition, draw_patient, patient_of
from dataset_conversion.phantom.physics import Float, log_compress, loudest_db
from dataset_conversion.phantom.tissue import build_tissue
from htunet.errors import UsageError
from htunet.files import whole_folder, write_csv, write_text
from htunet.reproducibility import generator

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
    mm_per_pixel: float
    artefacts: tuple[str, ...]
    settings: dict[str, float | int | str]
    """Machine settings: geometry, depth_mm, width_mm, frequency_mhz, focus_mm, looks, dynamic_range_db, ..."""


def simulate(seed: int, index: int, *, normal_share: float = NORMAL_SHARE) -> PhantomImage:
    """Image ``index`` of the phantom ``seed``; depends on nothing else, so images can be made in any order.

    ``normal_share`` is the share of patients without a lesion, 0..1.
    """
    if index < 0 or not 0 <= normal_share <= 1:
        raise ValueError(f"index must be at least 0 and normal_share in 0..1, got {index} and {normal_share}.")
    return _scan(seed, index, patient_of(seed, index, normal_share)[1])[0]


def render(seed: int, index: int, class_name: str, changes: Sequence[Change]) -> tuple[PhantomImage, list[UInt8]]:
    """An image of ``simulate``, whose class is known, and its picture with each of the changes.

    Scene, speckle and marks are the same; masks do not depend on how the scene is scanned.
    """
    return _scan(seed, index, class_name, changes)


def _scan(seed: int, index: int, class_name: str, changes: Sequence[Change] = ()) -> tuple[PhantomImage, list[UInt8]]:
    patient = draw_patient(seed, patient_of(seed, index, NORMAL_SHARE)[0], class_name)
    rng = generator(seed, "phantom image", index)
    acquisition = draw_acquisition(patient, rng)
    lesions = list(acquisition.lesions)
    tissue = build_tissue(patient.anatomy, patient.grid, lesions, rng)
    artefacts = add_distractors(tissue, patient.grid, patient.anatomy, lesions, rng)
    distances = [insert(lesion, tissue, patient.grid, rng) for lesion in lesions]
    artefacts += shade_all(tissue, patient.grid, rng, [_lateral_span(lesion) for lesion in lesions])
    scan = Scan(tissue=tissue, grid=patient.grid, transducer=acquisition.transducer, receiver=acquisition.receiver)
    grays = _scanned(scan, changes, rng)
    masks = _show(patient, grays[0], distances)[1]
    before = rng.bit_generator.state
    pictures = []
    for gray in grays:  # the same marks in each
        rng.bit_generator.state = before
        image, marks = annotate(_show(patient, gray, [])[0], patient.screen, patient.grid, lesions, rng)
        pictures.append(image)
    phantom = PhantomImage(
        image=pictures[0],
        masks=masks,
        class_name=class_name,
        patient=patient.id,
        caption=caption(lesions, patient.grid.width_mm, rng),
        lesions=acquisition.lesions,
        mm_per_pixel=1 / patient.screen.pixels_per_mm,
        artefacts=artefacts + marks,
        settings=_settings(patient, acquisition),
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


def _lateral_span(lesion: Lesion) -> tuple[float, float]:
    half = lesion.outline.half_extent_mm[0]
    return lesion.outline.lateral_mm - half, lesion.outline.lateral_mm + half


def _show(patient: Patient, gray: Float, distances: list[Float]) -> tuple[UInt8, tuple[UInt8, ...]]:
    """(image, masks) on the screen. A mask ends where the lesion's outline does, whatever the image shows of it."""
    outside = [0.0] + [1.0] * len(distances)
    picture, *far = scan_convert([gray, *distances], patient.grid, patient.screen, outside)
    masks = tuple((distance < 0).astype(np.uint8) for distance in far)
    return to_gray(picture), masks or (np.zeros(picture.shape, dtype=np.uint8),)


def _settings(patient: Patient, acquisition: Acquisition) -> dict[str, float | int | str]:
    field = {"geometry": patient.grid.geometry, "depth_mm": patient.grid.depth_mm, "width_mm": patient.grid.width_mm}
    return {**field, **asdict(acquisition.transducer), **asdict(acquisition.receiver)}


def write_phantom(
    target: Path,
    *,
    num_images: int,
    seed: int,
    workers: int = 1,
    normal_share: float = NORMAL_SHARE,
    progress: bool = True,
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
            f"got {num_images} images, {workers} workers, share {normal_share}."
        )
    _refuse_to_replace(target)
    names = _file_names(seed, num_images, normal_share)
    with whole_folder(target) as folder:
        for class_name in CLASSES:
            (folder / FOLDER / class_name).mkdir(parents=True)
        write_one = partial(_write_one, folder, seed, normal_share)
        done = _in_order(write_one, names, workers)
        rows = list(tqdm(done, total=num_images, desc="phantom", unit="image", disable=None if progress else True))
        write_text(folder / CAPTIONS, "".join(_json_line(row) for row in rows))
        patients = [{"image": path, "patient": row["patient"]} for (_, path), row in zip(names, rows, strict=True)]
        write_csv(folder / FOLDER / PATIENTS, ("image", "patient"), patients)
    return target / FOLDER


def _refuse_to_replace(target: Path) -> None:
    """A folder is replaced only when it is empty or an earlier phantom."""
    if not target.exists():
        return
    if not target.is_dir() or (any(target.iterdir()) and not (target / FOLDER / PATIENTS).is_file()):
        raise UsageError(f"{target} exists and is no phantom; it is not replaced. Name a new folder.")


def _file_names(seed: int, num_images: int, normal_share: float) -> list[tuple[int, str]]:
    """(index, path below the data set's folder) of each image; numbers count from 1 in each class, as in BUSI."""
    counts = dict.fromkeys(CLASSES, 0)
    names = []
    for index in range(num_images):
        class_name = patient_of(seed, index, normal_share)[1]
        counts[class_name] += 1
        names.append((index, f"{class_name}/{class_name} ({counts[class_name]}).png"))
    return names


def _in_order(
    write_one: Callable[[tuple[int, str]], dict[str, str]], names: list[tuple[int, str]], workers: int
) -> Iterator[dict[str, str]]:
    if workers == 1:
        yield from map(write_one, names)
        return
    # spawn: a forked child would inherit the locks of threads that other libraries run in this process
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(write_one, names, chunksize=4)


def _write_one(folder: Path, seed: int, normal_share: float, name: tuple[int, str]) -> dict[str, str]:
    """Write one image with its masks; returns its row for the text files."""
    index, path = name
    phantom = simulate(seed, index, normal_share=normal_share)
    file = folder / FOLDER / path
    Image.fromarray(phantom.image).convert("RGB").save(file, compress_level=COMPRESSION)
    mode = _mask_mode(seed, index, phantom.class_name)
    for number, mask in enumerate(phantom.masks):
        suffix = "_mask" if number == 0 else f"_mask_{number}"
        stored = Image.fromarray(mask * np.uint8(255)).convert(mode)
        stored.save(file.with_name(f"{file.stem}{suffix}.png"), compress_level=COMPRESSION)
    return {
        "id": f"phantom_{seed}_{index:05d}",
        "image": f"{FOLDER}/{path}",
        "caption": phantom.caption,
        "patient": phantom.patient,
    }


def _mask_mode(seed: int, index: int, class_name: str) -> str:
    if class_name == NORMAL:
        return "RGB"
    rng = generator(seed, "phantom mask mode", index)
    return str(rng.choice(list(MASK_MODES), p=list(MASK_MODES.values())))


def _json_line(row: dict[str, str]) -> str:
    kept = {"image": row["image"], "caption": row["caption"], "source": "phantom", "id": row["id"], "language": "en"}
    return json.dumps(kept) + "\n"
