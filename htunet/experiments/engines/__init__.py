"""Where the jobs of a table are computed: on this machine, by Ray, or by Slurm. To add one, add a line below."""

from htunet.experiments.engines.engine import Engine
from htunet.registry import Registry

ENGINES: Registry[type[Engine]] = Registry(
    "engine",
    {
        "local": "htunet.experiments.engines.local:LocalEngine",
        "ray": "htunet.experiments.engines.ray:RayEngine",
        "slurm": "htunet.experiments.engines.slurm:SlurmEngine",
    },
)
