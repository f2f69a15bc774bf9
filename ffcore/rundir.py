"""One run directory: config, status, control, events, snapshots, weights. Read and written without torch.

Alive means locked: the process that trains a run holds a file lock on its directory for life, which survives kill −9
and refuses a second writer. Whatever is read here may be half-written or edited by hand, and is checked.
"""

import errno
import functools
import hashlib
import json
import os
import re
import shlex
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ffcore import files
from ffcore.errors import Refused

FORMAT = 1
LIVE = {"queued", "running"}  # a process stands behind it
TERMINAL = {"stopped", "done", "failed"}
STATES = LIVE | TERMINAL | {"paused"}  # what status.json may say; "lost" and "damaged" are only ever derived
WANTS = ("run", "pause", "stop")
ID = re.compile(r"\d{8}-\d{6}-[a-z0-9_]{1,40}(-[0-9a-f]{4}){1,4}", re.ASCII)
MOST_TAGS, TAG_LETTERS, NOTE_LETTERS = 20, 40, 2_000  # of a run, at most
HANGS_AFTER = 120  # s without a heartbeat
STARTS_WITHIN = 15  # s that a new process may take to lock a queued run before it counts as lost

BLANK = {
    "state": "queued", "heartbeat": None, "pid": None, "step": 0, "steps": 0, "epoch": 0, "epochs": 0, "eta": None,
    "images_per_second": None, "train_seconds": 0.0, "seconds": 0.0, "reason": None, "queued_at": None,
    "started_at": None, "ended_at": None, "test_touches": 0, "result": None,
}  # fmt: skip


def bundled_root() -> Path:
    """Where the checkpoints that come with ffcore lie: inside a wheel, else beside the package."""
    package = Path(__file__).absolute().parent
    return wheel if (wheel := package / "_checkpoints").is_dir() else package.parent / "checkpoints"


class Run:
    """One run directory. Reading never fails on what it finds: a directory in disorder has state "damaged"."""

    def __init__(self, directory: str | Path):
        self.dir = Path(directory).absolute()
        self.bundled = self.dir.resolve().parent == bundled_root().resolve()
        self._cached: tuple[object, tuple[dict, str | None]] = (None, ({}, None))
        self._mutex = threading.Lock()  # a signal or another thread may write the status, too

    def __repr__(self) -> str:
        return f"Run({str(self.dir)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.dir == other.dir

    def __hash__(self) -> int:
        return hash(self.dir)

    @property
    def id(self) -> str:
        """The id given at creation; a bundled checkpoint and a damaged directory go by their folder's name."""
        return self.dir.name if self.bundled else self.config.get("id", self.dir.name)

    @property
    def config(self) -> dict:
        """config.json, read again only when the file has changed; {} if it is damaged."""
        return self._read_config()[0]

    @property
    def problem(self) -> str | None:
        """Why this directory cannot be used, or None."""
        return self._read_config()[1] or self._read_status()[1]

    def _read_config(self) -> tuple[dict, str | None]:
        try:
            at = (self.dir / "config.json").stat()
            stamp = (at.st_mtime_ns, at.st_size, at.st_ino)
        except OSError:
            return {}, "no config.json"
        if self._cached[0] != stamp:
            config, why = files.read_json(self.dir / "config.json")
            why = why or _config_problem(config)
            self._cached = (stamp, ({} if why else config, why))
        return self._cached[1]

    def stored_status(self) -> dict:
        """status.json as it stands in the file, nothing derived; {} if it cannot be read."""
        return self._read_status()[0]

    def _read_status(self) -> tuple[dict, str | None]:
        status, why = files.read_json(self.dir / "status.json")
        return status, why or _status_problem(status)

    def status(self) -> dict:
        """status.json with every key present. Derived: "lost" (nobody holds the lock), "damaged", and `hanging`."""
        stored, why = self._read_status()
        if why := self._read_config()[1] or why:
            return {**BLANK, "state": "damaged", "reason": why}
        status = {**BLANK, **stored}
        if status["state"] not in LIVE:
            return status
        heard, queued = status["heartbeat"] or 0, status["queued_at"] or 0
        if self.locked(trust=time.time() - heard < HANGS_AFTER):
            if time.time() - max(heard, queued) > HANGS_AFTER:
                status["hanging"] = True
        elif (now := self._read_status()[0]).get("state") not in (None, *LIVE):  # it ended while we looked
            return {**BLANK, **now}
        elif not (status["state"] == "queued" and heard <= queued and time.time() - queued < STARTS_WITHIN):
            resume = f"`ffcore resume {self.id}` goes on from the last saved state"
            status.update(state="lost", reason=f"its process ended without a word; {resume}", eta=None)
        return status

    @property
    def state(self) -> str:
        return self.status()["state"]

    def alive(self) -> bool:
        """Does a process hold this run? Runs that are over are not probed."""
        status, why = self._read_status()
        return not why and status["state"] not in TERMINAL and self.locked()

    def locked(self, trust: bool = False) -> bool:
        """Is the lock held? Tries it and lets go at once. Where it cannot be tried (read-only), returns `trust`."""
        lock = self.dir / ".lock"
        if not lock.exists():
            return False
        if not os.access(lock, os.W_OK) or not os.access(self.dir, os.W_OK):
            return trust
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True
        except FileNotFoundError:
            return False
        except OSError:
            return trust

    def events(self, offset: int = 0) -> tuple[list[dict], int]:
        """Whole events from byte `offset` on, and the offset to ask for next; a torn last line waits for its rest.

        A returned offset below the given one says that a resume has cut the file back: forget all and read from it.
        """
        try:
            with (self.dir / "events.jsonl").open("rb") as file:
                file.seek(max(0, offset - 1))
                if offset and file.read(1) != b"\n":
                    return [], 0
                data = file.read()
        except OSError:
            return [], 0
        end = data.rfind(b"\n") + 1
        parsed = (files.parse_object(line) for line in data[:end].split(b"\n"))
        return [event for event in parsed if event is not None], offset + end

    def snapshots(self) -> list[int]:
        """Epochs that have a snapshot, ascending."""
        folder = self.dir / "snapshots"
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(m[1]) for name in names if (m := files.SNAPSHOT.fullmatch(name)))

    def snapshot(self, epoch: int) -> dict:
        """{name: array} of one epoch; raises Refused when there is none or it is damaged."""
        arrays = self._arrays(f"snapshots/epoch-{epoch:04d}.npz")
        if arrays is None:
            raise Refused(f"run {self.id} has no snapshot of epoch {epoch}; it has {self.snapshots() or 'none'}")
        return arrays

    def kept(self) -> list[int]:
        """Epochs after which the weights are kept, the last included, ascending."""
        folder = self.dir / "snapshots"
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        epochs = {int(m[1]) for name in names if (m := files.WEIGHTS.fullmatch(name))}
        return sorted(epochs | ({self.status()["epoch"]} if self.weights() else set()))

    def weights(self, epoch: int | None = None) -> Path | None:
        """The file with the weights after an epoch, by default the newest; None where there is none."""
        names = [] if epoch is None else [f"snapshots/weights-{epoch:04d}.safetensors"]
        if epoch is None or epoch == self.status()["epoch"]:  # a state may be some steps further
            names += ["weights.safetensors", "state.safetensors"]
        return next((path for name in names if (path := self.dir / name).exists()), None)

    def need_weights(self, epoch: int | None = None) -> Path:
        """As `weights`, but raises Refused where there is none."""
        if path := self.weights(epoch):
            return path
        kept, state = self.kept(), self.state
        if epoch is not None:
            raise Refused(f"run {self.id} kept no weights of epoch {epoch}; it has those of {kept or 'none'}")
        if state in LIVE:
            raise Refused(f"run {self.id} has no weights yet (it is {state}); wait for its first epoch")
        instead = f"name one of the epochs {kept}, which it kept" if kept else "take another run"
        raise Refused(f"run {self.id} has no weights (it is {state}); {instead}")

    def samples(self) -> dict | None:
        """images (64, C, H, W) uint8 and labels (64,) int64 of the fixed test samples, or None before the start.

        map_labels (300,): the classes of the validation images that snapshots map; absent from runs of older versions.
        """
        return self._arrays("samples.npz")

    def evaluation(self) -> dict | None:
        """confusion (C, C) and the ≤ 25 worst errors (worst_index, worst_label, worst_prediction, worst_goodness and, but for
        runs of older versions, worst_images), or None before the evaluation."""
        return self._arrays("evaluation.npz")

    def _arrays(self, name: str) -> dict | None:
        return files.load_arrays(self.dir / name)[0] if (self.dir / name).exists() else None

    @files.door("resume, pause or stop runs")
    def control(self, want: str) -> None:
        """Ask the process behind the run to "run", "pause" or "stop"."""
        if want not in WANTS:
            raise Refused(f"cannot ask a run to '{want}'; known: {', '.join(WANTS)}")
        self.replace("control.json", files.to_json({"want": want}), durable=False)

    def want(self) -> str:
        """What control.json asks for; "run" when it says nothing sensible."""
        want = files.read_json(self.dir / "control.json")[0].get("want")
        return want if want in WANTS else "run"

    def notes(self) -> dict:
        """{tags: [words], note: text} that people have put to the run, the tag that it began with among them, cut to size."""
        told, tag = files.read_json(self.dir / "notes.json")[0], self.config.get("tag")
        tags, note = told.get("tags"), told.get("note")
        tags = [word for word in tags if isinstance(word, str)] if isinstance(tags, list) else [tag] if tag else []
        tags = [word[:TAG_LETTERS] for word in tags[:MOST_TAGS]]
        return {"tags": tags, "note": note[:NOTE_LETTERS] if isinstance(note, str) else ""}

    def size_bytes(self) -> int:
        """Bytes of all files in the directory."""
        total = 0
        for path in self.dir.rglob("*"):
            with suppress(OSError):  # a temporary file that has just been renamed
                at = path.lstat()
                total += at.st_size if stat.S_ISREG(at.st_mode) else 0
        return total

    def title(self) -> str:
        """`ff · hard_label · MNIST · seed 0`"""
        config = self.config
        if not config:
            return self.id
        negatives = [config["negatives"]["name"]] if config.get("negatives") else []
        data = config.get("facts", {}).get("data_title") or config["data"]["name"]
        return " · ".join([config["model"]["name"], *negatives, str(data), f"seed {config.get('seed', 0)}"])

    def command(self) -> str:
        """The `ffcore train …` line that repeats this run: its named choices, then the settings that were given."""
        config = self.config
        if not config:
            raise Refused(f"{self.dir} is damaged ({self.problem}); choose another run")
        return command(config)

    # The writer's side: only the process that holds the lock calls what follows.

    @contextmanager
    def lock(self) -> Iterator["Run"]:
        """Hold the run for as long as the block lasts; raises Refused when another process does."""
        lock = FileLock(self.dir / ".lock")
        try:
            lock.acquire(timeout=2)  # somebody who checks whether we live holds it for a moment
        except Timeout:
            raise Refused(f"another process is training run {self.id}; stop or pause it first") from None
        except OSError as error:
            raise Refused(f"cannot lock {self.dir}: {files.said(error)}; check the directory and who owns it") from None
        try:
            for left in [*self.dir.glob(".*.tmp"), *self.dir.glob("snapshots/.*.tmp")]:  # by a writer that was killed
                left.unlink(missing_ok=True)
            yield self
        finally:
            lock.release()

    def write_status(self, **changes) -> None:
        """Merge `changes` into status.json."""
        with self._mutex:
            self.replace("status.json", files.to_json({**BLANK, **self._read_status()[0], **changes}), durable=False)

    def write_config(self, **changes) -> None:
        """Merge `changes` into config.json: the facts that are known only once the run has started."""
        self.replace("config.json", files.to_json({**self.config, **changes}))

    def append(self, event: dict) -> None:
        """Add one line to events.jsonl, or raise Failed and leave the file as it was."""
        line = files.to_json(event, indent=None) + b"\n"
        with files.writing("events.jsonl", self.dir), (self.dir / "events.jsonl").open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line  # a writer was killed within its last line
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with suppress(OSError):
                    file.truncate(size)
                raise

    def events_size(self) -> int:
        """Bytes of events, all of them safely on disk: the offset that belongs into the state for an exact resume."""
        if not (self.dir / "events.jsonl").exists():
            return 0
        with files.writing("events.jsonl", self.dir), (self.dir / "events.jsonl").open("rb+") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    def truncate_events(self, offset: int) -> None:
        """Cut the events back to where they were when the state was saved."""
        path = self.dir / "events.jsonl"
        size = path.stat().st_size if path.exists() else 0
        if size < offset:
            raise Refused(f"events.jsonl in {self.dir} has {size} bytes, its saved state knows of {offset}; start a new run")
        if size:
            with files.writing("events.jsonl", self.dir):
                os.truncate(path, offset)

    def write_snapshot(self, epoch: int, arrays: dict) -> str:
        """Store the arrays of one epoch; returns the file's name as the epoch event wants it."""
        name = f"epoch-{epoch:04d}.npz"
        self.write_arrays(f"snapshots/{name}", arrays)
        return name

    def write_arrays(self, name: str, arrays: dict) -> None:
        """Store {name: array} as a compressed npz; never a pickle."""
        import numpy as np

        arrays = {key: np.asarray(value) for key, value in arrays.items()}
        if pickled := [key for key, value in arrays.items() if value.dtype.hasobject]:
            raise TypeError(f"array '{pickled[0]}' for {name} holds Python objects")

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **arrays)

        self.replace(name, write, durable=False)

    def replace(self, name: str, content: bytes | Callable[[Path], object], durable: bool = True) -> None:
        """Write a file of this run as a whole or not at all; `content` is the bytes, or a function that writes a path.

        Raises Failed on a full disk, and leaves the old file as it was. `durable`: wait until the disk has it.
        """
        files.replace(self.dir, name, content, durable)


@functools.lru_cache(maxsize=256)
def _digest_of(path: str, stamp: tuple[int, int]) -> str:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def fingerprint(run: Run, epoch: int | None = None) -> str:
    """A digest of a run's weights (after an epoch). Raises Refused where there are none."""
    path = run.need_weights(epoch)
    at = path.stat()
    return _digest_of(str(path), (at.st_mtime_ns, at.st_size))


def asked(config: dict) -> dict:
    """What `ffcore.train` and `submit` take to repeat a configuration: its named choices, then the settings that were given."""
    named = {key: config[key]["name"] for key in ("model", "negatives", "data") if config.get(key)}
    named |= {key: config[key] for key in ("preset", "data_root") if config.get(key)}
    given = {"set": dict(config["given"])} if config.get("given") else {}
    return {**named, "seed": config.get("seed", 0), **given, **({} if config.get("test", True) else {"test": False})}


def command(config: dict) -> str:
    """The `ffcore train …` line that repeats a configuration, as `asked` tells it."""
    words = ["ffcore", "train"]
    for key, value in asked(config).items():
        if key == "test":
            words.append("--no-test")
        elif key == "set":
            words += [word for pair in set_words(value) for word in ("--set", pair)]
        else:
            words += [f"--{key.replace('_', '-')}", str(value)]
    return shlex.join(words)


def set_words(settings: dict) -> list[str]:
    """`KEY=VALUE` for each setting, as --set and Train's address take them."""
    return [f"{key}={_setting(value)}" for key, value in settings.items()]


def _setting(value: object) -> str:
    """`gap`, `[500,500]`, `"3"`: bare where a reader cannot take it for a number, list or null."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _config_problem(config: dict) -> str | None:
    if config.get("format") != FORMAT:
        return f"config.json has format {str(config.get('format'))[:20]}, this ffcore reads {FORMAT}"
    if not isinstance(config.get("id"), str) or not ID.fullmatch(config["id"]):
        return "config.json has no valid id"
    for key in ("model", "data", "negatives"):
        part = config.get(key, "missing")
        if not (isinstance(part, dict) and isinstance(part.get("name"), str)) and not (key == "negatives" and part is None):
            return f"config.json has no valid {key}"
    text, some = str, str | None
    kinds = {
        "created": text, "device": text, "seed": int, "train": dict, "facts": dict,
        "given": dict | None, "preset": some, "tag": some, "data_root": some, "slots": dict | None,
    }  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(config.get(key), kind):
            return f"config.json has no valid {key}"
    facts = {"data_hash": text, "data_title": text, "provenance": text, "shape": list, "classes": list, "sizes": dict}
    for key, kind in facts.items() if config["facts"] else ():
        if not isinstance(config["facts"].get(key), kind):
            return f"config.json has no valid facts: {key}"
    return None


def validated(accuracy: dict[str, float] | None) -> str:
    """An epoch's `validation` as a person reads it: `validation: goodness 98.24%  softmax 98.10%`."""
    told = "  ".join(f"{name} {right:.2%}" for name, right in (accuracy or {}).items())
    return f"validation: {told}" if told else "no validation images"


def is_event(event: dict) -> bool:
    """Has it what every reader of its kind relies on?"""
    numbers = {"tick": ("step", "epoch", "seconds", "loss"), "epoch": ("step", "epoch", "seconds")}
    kind = event.get("event")
    if not isinstance(kind, str) or not all(isinstance(event.get(k), int | float) for k in numbers.get(kind, ())):
        return False
    layers = event.get("layers", [])
    return isinstance(layers, list) and all(isinstance(r, dict) and isinstance(r.get("layer"), int) for r in layers)


def _status_problem(status: dict) -> str | None:
    if not isinstance(status.get("state"), str) or status["state"] not in STATES:
        return "status.json has no valid state"
    number = int | float | None
    kinds = {key: number for key, value in BLANK.items() if isinstance(value, int | float)}
    kinds |= {"heartbeat": number, "queued_at": number, "eta": number, "result": dict | None, "reason": str | None}
    for key, kind in kinds.items():
        if not isinstance(status.get(key), kind):
            return f"status.json has no valid {key}"
    return None
