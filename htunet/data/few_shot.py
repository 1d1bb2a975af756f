"""Few-shot subsets of a training split: nested, by class as evenly as possible, the same for all methods of a seed.

The training images have one order, written to disk, and a fraction of them is its beginning. So each subset
contains the smaller ones whatever the shares are.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from htunet.data.preprocessed import CaseGeometry
from htunet.data.split_files import training_digest
from htunet.data.splits import Fold
from htunet.errors import HtunetError, UsageError
from htunet.files import LONG_WAIT, exclusive, read_object, write_json
from htunet.reproducibility import derived_seed

FORMAT = 1
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
"""The ratios of the paper. Source: arXiv 2506.08849, Table IV."""

Units = list[list[str]]
"""Ids in the order in which they are taken; those of one unit (an image, or a group) together."""


def few_shot_order(cases: Sequence[CaseGeometry], seed: int, *, by_group: bool = False) -> Units:
    """The order in which the training images ``cases`` are taken.

    First one unit of each class; then every beginning of the order has of each class its proportional share, to the
    nearest unit. ``by_group``: a group is one unit, of the class that most of its images have; a case without a group
    is one itself.

    >>> ids = [f"a{i}" for i in range(6)] + [f"b{i}" for i in range(3)]
    >>> cases = [CaseGeometry(id, id[0], "", (1, 1), 0, 0, (1, 1)) for id in ids]
    >>> "".join(unit[0][0] for unit in few_shot_order(cases, seed=1))
    'abaabaaba'
    """
    members: dict[tuple[str, str], list[CaseGeometry]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.id):
        members[("group", case.group) if by_group and case.group else ("case", case.id)].append(case)
    by_class: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in sorted(members, key=lambda key: (derived_seed(seed, "few-shot", *key), key)):
        names = Counter(case.class_name for case in members[key])
        by_class[min(names, key=lambda name: (-names[name], name))].append(key)
    keys = _merged({name: [(key, len(members[key])) for key in keys] for name, keys in sorted(by_class.items())})
    first = [
        next(key for key in keys if any(case.class_name == name for case in members[key]))
        for name in sorted({case.class_name for case in cases})
    ]
    ordered = dict.fromkeys([*first, *keys])
    return [[case.id for case in members[key]] for key in ordered]


def take(units: Units, ratio: float, class_of: Mapping[str, str]) -> list[str]:
    """The first ids of an order: ``ratio`` of all to the nearest image, whole units, at least one image of each class.

    Raises UsageError for a ratio that leaves no image.
    """
    total = sum(map(len, units))
    requested = _nearest(ratio, total)
    missing = {class_of[case] for unit in units for case in unit}
    taken: list[str] = []
    for unit in units:
        if len(taken) >= requested and not missing:
            break
        taken += unit
        missing -= {class_of[case] for case in unit}
    return sorted(taken)


def few_shot_subset(
    path: Path,
    fold: Fold,
    cases: Sequence[CaseGeometry],
    *,
    ratio: float,
    seed: int,
    by_group: bool,
    usable: Collection[str] | None = None,
) -> list[str]:
    """The training ids that a run with ``ratio`` and ``seed`` learns from.

    ``usable`` are the ids that its task can learn from, in the same order; ``ratio`` is a share of them. None: all.

    The order in ``path`` is used as long as the fold's training and validation splits are those that it was made for;
    else it is made, and the file with it. ``cases`` are those of the training split.
    """
    # methods of one seed may be started at the same moment
    with exclusive(path.with_name(f".lock-{path.stem}"), str(path), wait=LONG_WAIT):
        units = _read(path, fold, by_group=by_group) if path.exists() else None
        if units is None:
            units = few_shot_order(cases, seed, by_group=by_group)
            record = {
                "format": FORMAT,
                "seed": seed,
                "split_by": "group" if by_group else "image",
                "split_sha256": training_digest(fold),
                "order": units,
            }
            write_json(path, record)
    kept = {case.id: case.class_name for case in cases if usable is None or case.id in usable}
    return take([ids for unit in units if (ids := [case for case in unit if case in kept])], ratio, kept)


def _read(path: Path, fold: Fold, *, by_group: bool) -> Units | None:
    """The order of a file; None where it was made for another split. Raises HtunetError where it cannot be read."""
    content = read_object(path, {"order?": [[str]]})
    made_for = (content.get("format"), content.get("split_by"), content.get("split_sha256"))
    if made_for != (FORMAT, "group" if by_group else "image", training_digest(fold)):
        return None
    units: Units = content.get("order", [])
    if sorted(case for unit in units for case in unit) != sorted(fold["train"]):
        raise HtunetError(
            f"{path} does not hold each training image of its fold once. Delete it to have it made again."
        )
    return units


def _nearest(ratio: float, total: int) -> int:
    """``ratio`` of ``total`` images, halves rounded up, in exact numbers; at least 1."""
    count = int(Fraction(repr(ratio)) * total + Fraction(1, 2))
    if count < 1:
        raise UsageError(
            f"--ratio {ratio} of {total} training images selects no image: the smallest ratio is {0.5 / total:.4f}."
        )
    return count


def _merged(units: Mapping[str, Sequence[tuple[tuple[str, str], int]]]) -> list[tuple[str, str]]:
    """Keys of all classes by the share of their class that is taken when half of them is: Webster's apportionment."""
    placed: list[tuple[Fraction, str, int, tuple[str, str]]] = []
    for name, members in units.items():
        before, total = 0, sum(size for _, size in members)
        for key, size in members:
            placed.append((Fraction(2 * before + size, 2 * total), name, len(placed), key))
            before += size
    return [entry[-1] for entry in sorted(placed)]
