"""A dataclass from an object of a JSON file, perhaps edited by hand: every key is there, known and of its type."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from htunet.errors import HtunetError, UsageError, did_you_mean, shortened
from htunet.paths import checked_name

T = TypeVar("T")
Schema = Any
"""What JSON may hold: a plain type; None; ``NAME``; [schema] for a list; {"key": schema, "perhaps?": schema} for an
object that may hold other keys, too; {type: schema} for one with any other keys, {int: schema} for one whose keys are
digits; (schema, schema) for any of them."""
NAME = object()
"""A text after which files may be named."""
WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", types.NoneType: "null"}


def record_from(record_class: type[T], content: object, where: str) -> T:
    """Build the dataclass; raises HtunetError that begins with ``where`` and names the key, the value and the type.

    JSON's lists become the tuples that the fields ask for. Field types are plain ones, dict, list,
    tuple, and any of them or None.
    """
    entry = checked_object(content, where)
    known = {field.name: field for field in fields(record_class)}  # type: ignore[arg-type]
    for key in entry:
        if key not in known:
            raise HtunetError(f"{where}: the key {key!r} is not known.{did_you_mean(key, known)} Correct or remove it.")
    needed = [name for name, field in known.items() if field.default is MISSING and field.default_factory is MISSING]
    if missing := [name for name in needed if name not in entry]:
        raise HtunetError(f"{where}: the keys {missing} are missing. Add them, or make the file again.")
    hints = get_type_hints(record_class)
    return record_class(**{key: _converted(value, hints[key], f"{where}: {key}") for key, value in entry.items()})


def argument(value: Any, hint: Any, name: str) -> Any:  # noqa: ANN401
    """A value of a function's argument as its type asks for it: a text becomes a path, or one of several texts.

    Raises UsageError for another type; of several values each may be anything.
    """
    kinds = get_args(hint) or (hint,)
    if Path in kinds:
        return Path(value) if isinstance(value, str) else value
    if any(get_origin(kind) is Sequence for kind in kinds):
        return [value] if isinstance(value, str) else value
    try:
        return _converted(value, hint, name)
    except HtunetError as error:
        raise UsageError(str(error)) from None


class JsonObject(dict[str, Any]):
    """An object of a JSON file. A key that is asked for and is not there raises HtunetError with the file's name."""

    __slots__ = ("where",)
    where: str

    @classmethod
    def of(cls, where: str, content: dict[str, Any]) -> "JsonObject":
        """The object, from the file ``where``."""
        found = cls(content)
        found.where = where
        return found

    def __missing__(self, key: str) -> NoReturn:
        where = getattr(self, "where", "A JSON object")
        raise HtunetError(f"{where} lacks {key!r}. It is damaged or of another version: make it again.")


def check_schema(content: object, schema: Schema, where: str) -> None:
    """Raise HtunetError that begins with ``where`` and names the key unless ``content`` has the schema.

    >>> check_schema({"epochs": 3, "more": []}, {"epochs": int, "best?": (float, None)}, "finished.json")
    """
    if isinstance(schema, tuple):
        schema = next((one for one in schema if _is_of_kind(content, one)), schema)
    if not _is_of_kind(content, schema):
        raise HtunetError(
            f"{where} must be {_schema_words(schema)}, got {shortened(repr(content))}. Correct it or make it again."
        )
    if schema is NAME:
        checked_name(str(content), "the name", where)
    elif isinstance(schema, list) and isinstance(content, list):
        for number, item in enumerate(content):
            check_schema(item, schema[0], f"{where}, {number}")
    elif isinstance(schema, dict) and isinstance(content, Mapping):
        named = {key.removesuffix("?") for key in schema if isinstance(key, str)}
        for key, inner in schema.items():
            if not isinstance(key, str):
                for name, value in ((name, value) for name, value in content.items() if name not in named):
                    # the keys of JSON are text: int as a key stands for digits
                    check_schema(int(name) if key is int and name.isascii() and name.isdigit() else name, key, where)
                    check_schema(value, inner, f"{where}.{name[:100]}")
            elif (name := key.removesuffix("?")) in content:
                check_schema(content[name], inner, f"{where}.{name}")
            elif name == key:
                raise HtunetError(f"{where} lacks {key!r}. It is damaged or of another version: make it again.")


def of_format(content: dict[str, Any], version: int, where: object, way_out: str) -> dict[str, Any]:
    """``content`` without its key ``format``; raises HtunetError that ends with ``way_out`` for another version."""
    if (found := content.get("format")) != version:
        raise HtunetError(f"{where} has format {found}, this version reads {version}{way_out}")
    return {key: value for key, value in content.items() if key != "format"}


def _is_of_kind(content: object, schema: Schema) -> bool:
    if schema is None or isinstance(schema, tuple):
        return schema is None and content is None
    if isinstance(schema, dict | list):
        return isinstance(content, type(schema))
    return _is_plain(content, str if schema is NAME else schema)


def _schema_words(schema: Schema) -> str:
    if isinstance(schema, tuple):
        return " or ".join(map(_schema_words, schema))
    if isinstance(schema, dict | list):
        return "an object {...}" if isinstance(schema, dict) else "a list"
    return WORDS[types.NoneType if schema is None else str if schema is NAME else schema]


def checked_object(content: object, where: str) -> dict[str, Any]:
    """The content as a dict; raises HtunetError when it is no JSON object."""
    if not isinstance(content, Mapping):
        raise HtunetError(
            f"{where} must be a JSON object {{...}}, got {shortened(repr(content))}. Correct it or make it again."
        )
    return dict(content)


def _converted(value: Any, hint: Any, where: str) -> Any:  # noqa: ANN401
    origin, members = get_origin(hint), get_args(hint)
    if hint is Any or (isinstance(hint, type) and _is_plain(value, hint)):
        return value
    if origin is types.UnionType and value is None and types.NoneType in members:
        return None
    if origin is types.UnionType:
        kind = next(member for member in members if member is not types.NoneType)
        origin, members = get_origin(kind), get_args(kind)
        if isinstance(kind, type) and _is_plain(value, kind):
            return value
    if origin is dict and isinstance(value, Mapping):
        return {key: _converted(item, members[1], f"{where}.{key}") for key, item in value.items()}
    if origin is list and isinstance(value, list | tuple):
        return [_converted(item, members[0], where) for item in value]
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(members):
        return tuple(_converted(item, member, where) for item, member in zip(value, members, strict=True))
    raise HtunetError(f"{where} must be {_words(hint)}, got {shortened(repr(value))}. Correct it.")


def _is_plain(value: object, kind: type) -> bool:
    """Whether a value has one of the plain types; true is no number, 1 is a number with a fraction too."""
    if kind not in WORDS or (isinstance(value, bool) and kind is not bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _words(hint: Any) -> str:  # noqa: ANN401
    origin, members = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        return " or ".join(map(_words, members))
    if origin is tuple:
        return f"a list of {len(members)}: {', '.join(map(_words, members))}"
    if origin in (dict, list):
        return "an object {...}" if origin is dict else "a list"
    return WORDS.get(hint, str(hint))
