"""Where the jobs of a table are computed: on this machine, by Ray, or by Slurm."""

from htunet.experiments.engines import local as _local  # noqa: F401  (registers its engine)
from htunet.experiments.engines import ray as _ray  # noqa: F401
from htunet.experiments.engines import slurm as _slurm  # noqa: F401
from htunet.experiments.engines.base import ENGINES, Call, Engine, EngineOptions

__all__ = ["ENGINES", "Call", "Engine", "EngineOptions"]
