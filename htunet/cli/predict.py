"""Segment or classify new images with a trained run: a folder of images in, what the run has learnt out.

Masks have the images' names and sizes; classes.csv has a line for each image with the probability of each class.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from htunet.cli.arguments import fold_number
from htunet.cli.command import make_parser, run_command
from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.paths import RunPaths, find_dataset, find_runs

if TYPE_CHECKING:
    from htunet.data.image_io import UInt8
    from htunet.inference.folder import PredictedImage


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_predict -i FOLDER -o FOLDER -d BUSI -m CLIP_HT``."""
    parser = make_parser("htunet_predict", __doc__)
    parser.add_argument("-i", "--input", type=Path, required=True, help="folder of PNG, JPG, BMP or TIF images, or one")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for masks and classes.csv")
    parser.add_argument("-d", "--dataset", required=True, help="data set that the run was trained on, such as BUSI")
    parser.add_argument("-m", "--method", required=True, help="such as CLIP_HT")
    parser.add_argument("-f", "--fold", type=fold_number, default=0, help="fold of the run (default: 0)")
    parser.add_argument("--task", help="seg, cls or seg+cls; needed only where there are runs of several tasks")
    parser.add_argument("--plan", help="plan of the run; needed only where there are several")
    parser.add_argument("--seed", type=int, help="seed of the run; default: the smallest there is")
    parser.add_argument("--weights", help="frozen weights, where they have moved since the training")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    parser.add_argument("--save_probabilities", action="store_true", help="also NAME.npz: (K, H, W) at the input size")
    parser.add_argument("--overlays", action="store_true", help="also OUTPUT/overlays/NAME.png, to look at")
    parser.add_argument("--references", type=Path, help="folder of true masks of the same names, drawn in the overlays")
    return run_command(parser, _predict, argv)


def _predict(options: argparse.Namespace) -> None:
    if options.references and not options.overlays:
        raise UsageError("--references are drawn in the overlays: add --overlays.")
    _refuse_to_overwrite(options)
    from htunet.inference.folder import CLASSES, images_in, predict_folder

    run = _find_run(options)
    _refuse_masks_of_a_classification(options, run)
    images = images_in(options.input)
    if options.references:
        _refuse_missing_references(images, options.references)
    from htunet.inference.predictor import Predictor

    predictor = Predictor.from_run(run, weights=options.weights, device=options.device)
    num_labels = len(predictor.plan.labels) - 1
    draw = _Overlays(options.output / "overlays", options.references, num_labels) if options.overlays else None
    result = predict_folder(
        predictor, images, options.output, save_probabilities=options.save_probabilities, after_each=draw
    )
    for name, reason in result.unreadable.items():
        print(f"Left out {name}: {reason}", file=sys.stderr)
    print(f"Predicted {len(result.predicted)} of {len(images)} images with {run.label}: {options.output}")
    if result.classes:
        counts = Counter(result.classes.predicted)
        listing = ", ".join(f"{counts[name]} {name}" for name in result.classes.classes)
        print(f"Classes: {listing}; probabilities in {options.output / CLASSES}")
    if result.empty:
        some = ", ".join(result.empty[:5]) + (", ..." if len(result.empty) > 5 else "")
        print(f"Nothing was found in {len(result.empty)}: {some}")
    if result.unreadable:
        raise HtunetError(f"{len(result.unreadable)} of {len(images)} images could not be read; they are named above.")


def _find_run(options: argparse.Namespace) -> RunPaths:
    """The finished run that the options name; raises UsageError that says what there is."""
    dataset = find_dataset(options.dataset)
    runs = [run for run in find_runs(dataset) if run.checkpoint_best.exists()]
    if not runs:
        task = f" --task {options.task}" if options.task else ""
        raise HtunetError(
            f"No run of {dataset.short_name} is trained. Train one first: htunet_train {dataset.short_name} "
            f"{options.method} fold{options.fold}{task}"
        )
    for name in ("method", "fold", "task", "plan", "seed"):
        wanted, known = getattr(options, name), sorted({getattr(run, name) for run in runs})
        if wanted is not None and wanted not in known:
            listing = ", ".join(map(str, known))
            hint = did_you_mean(str(wanted), map(str, known))
            raise UsageError(
                f"No trained run of {dataset.short_name} has the {name} {wanted!r}; known: {listing}.{hint}"
            )
        runs = [run for run in runs if wanted is None or getattr(run, name) == wanted]
    for name in ("task", "plan"):
        found = sorted({getattr(run, name) for run in runs})
        if len(found) > 1:
            raise UsageError(f"There are runs with the {name}s {', '.join(found)}: choose one with --{name}.")
    return min(runs, key=lambda run: run.seed)


def _refuse_masks_of_a_classification(options: argparse.Namespace, run: RunPaths) -> None:
    """Options that are about masks, for a run that makes none."""
    for name in ("overlays", "save_probabilities"):
        if getattr(options, name) and "seg" not in run.task.split("+"):
            raise UsageError(
                f"--{name} is about masks, and {run.label} makes none. Leave it out: the probabilities of the classes "
                "are always written."
            )


def _refuse_to_overwrite(options: argparse.Namespace) -> None:
    """Masks and overlays have the names of the images and of the true masks: they need folders of their own."""
    read = {folder.resolve() for folder in (options.input, options.references) if folder}
    written = [options.output, *([options.output / "overlays"] if options.overlays else [])]
    for folder in written:
        if folder.resolve() in read:
            raise UsageError(f"{folder} is read from and would be written to: choose another output folder.")


def _refuse_missing_references(images: Sequence[Path], references: Path) -> None:
    """Before anything is predicted or written."""
    if missing := [image.name for image in images if not (references / f"{image.stem}.png").is_file()]:
        raise HtunetError(
            f"{references} has no true mask for {len(missing)} of {len(images)} images: {', '.join(missing[:5])}. Each "
            "image needs one of its name, ending in .png."
        )


class _Overlays:
    """Draws each prediction over its image."""

    def __init__(self, folder: Path, references: Path | None, num_labels: int) -> None:
        self.folder = folder
        self.num_labels = num_labels
        self.references = references
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, item: "PredictedImage") -> None:
        from htunet.data.image_io import write_png
        from htunet.reporting.overlays import overlay

        image = item.image_CHW[0] if len(item.image_CHW) == 1 else item.image_CHW.transpose(1, 2, 0)
        picture = overlay(image, item.labels_HW, self._reference(item), num_labels=self.num_labels)
        write_png(self.folder / item.mask_path.name, picture)

    def _reference(self, item: "PredictedImage") -> "UInt8 | None":
        if self.references is None:
            return None
        from htunet.data.image_io import read_labels

        path = self.references / item.mask_path.name
        labels = read_labels(path)
        if labels.shape != item.labels_HW.shape:
            height, width = item.labels_HW.shape
            raise HtunetError(
                f"The true mask {path} has {labels.shape[0]} x {labels.shape[1]} pixels, the image {height} x {width}. "
                "Give the mask of this image."
            )
        return labels // 255 if set(labels.ravel().tolist()) <= {0, 255} else labels
