"""Files that are written whole or not at all, and read with suspicion: JSON, npz without pickle, zips of a run."""

import errno
import functools
import json
import math
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from ffcore.errors import Failed, Refused

SNAPSHOT = re.compile(r"epoch-(\d{4,6})\.npz", re.ASCII)
WEIGHTS = re.compile(r"weights-(\d{4,6})\.safetensors", re.ASCII)
PARTS = re.compile(  # what travels in a zip: no code, no pickle, no resume state, nothing that belongs to one machine
    r"(config|status|study|notes)\.json|events\.jsonl|(samples|evaluation)\.npz|weights\.safetensors"
    rf"|snapshots/({SNAPSHOT.pattern}|{WEIGHTS.pattern})"
    r"|analyses/[a-z0-9_]{1,40}-[0-9a-f]{16}/(request\.json|result\.json|arrays\.npz)",
    re.ASCII,
)
MAX_JSON = 4 * 2**20  # bytes of one JSON file
MAX_UNPACKED = 512 * 2**20  # bytes of a zip's contents, and again of the arrays inside its npz files
MAX_ENTRIES = 20_000

P, T = ParamSpec("P"), TypeVar("T")


def read_only() -> bool:
    """Does this process serve a dashboard that changes nothing (`ffcore app --read-only`)?"""
    return os.environ.get("FFCORE_READ_ONLY", "") not in ("", "0")


def door(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Marks a function through which a dashboard writes: it raises Refused where `read_only`, before anything is changed."""

    def marked(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            if read_only():
                remedy = "start your own with `ffcore app`, or unset FFCORE_READ_ONLY"
                raise Refused(f"this dashboard is read-only: it does not {what}; {remedy}")
            return function(*args, **kwargs)

        return guarded

    return marked


def said(error: BaseException) -> str:
    """What an exception says, as part of one line."""
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())


@contextmanager
def writing(name: str, folder: Path) -> Iterator[None]:
    """Turns a full disk, and any other refusal of the system, into Failed with one line that names the remedy."""
    try:
        yield
    except Exception as error:
        # safetensors passes the system's error on in words only
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error):
            raise Failed(f"disk full while writing {name} in {folder}; free some space and resume") from None
        if isinstance(error, OSError):
            raise Failed(f"cannot write {name} in {folder}: {said(error)}; mend that and resume") from None
        raise


def replace(folder: Path, name: str, content: bytes | Callable[[Path], object], durable: bool = True) -> None:
    """Write a file as a whole or not at all: to a temporary neighbour, on to the disk if `durable`, then renamed."""
    target = folder / name
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with writing(name, folder):
            if target.parent != folder:
                target.parent.mkdir(exist_ok=True)
            if callable(content):
                content(temporary)
            else:
                temporary.write_bytes(content)
            if durable:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def to_json(value: object, indent: int | None = 1) -> bytes:
    """UTF-8 JSON; numbers that are not finite become null, which every reader understands."""
    separators = (",", ":") if indent is None else None
    return json.dumps(_finite(value), indent=indent, separators=separators, ensure_ascii=False).encode()


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_object(text: bytes) -> dict | None:
    """The JSON object in `text`, or None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_json(path: Path) -> tuple[dict, str | None]:
    """(the object in a file, None), or ({}, what is wrong with it)."""
    try:
        with path.open("rb") as file:
            value = parse_object(file.read(MAX_JSON))
    except OSError as error:
        return {}, f"no {path.name}" if isinstance(error, FileNotFoundError) else f"{path.name}: {said(error)}"
    return ({}, f"{path.name} is not a JSON object") if value is None else (value, None)


def load_arrays(path: Path, budget: int = MAX_UNPACKED) -> tuple[dict, int]:
    """({name: array}, bytes used) of an npz. Refuses pickles, and more than `budget` bytes before unpacking them."""
    import numpy as np
    from numpy.lib import format as npy

    try:
        with zipfile.ZipFile(path) as archive:
            _check_packing(archive)
            used = sum(entry.file_size for entry in archive.infolist())
            if used > budget:
                raise ValueError("unpacks to too many bytes")
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
                    shape, _, dtype = read(file)
                if dtype.hasobject:
                    raise ValueError("holds Python objects")
                if math.prod(shape) * dtype.itemsize > entry.file_size:  # numpy would reserve the memory it is told
                    raise ValueError("promises more numbers than it has")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}, used
    except Exception as error:
        raise Refused(f"{path.name} is damaged or no plain npz ({said(error)}); take another copy of it") from None


def check_weights(path: Path) -> None:
    """Refuse a file that is no whole safetensors file."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except Exception as error:
        raise Refused(f"{path.name} is no valid safetensors file ({said(error)}); take another copy of it") from None


def _check_packing(archive: zipfile.ZipFile) -> None:
    for entry in archive.infolist():
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may take memory at will
            raise ValueError(f"'{entry.orig_filename}' is packed in an unusual way")


def pack(folder: Path, file: Path, altered: dict[str, bytes]) -> None:
    """Zip a run directory's parts, some with altered content; equal content gives equal bytes. Refuses to overwrite."""
    try:
        out = file.open("xb")
    except FileExistsError:
        raise Refused(f"{file} is already there; choose another name") from None
    except OSError as error:
        raise Refused(f"cannot write {file}: {said(error)}; choose another place") from None
    try:
        with writing(file.name, file.parent), out, zipfile.ZipFile(out, "w") as archive:
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                if not PARTS.fullmatch(name) or path.is_symlink() or not path.is_file():
                    continue
                data = altered.get(name) or path.read_bytes()
                if name == "events.jsonl":
                    data = data[: data.rfind(b"\n") + 1]  # the run may be in the middle of a line
                entry = zipfile.ZipInfo(name)  # dated 1980
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, data)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def unpack(file: str | Path | BinaryIO, folder: Path) -> None:
    """Unpack an exported run into an existing empty folder and check every part; raises Refused at the first oddity.

    Names outside a run directory's known set (so any path that leads elsewhere, code, pickles), links, encryption,
    too many entries or bytes, damaged arrays and weights are all refused.
    """
    label = getattr(file, "name", file)
    try:
        with zipfile.ZipFile(file) as archive:
            _check_entries(archive)
            left = MAX_UNPACKED
            for entry in archive.infolist():
                target = folder / entry.orig_filename
                if entry.is_dir():
                    target.mkdir(exist_ok=True, parents=True)
                    continue
                target.parent.mkdir(exist_ok=True, parents=True)
                with archive.open(entry) as source, target.open("xb") as out:
                    while chunk := source.read(min(left + 1, 2**20)):
                        left -= len(chunk)  # counted as it comes out: headers can lie
                        if left < 0:
                            raise ValueError(f"it unpacks to more than {MAX_UNPACKED // 2**20} MB")
                        out.write(chunk)
        left = MAX_UNPACKED
        for path in folder.rglob("*.npz"):
            left -= load_arrays(path, left)[1]
        for path in folder.rglob("*.safetensors"):
            check_weights(path)
    except Refused as error:
        raise Refused(f"cannot import {label}: {error}") from None
    except Exception as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise Failed(f"disk full while unpacking {label} into {folder.parent}; free some space") from None
        raise Refused(f"cannot import {label}: {said(error)}; choose a zip that `ffcore runs export` made") from None


def _check_entries(archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"it has {len(entries)} entries, more than {MAX_ENTRIES}")
    _check_packing(archive)
    seen = set()
    for entry in entries:
        name = entry.orig_filename  # as it stands in the file: zipfile mends backslashes and null bytes
        if not PARTS.fullmatch(name) and name != "snapshots/":
            raise ValueError(f"'{name}' is no part of a run directory")
        if name in seen:
            raise ValueError(f"'{name}' is in it twice")
        seen.add(name)
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
            raise ValueError(f"'{name}' is a link or no plain file")
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise ValueError(f"it unpacks to more than {MAX_UNPACKED // 2**20} MB")
