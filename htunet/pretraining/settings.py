"""Settings of a pre-training. The command line is built from these fields."""

from dataclasses import dataclass, fields

from htunet.errors import UsageError, option
from htunet.settings import setting

IMAGES, PASSES = 16_000, 2
"""What two cores simulate and train a UNet on in two to two and a half hours (1,000 steps of 7 to 8.5 s)."""


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """What a user may choose about a pre-training on simulated images."""

    images: int | None = setting(
        None, f"number of images to simulate (default: {IMAGES}; with --hours as many as the time allows)"
    )
    passes: float | None = setting(
        None,
        f"how often each image is used on average (default: {PASSES}; with --hours as often as the time allows)",
    )
    hours: float | None = setting(
        None,
        "train for this many hours instead of a number of passes; the learning rate follows the time, so that a second "
        "training gives other weights",
    )
    seed: int = setting(1, "seed of the simulated images, of their order and of the initial weights")
    batch_size: int = setting(32, "number of images in a batch")
    size: int = setting(224, "height and width of the images, in pixels")
    pool: int = setting(8192, "number of images kept in memory to be used again; the latest replace the oldest")
    validation: int = setting(128, "number of validation images; they are never trained on")
    organs: str | None = setting(
        None,
        "simulate these organs only, separated by commas: breast, thyroid, lymph_node, prostate, muscle, vessel "
        "(default: all)",
    )
    without: str | None = setting(
        None,
        "to measure what the randomness of a group of the simulator's settings contributes: tissue, lesions, machine "
        "(each range becomes its middle, shares stay), artefacts, screen (the same, and what has a share is absent) or "
        "organs (breasts alone)",
    )
    workers: int | None = setting(
        None, "number of processes that simulate (default: all cores but two; if the CPU trains, a quarter)"
    )
    device: str = setting(
        "auto",
        "device to compute on; auto: cuda if there is one, otherwise cpu",
        choices=("auto", "cpu", "cuda"),
    )
    precision: str = setting(
        "auto",
        "number format: auto is bf16 if the machine supports it, otherwise fp32",
        choices=("auto", "bf16", "fp32"),
    )

    def __post_init__(self) -> None:
        """Raise UsageError for a number that is too small, and for what --hours would leave without effect."""
        least = {"images": 1, "passes": 0, "hours": 0, "seed": 0, "batch_size": 2, "size": 32, "workers": 1}
        least |= {"validation": 1, "pool": self.batch_size}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or field.name not in least:
                continue
            low = least[field.name]
            if value < low or (isinstance(value, float) and value == low):
                raise UsageError(f"{option(field.name)} must be at least {low}, got {value}.")
        if self.organs is not None and self.without == "organs":
            raise UsageError("--without organs simulates breasts alone, --organs others: choose one of them.")
        if self.hours is not None and self.passes is not None:
            raise UsageError(
                "--hours ends the training by time, --passes by the use of the images: choose one of them."
            )

    @property
    def steps(self) -> int:
        """Of the whole training; 0 where the time ends it."""
        if self.hours is not None:
            return 0
        return max(1, round((self.images or IMAGES) * (self.passes or PASSES) / self.batch_size))
