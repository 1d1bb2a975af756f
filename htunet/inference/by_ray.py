"""Predict very many images: some at a time, by workers that Ray Data places on this machine or on those of a cluster.

Each worker writes masks into the output, and what it did with its images into a folder ``.chunks/HASH``, whole or not
at all. So a worker that ends is replaced and repeats its images alone, and a call that was killed is continued.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from htunet.errors import HtunetError
from htunet.files import read_object, whole_folder, write_json
from htunet.inference.folder import FolderResult
from htunet.inference.growing_folder import GrowingFolder
from htunet.inference.output_tables import CLASSES, Rows, add_to_tables, read_tables
from htunet.inference.quality import QUALITY
from htunet.parallel import available_cores

CHUNKS, RESULT, STATES = ".chunks", "result.json", "states"
CHUNK = 32
"""Images that a worker predicts before it says so: what is repeated where one ends."""
STORE_BYTES = 100 * 2**20
"""Of Ray's memory that workers share; names of files are all that is in it."""
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
LISTS = ("images", "unreadable", "no_pictures", "without_object", "remarks", "empty", "unlike", "doubted")
"""What a worker reports of its images, beside those that it predicted."""
PredictFiles = Callable[[Sequence[Path], Sequence[str], Path], FolderResult]
"""Predicts files, whose outputs are called so without ending, and writes the tables into a folder."""


class ChunkWorker:
    """What a worker of Ray is: it loads the model once."""

    def __init__(self, make: Callable[[], PredictFiles], output: Path) -> None:
        self.predict, self.output = make(), output

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Predict the files of some chunks."""
        for text in batch["chunk"]:
            predict_chunk(self.predict, self.output, [tuple(one) for one in json.loads(text)])
        return {"chunk": batch["chunk"]}


def predict_chunk(predict: PredictFiles, output: Path, files: Sequence[tuple[str, str, str, list[int]]]) -> None:
    """Predict files (path, its name below the input, name of its output, size and time), unless that is done."""
    folder = output / CHUNKS / hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    if folder.is_dir():
        return
    with whole_folder(folder) as part:
        found = predict([Path(path) for path, *_ in files], [name for _, _, name, _ in files], part)
        shown = {path: (name, state) for path, name, _, state in files}
        content = {name: getattr(found, name) for name in LISTS}
        write_json(part / RESULT, content | {STATES: dict(shown[str(path)] for path in found.predicted)})


def collect(growing: GrowingFolder, files: Mapping[str, Path]) -> FolderResult:
    """Put what workers did into the tables and the record of the output, and say it; files by their names.

    What a killed call left does not count where a file of it has changed since: those 32 are predicted again.
    """
    result, folders = FolderResult(), sorted((growing.path.parent / CHUNKS).glob("[0-9a-f]*"))
    rows: dict[str, Rows] = {CLASSES: [], QUALITY: []}
    for folder in folders:
        content = read_object(folder / RESULT)
        states = content.pop(STATES, None)  # which earlier versions did not write
        if states is None or any(growing.sizes.get(name, state) != state for name, state in states.items()):
            continue
        result.predicted.extend(files[name] for name in states if name in files)
        for name, value in content.items():
            kept = getattr(result, name)
            (kept.update if isinstance(kept, dict) else kept.extend)(value)
        for name, found in read_tables(folder).items():
            rows[name] += found
    add_to_tables(growing.path.parent, rows[CLASSES], rows[QUALITY])
    done = {path: name for name, path in files.items()}
    growing.finish([done[path] for path in result.predicted])
    shutil.rmtree(growing.path.parent / CHUNKS, ignore_errors=True)
    return result


def predict_by_ray(
    make: Callable[[], PredictFiles],
    growing: GrowingFolder,
    files: Mapping[str, Path],
    *,
    jobs: int | None = None,
    address: str | None = None,
) -> FolderResult:
    """Predict the files, by their names below the input, that ``growing`` does not have yet.

    ``make`` is called in each worker. ``jobs``: workers on this machine; ``address``: of a cluster, where each worker
    has a GPU or a core. Raises HtunetError without Ray, without a cluster, and as a worker does.
    """
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise HtunetError("--engine ray needs Ray Data, which is not installed: pip install 'htunet[ray]'.")
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    import ray
    import ray.data

    output = growing.path.parent
    todo = [(str(path.absolute()), name, growing.outputs[name], growing.sizes[name]) for name, path in files.items()
            if name not in growing.done]  # fmt: skip
    chunks = [{"chunk": json.dumps(todo[start : start + CHUNK])} for start in range(0, len(todo), CHUNK)]
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            cores = jobs or available_cores()
            ray.init(address="local", num_cpus=cores, include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise HtunetError(f"Ray cannot be started or reached ({error}). Start a cluster: ray start --head.") from None
    try:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        workers = max(1, min(jobs or gpus or int(resources.get("CPU", 1)), len(chunks)))
        found = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map_batches(
            ChunkWorker,
            fn_constructor_args=(make, output.absolute()),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=1 if gpus else 0,
            num_cpus=None if gpus else 1,
        )
        for _ in tqdm(found.iter_rows(), total=len(chunks), unit=f"{CHUNK} images", disable=None):
            pass
    except ray.exceptions.RayTaskError as error:
        cause = next((one for one in _causes(error) if isinstance(one, HtunetError)), None)
        raise cause or RuntimeError(f"A worker failed: {error}") from None
    finally:
        ray.shutdown()
    return collect(growing, files)


def _causes(error: BaseException | None) -> list[BaseException]:
    """An error, and what it came from: Ray wraps what a worker raises, and what wrapped it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = getattr(error, "cause", None) or error.__cause__
    return found
