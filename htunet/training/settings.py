"""Settings of training runs. The command line is built from these fields."""

from dataclasses import dataclass

from htunet.errors import UsageError
from htunet.settings import DEVICES, setting
from htunet.training.loggers import LOGGERS, check_logger


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a user may choose about every kind of run."""

    seed: int = setting(1, "seeds the trainable weights, the order of the images, the augmentation and the dropout")
    num_epochs: int | None = setting(None, "passes over the training images; default: the plan's")
    weights: str = setting(
        "pretrained",
        "first or frozen weights: pretrained, phantom (on simulated images), random, or the path of a file",
    )
    precision: str = setting(
        "auto",
        "auto: bf16 where the machine has it; tf32: fp32 whose products a GPU computes from rounded factors",
        choices=("auto", "bf16", "tf32", "fp32"),
    )
    device: str = setting("auto", "where to compute; auto takes cuda or cpu", choices=DEVICES)
    devices: int = setting(1, "number of devices; the batch of the plan is divided among them")
    workers: int | None = setting(None, "processes that augment images; default: by the cores, and none on a CPU")
    parts: int | None = setting(
        None, "parts that a device computes its batch in, to save memory; default: what fits. The gradient is the same"
    )
    threads: int | None = setting(
        None, "threads that a process computes with on a CPU; default: as before in a continued run, else all cores"
    )
    logger: str = setting("tensorboard", "where curves are written beside progress.csv", choices=LOGGERS)

    def __post_init__(self) -> None:
        check_logger(self.logger)
        for name in ("num_epochs", "devices", "parts", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}.")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or larger, got {self.seed}.")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers must be 0 or larger, got {self.workers}.")


@dataclass(frozen=True, kw_only=True)
class TrainSettings(RunSettings):
    """What a user may choose about training on a planned data set; everything else is in the plan."""

    plan: str = setting("paper", "name of the plan in plans.json, such as paper, public or adaptive")
    task: str = setting(
        "seg", "what is learnt: masks, classes, or both by one network", choices=("seg", "cls", "seg+cls")
    )
    adapter: str | None = setting(
        None,
        "what the adapter starts from: finetuned (by htunet_finetune), or the path of a checkpoint; default: untrained",
    )
    ratio: float | None = setting(
        None, "train on this fraction of the training images only (few-shot), such as 0.05; default: all of them"
    )
    start_from: str | None = setting(
        None,
        "begin with the trained weights of this checkpoint_best.safetensors of the same method; default: untrained",
    )
    as_published_defects: bool = setting(
        False,
        "lose what the paper's public code loses: LoRA as trained (tested as the run started), DINOv2's LayerScale; "
        "the run is marked everywhere",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise UsageError(
                f"--ratio is a fraction of the training images, larger than 0 and smaller than 1; got {self.ratio}. "
                "Omit it to train on all of them."
            )
        if self.start_from and self.adapter:
            raise UsageError("--start-from holds an adapter as it was trained: leave --adapter out.")


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(RunSettings):
    """What a user may choose about fine-tuning an adapter on captions."""

    plan: str = setting(
        "paper", "paper: as its text; public: as its public code, 64 pairs at a time", choices=("paper", "public")
    )
    batch_size: int | None = setting(
        None, "pairs that are contrasted with each other, over all devices; default: 32, with plan public 64"
    )
    lr: float = setting(1e-4, "learning rate of the first step; it falls to almost 0 with a cosine")
    input_size: int = setting(224, "side of the square that images are brought to, pixels; as in stage 2")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("batch_size", 2), ("input_size", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, got {value}.")
        if not 0 < self.lr < 1:
            raise UsageError(f"--lr must be larger than 0 and smaller than 1, got {self.lr}.")
