"""A user's data as the options describe them, and what was found there."""

from dataclasses import dataclass, field
from pathlib import Path

from dataset_conversion.formats.shapes import AnnotatedImage
from htunet.data.label_maps import BACKGROUND
from htunet.data.names import printable
from htunet.data.raw import Excluded
from htunet.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class OwnData:
    """What a user has, and what is to be made of it."""

    name: str
    """``MYDATA``, which gets the next free number, or a full name."""
    images: Path | None = None
    masks: Path | None = None
    pairs: tuple[str, ...] = ()
    """A table of the columns image and mask, or two patterns; empty: the names say it."""
    nnunet: Path | None = None
    """An nnU-Net folder that cannot be used in place, instead of ``images`` and ``masks``."""
    annotations: tuple[Path, ...] = ()
    """Files or folders of annotations (COCO, LabelMe, VIA, CVAT), one for each reader where there are several."""
    annotator: str = ""
    """The reader whose annotations are taken; empty: those of all, merged by majority vote."""
    test_images: Path | None = None
    test_masks: Path | None = None
    test_annotations: tuple[Path, ...] = ()
    classes: str = ""
    """A CSV (image, class) or a regular expression on the path."""
    groups: str = ""
    """A CSV (image, group or patient) or a regular expression on the path."""
    labels: str = ""
    """See ``label_maps.given``; empty: inferred."""
    spacing: str = ""
    """Millimetres, of all images, or a CSV (image, spacing_mm); empty: what the files say."""
    folds: str = ""
    """A CSV (image, fold) or a regular expression on the path: official folds."""
    fit_masks: bool = False
    positive: str = ""
    """The positive class of two, for recall, precision and F1; empty: see ``positive_class``."""
    fill_outlines: bool = False
    """Masks show the outline alone: what it encloses belongs to it."""
    workers: int | None = None

    def __post_init__(self) -> None:
        self._check_sources()
        if self.labels and not (self.masks or self.nnunet):
            raise UsageError(
                "--labels says what mask values mean: give --masks or --nnunet (annotations have names of their own)."
            )
        if self.pairs and not self.masks:
            raise UsageError("--pairs says which of --masks belong to which of --images; name both folders.")
        if self.fill_outlines and not (self.masks or self.nnunet):
            raise UsageError("--fill-outlines is for masks in files: give --masks or --nnunet.")

    def _check_sources(self) -> None:
        splits = (
            (self.images, self.masks, self.annotations),
            (self.test_images, self.test_masks, self.test_annotations),
        )
        if self.nnunet:
            if any(source for split in splits for source in split):
                raise UsageError(
                    "--nnunet names a whole data set; omit --images, --masks, --annotations and --test-..."
                )
            return
        if not self.images:
            raise UsageError("Name the folder of the images: --images DIR (or --nnunet DIR for an nnU-Net folder).")
        for prefix, (images, masks, annotations) in zip(("", "test-"), splits, strict=True):
            if masks and annotations:
                raise UsageError(
                    f"--{prefix}masks and --{prefix}annotations are two sources of the same masks. Name one."
                )
            if (masks or annotations) and not images:
                raise UsageError(f"--{prefix}masks and --{prefix}annotations need --{prefix}images.")
        forms = [(bool(masks), bool(annotations)) for _, masks, annotations in splits]
        if self.test_images and forms[0] != forms[1]:
            raise UsageError(
                "Both splits have masks in the same form: --masks with --test-masks, --annotations with "
                "--test-annotations, or none."
            )
        if self.images and self.test_images and self.images.resolve() == self.test_images.resolve():
            raise UsageError(
                f"--images and --test-images are the same folder {self.images}: a model would be tested on what it has "
                "learnt from. Name two folders, or give the split with --folds."
            )
        if self.annotator and not self.annotations:
            raise UsageError("--annotator names a reader of --annotations; there are none.")
        if not (self.masks or self.annotations or self.classes):
            raise UsageError(
                "Images alone teach nothing: give --masks, --annotations, or --classes for a classification."
            )

    @property
    def source(self) -> Path:
        """The folder that the report names."""
        source = self.nnunet or self.images
        assert source is not None, "checked at birth"
        return source

    @property
    def folders(self) -> list[Path]:
        """Those of images and masks: what lies in one of them is not in another one around it."""
        return [*filter(None, (self.images, self.masks, self.test_images, self.test_masks))]

    @property
    def has_masks(self) -> bool:
        """Whether masks come from any of the three sources; else the images have classes only."""
        return bool(self.masks or self.annotations or self.nnunet)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One image file with where its labels come from, before anything has been read of it."""

    split: str
    base: Path
    name: str
    """Relative to ``base``, ``/`` between folders."""
    mask_base: Path = Path()
    mask_names: tuple[str, ...] = ()
    """Relative to ``mask_base``; texts, because there may be very many."""
    annotated: tuple[AnnotatedImage, ...] = ()
    """What each reader marked in it."""
    id: str = ""
    """The id, if the source names the case; empty: it follows from the file name."""
    remarks: tuple[str, ...] = ()

    @property
    def image(self) -> Path:
        """Where it is."""
        return self.base / self.name

    @property
    def masks(self) -> tuple[Path, ...]:
        """Where its masks are."""
        return tuple(self.mask_base / name for name in self.mask_names)


@dataclass
class Findings:
    """All that is known of a user's files from their names."""

    images: list[Found] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    label_names: list[str] = field(default_factory=list)
    """Labels that the source itself defines (annotations), without the background."""
    unused: list[str] = field(default_factory=list)
    """Labels that a file of annotations defines and does not use."""
    values: str = ""
    """What mask values mean, where the source says it (nnU-Net); as ``--labels``."""

    @property
    def labels(self) -> dict[str, int]:
        """Labels of annotations: name to index, background 0."""
        return {name: index for index, name in enumerate([BACKGROUND, *self.label_names])}

    def leave_out(self, name: str, reason: str) -> None:
        """Name a file that does not become a case."""
        self.excluded.append(Excluded(source=printable(name), class_name="", reason=reason))
