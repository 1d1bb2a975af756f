"""Run the benchmarks one after the other: ``python -m benchmarks``."""

import subprocess
import sys

MODULES = ("training_step", "metrics_speed", "phantom_speed", "conversion")


def main() -> None:
    """Each in a process of its own, so that none inherits another's memory or threads."""
    for module in MODULES:
        print(f"\n{module}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=True)


if __name__ == "__main__":
    main()
