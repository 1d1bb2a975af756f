"""Settings of training runs. The command line is built from these fields."""

from dataclasses import dataclass

from htunet.errors import UsageError, check_least
from htunet.settings import DEVICES, setting
from htunet.training.loggers import LOGGERS, check_logger


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a user may choose about every kind of run."""

    seed: int = setting(1, "seed of the initial weights, the order of the images, the augmentation and the dropout")
    num_epochs: int | None = setting(None, "number of epochs (default: that of the plan)")
    weights: str = setting(
        "pretrained",
        "weights to start from, or frozen weights: pretrained, phantom (pre-trained on simulated images), random, or "
        "the path of a file",
    )
    precision: str = setting(
        "auto",
        "number format: auto is bf16 if the machine supports it, otherwise fp32; tf32 is fp32 in which a GPU rounds "
        "the factors of products",
        choices=("auto", "bf16", "tf32", "fp32"),
    )
    device: str = setting("auto", "device to compute on; auto: cuda if there is one, otherwise cpu", choices=DEVICES)
    devices: int = setting(1, "number of devices; the batch of the plan is divided among them")
    workers: int | None = setting(
        None, "number of processes that augment images (default: chosen by the number of cores; none on a CPU)"
    )
    parts: int | None = setting(
        None,
        "compute each batch in this many parts, one after another, to save memory; the gradient is the same but for "
        "the random numbers of dropout (default: as few as fit into the memory)",
    )
    threads: int | None = setting(
        None, "number of CPU threads of each process (default: all cores; a resumed run keeps its number)"
    )
    logger: str = setting("tensorboard", "where the training curves go, besides progress.csv", choices=LOGGERS)

    def __post_init__(self) -> None:
        check_logger(self.logger)
        for name in ("num_epochs", "devices", "parts", "threads"):
            check_least(name, getattr(self, name), 1)
        check_least("seed", self.seed, 0)
        check_least("workers", self.workers, 0)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(RunSettings):
    """What a user may choose about training on a planned data set; everything else is in the plan."""

    plan: str = setting("paper", "name of the plan in plans.json, such as paper, public or adaptive")
    task: str = setting(
        "seg", "seg: learn masks; cls: learn classes; seg+cls: both with one network", choices=("seg", "cls", "seg+cls")
    )
    adapter: str | None = setting(
        None,
        "what the adapter starts from: finetuned (the result of htunet_finetune) or the path of a checkpoint (default: "
        "an untrained adapter)",
    )
    ratio: float | None = setting(
        None, "few-shot: train on only this fraction of the training images, such as 0.05 (default: all of them)"
    )
    start_from: str | None = setting(
        None,
        "start from the trained weights in this checkpoint_best.safetensors of the same method (default: untrained)",
    )
    as_published_defects: bool = setting(
        False,
        "reproduce two defects of the paper's public code: the trained LoRA is not saved (the test uses the LoRA that "
        "the run started with), and DINOv2's LayerScale is missing; the run is marked in all results",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise UsageError(
                f"--ratio is a fraction of the training images, larger than 0 and smaller than 1; got {self.ratio}. "
                "Omit it to train on all of them."
            )
        if self.start_from and self.adapter:
            raise UsageError("The checkpoint of --start-from already contains a trained adapter: omit --adapter.")


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(RunSettings):
    """What a user may choose about fine-tuning an adapter on captions."""

    plan: str = setting(
        "paper",
        "paper: as the paper's text says; public: as the paper's public code does, with 64 pairs in a batch",
        choices=("paper", "public"),
    )
    batch_size: int | None = setting(
        None,
        "number of pairs in a batch, over all devices; they are contrasted with each other (default: 32, with plan "
        "public 64)",
    )
    lr: float = setting(1e-4, "initial learning rate; it decreases to almost 0 along a cosine")
    input_size: int = setting(224, "images are resized to squares of this side, in pixels, as in stage 2")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("batch_size", self.batch_size, 2)
        check_least("input_size", self.input_size, 1)
        if not 0 < self.lr < 1:
            raise UsageError(f"--lr must be larger than 0 and smaller than 1, got {self.lr}.")
