"""Names → classes, with typed settings. A new file in a registry's package is found by its name, with no other edit."""

import difflib
import importlib
import json
import pkgutil
import types
import typing
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from ffcore.errors import Refused


class Settings(BaseModel):
    """Typed settings: one `Field(default, ge=…, le=…, description=…)` gives the flag, the form, the error and the docs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Registry:
    """Maps names to things that share an interface; `kind` is the word used in error messages.

    With `package`, every public module of that package is an entry whose name is the module's name; it is imported
    when first asked for. Other entries come from `register`.
    """

    def __init__(self, kind: str, package: str | None = None):
        self.kind, self.package = kind, package
        self._entries: dict[str, typing.Any] = {}

    def register(self, name: str):
        """Decorator: file a class (or any object) under `name`."""

        def file(entry):
            entry.name = name
            self._entries[name] = entry
            return entry

        return file

    def _modules(self) -> list[str]:
        if self.package is None:
            return []
        path = importlib.import_module(self.package).__path__
        return [m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_") and m.name != "base"]

    def names(self) -> list[str]:
        return sorted({*self._entries, *self._modules()})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str):
        """The entry called `name`; raises Refused, which lists what is known."""
        if name not in self._entries:
            if name not in self._modules():
                raise Refused(f"no {self.kind} named '{name}'; {suggest(name, self.names())}")
            importlib.import_module(f"{self.package}.{name}")
        return self._entries[name]


def suggest(name: str, known: list[str]) -> str:
    """`did you mean 'x'? known: …` for an error message."""
    close = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean '{close[0]}'? " if close else "") + f"known: {', '.join(known)}"


def build(cls: type[Settings], values: Mapping[str, object], where: str) -> Settings:
    """`cls(**values)`, with the first thing wrong told as one line: `model.threshold: -1: … ; allowed …`."""
    unknown = [key for key in values if key not in cls.model_fields]
    if unknown:
        raise Refused(f"no setting '{where}.{unknown[0]}'; {suggest(unknown[0], list(cls.model_fields))}")
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else next(iter(values), "")
        value = json.dumps(first["input"], default=str)
        value = value if len(value) <= 80 else value[:77] + "…"
        said = first["msg"].removeprefix("Value error, ")
        wants = describe(cls).get(key, {})
        bounds = f" ({wants['bounds']})" if wants.get("bounds") else ""
        said = said[:1].lower() + said[1:]
        raise Refused(f"{where}.{key}={value}: {said}; it takes {wants.get('type', 'another value')}{bounds}") from None


def describe(cls: type[Settings]) -> dict[str, dict]:
    """{key: {type, default, bounds, help}} of a settings class, JSON-ready: the docs, the form and `--json` read this."""
    out = {}
    for key, field in cls.model_fields.items():
        bounds = []
        for rule in field.metadata:
            for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
                if (limit := getattr(rule, name, None)) is not None:
                    bounds.append(f"{sign} {limit:g}")
        default = field.get_default(call_default_factory=True)
        out[key] = {
            "type": _type_name(field.annotation),
            "default": list(default) if isinstance(default, tuple) else default,
            "bounds": ", ".join(bounds) or None,
            "help": field.description or "",
        }
    return out


def _type_name(kind) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(a) for a in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _type_name(a) for a in args)
    if origin is tuple:
        return f"list of {_type_name(args[0])}"
    if origin is typing.Annotated:
        return _type_name(args[0])
    return getattr(kind, "__name__", str(kind))
