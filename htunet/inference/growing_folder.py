"""Predict a folder that grows: the same command again does only what is new, with the same model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from htunet.data.names import FRAME
from htunet.errors import HtunetError, UsageError
from htunet.files import read_object, write_json
from htunet.inference.folder import output_names

LATER = ("weights", "postprocessing")
"""What records of an earlier version lack: the former of exported models, the latter of all."""
RECORD = "predicted.json"
"""In the output folder: the model and the options, and of each predicted file its size, time and output name."""


class GrowingFolder:
    """What an output folder holds already."""

    def __init__(self, output: Path, request: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        """``request``: model and options, as JSON; ``files``: the images by the names that ``predict_folder`` has.

        Raises HtunetError where the folder was written with another request, UsageError where it was written without
        a record, so that it is not known with which model.
        """
        self.path, self.request = output / RECORD, dict(request)
        states = {name: path.stat() for name, path in files.items()}
        self.sizes = {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}
        before = read_object(self.path) if self.path.exists() else {}
        if not before and output.is_dir() and any(output.iterdir()):
            raise UsageError(f"{output} holds files that were not written with --continue. Choose another folder.")
        found = before.get("request")
        then = found if isinstance(found, dict) else {}
        unknown = [name for name in LATER if then.get(name) in (None, [])]
        others = [name for name, value in self.request.items() if name not in unknown and then.get(name) != value]
        if before and others:
            raise HtunetError(
                f"{output} was predicted with another {', '.join(others)}. Choose another folder, so that its masks "
                "are all of one kind."
            )
        found = before.get("files")
        self.before: dict[str, Any] = found if isinstance(found, dict) else {}
        self.done = {name for name, state in self.sizes.items() if self.before.get(name) == state}
        """The images that are predicted, and have not changed since."""
        known = before.get("outputs")
        self.outputs = self._outputs({name: str(known[name]) for name in known} if isinstance(known, dict) else {})
        """What the outputs of each file are called, without ending: always as they were called first."""

    def finish(self, predicted: Sequence[str]) -> None:
        """Record what is done now."""
        states = {name: self.sizes[name] for name in self.sizes if name in self.done or name in predicted}
        files = self.before | states
        outputs = {name: self.outputs[name] for name in files}
        write_json(self.path, {"request": self.request, "files": files, "outputs": outputs})

    def _outputs(self, known: Mapping[str, str]) -> dict[str, str]:
        """As recorded; a new file keeps its ending where what it would be called is taken."""
        known = known or dict(zip(self.before, output_names([*self.before]), strict=True))
        files, taken = [*dict.fromkeys([*self.before, *self.sizes])], {name.lower() for name in known.values()}
        new = {file: file if name.lower().rsplit(FRAME, 1)[0] in taken else name
               for file, name in zip(files, output_names(files), strict=True)}  # fmt: skip
        return new | dict(known)
