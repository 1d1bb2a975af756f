"""Names that users may type, and what each one refers to.

An entry is the place of a class, function or value, ``"module:attribute"``, which is imported when the entry is first
used: listing the names imports nothing. Installed packages add entries through the entry point group of a registry::

    [project.entry-points."htunet.adapters"]
    MyAdapter = "my_package.adapters:my_adapter"
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from inspect import signature
from typing import Any, Generic, TypeVar, cast

from htunet.errors import HtunetError, UsageError, did_you_mean

T = TypeVar("T")
OURS = "htunet"


@dataclass(frozen=True)
class Place:
    """Where an entry is defined."""

    target: str
    """``module:attribute``; an attribute of an attribute is written with a dot."""
    package: str = OURS
    """The distribution that it is part of."""

    def load(self) -> object:
        """Import the module and return the attribute."""
        module, _, attribute = self.target.partition(":")
        found: object = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found


class Registry(Generic[T]):
    """The entries of one kind, by name.

    Args:
        kind: What an entry is, in the singular, for messages.
        entries: The entries of htunet itself: name -> ``"module:attribute"``.
        group: Entry point group through which installed packages add entries; none where it is empty.
    """

    def __init__(self, kind: str, entries: Mapping[str, str] | None = None, *, group: str = "") -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, T | Place] = {name: Place(target) for name, target in (entries or {}).items()}
        self._loaded: dict[Place, T] = {}

    def add(self, name: str, entry: T | str) -> None:
        """List an object, or its place ``"module:attribute"``. Raises ValueError when the name is taken."""
        if name in self:
            there = self._entries.get(name) or self._installed()[name]
            raise ValueError(f"Two {self.kind}s are called {name!r}: {there} and {entry}.")
        self._entries[name] = Place(entry) if isinstance(entry, str) else entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: list the class or function under ``name``. Raises ValueError when the name is taken."""

        def decorate(entry: T) -> T:
            self.add(name, entry)
            return entry

        return decorate

    def __getitem__(self, name: str) -> T:
        """The entry called ``name``, imported if need be.

        Raises UsageError with the known names and the nearest one for an unknown name, and HtunetError that names the
        package when an installed package takes a name that is in use, or cannot be imported.
        """
        self.check(name)
        found: list[T | Place] = [self._entries[name]] if name in self._entries else []
        found += self._installed().get(name, [])
        if len(found) > 1:
            owners = [entry.package if isinstance(entry, Place) else OURS for entry in found]
            others = [owner for owner in owners if owner != OURS]
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise HtunetError(
                f"The packages {' and '.join(owners)} each have {article} {self.kind} called {name!r}. "
                f"Uninstall one: pip uninstall {others[-1]}."
            )
        entry = found[0]
        if not isinstance(entry, Place):
            return entry
        if entry not in self._loaded:
            self._loaded[entry] = self._load(name, entry)
        return self._loaded[entry]

    def check(self, name: str) -> None:
        """Raise UsageError with the known names and the nearest one for an unknown name; nothing is imported."""
        if name not in self:
            raise UsageError(
                f"No {self.kind} is called {name!r}; known: {', '.join(self.names())}." + did_you_mean(name, self)
            )

    def configured(self, name: str, parameters: Mapping[str, Any]) -> Callable[..., Any]:
        """The function or class called ``name`` with ``parameters`` for its keyword-only arguments.

        Raises UsageError as ``[name]``, and for a parameter that it does not have.
        """
        entry: Any = self[name]
        known = [one.name for one in signature(entry).parameters.values() if one.kind is one.KEYWORD_ONLY]
        for parameter in parameters:
            if parameter not in known:
                raise UsageError(
                    f"The {self.kind} {name!r} has no parameter {parameter!r}; it has: {', '.join(known) or 'none'}."
                    + did_you_mean(parameter, known)
                )
        return partial(entry, **parameters)

    def build(self, name: str, parameters: Mapping[str, Any], *arguments: object) -> Any:  # noqa: ANN401
        """Call ``configured(name, parameters)`` with ``arguments``; UsageError also for values that it cannot take."""
        try:
            return self.configured(name, parameters)(*arguments)
        except UsageError:
            raise
        except (TypeError, ValueError) as error:
            raise UsageError(f"The {self.kind} {name!r} cannot take {dict(parameters)}: {error}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._installed()

    def __iter__(self) -> Iterator[str]:
        """All names: those of htunet in their own order, then those of installed packages, sorted."""
        yield from self._entries
        yield from sorted(self._installed().keys() - self._entries.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self)

    def items(self, broken: Callable[[str], object]) -> Iterator[tuple[str, T]]:
        """The names, sorted, with their entries; ``broken`` is called with the message of each that cannot be had."""
        for name in self.names():
            try:
                yield name, self[name]
            except HtunetError as error:
                broken(str(error))

    def _load(self, name: str, place: Place) -> T:
        try:
            return cast(T, place.load())
        except Exception as error:
            if place.package == OURS:
                raise
            raise HtunetError(
                f"The {self.kind} {name!r} of the package {place.package} cannot be loaded from {place.target} "
                f"({type(error).__name__}: {error}). Update or uninstall that package: pip uninstall {place.package}."
            ) from error

    def _installed(self) -> dict[str, list[Place]]:
        return _entry_points(tuple(sys.path)).get(self.group, {}) if self.group else {}


@cache
def _entry_points(search_path: tuple[str, ...]) -> dict[str, dict[str, list[Place]]]:
    """Group -> name -> where installed packages define it; several places are a clash. Read once a ``sys.path``."""
    from importlib.metadata import distributions  # takes 20 ms, which an import of htunet does without

    found: dict[str, dict[str, list[Place]]] = {}
    seen = set()
    for package in distributions():
        points = [point for point in package.entry_points if point.group.startswith(f"{OURS}.")]
        if points and package.name not in seen:  # the first one of a name is the one that Python imports
            seen.add(package.name)
            for point in points:
                place = Place(point.value, package.name)
                places = found.setdefault(point.group, {}).setdefault(point.name, [])
                if place not in places:
                    places.append(place)
    return found
