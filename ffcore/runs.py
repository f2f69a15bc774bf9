"""The store of runs: find, list, make, delete, export and import run directories. Never loads torch."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from ffcore import files, rundir
from ffcore.errors import Refused
from ffcore.rundir import BLANK, FORMAT, ID, LIVE, STATES, TERMINAL, Run, bundled_root, is_event

__all__ = [
    "ID", "LIVE", "STATES", "TERMINAL", "Run", "annotate", "bundled_root", "create", "delete", "discard", "discarded", "export",
    "find", "import_zip", "list_runs", "purge", "restore", "runs_root",
]  # fmt: skip

TRASH = ".trash"  # in the runs folder: runs that were discarded, and can come back
KEPT_DAYS = 7


def runs_root(root: str | Path | None = None) -> Path:
    """Where runs lie: the argument, else FFCORE_RUNS, else ./runs."""
    return Path(root or os.environ.get("FFCORE_RUNS") or "runs").absolute()


def list_runs(root: str | Path | None = None, bundled: bool = True) -> list[Run]:
    """Newest first, damaged directories last (`run.problem` says why). Reads one small file per run, probes no lock."""
    places = {place.resolve(): place for place in [runs_root(root), *([bundled_root()] if bundled else [])]}
    found = [Run(d) for place in places.values() for d in _directories(place) if _looks_like_run(d)]
    return sorted(found, key=lambda run: (run.config.get("created", ""), run.id), reverse=True)


def find(ref: str | Path, root: str | Path | None = None, damaged: bool = False) -> Run:
    """The run that `ref` names: a path, an id or the start of one, "latest", or a bundled checkpoint, in that order.

    Raises Refused when there is none, and for a damaged one unless `damaged` asks for it all the same (to delete it).
    """
    ref, place = str(ref), runs_root(root)
    run = _find(ref, place)
    if run is None:
        there = _exists(Path(ref)) and ref
        what = f"'{ref}' is not a run directory" if there else f"no run '{ref}' in {place}"
        raise Refused(f"{what}; `ffcore runs list` shows what there is")
    if run.problem and not damaged:
        raise Refused(f"{run.dir} is damaged: {run.problem}; choose another run, `ffcore runs list` shows them")
    return run


def _find(ref: str, place: Path) -> Run | None:
    if not ref:
        return None
    for candidate in (Path(ref), place / ref):  # the second saves the scan when the id is whole
        if _looks_like_run(candidate):
            return Run(candidate)
    runs = list_runs(place, bundled=False)
    fits = [r for r in runs if r.id == ref] or [r for r in runs if r.id.startswith(ref)]
    if len(fits) > 1:
        raise Refused(f"'{ref}' fits {len(fits)} runs ({fits[0].id}, {fits[1].id} …); give more of the id")
    if not fits and ref == "latest":
        fits = [r for r in runs if not r.problem][:1]
        if not fits:
            raise Refused(f"there is no run in {place} yet; start one with `ffcore train`")
    if not fits and ref in {d.name for d in _directories(bundled_root())}:
        fits = [Run(bundled_root() / ref)]
    return fits[0] if fits else None


def create(
    config: dict, root: str | Path | None = None, run_dir: str | Path | None = None, parts: Mapping[str, bytes] | None = None
) -> Run:
    """A new queued run: its directory with config, status and control, and the files `parts`. Refuses a place that is taken or
    unwritable.

    `id`, `created` and `format` are filled in. On failure nothing is left behind.
    """
    now = datetime.now(UTC)
    model = re.sub(r"[^a-z0-9_]", "_", config["model"]["name"].lower())
    while True:
        name = f"{now:%Y%m%d-%H%M%S}-{model}-{secrets.token_hex(2)}"
        target = Path(run_dir).absolute() if run_dir else runs_root(root) / name
        if run_dir or not _exists(target):
            break
    config = {"facts": {}, **config, "format": FORMAT, "id": name, "created": now.isoformat(timespec="milliseconds")}
    elsewhere = "choose another place with --run-dir or --runs"
    made, stage = _missing(target), None
    try:
        if made:
            stage = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
            stage.mkdir(parents=True)
        else:
            _check_vacant(target, elsewhere)
            stage = target  # it may be a mount point, which cannot be renamed
        run = Run(stage)
        run.replace("status.json", files.to_json({**BLANK, "queued_at": time.time()}), durable=False)
        run.replace("control.json", files.to_json({"want": "run"}), durable=False)
        for name, content in (parts or {}).items():
            run.replace(name, content)
        run.replace("config.json", files.to_json(config))
        if made:
            stage.rename(target)
        return Run(target)
    except BaseException as error:
        if made:
            shutil.rmtree(stage, ignore_errors=True)
            _remove_empty(made)
        elif stage:
            for part in ("status.json", "control.json", "config.json", *(parts or {})):
                (stage / part).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Refused(f"cannot make {target}: {files.said(error)}; {elsewhere}") from None
        raise


def _check_vacant(target: Path, elsewhere: str) -> None:
    if not target.is_dir():
        raise Refused(f"{target} is a file; {elsewhere}")
    if any(target.iterdir()):
        raise Refused(f"{target} is not empty; {elsewhere}")
    if not os.access(target, os.W_OK | os.X_OK):
        raise Refused(f"{target} is not writable; {elsewhere}")


@files.door("delete runs")
def delete(run: Run) -> None:
    """Remove a run's directory for good. Refuses a bundled or living run, one that an analysis is at work on, a link, and
    whatever is no run directory."""
    _check_deletable(run)
    trash = run.dir.with_name(f".{run.dir.name}.{secrets.token_hex(4)}.tmp")
    try:
        run.dir.rename(trash)  # gone from every list at once, however long the rest takes
        shutil.rmtree(trash)  # unlinks links, never follows them
    except OSError as error:
        raise Refused(f"cannot delete {run.dir}: {files.said(error)}; check who owns it") from None


@files.door("delete runs")
def discard(run: Run) -> Run:
    """Put a run into the trash of its runs folder, where it stays for a week; returns it there. Refuses as `delete` does.

    What has lain there for longer is removed for good, where it can be.
    """
    _check_deletable(run)
    place = run.dir.parent / TRASH
    with suppress(Refused):  # an old run of somebody else's is no reason to keep this one
        purge(run.dir.parent, KEPT_DAYS)
    target = place / run.dir.name
    try:
        place.mkdir(exist_ok=True)
        if _exists(target):
            raise Refused(f"{target} is taken by a run of the same name; empty the trash first")
        run.dir.rename(target)
    except OSError as error:
        raise Refused(f"cannot move {run.dir} to the trash: {files.said(error)}; check who owns it") from None
    with suppress(OSError):
        os.utime(target)  # since when it lies there
    return Run(target)


def discarded(root: str | Path | None = None) -> list[Run]:
    """The runs in the trash, the last to come first."""
    found = [Run(d) for d in _directories(runs_root(root) / TRASH) if _looks_like_run(d)]
    return sorted(found, key=_came, reverse=True)


def _came(run: Run) -> float:
    """When a run came into the trash; 0 where it has gone from there in the meantime."""
    try:
        return run.dir.stat().st_mtime
    except OSError:
        return 0.0


@files.door("bring runs back")
def restore(name: str, root: str | Path | None = None) -> Run:
    """Bring a run back from the trash, by its directory's name. Refuses where its old place is taken."""
    run = next((run for run in discarded(root) if run.dir.name == name), None)
    if run is None:
        raise Refused(f"no run '{name}' in the trash; it may have been removed for good")
    target = runs_root(root) / name
    if _exists(target):
        raise Refused(f"{target} is taken; move it away and restore again")
    try:
        return Run(run.dir.rename(target))
    except OSError as error:
        raise Refused(f"cannot restore {run.dir}: {files.said(error)}; check who owns it") from None


@files.door("delete runs")
def purge(root: str | Path | None = None, days: float = 0) -> int:
    """Remove for good what has lain in the trash for so many days; returns how many runs that were.

    Raises Refused, once all others are gone, where one cannot be removed.
    """
    removed, refusal = 0, None
    for run in discarded(root):
        if time.time() - _came(run) < 86_400 * days:
            continue
        try:
            shutil.rmtree(run.dir)
            removed += 1
        except FileNotFoundError:
            pass  # somebody else is at it
        except OSError as error:
            refusal = Refused(f"cannot remove {run.dir}: {files.said(error)}; check who owns it")
    if refusal:
        raise refusal
    return removed


@files.door("change tags or notes")
def annotate(run: Run, tags: list[str] | None = None, note: str | None = None) -> dict:
    """Put these tags and this note to a run instead of those before, None leaving them; returns its notes."""
    if run.bundled:
        raise Refused(f"'{run.id}' is a bundled checkpoint; tag runs of your own only")
    if run.problem:
        raise Refused(f"{run.dir} is damaged: {run.problem}; choose another run")
    told = run.notes()
    if tags is not None:
        told["tags"] = list(dict.fromkeys(word for tag in tags if (word := " ".join(tag.split()))))
    told["note"] = told["note"] if note is None else note.strip()
    most, word, text = rundir.MOST_TAGS, rundir.TAG_LETTERS, rundir.NOTE_LETTERS
    if len(told["tags"]) > most or any(len(tag) > word for tag in told["tags"]) or len(told["note"]) > text:
        raise Refused(f"a run takes {most} tags of {word} letters and a note of {text:,}; shorten them")
    run.replace("notes.json", files.to_json(told))
    return told


def _check_deletable(run: Run) -> None:
    if run.bundled:
        raise Refused(f"'{run.id}' is a bundled checkpoint and stays; delete runs of your own only")
    if run.dir.is_symlink():
        raise Refused(f"{run.dir} is a link; delete the directory that it points to")
    if not run.config:
        raise Refused(f"{run.dir} is not a run directory: {run.problem}; remove it by hand if you mean it")
    if run.state in LIVE or run.locked():
        raise Refused(f"run {run.id} is alive; `ffcore stop {run.id}` first")
    if kind := _analysed(run):
        raise Refused(f"an analysis ({kind}) is at work on run {run.id}; wait for it, or cancel it on its page")


def _analysed(run: Run) -> str | None:
    """The kind of an analysis that a process computes of this run now, or will in a moment; of two runs it lies with one."""
    place = run.dir.parent
    for file in [*place.glob("analyses/*/request.json"), *place.glob("*/analyses/*/request.json")]:
        of, status = (files.read_json(file.with_name(name))[0] for name in ("request.json", "status.json"))
        if status.get("state") not in LIVE or str(run.dir) not in (of.get("runs") if isinstance(of.get("runs"), list) else []):
            continue
        since = status.get("queued_at")
        starting = isinstance(since, int | float) and time.time() - since < rundir.STARTS_WITHIN
        if Run(file.parent).locked() or (status["state"] == "queued" and starting):
            return str(of.get("kind"))
    return None


def export(run: Run, file: str | Path) -> None:
    """Zip what is worth sharing of a run, without paths of this machine; refuses a file that exists."""
    if run.problem:
        raise Refused(f"{run.dir} is damaged: {run.problem}; choose another run")
    data = {**run.config["data"], "name": Path(run.config["data"]["name"]).name}
    altered = {"config.json": {**run.config, "data_root": None, "data": data}, "status.json": run.stored_status()}
    altered["status.json"]["pid"] = None
    for path in run.dir.glob("analyses/*/*.json"):  # what an answer says, and of a question what it is of any run
        told = {key: value for key, value in files.read_json(path)[0].items() if key not in ("root", "data_root")}
        told |= {"runs": []} if path.name == "request.json" else {}
        altered[path.relative_to(run.dir).as_posix()] = told
    altered = {name: files.to_json(value) for name, value in altered.items()}
    if (events := run.dir / "events.jsonl").exists():
        altered["events.jsonl"] = events.read_bytes()
    here = {str(run.dir): run.id, run.config["data"]["name"]: data["name"]}  # a failure's reason, an answer may name them
    for path, name in here.items():
        path, name = (files.to_json(word)[1:-1] for word in (path, name))
        altered = {key: value.replace(path, name) for key, value in altered.items()}
    files.pack(run.dir, Path(file).absolute(), altered)


@files.door("import runs")
def import_zip(file: str | Path | BinaryIO, root: str | Path | None = None) -> Run:
    """The run in a zip that `export` made, under a fresh id if its own is taken. Anything else is refused whole.

    `file` may be an open binary file. A run that was not over becomes a stopped one.
    """
    place = runs_root(root)
    stage = place / f".import.{secrets.token_hex(4)}.tmp"
    made = _missing(place)
    try:
        try:
            stage.mkdir(parents=True)
        except OSError as error:
            raise Refused(f"cannot write in {place}: {files.said(error)}; choose another place with --runs") from None
        files.unpack(file, stage)
        run = Run(stage)
        if run.problem:
            raise Refused(f"cannot import {getattr(file, 'name', file)}: {run.problem}; export the run again")
        status, name = run.stored_status(), run.config["id"]
        while _exists(place / name):
            name = f"{run.config['id'][:-5]}-{secrets.token_hex(2)}"
        run.write_config(id=name, data_root=None)  # another machine's path leads nowhere, or where it should not
        for event in run.events()[0]:
            if not is_event(event):
                raise Refused(f"cannot import {getattr(file, 'name', file)}: an event lacks its numbers; export the run again")
        changes: dict = {"pid": None}
        if status["state"] not in TERMINAL:
            changes |= {"state": "stopped", "reason": f"imported from a run that was {status['state']}", "eta": None}
        run.write_status(**changes)
        return Run(stage.rename(place / name))
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        _remove_empty(made)
        raise


def _exists(path: Path) -> bool:
    """Is there anything by that name, a broken link included? Never raises."""
    return os.path.lexists(path)


def _missing(path: Path) -> list[Path]:
    """`path` and its ancestors that are not there yet, innermost first."""
    return [p for p in (path, *path.parents) if not _exists(p)]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:  # rmdir spares a folder that another process has begun to use
        with suppress(OSError):
            folder.rmdir()


def _directories(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return [d for d in place.iterdir() if not d.name.startswith(".") and d.is_dir()]


def _looks_like_run(directory: Path) -> bool:
    """A run, or what is left of one."""
    try:
        return any((directory / part).is_file() for part in ("config.json", "status.json", "events.jsonl"))
    except OSError:  # a name too long, a folder that may not be entered
        return False
