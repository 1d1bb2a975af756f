"""Settings of one training run. The command line is built from these fields."""

from dataclasses import dataclass

from htunet.errors import UsageError
from htunet.settings import setting


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What a user may choose about one run; everything else is in the plan."""

    seed: int = setting(1, "seeds the trainable weights, the order of the images, the augmentation and the dropout")
    plan: str = setting("paper", "name of the plan in plans.json")
    num_epochs: int | None = setting(None, "passes over the training images; default: the plan's")
    task: str = setting(
        "seg", "what is learnt: masks, classes, or both by one network", choices=("seg", "cls", "seg+cls")
    )
    weights: str = setting("pretrained", "frozen weights: pretrained, random, or the path of a file")
    precision: str = setting("auto", "auto: bf16 where the machine has it", choices=("auto", "bf16", "fp32"))
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda"))
    devices: int = setting(1, "number of devices; the batch of the plan is shared among them")
    workers: int | None = setting(None, "processes that augment images; default: the plan's, and none on a CPU")

    def __post_init__(self) -> None:
        for name in ("num_epochs", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} must be at least 1, got {value}.")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or larger, got {self.seed}.")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers must be 0 or larger, got {self.workers}.")
