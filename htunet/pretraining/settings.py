"""Settings of a pre-training. The command line is built from these fields."""

from dataclasses import dataclass, fields

from htunet.errors import UsageError
from htunet.settings import setting

IMAGES, PASSES = 20_000, 8


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """What a user may choose about a pre-training on simulated images."""

    images: int | None = setting(
        None, f"simulated images to make; default: {IMAGES}, with --hours as many as there is time for"
    )
    passes: float | None = setting(
        None, f"how often each image is used on average; default: {PASSES}, with --hours as often as there is time for"
    )
    hours: float | None = setting(
        None, "end after so many hours, well annealed, in place of a number of passes; not the same weights twice"
    )
    seed: int = setting(1, "of the images, of the first weights and of the order of the images")
    batch_size: int = setting(32, "images in one step")
    size: int = setting(224, "height and width of the images, pixels")
    pool: int = setting(8192, "images that are kept in memory to be used again, the latest ones")
    validation: int = setting(128, "images that are never trained on, to measure by")
    without: str | None = setting(None, "leave out the randomisation of one group of ranges of the simulator")
    workers: int | None = setting(
        None, "processes that simulate; default: all cores but two, beside a training on a CPU a quarter"
    )
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda"))
    precision: str = setting("auto", "auto: bf16 where the machine has it", choices=("auto", "bf16", "fp32"))

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
                raise UsageError(f"--{field.name.replace('_', '-')} must be at least {low}, got {value}.")
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
