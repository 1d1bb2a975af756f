"""What the page of a study holds, as plain data: collected from results on one side, written as HTML on the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from htunet.reporting.tables.write import Table

MISSED, ALARM, WRONG = "missed", "alarm", "wrong"
ERRORS = {MISSED: "Missed", ALARM: "False alarm", WRONG: "Wrong class"}
GROUPS = ERRORS | {"worst": "Worst", "median": "Median", "best": "Best"}
"""Groups of cases and their names, in the order in which a reader wants to see them."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What a reader should know first of one data set and one task."""

    dataset: str
    task: str
    """``masks`` or ``classes``."""
    method: str
    estimate: str
    """Such as ``Dice 81.2 %``."""
    interval: str
    facts: tuple[str, ...]
    weights: str
    """Which weights the estimate rests on."""
    random: bool


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One test case as one method has it."""

    dataset: str
    task: str
    method: str
    case: str
    class_name: str
    size: str
    """Tercile of the lesion's size: small, medium or large; empty where there is no lesion."""
    group: str
    """One of ``GROUPS``."""
    facts: tuple[str, ...]
    lesion: str = ""
    """Its size in the reference, over all labels; empty where there is none."""
    source: str = ""
    """The file that the case was converted from; empty where the raw folder is not at hand."""
    picture: int | None = None
    """Place among the gallery's pictures; None where the image is not at hand."""
    layer: int | None = None
    """Place of the overlay among its layers; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Cases to look at, and their pictures; a picture that several methods share is there once."""

    items: tuple[GalleryItem, ...]
    pictures: tuple[bytes, ...]
    """JPEG."""
    layers: tuple[bytes, ...]
    """PNG with transparency, to lie over a picture of the same shape: the filled areas of a prediction."""
    legends: Mapping[str, tuple[tuple[str, str], ...]]
    """For each data set, colours (``#ff0000``) and what they mean."""
    outlines: tuple[bytes, ...] = ()
    """The outline of the prediction for each of ``layers``."""
    uncertainties: tuple[bytes, ...] = ()
    """Where the network is undecided, for each of ``layers``; empty where that is not known."""
    references: tuple[bytes, ...] = ()
    """The outline of the true mask for each of ``pictures``; empty where there is none."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChartCurve:
    """One line of a diagram: its values at the epochs 1, 2, ..., thinned where there are many."""

    name: str
    """``training loss``, ``validation loss`` or ``validation metric``."""
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Training:
    """The curves of all runs of one method on one data set."""

    title: str
    curves: tuple[ChartCurve, ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class ClassPicture:
    """The picture of one classification."""

    title: str
    png: bytes


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A list of names and values under a heading, such as what is known of one data set."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """The whole page."""

    title: str
    subtitle: str
    warnings: tuple[str, ...]
    headlines: tuple[Headline, ...]
    gallery: Gallery
    tables: tuple[Table, ...]
    training: tuple[Training, ...] = ()
    class_pictures: tuple[ClassPicture, ...] = ()
    plans: tuple[Table, ...] = ()
    planning_warnings: tuple[DatasetFacts, ...] = ()
    """What planning warned of, for each data set and plan; the names are numbers."""
    datasets: tuple[DatasetFacts, ...] = ()
    weights: tuple[DatasetFacts, ...] = ()
    versions: tuple[DatasetFacts, ...] = ()
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What could not be shown, and why."""
