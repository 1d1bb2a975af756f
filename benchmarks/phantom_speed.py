"""How many phantom images are made in a second on one core, files included.

OMP_NUM_THREADS=1 python -m benchmarks.phantom_speed [NUM_IMAGES]
"""

import sys
import tempfile
import time
from pathlib import Path

from dataset_conversion.phantom.scan import write_phantom


def main() -> None:
    """Print images per second of wall time and of processor time."""
    num_images = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        write_phantom(Path(folder) / "phantom", num_images=num_images, seed=0)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{num_images} images: {num_images / wall:.1f} per second, {num_images / processor:.1f} per processor second")


if __name__ == "__main__":
    main()
