"""htunet from Python: plan a data set, train, load a trained model, predict, evaluate; the commands call the same.

Everything here is also an attribute of ``htunet`` itself, and is imported when it is first used::

    import htunet

    htunet.plan("BUSI")
    htunet.train("BUSI", "CLIP_HT", fold=0, num_epochs=50)
    model = htunet.load("BUSI CLIP_HT fold0")
    prediction = model.predict("image.png")
    prediction.labels  # (height, width) of the image, 0 background

Errors are exceptions: ``UsageError`` for a wrong argument, ``HtunetError`` for a problem with a file or a run. Nothing
is printed; what a command would print is logged by the logger ``htunet``.
"""

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.files import as_read, is_writable, read_object, scratch_folder
from htunet.inference.prediction import Prediction
from htunet.paths import PAPER_FOLD, PHANTOM, RunPaths, find_dataset, find_runs, imported_models
from htunet.records import argument
from htunet.schemas import SUMMARY

if TYPE_CHECKING:
    from htunet.evaluation.predicted_dice import DiceCalibration
    from htunet.evaluation.summary import Summary
    from htunet.inference.exported import ExportedModel
    from htunet.inference.folder import FolderResult, PartOfFolder
    from htunet.inference.predictor import ImageLike, Predictor
    from htunet.inference.trained import TrainedModel
    from htunet.inference.unlike_images import Familiar
    from htunet.preprocessing.prepare import Prepared, PrepareRequest
    from htunet.training.session import Outcome
    from htunet.training.settings import TrainSettings

__all__ = ["Model", "Prediction", "evaluate_folders", "load", "overlay", "plan", "train"]

Choices = TypeVar("Choices")


class Model:
    """A trained run or an exported model, as ``load`` returns it. Its network is built at the first prediction.

    Args:
        run: The run; for an exported model only its names are used.
        exported: The exported model; None for a run.
        weights: Path of the frozen weights, if they have moved since the training.
        device: ``auto`` (cuda or cpu), ``cpu``, ``cuda`` or ``mps``.
        others: The runs of other folds, seeds or methods, whose probabilities are averaged with those of ``run``.
    """

    def __init__(
        self,
        run: RunPaths,
        exported: "ExportedModel | None" = None,
        *,
        weights: str | None = None,
        device: str = "auto",
        others: Sequence[RunPaths] = (),
    ) -> None:
        self.run = run
        self.exported = exported
        self.device = device
        self._weights = weights
        self.others = tuple(others)
        self.tta = False
        """Test-time augmentation: the mean of the predictions of six views of an image (``inference.views``)."""

    def __repr__(self) -> str:
        return f"<htunet model: {self.name}>"

    @property
    def name(self) -> str:
        """The name of the model in messages: ``BUSI CLIP_HT fold0 seed1 (plan paper)``."""
        members, label = (self.run, *self.others), self.run.label
        for name in ("method", "fold", "seed"):
            values = list(dict.fromkeys(str(getattr(run, name)) for run in members))
            if len(values) > 1:
                before = f" {self.run.method} " if name == "method" else f" {name}{values[0]} "
                label = label.replace(before, f" {'+'.join(values)} " if name == "method" else
                                      f" {name}s {','.join(values)} ", 1)  # fmt: skip
        return label

    @cached_property
    def trained(self) -> "TrainedModel":
        """Method, plan and paths of the weights; HtunetError if the run's settings are missing or damaged."""
        from htunet.inference.trained import TrainedModel

        return self.exported.trained(self._weights) if self.exported else TrainedModel.of_run(self.run, self._weights)

    @property
    def predictor(self) -> "Predictor":
        """The network, or those of all folds, on its device; HtunetError if its weights are not on this machine."""
        found = self._predictor
        found.augment(self.tta)
        found.postprocessing = self.postprocessing
        return found

    @cached_property
    def postprocessing(self) -> dict[str, Any]:
        """The post-processing of masks that ``htunet_run`` chose for this method; set it to ``{}`` to switch it off.

        Empty where a network was trained again since, until ``htunet_evaluate`` or ``htunet_run`` chooses again.
        """
        if self.exported:
            return dict(self.exported.card.quality.get("postprocessing", {}))
        from htunet.inference.chosen import chosen_steps

        return chosen_steps((self.run, *self.others))

    @cached_property
    def _predictor(self) -> "Predictor":
        from htunet.inference.predictor import Predictor
        from htunet.inference.trained import TrainedModel

        if self.exported:
            return self.exported.predictor(self._weights, self.device)
        members = [self.trained, *(TrainedModel.of_run(run, self._weights) for run in self.others)]
        return Predictor.from_trained(*members, device=self.device)

    def predict(
        self,
        images: "ImageLike | Iterable[ImageLike]",
        *,
        spacing_mm: tuple[float, float] | None = None,
    ) -> Any:  # noqa: ANN401
        """One image -> one ``Prediction``; a folder or several images -> an iterator over their predictions.

        A file, a PIL image and an array of the same pixels give the same result bit for bit, as does
        ``htunet_predict``. A file with several frames (a cine loop, a volume, the pages of a TIFF) counts as several
        images.

        Args:
            images: A path, a PIL image, an array (H, W) or (H, W, 3), a folder, or any number of those. A tensor on the
                CPU counts as its array: (H, W) or (H, W, 3), not (3, H, W). Of 16-bit colours Pillow keeps
                only the high byte: give the path of such a file.
            spacing_mm: Height and width of a pixel in millimetres, for ``Prediction.areas_mm2``; None: the pixel size
                in the file.

        Raises:
            UsageError: A folder without images, or something that is not an image.
            HtunetError: An image cannot be read, or the model's weights are not on this machine.

        Example::

            found = model.predict("image.png")
            lesion = found.labels == 1  # (height, width) of the image
            probability = found.probabilities[1]  # of the lesion, for each pixel
        """
        from PIL.Image import Image

        from htunet.data.formats.stacks import open_stack

        is_file = isinstance(images, str | Path) and not Path(images).is_dir()
        is_array = isinstance(images, np.ndarray) or (hasattr(images, "__array__") and getattr(images, "ndim", 0) != 1)
        if is_array or isinstance(images, Image) or (is_file and open_stack(Path(str(images))).frames == 1):
            return self._calibrated(self.predictor.predict(images, spacing_mm=spacing_mm))  # type: ignore[arg-type]
        return self.predict_many([images] if is_file else images, spacing_mm=spacing_mm)  # type: ignore[list-item]

    def predict_many(
        self, images: "str | Path | Iterable[ImageLike]", *, spacing_mm: tuple[float, float] | None = None
    ) -> Iterator[Prediction]:
        """Predict a folder, or any number of images, one after another; raises as ``predict``.

        Example::

            areas = [int((found.labels > 0).sum()) for found in model.predict_many("images")]
        """
        from htunet.data.image_io import check_images
        from htunet.inference.folder import images_in

        if isinstance(images, str | Path):
            if not str(images).strip():
                raise UsageError("The path of the images is empty.")
            return self._predict_each(images_in(Path(images)), spacing_mm)
        check_images(images)
        return self._predict_each(images, spacing_mm)

    def _predict_each(
        self, images: "Iterable[ImageLike]", spacing_mm: tuple[float, float] | None
    ) -> Iterator[Prediction]:
        from htunet.data.formats.stacks import open_stack

        for image in images:
            if isinstance(image, str | Path):
                for found in self.predictor.predict_frames(open_stack(Path(image)), spacing_mm=spacing_mm):
                    yield self._calibrated(found)
            else:
                yield self._calibrated(self.predictor.predict(image, spacing_mm=spacing_mm))

    def predict_folder(
        self,
        images: Sequence[Path],
        output: Path,
        *,
        base: Path | None = None,
        save_probabilities: bool = False,
        dicom_seg: bool = False,
        after_each: Callable[[Prediction, Path], None] | None = None,
        part: "PartOfFolder | None" = None,
    ) -> "FolderResult":
        """Predict image files, and write masks, ``classes.csv`` and ``quality.csv`` into a folder.

        ``quality.csv`` contains the predicted Dice of each mask and says which images are unlike the training images;
        it is written if the run is evaluated on enough images. Rows of other images that the tables already have stay.
        The arguments are those of ``htunet.inference.folder.predict_folder``.

        Example::

            result = model.predict_folder([Path("image.png")], Path("masks"))
            assert not result.unreadable
        """
        from htunet.inference.folder import predict_folder
        from htunet.inference.output_tables import add_result, read_tables
        from htunet.inference.quality import Quality

        predictor, target = self.predictor, (part and part.tables) or output
        read_tables(target, predictor.classes if predictor.classifies else ())
        quality = Quality(self.exported.card.quality.get("calibrated_on", "") if self.exported else "")

        def note(prediction: Prediction, mask: Path) -> None:
            known = self._with_quality(prediction)
            quality.add(mask.relative_to(output).as_posix(), known)
            if after_each:
                after_each(known, mask)

        options = {"save_probabilities": save_probabilities, "dicom_seg": dicom_seg, "after_each": note}
        result = predict_folder(predictor, images, output, base=base, part=part, **options)  # type: ignore[arg-type]
        return add_result(target, result, quality, known=bool(self.dice_calibrations or self.familiar))

    def evaluate(
        self,
        images: str | Path | None = None,
        masks: str | Path | None = None,
        *,
        policy: str = "penalise",
        positive: str = "",
        force: bool = False,
    ) -> dict[str, Any]:
        """The content of ``summary.json``, for the run's test split or for a folder of images with reference masks.

        The test split is not predicted and evaluated again unless ``force`` is true; the files are written into the
        run's folder. For a folder of images nothing is written; images and masks are matched by their file names
        without the extension.

        Args:
            images: Folder of images; None for the test split.
            masks: Folder of the reference masks of ``images``.
            policy: The distances of an empty mask: ``penalise`` or ``exclude``.
            positive: Positive one of two classes, for which recall, precision and F1 are computed; empty: that of the
                data set.
            force: Predict and evaluate again what is already evaluated.

        Raises:
            UsageError: Only one of the two folders is given, or none for an exported model; ``positive`` where no
                classes are evaluated.
            HtunetError: A file cannot be read, the training is not finished, or the split has changed since.

        Example::

            dice = model.evaluate()["foreground_mean"]["Dice"]
            dice_of_others = model.evaluate("images", "masks")["foreground_mean"]["Dice"]
        """
        from htunet.evaluation.evaluate import evaluate_folders
        from htunet.evaluation.freshness import needs_prediction
        from htunet.evaluation.summary import summary_content
        from htunet.experiments.update_run import bring_up_to_date, check_positive_applies
        from htunet.inference.folder import images_in
        from htunet.inference.test_set import predict_test

        if (images is None) != (masks is None):
            raise UsageError("Give both folders, images and masks, or none of them for the test split of the run.")
        check_positive_applies([] if images is not None else [self.run], positive)
        if images is not None and masks is not None:
            with scratch_folder(Path(tempfile.gettempdir())) as folder:
                result = self.predict_folder(images_in(Path(images)), folder)
                if result.unreadable:
                    raise HtunetError(" ".join(result.unreadable.values()))
                return summary_content(evaluate_folders(folder, Path(masks), policy))
        if self.exported:
            raise UsageError(
                f"{self.name} is an exported model without its test split: give a folder of images and one of masks."
            )
        if self.others:
            raise UsageError(f"{self.name}: each fold is tested on images that the others were trained on. Evaluate "
                             "the folds one by one, or give a folder of images and one of masks.")  # fmt: skip
        if force or needs_prediction(self.run):
            predict_test(self.run, device=self.device)
        bring_up_to_date(self.run, policy, force=force, positive=positive)
        return read_object(self.run.summary_json, SUMMARY)

    def describe(self) -> dict[str, Any]:
        """A description: method, task, plan with its labels and classes, weights, fraction of the training images.

        It is the content of the ``model.json`` of an exported model, with licences, citations and versions. ``figures``
        contains the metrics of the best epoch on the validation images and, if evaluated, those of the test images.

        Example::

            about = model.describe()
            print(about["method"], about["plan"]["input_size"], about["figures"])
        """
        from htunet.inference.export import card_of_run

        card = self.exported.card if self.exported else card_of_run(self.run, self.trained)
        if self.others and not self.exported:
            members = [{name: getattr(run, name) for name in ("method", "fold", "seed")} for run in self.others]
            card = replace(card, members=members)
        return {name: value for name, value in as_read(asdict(card)).items() if name not in ("format", "files")}

    @cached_property
    def temperature(self) -> float | None:
        """Divides the scores of classes before the softmax; fitted on 20 validation images or more."""
        if self.others or self.trained.task == "seg":  # the temperature of one network does not fit an average
            return None
        found = self.describe()["figures"].get("test", {}).get("temperature")
        return None if found is None else float(found)

    @cached_property
    def dice_calibrations(self) -> "tuple[DiceCalibration, ...]":
        """Predict the Dice of a mask, one for each network; empty if one of them has too few tested images."""
        from htunet.evaluation.predicted_dice import calibration_of, fit_calibration

        members = (self.run, *self.others)
        if "seg" not in self.trained.task.split("+"):
            return ()
        if self.exported:
            stored = self.exported.card.quality.get("methods", {})
            of_methods = {method: fit_calibration(np.array(values["expected"]), np.array(values["dice"]))
                          for method, values in stored.items()}  # fmt: skip
        else:
            one_of_each = {run.method: run for run in members}
            of_methods = {method: calibration_of(run) for method, run in one_of_each.items()}
        found = [of_methods.get(run.method) for run in members]
        return tuple(one for one in found if one is not None) if None not in found else ()

    @cached_property
    def familiar(self) -> "tuple[Familiar, ...]":
        """Statistics of the networks' training images, to find unlike images; empty before they are evaluated."""
        from htunet.inference.unlike_images import Familiar, familiar_of

        if self.exported:
            where, stored = str(self.exported.folder), self.exported.card.quality.get("familiar", [])
            return tuple(Familiar.of_content(content, where) for content in stored)
        found = [familiar_of(run) for run in (self.run, *self.others)]
        return tuple(one for one in found if one is not None) if None not in found else ()

    @property
    def quality(self) -> dict[str, Any]:
        """The two above and ``postprocessing``, as an export contains them; see ``ModelCard.quality``."""
        of_members = zip((self.run, *self.others), self.dice_calibrations, strict=bool(self.dice_calibrations))
        methods = {run.method: {"expected": one.expected_N.tolist(), "dice": one.dice_N.tolist()}
                   for run, one in of_members}  # fmt: skip
        familiar = [one.content() for one in self.familiar]
        found = {"methods": methods, "familiar": familiar, "postprocessing": self.postprocessing}
        return {name: value for name, value in found.items() if value}

    def _with_quality(self, found: Prediction) -> Prediction:
        from htunet.evaluation.predicted_dice import predicted_dice
        from htunet.inference.unlike_images import distance_from
        from htunet.preprocessing.geometry import to_input

        if self.dice_calibrations and found.labels is not None and found.labels.any():
            dice = predicted_dice(self.dice_calibrations, found.expected_dice, found.ensemble_gain)
            found = replace(found, predicted_dice=dice)
        if self.familiar:
            input_CHW = to_input(found.image_CHW, found.steps.crop, found.plan)
            found = replace(found, distance=distance_from(self.familiar, input_CHW))
        return found

    def _calibrated(self, found: Prediction) -> Prediction:
        found = self._with_quality(found)
        if found.network_classes is None or self.tta or self.temperature is None:  # it is fitted on one view of each
            return found
        from htunet.evaluation.calibration import tempered

        values_NK = tempered(np.array([list(found.network_classes.values())]), self.temperature)
        classes = dict(zip(found.network_classes, values_NK[0].tolist(), strict=True))
        return replace(found, calibrated_classes=classes, temperature=self.temperature)


def load(
    *what: str | Path | int,
    task: str | None = None,
    plan: str | None = None,
    ratio: float | None = None,
    adapter: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    folds: Sequence[int | str] | None = None,
    seed: int | Sequence[int] | None = None,
) -> Model:
    """Load a trained model: the folder of a run, an exported folder or zip, or ``DATASET METHOD fold seed``.

    The folder of a test on another data set loads the run that was tested.

    The folder that ``htunet_pretrain`` wrote is a model, too, which has seen simulated images alone.

    ``load("BUSI CLIP_HT fold0 seed2")`` and ``load("BUSI", "CLIP_HT", 0, 2)`` are the same; the default fold is 0, the
    default seed the smallest that was trained. The name of an imported model is sufficient; ``phantom`` is the model
    that is part of htunet.

    Args:
        what: One of the above.
        task: ``seg``, ``cls`` or ``seg+cls``; needed only if there are runs of several tasks.
        plan: Plan of the run; needed only if there are runs of several plans.
        ratio: Fraction of the training images of a few-shot run; None for a run with all of them.
        adapter: What the run started from, such as phantom or none; needed only if there are several such runs.
        weights: Path of the frozen weights, if they have moved since the training.
        device: ``auto`` (cuda or cpu), ``cpu``, ``cuda`` or ``mps``.
        folds: Instead of one fold: an ensemble of the runs of these folds, which averages their probabilities; an
            empty list means all trained ones. Several methods are possible: ``load("BUSI UNet CLIP_HT", folds=[0])``.
        seed: Seed of the runs of ``folds``, or several seeds, which predict together; None: the smallest of each fold.

    Raises:
        UsageError: No run fits, or several; the message names those that exist. Runs of ``folds`` were trained from
            different weights or with different settings.
        HtunetError: The folder or zip contains no model, or a damaged one.

    Example::

        model = htunet.load("BUSI", "UNet", 0, device="cpu")  # or "BUSI UNet fold0", or a run's folder
    """
    from htunet.inference.exported import find_model, open_model
    from htunet.inference.find_model import find_trained, trained_folds
    from htunet.inference.phantom_model import phantom_model, weights_in
    from htunet.planning.configuration import check_alike

    if folds is not None:
        names = " ".join(map(str, what)).split()
        if len(names) < 2:
            raise UsageError(f'With folds name a model as "DATASET METHOD"; got {what!r}.')
        about: dict[str, object] = {"task": task, "plan": plan, "ratio": ratio, "adapter": adapter}
        chosen = [folds] if isinstance(folds, int | str) else folds or trained_folds(names[0], names[1:], about)
        seeds: list[int | None] = [seed] if seed is None or isinstance(seed, int) else [*seed] or [None]
        keys = (
            {"method": method, "fold": fold, "seed": one} for method in names[1:] for one in seeds for fold in chosen
        )
        first, *others = members = [*dict.fromkeys(find_trained(names[0], about | key)[0] for key in keys)]
        check_alike(members)
        return Model(first, weights=weights, device=device, others=others)
    if seed is not None:
        raise UsageError(f'seed belongs to folds. Name it in words: "DATASET METHOD fold0 seed{seed}".')
    simulated = weights_in(Path(str(what[0]))) if len(what) == 1 else {}
    if simulated or what == (PHANTOM,):
        pretrained = phantom_model(simulated, weights)
        return Model(pretrained.run, pretrained, device=device, others=pretrained.others)
    if len(what) == 1 and (place := Path(str(what[0]))).exists():
        if place.is_file():
            from htunet.inference.import_model import unpack_model

            with ExitStack() as stack:  # beside the zip, else where imported models lie: not in memory or a small /tmp
                home = place.parent if is_writable(place.parent) else imported_models()
                model = open_model(unpack_model(place, stack.enter_context(scratch_folder(home))))
                loaded = Model(model.run, model, others=model.others, weights=weights, device=device)
                weakref.finalize(loaded, stack.pop_all().close)
            return loaded
        if (place / "model.json").is_file():
            model = open_model(place)
            return Model(model.run, model, others=model.others, weights=weights, device=device)
        for run in find_runs():
            if run.folder.resolve() == place.resolve():
                return Model(run.source, weights=weights, device=device)
        raise UsageError(
            f"{place} is neither the folder of a run in htunet_results, nor of an exported model, nor of weights for "
            "masks by htunet_pretrain. A run's folder is DATASET/TRAINER__PLAN__METHOD/fold_N/seed_N."
        )
    names = " ".join(map(str, what)).split()
    if len(names) == 1:
        model = find_model(names[0])
        return Model(model.run, model, others=model.others, weights=weights, device=device)
    numbers = [text.removeprefix("fold").removeprefix("seed") for text in names[2:]]
    named = {"fold": numbers.pop(0)} if numbers[:1] == [PAPER_FOLD] else {}
    if not 2 <= len(names) <= 4 or not all(text.isascii() and text.isdigit() for text in numbers):
        raise UsageError(f'Name a model by its folder, its zip or as "DATASET METHOD fold0 seed1"; got {what!r}.')
    requested = {"method": names[1], "task": task, "plan": plan, "ratio": ratio, "adapter": adapter}
    requested |= named | dict(zip(("seed",) if named else ("fold", "seed"), map(int, numbers), strict=False))
    run, folder = find_trained(names[0], requested, also_imported=True)
    return Model(run, open_model(folder) if folder else None, weights=weights, device=device)


def plan(dataset: str, request: "PrepareRequest | None" = None, **changes: Any) -> "Prepared":  # noqa: ANN401
    """Verify and measure a raw data set, make its plans and splits, preprocess it; see ``htunet_plan_and_preprocess``.

    Args:
        dataset: ``BUSI``, ``503`` or ``Dataset503_BUSI``.
        request: The settings; None for the defaults with ``changes``.
        changes: Fields of ``PrepareRequest``: ``plans`` (a list of names), ``split_by``, ``num_folds``, ``splits``,
            ``workers``, ``memory_gb``, ``preprocess``.

    Raises:
        UsageError: A data set, a plan or a setting that does not exist.
        HtunetError: The raw folder is missing or has errors, or another process prepares the data set.

    Example::

        prepared = htunet.plan("BUSI")
        print(prepared.plans["paper"].input_size, len(prepared.splits.folds))
    """
    from htunet.preprocessing.prepare import PrepareRequest, prepare

    return prepare(find_dataset(dataset), _choices(PrepareRequest, request, changes))


def train(
    dataset: str,
    method: str,
    fold: int | str = 0,
    settings: "TrainSettings | None" = None,
    *,
    restart: bool = False,
    **changes: Any,  # noqa: ANN401
) -> "Outcome":
    """Train a method on a fold of a planned data set, or resume the run; see ``htunet_train``.

    ``load(outcome.run.folder)`` loads the trained model.

    Args:
        dataset: ``BUSI``, ``503`` or ``Dataset503_BUSI``.
        method: Such as ``UNet`` or ``CLIP_HT``.
        fold: Its number, or ``paper`` for the split of the paper's authors, if the data set has it.
        settings: The settings; None for the defaults with ``changes``.
        restart: Delete an earlier run of the same name.
        changes: Fields of ``TrainSettings``: ``num_epochs``, ``seed``, ``plan``, ``task``, ``ratio``, ``weights``, ...

    Raises:
        UsageError: A name, a fold or a setting that does not exist.
        HtunetError: Files are missing, another process is training the run, or it was started with other settings.

    Example::

        outcome = htunet.train("BUSI", "UNet", fold=0, num_epochs=1)
        print(outcome.status, outcome.metric, outcome.best_metric)
    """
    from htunet.training.run import train
    from htunet.training.settings import TrainSettings

    return train(dataset, method, fold, _choices(TrainSettings, settings, changes), restart=restart)


def evaluate_folders(predictions: str | Path, references: str | Path, *, policy: str = "penalise") -> "Summary":
    """Evaluate the masks in one folder against those in another, matched by file name without extension.

    ``summary.means("original_size")["dice"].mean`` is the mean Dice over the cases, in [0, 1];
    ``htunet.evaluation.summary.write_summary`` writes it. Raises HtunetError for a reference without a prediction,
    masks that cannot be read, and masks of another size.

    Example::

        summary = htunet.evaluate_folders("masks", "references")
        agreement = summary.means("original_size")["dice"].mean
    """
    from htunet.evaluation.evaluate import evaluate_folders

    return evaluate_folders(Path(predictions), Path(references), policy)


def overlay(prediction: Prediction, reference: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The image (H, W, 3) with the predicted labels drawn over it and, if given, the reference labels (H, W).

    Raises UsageError for a prediction without labels and for a reference of another size.

    Example::

        picture = htunet.overlay(model.predict("image.png"))
    """
    from htunet.data.image_io import channels_last
    from htunet.reporting.overlays.draw import overlay

    labels, image_CHW = prediction.labels, prediction.image_CHW
    if labels is None:
        raise UsageError("The model has learnt classes only: there are no labels to draw.")
    if reference is not None and np.shape(reference) != labels.shape:
        raise UsageError(f"The reference has the shape {np.shape(reference)}, the image {labels.shape}.")
    return overlay(channels_last(image_CHW), labels, reference, num_labels=len(prediction.plan.labels) - 1)


def _choices(kind: type[Choices], given: Choices | None, changes: dict[str, Any]) -> Choices:
    """``given``, or the defaults with ``changes``; UsageError for a name that is no field, and for both."""
    known = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := [name for name in changes if name not in known]:
        hint = did_you_mean(unknown[0], known)
        raise UsageError(f"No setting is called {unknown[0]!r}; known: {', '.join(known)}.{hint}")
    if given and changes:
        raise UsageError("Give the settings object or single settings, not both.")
    return given or kind(**{name: argument(value, known[name], name) for name, value in changes.items()})
