"""Which case is for training, validation and test. Exact integers, the same on every machine and for every case order.

The cases are dealt into blocks (ten for the rules 8:1:1 and 9:1, five for 8:2) whose sizes make fold 0 the paper's
split (Table I); fold k takes block k where fold 0 takes block 0. A cross-validation (``5 folds``) tests every case
once: its blocks, about ten, are of equal size; fold k tests its part of them and validates with the next block.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from htunet.data.duplicates import DuplicatePair, cluster
from htunet.data.raw import TEST, TRAIN, Case
from htunet.errors import HtunetError, UsageError, counted
from htunet.reproducibility import derived_seed

SPLITS = ("train", "val", "test")
SPLIT_BY = ("image", "group")
SEED = 1
"""Seed of the split, not of a training run: all runs of a data set share one split."""

Fold = dict[str, list[str]]
"""``{"train": [ids], "val": [ids], "test": [ids]}``, each sorted."""


@dataclass(frozen=True)
class Rule:
    """A split in words, such as 8:1:1, as numbers."""

    tenths: int
    """Tenths of the cases for training, rounded up."""
    blocks: int
    makes_test: bool
    """True: the rest is halved into validation and test; False: the data set defines the test split."""
    test_blocks: int = 1
    """Blocks that a fold tests; in a cross-validation several, because validation needs fewer cases."""

    @property
    def folds(self) -> int:
        """Number of folds."""
        return self.blocks // self.test_blocks


RULES = {"8:1:1": Rule(8, 10, True), "8:2": Rule(8, 5, False), "9:1": Rule(9, 10, False)}
TEST_ONLY = "test only"
USUAL_BLOCKS, FEWEST_BLOCKS = 10, 3
CROSS_VALIDATION = re.compile(r"([2-9]|[1-9]\d) folds")


@dataclass(frozen=True)
class Splits:
    """All folds of a data set, and how they came about."""

    rule: str
    split_by: str
    folds: tuple[Fold, ...]
    excluded: tuple[str, ...] = ()
    """Training cases that are in no split, because their group is in the test split that the data set defines."""


@dataclass(frozen=True)
class Leak:
    """A group (patient, case or cluster of duplicates) whose images are in more than one split of a fold."""

    group: str
    members: dict[str, list[str]]
    """Split to the ids in it."""


def split_sizes(n: int, rule: str) -> tuple[int, int, int]:
    """(train, val, test) of ``n`` cases of the training split. Source: arXiv 2506.08849, Table I.

    >>> split_sizes(1273, "8:1:1"), split_sizes(2879, "8:2"), split_sizes(2152, "9:1")
    ((1019, 127, 127), (2304, 575, 0), (1937, 215, 0))
    """
    numbers = _rule(rule, n)
    if CROSS_VALIDATION.fullmatch(rule):
        tested, sizes = numbers.test_blocks, _block_sizes(n, numbers, rule)
        return sum(sizes[tested + 1 :]), sizes[tested], sum(sizes[:tested])
    train = -(-numbers.tenths * n // 10)
    rest = n - train
    val = -(-rest // 2) if numbers.makes_test else rest
    return train, val, rest - val


def make_splits(cases: Sequence[Case], rule: str, split_by: str = "image", seed: int = SEED) -> Splits:
    """Split ``cases`` by ``rule`` (8:1:1, 8:2, 9:1, test only, 5 folds), by class as evenly as the sizes allow.

    Raises UsageError for an unknown rule or ``split_by``, HtunetError when a split would be empty.
    """
    if split_by not in SPLIT_BY:
        raise UsageError(f"--split-by is one of {', '.join(SPLIT_BY)}; got {split_by!r}.")
    if rule == TEST_ONLY:
        return Splits(rule, split_by, ({"train": [], "val": [], "test": sorted(case.id for case in cases)},))
    pool, fixed_test, excluded = _divide(cases, split_by)
    numbers = _rule(rule, _units(pool, split_by))
    _check_enough(pool, fixed_test, rule, split_by, numbers)
    sizes = _block_sizes(len(pool), numbers, rule)
    deal = _blocks_by_group if split_by == "group" else _blocks_by_image
    blocks = deal(pool, sizes, seed)
    folds = tuple(_fold(blocks, k, numbers, fixed_test) for k in range(numbers.folds))
    return Splits(rule, split_by, folds, excluded)


def find_leaks(cases: Sequence[Case], fold: Mapping[str, Sequence[str]]) -> list[Leak]:
    """Groups with images in more than one split of ``fold``, the largest first."""
    groups = {case.id: case.group for case in cases if case.group}
    first: dict[str, str] = {}
    torn = {
        groups[case]
        for split in SPLITS
        for case in fold[split]
        if case in groups and first.setdefault(groups[case], split) != split
    }
    members: dict[str, dict[str, list[str]]] = {group: defaultdict(list) for group in first if group in torn}
    for split in SPLITS:
        for case in fold[split]:
            if groups.get(case) in torn:
                members[groups[case]][split].append(case)
    leaks = [Leak(group, dict(splits)) for group, splits in members.items()]
    return sorted(leaks, key=lambda leak: (-sum(map(len, leak.members.values())), leak.group))


def find_torn_pictures(pictures: Sequence[Sequence[str]], fold: Mapping[str, Sequence[str]]) -> list[Leak]:
    """Pictures (lists of ids of equal images) that are in more than one split of ``fold``, in whatever groups."""
    shown = {case for ids in pictures for case in ids}
    split_of = {case: split for split in SPLITS for case in fold[split] if case in shown}
    leaks = []
    for ids in pictures:
        members: dict[str, list[str]] = defaultdict(list)
        for case in sorted(ids):
            if case in split_of:
                members[split_of[case]].append(case)
        if len(members) > 1:
            leaks.append(Leak(min(ids), {split: members[split] for split in SPLITS if split in members}))
    return leaks


def joined_groups(cases: Sequence[Case], pictures: Sequence[Sequence[str]]) -> list[Case]:
    """The cases with one group for all groups, and cases without one, that share a picture (lists of ids).

    >>> [case.group for case in joined_groups([Case(id="a", group="2"), Case(id="b", group="1"), Case(id="c")], ["ac"])]
    ['2', '1', '2']
    """
    at = {case.id: position for position, case in enumerate(cases)}
    of_group: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        of_group[case.group].append(case.id)
    alike = [*pictures, *(ids for group, ids in of_group.items() if group)]
    pairs = [DuplicatePair(at[ids[0]], at[other], 1.0, exact=True) for ids in alike for other in ids[1:]]
    joined = list(cases)
    for positions in cluster(pairs):
        name = min(filter(None, (cases[one].group for one in positions)), default=cases[positions[0]].id)
        for position in positions:
            joined[position] = replace(cases[position], group=name)
    return joined


def cross_validation(cases: Sequence[Case], folds: int, split_by: str = "image") -> str:
    """The rule of a cross-validation with as many folds as asked for, or as many as the cases can carry; at least 3.

    Where there are classes, each block is to have all of them.

    >>> cross_validation([Case(id=str(n)) for n in range(4)], 5)
    '4 folds'
    """
    return f"{min(folds, max(FEWEST_BLOCKS, _units(_divide(cases, split_by)[0], split_by)))} folds"


def check_num_folds(number: int) -> None:
    """Raise UsageError for a cross-validation with as many folds as none can have."""
    if not CROSS_VALIDATION.fullmatch(f"{number} folds"):
        raise UsageError(f"--num-folds must be from 2 to 99, got {number}.")


def _units(pool: Sequence[Case], split_by: str) -> int:
    """What is dealt out: groups, or cases; of several classes those of the rarest, unless they are too few."""
    keys = _group_keys(pool) if split_by == "group" else [("case", case.id) for case in pool]
    of_class: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for key, case in zip(keys, pool, strict=True):
        of_class[case.class_name].add(key)
    rarest = min(map(len, of_class.values()), default=0)
    return rarest if rarest > FEWEST_BLOCKS else len(set(keys))


def _rule(name: str, units: int) -> Rule:
    if found := CROSS_VALIDATION.fullmatch(name):
        folds = int(found[1])
        least = -(-FEWEST_BLOCKS // folds)  # a block each for training, validation and test
        tested = max(least, min(-(-USUAL_BLOCKS // folds), units // folds))
        return Rule(0, folds * tested, makes_test=True, test_blocks=tested)
    if name not in RULES:
        known = ", ".join([*RULES, TEST_ONLY, "5 folds"])
        raise UsageError(f"The split rule is one of {known}; got {name!r}. It is in dataset.json, split_rule.")
    return RULES[name]


def _divide(cases: Sequence[Case], split_by: str) -> tuple[list[Case], list[str], tuple[str, ...]]:
    """The cases to deal, the ids of the data set's own test split, and the training cases that may be in neither."""
    fixed = [case for case in cases if case.split == TEST]
    pool = sorted((case for case in cases if case.split == TRAIN), key=lambda case: case.id)
    taken = {case.group for case in fixed if case.group} if split_by == "group" else set()
    excluded = tuple(case.id for case in pool if case.group in taken)
    return [case for case in pool if case.group not in taken], sorted(case.id for case in fixed), excluded


def _check_enough(pool: Sequence[Case], fixed_test: Sequence[str], rule: str, split_by: str, numbers: Rule) -> None:
    if numbers.makes_test and fixed_test:
        raise HtunetError(
            f"The split rule {rule} makes the test split itself, but the data set has "
            f"a test split of its own with {counted(len(fixed_test), 'case')}. Set split_rule in dataset.json "
            "to 8:2 or 9:1, or move them to the split train."
        )
    if not numbers.makes_test and not fixed_test:
        raise HtunetError(
            f"The split rule {rule} needs a test split that the data set defines (imagesTs), and there is none. "
            "Set split_rule in dataset.json to 8:1:1."
        )
    units = len(set(_group_keys(pool))) if split_by == "group" else len(pool)
    smallest = min(_block_sizes(len(pool), numbers, rule), default=0)
    if units < numbers.blocks or smallest == 0:
        word = "groups" if split_by == "group" else "cases"
        raise HtunetError(
            f"The split rule {rule} deals the cases into {numbers.blocks} blocks and none may be empty; "
            f"{units} {word} ({counted(len(pool), 'case')}) are too few. Add cases, take few folds "
            "(--num-folds), or write "
            'splits_final.json by hand, a list of folds: [{"train": ["ID", ...], "val": ["ID"], "test": ["ID"]}].'
        )


def _block_sizes(n: int, numbers: Rule, rule: str) -> list[int]:
    """Block 0 is fold 0's test split (or validation split, where the test split is given), the rest follow."""
    if CROSS_VALIDATION.fullmatch(rule):
        return [n // numbers.blocks + (index < n % numbers.blocks) for index in range(numbers.blocks)]
    train, val, test = split_sizes(n, rule)
    held_out = [test, val] if numbers.makes_test else [val]
    count = numbers.blocks - len(held_out)
    return held_out + [train // count + (index < train % count) for index in range(count)]


def _fold(blocks: Sequence[Sequence[str]], k: int, rule: Rule, fixed_test: Sequence[str]) -> Fold:
    first = k * rule.test_blocks
    test = set(range(first, first + rule.test_blocks)) if rule.makes_test else set()
    val = {(first + rule.test_blocks) % len(blocks)} if rule.makes_test else {k}
    return {
        "train": sorted(case for index, block in enumerate(blocks) if index not in test | val for case in block),
        "val": sorted(case for index in val for case in blocks[index]),
        "test": sorted(case for index in test for case in blocks[index]) if rule.makes_test else list(fixed_test),
    }


def _blocks_by_image(pool: Sequence[Case], sizes: Sequence[int], seed: int) -> list[list[str]]:
    """Blocks of exactly ``sizes``; of every class each block has its proportional share, rounded up or down."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for case in pool:
        by_class[case.class_name].append(case.id)
    classes = sorted(by_class)
    shares = _rounded_shares(sizes, [len(by_class[name]) for name in classes])
    blocks: list[list[str]] = [[] for _ in sizes]
    for column, name in enumerate(classes):
        # Sorted by a hash: a shuffle that no library version, no case order and no other case can change.
        ids = iter(sorted(by_class[name], key=lambda case: (derived_seed(seed, "split", case), case)))
        for row, block in enumerate(blocks):
            block.extend(next(ids) for _ in range(shares[row][column]))
    return blocks


def _rounded_shares(rows: Sequence[int], columns: Sequence[int]) -> list[list[int]]:
    """Whole numbers within 1 of rows[i] * columns[j] / n that keep every row's and every column's sum.

    Such a rounding always exists: the remainders are a fractional flow from rows to columns whose edges hold at most
    one unit, so a whole one exists, and augmenting paths find it.
    """
    n = sum(rows)
    shares = [[row * column // n for column in columns] for row in rows]
    free = [[row * column % n > 0 for column in columns] for row in rows]
    missing = [column - sum(line[j] for line in shares) for j, column in enumerate(columns)]
    raised: list[set[int]] = [set() for _ in rows]

    def place(row: int, seen: set[int]) -> bool:
        """Give ``row`` one more unit, moving units of other rows where needed."""
        for j in range(len(columns)):
            if not free[row][j] or j in raised[row] or j in seen:
                continue
            seen.add(j)
            if missing[j] > 0:
                missing[j] -= 1
                raised[row].add(j)
                return True
            for other in range(len(rows)):
                if j in raised[other] and place(other, seen):
                    raised[other].remove(j)
                    raised[row].add(j)
                    return True
        return False

    for index, row in enumerate(rows):
        for _ in range(row - sum(shares[index])):
            if not place(index, set()):
                raise AssertionError(f"no rounding found for {rows} and {columns}")
    return [[share + (j in raised[i]) for j, share in enumerate(line)] for i, line in enumerate(shares)]


def _group_keys(pool: Sequence[Case]) -> list[tuple[str, str]]:
    """One key a case: its group, or the case itself where it has none."""
    return [("group", case.group) if case.group else ("case", case.id) for case in pool]


def _blocks_by_group(pool: Sequence[Case], sizes: Sequence[int], seed: int) -> list[list[str]]:
    """Whole groups, the largest first, each into the block that lacks it most in size and classes."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for key, case in zip(_group_keys(pool), pool, strict=True):
        groups[key].append(case)
    n, totals = len(pool), Counter(case.class_name for case in pool)
    blocks: list[list[str]] = [[] for _ in sizes]
    counts_of: list[Counter[str]] = [Counter() for _ in sizes]
    order = sorted(groups, key=lambda key: (-len(groups[key]), derived_seed(seed, "group", *key), key))
    for position, key in enumerate(order):
        counts = Counter(case.class_name for case in groups[key])

        def excess(index: int, counts: Counter[str] = counts, key: tuple[str, str] = key) -> tuple[int, int]:
            # All in units of 1/n case: how the squared deviation from the targets grows if this block takes the group.
            size = (n * len(blocks[index]) - n * sizes[index]) * counts.total()
            classes = sum((n * counts_of[index][c] - sizes[index] * totals[c]) * count for c, count in counts.items())
            return size + classes, derived_seed(seed, "tie", *key, index)

        empty = [index for index, block in enumerate(blocks) if not block]
        candidates = empty if len(order) - position <= len(empty) else range(len(blocks))
        best = min(candidates, key=excess)
        blocks[best].extend(case.id for case in groups[key])
        counts_of[best].update(counts)
    return blocks
