"""What fits into the hours that a user has: methods, folds, epochs and image size of a cross-validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from htunet.errors import counted
from htunet.models.weights.load import RANDOM
from htunet.planning.plans import Plan
from htunet.planning.rules import PATCH, SMALLEST_SIDE

PLAN = "run"
SHARE = 0.8
"""The share of the time that is for training. With 100 images on two cores everything else (reading, testing, drawing,
predicting 253 images with the four networks of both tasks) took 3 minutes of an hour; the rest is for a machine that
gets slower: an epoch took 16 % longer than estimated there."""
ENOUGH_STEPS = 1200
"""So many cut no training short: of the eight trainings on 70 of those images the best epoch came after 18 to 1,062
steps. Whether larger images and fewer steps would be better was not compared."""
PAPER_STEPS = 3400
"""200 epochs of 17 steps: what the paper's learning rate was chosen for (BUSI)."""
SCALES = (1.0, 0.75, 0.5)
"""At half of the sides a step takes a quarter of the time, and the median lesion, which plan ``adaptive`` makes four
patches wide, is still two wide; at a quarter it would be one."""
FEWEST_FOLDS = 3
"""With two folds each network would learn from half of the images, and each fold alone would choose for the other."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A method that takes part in the cross-validation."""

    method: str
    task: str
    weights: str = ""
    """Frozen or initial ones: ``pretrained``, ``random`` or a file; empty: it has none."""
    epoch_seconds: float = 0.0
    """Of one fold, at the plan's own image size."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is trained."""

    candidates: tuple[Candidate, ...]
    """The cheapest first."""
    num_folds: int
    scale: float
    """Of the sides of the images, beside those of plan ``adaptive``."""
    num_epochs: int
    seconds: float
    """That the trainings take, as estimated."""
    given_up: tuple[str, ...]
    """What the time did not suffice for, a sentence each."""
    settled: bool = True
    """Whether the number of folds is final: it is after the first fold has shown the time of an epoch."""


def fit(candidates: Sequence[Candidate], plan: Plan, *, num_folds: int, training_images: int, hours: float) -> Schedule:
    """The first of these that leaves every run enough steps: all; smaller images; fewer methods; fewer folds.

    The last step is taken whatever it leaves. At least one method of each task stays; those that start from random
    weights go before those that have learnt something (one run each on images of BUSI: ResNet18 from random weights
    had an AUC of 69 %, PhantomCLIP_HT of 82 %), and of these the most expensive first.

    Args:
        candidates: With their measured times.
        plan: ``adaptive``.
        num_folds: Of the split.
        training_images: Of one fold.
        hours: For everything.
    """
    budget = hours * 3600 * SHARE
    steps = max(1, -(-training_images // plan.batch_size))
    enough = min(plan.num_epochs, max(10, -(-ENOUGH_STEPS // steps)))
    cheapest_first = sorted(candidates, key=lambda candidate: candidate.epoch_seconds)
    sets = [cheapest_first]
    for candidate in sorted(cheapest_first, key=lambda one: (one.weights == RANDOM, one.epoch_seconds), reverse=True):
        if sum(other.task == candidate.task for other in sets[-1]) > 1:
            sets.append([other for other in sets[-1] if other is not candidate])
    choices = [(sets[0], scale, num_folds) for scale in SCALES]
    choices += [(chosen, SCALES[-1], num_folds) for chosen in sets[1:]]
    choices += [(sets[-1], SCALES[-1], folds) for folds in range(num_folds - 1, FEWEST_FOLDS - 1, -1)]
    for chosen, scale, folds in choices:
        epoch = sum(candidate.epoch_seconds for candidate in chosen) * folds * scale**2
        epochs = int(budget / epoch)
        if epochs >= enough:
            break
    epochs = max(1, min(epochs, plan.num_epochs))
    given_up = []
    if scale < 1:
        given_up.append(f"images of {' x '.join(map(str, scaled(plan, scale)))} pixels in place of "
                        f"{' x '.join(map(str, plan.input_size))}")  # fmt: skip
    given_up += [f"{c.method} ({c.task}) is not tried" for c in cheapest_first if c not in chosen]
    given_up += _folds_given_up(folds, num_folds)
    if epochs < plan.num_epochs:
        given_up.append(f"{counted(epochs, 'epoch')} in place of {plan.num_epochs}")
    return Schedule(
        candidates=tuple(chosen),
        num_folds=folds,
        scale=scale,
        num_epochs=epochs,
        seconds=epochs * epoch,
        given_up=tuple(given_up),
        settled=False,
    )


def settle(schedule: Schedule, epoch_seconds: Sequence[float], *, num_folds: int, hours: float) -> Schedule:
    """The schedule with as many folds as fit, now that one fold of each method has shown what an epoch takes.

    More than planned where all of them fit into the share of the time that is for training; fewer where the trainings
    alone would take more than all of it. Epochs, images and methods stay, as folds must be alike. It is decided once
    and by the machine's speed alone: how soon trainings stop improving depends on the images, and the number of folds
    must not depend on how good the first ones are.

    Args:
        schedule: That of ``fit``.
        epoch_seconds: Of each candidate, as measured in its first training.
        num_folds: Of the split.
        hours: For everything.
    """
    fold = max(1e-9, schedule.num_epochs * sum(epoch_seconds))
    more, most = int(SHARE * 3600 * hours / fold), int(3600 * hours / fold)
    fewest = min(FEWEST_FOLDS, schedule.num_folds)
    folds = min(num_folds, max(fewest, more, min(schedule.num_folds, most)))
    kept = [text for text in schedule.given_up if text not in _folds_given_up(schedule.num_folds, num_folds)]
    return replace(schedule, num_folds=folds, seconds=fold * folds, settled=True,
                   given_up=(*kept, *_folds_given_up(folds, num_folds)))  # fmt: skip


def _folds_given_up(folds: int, num_folds: int) -> list[str]:
    return [f"{folds} of {num_folds} folds are trained: not every image is tested"] * (folds < num_folds)


def scaled(plan: Plan, scale: float) -> tuple[int, int]:
    """The plan's input size, smaller, in whole patches."""
    height, width = (max(min(side, SMALLEST_SIDE), round(side * scale / PATCH) * PATCH) for side in plan.input_size)
    return height, width


def plan_of(schedule: Schedule, adaptive: Plan, training_images: int) -> Plan:
    """Plan ``run``: ``adaptive`` in the time there is; few steps get a higher learning rate."""
    steps = schedule.num_epochs * -(-training_images // adaptive.batch_size)
    factor = min(10.0, max(1.0, PAPER_STEPS / steps))
    because: Mapping[str, str] = {
        "input_size": "; ".join([adaptive.because.get("input_size", ""), *schedule.given_up[:1]])
        if schedule.scale < 1
        else adaptive.because.get("input_size", ""),
        "num_epochs": f"what the time allows, in place of {adaptive.num_epochs}",
        "learning_rate": f"{factor:.1f} times the paper's, because there are {counted(steps, 'step')} and not "
        f"{PAPER_STEPS}",
    }
    return replace(
        adaptive,
        name=PLAN,
        input_size=scaled(adaptive, schedule.scale),
        num_epochs=schedule.num_epochs,
        learning_rate=float(f"{adaptive.learning_rate * factor:.2g}"),
        because=adaptive.because | dict(because),
    )
