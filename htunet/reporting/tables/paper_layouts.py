"""The paper's Tables II to VII: which methods, data sets and figures each has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from htunet.data.few_shot import RATIOS
from htunet.errors import UsageError, did_you_mean
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import CLASSIFICATION, SEGMENTATION, TableKind

SEGMENTED = tuple(paper.datasets("segmentation"))
CLASSIFIED = tuple(paper.datasets("classification"))
ADAPTERS = {theirs: ours for ours, theirs in paper.CLASSIFICATION_ADAPTERS.items()}
PARTS_OF_HT = {
    "Mona": "BiomedCLIP_Mona",
    "HT (NE only)": "BiomedCLIP_HTNE",
    "HT (FF only)": "BiomedCLIP_HTFF",
    "HT (Full)": "BiomedCLIP_HT",
}
FEW_SHOT = {theirs: ours for ours, theirs in paper.FEW_SHOT_METHODS.items()}
SEGMENTATION_METHODS = {theirs: ours for ours, theirs in paper.METHODS.items()}
CLASSIFICATION_METHODS = {theirs: ours for ours, theirs in paper.CLASSIFICATION_METHODS.items()}


@dataclass(frozen=True)
class Line:
    """One row of a table: the paper's name for a method, ours, and what its runs are trained on."""

    name: str
    method: str
    setting: str = paper.SUPERVISED
    ratio: float | None = None

    @property
    def footnote(self) -> str:
        """What the paper's public code does to the method."""
        return paper.footnote(self.method, self.setting)

    @property
    def group(self) -> str:
        """The rows that are ranked together, as the table prints it; empty where it is the whole table."""
        return self.setting if self.ratio is None else f"{100 * self.ratio:.6g}%"


@dataclass(frozen=True, kw_only=True)
class Part:
    """The figures of one kind in a table."""

    kind: TableKind
    metrics: tuple[str, ...]
    datasets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """What a table of the paper consists of."""

    number: str
    title: str
    source: str
    """Of the paper's figures, in results_template; it begins with the table's ``name``."""
    lines: tuple[Line, ...]
    parts: tuple[Part, ...]
    average: str = ""
    """Whether a mean over the data sets stands beside them (``also``) or for them (``only``)."""
    datasets_in_rows: bool = False
    grouped: bool = False
    """Whether the rows come in groups: settings, or fractions of the training images."""

    @property
    def name(self) -> str:
        """As commands and files have it: ``table2``."""
        return self.source.partition("_")[0]


def _lines(methods: Mapping[str, str], **about: Any) -> tuple[Line, ...]:  # noqa: ANN401
    return tuple(Line(name, method, **about) for name, method in methods.items())


MASKS = ("dice", "iou", "hd95_max", "asd_directed", "hd95", "asd")
CLASSES = ("accuracy", "recall", "precision", "f1", "auc")
_SEG = Part(kind=SEGMENTATION, metrics=MASKS, datasets=SEGMENTED)
_CLS = Part(kind=CLASSIFICATION, metrics=CLASSES, datasets=CLASSIFIED)
_WITH_TEXT = {name: method for name, method in CLASSIFICATION_METHODS.items() if method not in paper.WITHOUT_TEXT}
TABLES = {
    table.name: table
    for table in (
        PaperTable(
            number="II",
            title="Segmentation",
            source="table2_segmentation",
            lines=_lines(SEGMENTATION_METHODS),
            parts=(_SEG,),
        ),
        PaperTable(
            number="III",
            title="Classification, zero-shot and supervised",
            source="table3_classification",
            lines=(*_lines(_WITH_TEXT, setting=paper.ZERO_SHOT), *_lines(CLASSIFICATION_METHODS)),
            parts=(replace(_CLS, metrics=("accuracy", "auc")),),
            average="also",
            grouped=True,
        ),
        PaperTable(
            number="IV",
            title="Few-shot",
            source="table4_fewshot",
            lines=tuple(line for ratio in RATIOS for line in _lines(FEW_SHOT, ratio=ratio)),
            parts=(_SEG, _CLS),
            average="only",
            grouped=True,
        ),
        PaperTable(
            number="V",
            title="Adapters, segmentation",
            source="table5_adapters_segmentation",
            lines=_lines(ADAPTERS),
            parts=(_SEG,),
            average="also",
            datasets_in_rows=True,
        ),
        PaperTable(
            number="VI",
            title="Adapters, classification",
            source="table6_adapters_classification",
            lines=_lines(ADAPTERS),
            parts=(_CLS,),
            average="also",
            datasets_in_rows=True,
        ),
        PaperTable(
            number="VII",
            title="Parts of the HT adapter",
            source="table7_ht_components",
            lines=_lines(PARTS_OF_HT),
            parts=(_SEG, _CLS),
            average="only",
        ),
    )
}


def find_table(name: str) -> PaperTable:
    """``table2`` to ``table7``; raises UsageError with the known names."""
    if name not in TABLES:
        hint = " Table I: htunet_table1." if name == "table1" else did_you_mean(name, list(TABLES))
        raise UsageError(f"The tables are {', '.join(TABLES)}; got {name!r}.{hint}")
    return TABLES[name]


def chosen(
    table: PaperTable, datasets: Sequence[str] | None = None, methods: Sequence[str] | None = None
) -> PaperTable:
    """The table with these data sets (short names, others than the paper's too) and these of our methods.

    A method that the table does not have gets rows of its own. None: as the paper has it. A name counts once.
    """
    parts, lines = table.parts, table.lines
    if datasets is not None:
        parts = tuple(replace(part, datasets=tuple(dict.fromkeys(datasets))) for part in parts)
    if methods is not None:
        known = {line.method for line in lines}
        about = dict.fromkeys((line.setting, line.ratio) for line in lines)
        extra = [Line(m, m, *rest) for rest in about for m in dict.fromkeys(methods) if m not in known]
        place = list(about)
        lines = tuple(line for line in [*lines, *extra] if line.method in methods)
        lines = tuple(sorted(lines, key=lambda line: place.index((line.setting, line.ratio))))
    return replace(table, parts=parts, lines=lines)
