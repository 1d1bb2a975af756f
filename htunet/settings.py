"""A dataclass field that carries its own help text, so that the command line can be made from the dataclass."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Where to compute; ``auto`` is a CUDA device where there is one, else the CPU."""


def setting(default: Any, help_text: str, *, choices: Sequence[str] | None = None) -> Any:  # noqa: ANN401
    """One field of a settings dataclass: its default, the line that ``--help`` prints, and the allowed words."""
    metadata = {"help": help_text, "choices": tuple(choices) if choices else None}
    return field(default=default, metadata=metadata)
