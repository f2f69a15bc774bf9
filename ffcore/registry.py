"""Names → classes, with typed settings. A new file in a registry's package is found by its name, with no other edit.

So is one in the plug-in folder, and an entry point of an installed package: code of the user's own, which is executed.
"""

import difflib
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import pkgutil
import sys
import threading
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ffcore.errors import Refused


class Settings(BaseModel):
    """Typed settings: one `Field(default, ge=…, le=…, description=…)` gives the flag, the form, the error and the docs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def plugin_root() -> Path:
    """The plug-in folder: FFCORE_PLUGINS, else `plugins` in the user's configuration folder of ffcore."""
    import platformdirs

    chosen = os.environ.get("FFCORE_PLUGINS")
    return Path(chosen).absolute() if chosen else platformdirs.user_config_path("ffcore") / "plugins"


@functools.cache
def _entry_points(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    """What installed packages name; a process sees those that were there when it first looked."""
    return tuple(importlib.metadata.entry_points(group=group))


class _Fresh(importlib.machinery.SourceFileLoader):
    """Reads a plug-in from its source and leaves no .pyc beside it, which could be older than the file."""

    def set_data(self, *_, **__):
        pass


class Registry:
    """Maps names to things that share an interface; `kind` is the word used in error messages.

    With `package` (`ffcore.negatives`), every public module of that package is an entry whose name is the module's name;
    it is imported when first asked for. So is every file `negatives/NAME.py` of the plug-in folder, and every entry point
    NAME of the group `ffcore.negatives`. Other entries come from `register`. `problems` says why a plug-in is left out.
    """

    def __init__(self, kind: str, package: str | None = None, base: str = ""):
        self.kind, self.package, self.base = kind, package, base
        self._entries: dict[str, typing.Any] = {}
        self._sources: dict[str, tuple] = {}  # of plug-ins: where it is from, its time stamp
        self.problems: dict[str, str] = {}
        self._lock = threading.RLock()

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
        self._load_plugins()
        return sorted({*self._entries, *self._modules()})

    def _load_plugins(self) -> None:
        """Import what is new or changed among the plug-ins, and forget what is gone; a broken one is told in `problems`."""
        if self.package is not None:
            with self._lock:  # a server's threads ask at the same time
                self._refresh()

    def _refresh(self) -> None:
        folder = plugin_root() / self.package.rpartition(".")[2]
        found: dict[str, tuple] = {}
        for file in sorted(folder.glob("*.py")) if folder.is_dir() else []:
            with suppress(OSError):  # a link that leads nowhere, a file just removed
                if not file.name.startswith("_"):
                    found[file.stem] = (file, file.stat().st_mtime_ns)
        for point in _entry_points(self.package):
            found.setdefault(point.name, (point, None))
        for name in self._sources.keys() - found.keys():
            self._forget(name)
        for name, source in found.items():
            if self._sources.get(name) != source:
                self._forget(name)
                self._load_plugin(name, source)

    def _forget(self, name: str) -> None:
        if self._sources.pop(name, None) and self.problems.pop(name, None) is None:
            del self._entries[name]

    def _load_plugin(self, name: str, source: tuple) -> None:
        self._sources[name] = source
        before = dict(self._entries)
        try:
            if name in self._modules():
                raise ValueError(f"ffcore has a {self.kind} of that name")
            if isinstance(source[0], Path):
                module = f"ffcore_plugins.{self.package.rpartition('.')[2]}.{name}"
                spec = importlib.util.spec_from_file_location(module, source[0], loader=_Fresh(module, str(source[0])))
                sys.modules[module] = loaded = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(loaded)
            elif (cls := source[0].load()) is not self._entries.get(name):
                self.register(name)(cls)
            if foreign := [key for key in self._new(before) if key != name]:
                raise ValueError(f"it registers '{foreign[0]}' and not '{name}', its file's name")
            if name not in self._entries:
                raise ValueError(f"it registers nothing named '{name}'")
            base = getattr(importlib.import_module(f"{self.package}.base"), self.base)
            if not (isinstance(self._entries[name], type) and issubclass(self._entries[name], base)):
                raise ValueError(f"'{name}' is no subclass of {self.package}.base.{self.base}")
            if lacking := [fact for fact in ("title", "source") if not isinstance(getattr(self._entries[name], fact, 0), str)]:
                raise ValueError(f"'{name}' does not say its {lacking[0]}")
        except (Exception, SystemExit) as error:
            for key in self._new(before):
                self._entries.pop(key)
                if key in before:
                    self._entries[key] = before[key]
            where = source[0] if isinstance(source[0], Path) else f"{source[0].value} (entry point {name})"
            said = " ".join(f"{type(error).__name__}: {error}".split())
            self.problems[name] = f"plug-in {where} is left out: {said}; mend it or remove it"

    def _new(self, before: dict[str, typing.Any]) -> list[str]:
        """What has been registered since, except by ffcore itself: a plug-in may build on what comes with it."""
        ours = f"{self.package}."
        changed = [key for key, entry in self._entries.items() if entry is not before.get(key)]
        return [key for key in changed if not getattr(self._entries[key], "__module__", "").startswith(ours)]

    def fingerprint(self, name: str) -> str | None:
        """A digest of the code of a plug-in, or None for what comes with ffcore: the same name may mean another thing later."""
        self._load_plugins()
        if name not in self._sources or name in self.problems:
            return None
        file = Path(sys.modules[self._entries[name].__module__].__file__)
        return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str):
        """The entry called `name`; raises Refused, which lists what is known."""
        self._load_plugins()
        if name in self.problems and name not in self._modules():
            raise Refused(self.problems[name])
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
