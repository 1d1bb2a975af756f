"""Names that users may type, mapped to what each one stands for."""

from collections.abc import Callable
from typing import Generic, TypeVar

from htunet.errors import UsageError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """One table of public names; a clash or an unknown name raises at once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: list the class or function under ``name``. Raises ValueError when the name is taken."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"Two {self.kind}s are called {name!r}: {self._entries[name]} and {entry}.")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """The entry called ``name``; raises UsageError with the known names and the nearest one."""
        if name not in self._entries:
            raise UsageError(
                f"No {self.kind} is called {name!r}; known: {', '.join(self.names())}."
                + did_you_mean(name, self._entries)
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)
