"""Segment or classify new images with a trained run.

Masks have the names and sizes of the images; classes.csv has one line for each image, with the probability of each
class. NIfTI, MHA and NRRD files give masks of the same format; of other files each page or frame gives a PNG.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from htunet.cli.arguments import add_device, add_run_options, chosen_folds, fold_or_all
from htunet.cli.command import log_on_terminal, make_parser, run_command, tell
from htunet.errors import HtunetError, UsageError, check_least, counted, option
from htunet.paths import RunPaths

if TYPE_CHECKING:
    from htunet.api import Model
    from htunet.data.image_io import UInt8
    from htunet.data.label_maps import LabelMap
    from htunet.inference.by_ray import PredictFiles
    from htunet.inference.folder import FolderResult, PartOfFolder
    from htunet.inference.growing_folder import GrowingFolder
    from htunet.inference.prediction import Prediction


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_predict -i FOLDER -o FOLDER -d BUSI -m CLIP_HT``."""
    parser = make_parser("htunet_predict", __doc__)
    parser.add_argument(
        "-i",
        "--input",
        type=Path,
        required=True,
        help="folder of images, with or without subfolders, or one file; all formats that htunet_convert reads",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for masks and classes.csv")
    parser.add_argument("-d", "--dataset", help="data set that the run was trained on, such as BUSI")
    methods = "method, such as CLIP_HT; several methods predict together: the mean of their probabilities"
    parser.add_argument("-m", "--method", nargs="+", help=methods)
    folds = "fold of the run; several folds, or all-folds, predict together (default: 0)"
    parser.add_argument("-f", "--fold", nargs="+", type=fold_or_all, help=folds)
    add_run_options(parser, several_seeds=True)
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the mean of the predictions of six views of an image",
    )
    of_model = (
        "instead of a run: a folder written by htunet_export or htunet_pretrain, the name of an imported model, or "
        "phantom, which segments lesions and was trained on simulated images alone"
    )
    parser.add_argument("--model", help=of_model)
    parser.add_argument("--weights", help="path of the frozen weights, if they have moved since the training")
    add_device(parser)
    npz = ("--npz", "--save-probabilities")
    text = "also write NAME.npz with the probabilities, (K, H, W) in the size of the image"
    parser.add_argument(*npz, dest="save_probabilities", action="store_true", help=text)
    text = (
        "also write NAME.seg.dcm, a DICOM Segmentation object, for each DICOM file; needs pip install 'htunet[dicom]'"
    )
    parser.add_argument("--dicom-seg", action="store_true", help=text)
    text = "also draw each mask over its image: OUTPUT/overlays/NAME.png"
    parser.add_argument("--overlays", action="store_true", help=text)
    text = (
        "also write OUTPUT/uncertainty/NAME_entropy.png and, if several networks or views predict, NAME_variance.png: "
        "white is uncertain"
    )
    parser.add_argument("--uncertainty", action="store_true", help=text)
    text = "folder of reference masks with the names of the images, to draw in the overlays as well"
    parser.add_argument("--references", type=Path, help=text)
    text = "predict only the images that are new or changed since the last call with --continue into the same output"
    parser.add_argument("--continue", dest="resume", action="store_true", help=text)
    text = "without the post-processing that htunet_run chose for this method"
    parser.add_argument("--no-postprocessing", action="store_true", help=text)
    text = "ray: predict by several workers; the same command continues after a kill, as with --continue"
    parser.add_argument("--engine", choices=("ray",), help=text)
    parser.add_argument("--jobs", type=int, help="with --engine: workers on this machine (default: GPUs or cores)")
    parser.add_argument("--address", help="with --engine: address of a running Ray cluster (default: this machine)")
    return run_command(parser, _predict, argv)


def _predict(options: argparse.Namespace) -> None:
    if options.references and not options.overlays:
        raise UsageError("--references are drawn in the overlays: add --overlays.")
    _refuse_unclear_model(options)
    _refuse_to_overwrite(options)
    from htunet.data.names import listed
    from htunet.data.postprocessing import in_words
    from htunet.inference.folder import images_and_others
    from htunet.inference.output_tables import CLASSES

    model = _load_as_asked(options)
    _refuse_masks_of_a_classification(options, model.run)
    outside = [folder for folder in (options.output, options.references) if folder]
    images, others = images_and_others(options.input, outside)
    if options.dicom_seg:
        _refuse_dicom_seg_of_nothing(images)
    overlays = _overlays(options)
    if overlays and options.references:
        overlays.check(images, options.input, len(model.predictor.plan.labels) - 1)

    growing = _growing(options, model, images)
    if growing and options.engine:  # with what workers of a call that was killed have done
        from htunet.inference.by_ray import collect

        growing.finish([])  # from now on the output says what it is of
        collect(growing, {_name_below(path, options.input): path for path in images})
        growing = _growing(options, model, images) or growing
    done = growing.done if growing else set()
    if len(done) == len(images):
        print(f"Nothing new: {counted(len(done), 'image')} predicted before, in {options.output}")
        return
    _, started = model.predictor, perf_counter()  # loaded before the time is taken
    result = _predict_new(options, model, overlays, images, growing)
    _name_excluded(result)
    if done:
        print(f"Predicted before: {counted(len(done), 'image')}")
    if others:
        print(f"Ignored {counted(len(others), 'file')} without an image: {listed(others, 20)}")
    count = f"{len(result.predicted)} of {len(images) + len(others)}"
    frames = f" ({counted(len(result.images), 'image')})" if len(result.images) > len(result.predicted) else ""
    what = f"files{frames}" if others or frames or result.no_pictures else "images"
    print(f"Predicted {count} {what} with {model.name}: {options.output}")
    if overlays:
        print(f"Drawn over the images: {options.output / 'overlays'}")
    if result.masks and model.postprocessing:
        print(f"Masks are post-processed: {in_words(model.postprocessing)}; --no-postprocessing switches it off.")
    if result.classes:
        counts = Counter(result.classes.predicted)
        listing = ", ".join(f"{counts[name]} {name}" for name in result.classes.classes)
        print(f"Classes: {listing}; probabilities in {options.output / CLASSES}")
    if result.empty:
        print(f"Nothing was found in {len(result.empty)}: {listed(result.empty)}")
    _print_quality(options, model, result, perf_counter() - started)
    lost = ""
    if result.unreadable:
        lost = f"{len(result.unreadable)} of {counted(len(images), 'image')} could not be read"
    elif result.without_object:
        lost = f"{counted(len(result.without_object), 'file')} without a DICOM Segmentation object"
    if lost:
        raise HtunetError(f"{lost}; they are named above.")


def _predict_new(
    options: argparse.Namespace,
    model: "Model",
    overlays: "_Overlays | None",
    images: Sequence[Path],
    growing: "GrowingFolder | None",
) -> "FolderResult":
    """Predict what the output does not have yet, here or by workers, and record it."""
    from htunet.inference.folder import PartOfFolder

    if growing is None:
        return _predict_files(options, model, overlays, images)
    files = {_name_below(path, options.input): path for path in images}
    if options.engine:
        from htunet.inference.by_ray import predict_by_ray

        return predict_by_ray(partial(_worker, options), growing, files, jobs=options.jobs, address=options.address)
    new = [name for name in files if name not in growing.done]
    part = PartOfFolder([growing.outputs[name] for name in new]) if growing.before else None
    result = _predict_files(options, model, overlays, [files[name] for name in new], part)
    growing.finish([_name_below(path, options.input) for path in result.predicted])
    return result


def _predict_files(
    options: argparse.Namespace,
    model: "Model",
    overlays: "_Overlays | None",
    images: Sequence[Path],
    part: "PartOfFolder | None" = None,
) -> "FolderResult":
    """Predict images, and draw what is asked for."""

    def draw(found: "Prediction", mask: Path) -> None:
        if overlays:
            overlays(found, mask)
        if options.uncertainty:
            _write_uncertainty(found, options.output / "uncertainty" / mask.relative_to(options.output))

    return model.predict_folder(
        images,
        options.output,
        base=options.input,
        save_probabilities=options.save_probabilities,
        dicom_seg=options.dicom_seg,
        after_each=draw if overlays or options.uncertainty else None,
        part=part,
    )


def _worker(options: argparse.Namespace) -> "PredictFiles":
    """What one of several workers does with its images."""
    from htunet.inference.folder import PartOfFolder

    model, overlays = _load_as_asked(options), _overlays(options)

    def predict(images: Sequence[Path], names: Sequence[str], tables: Path) -> "FolderResult":
        if overlays and options.references:
            overlays.check(images, options.input, len(model.predictor.plan.labels) - 1)
        return _predict_files(options, model, overlays, images, PartOfFolder(names, tables))

    return predict


def _print_quality(options: argparse.Namespace, model: "Model", result: "FolderResult", seconds: float) -> None:
    """What several networks cost, and what to look at first."""
    from htunet.data.names import listed
    from htunet.inference.quality import QUALITY

    predictor = model.predictor
    passes = sum(network.passes for network in predictor.networks) * len(predictor.views)
    if passes > 1 and result.images:
        how = counted(len(predictor.networks), "network") + (f" x {n} views" if (n := len(predictor.views)) > 1 else "")
        each = float(f"{seconds / len(result.images):.2g}")  # 120 s, not 1.2e+02
        print(f"{how}: {passes} passes and {each:g} s per image")
    if result.doubted:
        print(f"In {len(result.doubted)} of {len(result.images)} there is probably no lesion, though the mask marks "
              f"something: {listed(result.doubted)}")  # fmt: skip
    if result.unlike:
        print(f"{len(result.unlike)} of {len(result.images)} are unlike the training images; do not rely on what is "
              f"predicted of them: {listed(result.unlike)}")  # fmt: skip
    if (model.dice_calibrations or model.familiar) and (options.output / QUALITY).exists():
        print(f"Images to look at first{', with the predicted Dice' * bool(model.dice_calibrations)}: "
              f"{options.output / QUALITY}")  # fmt: skip
    elif result.masks and not (model.dice_calibrations or model.familiar):
        print(f"How reliable these masks are is not known: {QUALITY} needs a model that htunet_evaluate has tested, of "
              "9 training images and 9 others or more; a predicted Dice in it needs 20 test images.")  # fmt: skip
    if result.rows_of_others and not options.resume:
        print(f"The tables keep their rows of {counted(result.rows_of_others, 'image')} predicted before.")
    if model.exported and (note := model.exported.card.quality.get("note")):
        print(note)


def _overlays(options: argparse.Namespace) -> "_Overlays | None":
    return _Overlays(options.output, options.references) if options.overlays else None


def _growing(options: argparse.Namespace, model: "Model", images: Sequence[Path]) -> "GrowingFolder | None":
    """What --continue finds in the output: done with the same weights and options, or refused.

    Without --continue none, but what --continue has written is refused to other models all the same.
    """
    from htunet.files import file_hash
    from htunet.inference.growing_folder import RECORD, GrowingFolder

    continues = options.resume or options.engine
    if not continues and not (options.output / RECORD).exists():
        return None
    files = [run.checkpoint_best for run in (model.run, *model.others)]
    if model.exported:
        files = [model.exported.folder / name for name in model.exported.card.predicts_with]
    names = ("tta", "no_postprocessing", "save_probabilities", "dicom_seg", "overlays", "uncertainty")
    weights = [file_hash(path) for path in files if path.exists()]
    request = {"model": model.name, "weights": weights, "postprocessing": model.postprocessing}
    found = GrowingFolder(options.output, request | {name: getattr(options, name) for name in names},
                          {_name_below(path, options.input): path for path in images})  # fmt: skip
    return found if continues else None


def _name_below(path: Path, base: Path) -> str:
    return path.absolute().relative_to((base if base.is_dir() else base.parent).absolute()).as_posix()


def _load_as_asked(options: argparse.Namespace) -> "Model":
    model = _load(options)
    model.tta = options.tta
    if options.no_postprocessing:
        model.postprocessing = {}
    return model


def _load(options: argparse.Namespace) -> "Model":
    """The model of --model, or the run or runs that are named."""
    from htunet import api

    about = {"weights": options.weights, "device": options.device}
    if options.model:
        if Path(options.model).is_file():
            raise UsageError(
                f"{options.model} is a file. Import it first: htunet_import {options.model}; then --model takes its "
                "name."
            )
        model = api.load(options.model, **about)
        from htunet.inference.phantom_model import WARNING, PhantomModel

        if isinstance(model.exported, PhantomModel):
            tell(WARNING)
        return model
    about |= {name: getattr(options, name) for name in ("task", "plan", "ratio", "adapter")}
    folds, methods, seeds = chosen_folds(options.fold or [0]), options.method, options.seed or []
    if len(folds) == len(methods) == 1 and len(seeds) <= 1:
        return api.load(options.dataset, *methods, folds[0], *seeds, **about)
    with log_on_terminal("htunet.inference.find_model"):  # which folds are not trained
        return api.load(options.dataset, *methods, **about, folds=folds, seed=seeds or None)


def _write_uncertainty(found: "Prediction", target: Path) -> None:
    """Gray images in the size of the image, 0..255: entropy 0..1, variance 0..0.25."""
    import numpy as np

    from htunet.data.image_io import write_png

    assert found.entropy is not None
    assert found.variance is not None
    write_png(target.with_name(f"{target.stem}_entropy.png"), np.round(255 * found.entropy).astype(np.uint8))
    if found.variance.any():
        write_png(target.with_name(f"{target.stem}_variance.png"), np.round(1020 * found.variance).astype(np.uint8))


def _name_excluded(result: "FolderResult") -> None:
    from htunet.data.names import MASK_MARK, listed

    stems = {name.rpartition(".")[0]: name for name in result.images}
    if masks := [name for stem, name in stems.items() if MASK_MARK.sub("", stem) in stems.keys() - {stem}]:
        print(f"Named as masks of others, and predicted as if they were images: {counted(len(masks), 'file')}, "
              f"{listed(masks)}. Leave masks out of the folder.", file=sys.stderr)  # fmt: skip
    for name, reason in result.unreadable.items():
        print(f"Skipped {name}: {reason}", file=sys.stderr)
    for name, reason in result.no_pictures.items():
        print(f"Ignored {name}: {reason}")
    for name, reason in result.without_object.items():
        print(f"No DICOM Segmentation object of {name}: {reason}", file=sys.stderr)
    for remark in dict.fromkeys(result.remarks.values()):
        names = [name for name, one in result.remarks.items() if one == remark]
        print(f"{remark}: {counted(len(names), 'file')}, {listed(names)}")


def _refuse_unclear_model(options: argparse.Namespace) -> None:
    """Either a model or a run has to be named, not both; workers belong to an engine."""
    if (options.jobs or options.address) and not options.engine:
        raise UsageError("--jobs and --address are about the workers of --engine ray: add it.")
    check_least("jobs", options.jobs, 1)
    of_run = [
        option(name)
        for name in ("dataset", "method", "fold", "task", "plan", "seed", "ratio", "adapter")
        if getattr(options, name)
    ]
    if options.model and of_run:
        raise UsageError(f"--model names a complete model: omit {', '.join(of_run)}.")
    if not options.model and not (options.dataset and options.method):
        raise UsageError("Name what predicts: a run (-d DATASET -m METHOD) or a model (--model FOLDER_OR_NAME).")


def _refuse_masks_of_a_classification(options: argparse.Namespace, run: RunPaths) -> None:
    """Options that are about masks, for a run that makes none."""
    for name in ("overlays", "save_probabilities", "uncertainty"):
        if getattr(options, name) and "seg" not in run.tasks:
            raise UsageError(
                f"{option(name)} is about masks, and {run.label} makes none. Omit it: the probabilities of "
                "the classes are always written."
            )


def _refuse_to_overwrite(options: argparse.Namespace) -> None:
    """Masks and overlays have the names of the images and of the true masks: they need folders of their own."""
    read = {folder.resolve() for folder in (options.input, options.references) if folder}
    written = [options.output, *([options.output / "overlays"] if options.overlays else [])]
    for folder in written:
        if folder.resolve() in read:
            raise UsageError(f"{folder} is read from and would be written to: choose another output folder.")


def _refuse_dicom_seg_of_nothing(images: Sequence[Path]) -> None:
    """Before anything is predicted or written."""
    from htunet.data.formats.dicom import is_dicom
    from htunet.data.formats.dicom_seg import check_package

    if not any(map(is_dicom, images)):
        raise UsageError("--dicom-seg writes an object for each DICOM file, and none of the images is one. Omit it.")
    check_package()


class _Overlays:
    """Draws each prediction over its image, beside the true mask where there is a folder of them."""

    def __init__(self, output: Path, references: Path | None) -> None:
        from htunet.data.folders import files_in
        from htunet.data.formats.stacks import is_image
        from htunet.data.names import without_ending, without_mask_words

        self.output = output
        self.references = references or output
        named = {without_ending(name): name for name in (files_in(references, is_image)[0] if references else [])}
        self.names = [*named.values()]
        self.true_masks: dict[str, str] = without_mask_words(named) | named
        self.joined: dict[str, list[str]] = {}
        self.label_map: LabelMap | None = None

    def __call__(self, found: "Prediction", mask: Path) -> None:
        from htunet.api import overlay
        from htunet.data.image_io import write_png

        name = mask.relative_to(self.output)
        reference = self._reference(name.as_posix(), found.steps.original_size)
        write_png(self.output / "overlays" / name, overlay(found, reference))

    def check(self, images: Sequence[Path], base: Path, most: int) -> None:
        """Before anything is predicted or written: each image has a true mask, whose labels are found in 0..``most``.

        Of a file of several frames the first one at least has a mask.
        """
        from htunet.data.mask_names import frame_of, match_masks
        from htunet.data.names import FRAME, without_ending
        from htunet.evaluation.mask_folders import reference_map

        base = base if base.is_dir() else base.parent
        stems = {image: without_ending(image.relative_to(base).as_posix()) for image in images}
        found = match_masks([f"{stem}.png" for stem in stems.values()], self.names).masks_of
        matched = {image.removesuffix(".png"): sorted(masks, key=without_ending) for image, masks in found.items()
                   if masks and not any(map(frame_of, masks))}  # fmt: skip
        self.joined = {stem: masks for stem, masks in matched.items() if len(masks) > 1}
        for stem, masks in matched.items():
            self.true_masks.setdefault(stem, masks[0])
        having = self.true_masks.keys() | self.joined.keys()
        if missing := [image.name for image, stem in stems.items() if not {stem, f"{stem}__0001"} & having]:
            raise HtunetError(
                f"{self.references} has no true mask for {len(missing)} of {counted(len(images), 'image')}: "
                f"{', '.join(missing[:5])}. Each image needs one of its name, with or without _mask or the like."
            )
        known = {*stems.values()}
        used = [name for stem, name in self.true_masks.items() if {stem, stem.rpartition(FRAME)[0]} & known]
        used += [name for names in self.joined.values() for name in names]
        self.label_map = reference_map([self.references / name for name in dict.fromkeys(used)], most)

    def _reference(self, mask: str, shape: tuple[int, ...]) -> "UInt8 | None":
        """Of a frame its own mask, else that frame of the file's mask."""
        if not self.names:
            return None
        from itertools import islice

        from htunet.data.names import composed, without_ending
        from htunet.evaluation.mask_folders import Joined, read_masks

        stem = composed(mask.removesuffix(".png"))
        whole, _, number = stem.rpartition("__")
        names = self.joined.get(stem) or self.joined.get(without_ending(stem)) or [
            self.true_masks.get(stem) or self.true_masks.get(without_ending(stem)) or self.true_masks[whole]
        ]  # fmt: skip
        paths = Joined(self.references / name for name in names)
        path, position = paths[0], int(number) - 1 if names[0] == self.true_masks.get(whole) else 0
        _, labels, remark = next(islice(read_masks(paths, self.label_map), position, None), (path, None, ""))
        if remark:
            print(f"{mask}: {remark}", file=sys.stderr)
        if labels is None:
            raise HtunetError(f"The true mask {path} has no frame {position + 1}. Give the mask of this image.")
        if labels.shape != shape:
            height, width = shape
            raise HtunetError(
                f"The true mask {path} has {labels.shape[0]} x {labels.shape[1]} pixels, the image {height} x {width}. "
                "Give the mask of this image."
            )
        return labels


if __name__ == "__main__":
    sys.exit(main())
