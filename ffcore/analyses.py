"""Analyses of runs: asked once, kept beside the run, computed here or in a process of their own that waits for its turn.

A finding is a directory `analyses/KIND-DIGEST` of its run, or, where that cannot be written to (a bundled run), of the
runs folder. The digest is of the question: kind, settings, and the weights of the runs. The same question is never
computed twice. Read without torch; whatever is read may be half-written, edited or imported, and is checked.
"""

import functools
import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ffcore import data, files, heldout, runs
from ffcore.errors import Failed, Refused
from ffcore.lab import ANALYSES
from ffcore.lab.base import Tell
from ffcore.registry import build
from ffcore.rundir import fingerprint
from ffcore.runs import Run

FOLDER = "analyses"
STARTS_WITHIN = 15  # s that a new process may take to lock its directory
LIVE = ("queued", "running")
STORED = (*LIVE, "failed", "cancelled")  # what status.json may say; the other states are only ever derived
BLANK = {"state": "absent", "done": 0.0, "doing": "", "reason": None}


class Finding:
    """One question and, once it is computed, its answer. States: absent, queued, running, done, failed, cancelled, lost."""

    def __init__(self, directory: Path, request: dict[str, Any]):
        self.dir, self.request = directory, request

    @property
    def kind(self) -> str:
        """The name of the analysis."""
        return self.request["kind"]

    def status(self) -> dict[str, Any]:
        """{state, done (share), doing, reason}. A damaged answer counts as none: it can be asked for again."""
        status = self._stored_status()
        if self._answered():
            return {**BLANK, "state": "done", "done": 1.0}
        if status["state"] not in LIVE or self._locked():
            return status
        if self._answered():  # it ended while we looked
            return {**BLANK, "state": "done", "done": 1.0}
        if (now := self._stored_status())["state"] not in LIVE:
            return now
        if (self.dir / "cancel").exists():
            return {**status, "state": "cancelled"}
        queued = files.read_json(self.dir / "status.json")[0].get("queued_at")
        if status["state"] == "queued" and isinstance(queued, int | float) and time.time() - queued < STARTS_WITHIN:
            return status
        return {**status, "state": "lost", "reason": "its process ended without a word; ask again"}

    def _stored_status(self) -> dict[str, Any]:
        told = files.read_json(self.dir / "status.json")[0]
        if told.get("state") not in STORED:
            return BLANK
        kinds = {"state": str, "done": int | float, "doing": str, "reason": str | None}
        status = {key: v if isinstance(v := told.get(key), kind) else BLANK[key] for key, kind in kinds.items()}
        return {**status, "done": float(min(max(status["done"], 0), 1))}

    @property
    def state(self) -> str:
        """Its state in a word."""
        return self.status()["state"]

    def _answered(self) -> bool:
        path = self.dir / "result.json"
        try:
            at = path.stat()
        except OSError:
            return False
        return _whole(str(path), (at.st_mtime_ns, at.st_size, at.st_ino))

    def result(self) -> dict[str, Any] | None:
        """The numbers, or None before they are there or if they are damaged."""
        return files.read_json(self.dir / "result.json")[0] or None

    def arrays(self) -> dict[str, Any]:
        """{name: array}, empty where there are none. Raises Refused if they are damaged or gone."""
        path, told = self.dir / "arrays.npz", self.result() or {}
        again = f"delete {self.dir} and ask again"
        if not path.exists():
            if told.get("arrays"):
                raise Refused(f"the arrays of {self.dir.name} are gone; {again}")
            return {}
        try:
            return self._filled(files.load_arrays(path)[0], told.get("left_out"))
        except Refused as error:
            raise Refused(f"{str(error).rpartition(';')[0]}; {again}") from None

    def _filled(self, arrays: dict[str, Any], left_out: Any) -> dict[str, Any]:
        """The arrays of a bundled finding as they were computed: in single precision, with those that the bundle has already.

        `left_out`: {array: where it is}, "held out" (`index` says which of the run's validation images), or a tensor's name.
        """
        if not isinstance(left_out, dict):
            return arrays
        whole = {key: value.astype("float32") if value.dtype == "float16" else value for key, value in arrays.items()}
        run = Run(self.dir.parents[1])
        for key, where in left_out.items():
            if where == "held out":
                found, index = heldout.along(run), arrays["index"]
                if found is None or not 0 <= index.min() <= index.max() < len(found):
                    raise Refused("the images that its arrays speak of are not here;")
                whole[key] = found[index]
            else:
                whole[key] = fields_of(run, where)
        return whole

    @files.door("end analyses")
    def cancel(self) -> None:
        """End what computes it: a process of its own at once, another one when its analysis next tells how far it is."""
        if self.state not in LIVE:
            return
        with files.writing("cancel", self.dir):
            (self.dir / "cancel").touch()
        pid = files.read_json(self.dir / "status.json")[0].get("pid")
        if isinstance(pid, int) and pid > 1 and self._locked():
            with suppress(OSError, OverflowError):
                os.kill(pid, signal.SIGTERM)

    def _locked(self) -> bool:
        if not (self.dir / ".lock").exists():
            return False
        try:
            with FileLock(self.dir / ".lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def _write(self, **changes: Any) -> None:
        path = self.dir / "status.json"
        files.replace(self.dir, "status.json", files.to_json({**files.read_json(path)[0], **changes}), durable=False)

    def _over(self, error: BaseException) -> None:
        """Say why there is no answer."""
        if isinstance(error, KeyboardInterrupt) or (self.dir / "cancel").exists():
            self._write(state="cancelled", reason=None)
        else:
            self._write(state="failed", reason=" ".join(str(error).split()))


@functools.lru_cache(maxsize=256)
def _whole(path: str, stamp: tuple[int, int, int]) -> bool:
    """Is the result in a file, which was last changed then, a JSON object that says something?"""
    return bool(files.read_json(Path(path))[0])


def fields_of(run: Run, tensor: str) -> Any:
    """A run's incoming weights by their tensor's name as pictures, (n, H, W) int8, each scaled to its own maximum; no torch."""
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(run.need_weights(), "np") as weights:
            first = weights.get_tensor(tensor).astype(np.float32)
        picture = (first if first.ndim == 4 else first.reshape(len(first), *run.config["facts"]["shape"])).mean(1)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"the weights {tensor[:40]} that its arrays speak of are not here ({files.said(error)});") from None
    return np.round(127 * picture / np.abs(picture).max((1, 2), keepdims=True).clip(1e-12)).astype(np.int8)


def find_analysis(kind: str, *refs: Run | str, root: str | None = None, **settings: Any) -> Finding:
    """The finding of a question, computed or not. Nothing is created; raises Refused for a question that makes no sense.

    Settings that are None count as not given. What an answer would need here (images) is asked for only where there is none.
    """
    cls = ANALYSES[kind]
    chosen = [ref if isinstance(ref, Run) else runs.find(ref, root) for ref in refs]
    if not 1 <= len(chosen) <= cls.most:
        raise Refused(f"{kind} takes {'1 run' if cls.most == 1 else f'1 to {cls.most} runs'}, not {len(chosen)}")
    if damaged := [run for run in chosen if run.problem]:
        raise Refused(f"{damaged[0].dir} is damaged: {damaged[0].problem}; choose another run")
    given = {key: value for key, value in settings.items() if value is not None}
    asked = build(cls.Settings, given, kind)  # first what is wrong in itself
    epoch = getattr(asked, "epoch", None)
    weights = [fingerprint(run, epoch) for run in chosen]
    asked = build(cls.Settings, cls.resolve(asked.model_dump(mode="json"), chosen), kind).model_dump(mode="json")
    if epoch is not None and all(run.weights(epoch) == run.weights() for run in chosen):
        asked["epoch"] = None  # the net as it is: the same question
    question = {"kind": kind, "version": cls.version, "settings": asked, "weights": weights}
    question |= {"recipes": [run.config.get("recipe") for run in chosen]}  # before the first step, unlike nets weigh the same
    if code := ANALYSES.fingerprint(kind):  # a plug-in's: its author does not count versions
        question["code"] = code
    name = f"{kind}-{hashlib.blake2b(files.to_json(question), digest_size=8).hexdigest()}"
    places = [chosen[0].dir / FOLDER / name, runs.runs_root(root) / FOLDER / name]
    if chosen[0].bundled or _read_only(chosen[0].dir):
        places.reverse()
    request = {**question, "runs": [str(run.dir) for run in chosen], "root": str(runs.runs_root(root))}
    found = [Finding(place, {**request, "data_root": str(data.data_root())}) for place in places]
    if answered := [finding for finding in found if finding._answered()]:
        return answered[0]
    cls.check_here(asked, chosen)
    return found[0]


def _read_only(folder: Path) -> bool:
    return not os.access(folder, os.W_OK)


def analyse(kind: str, *refs: Run | str, root: str | None = None, progress: Tell | None = None, **settings: Any) -> Finding:
    """The finding of a question, with its answer: found, waited for where another process is at it, or computed here.

    Raises Refused for a question that makes no sense, Failed when it cannot be answered.
    """
    finding = find_analysis(kind, *refs, root=root, **settings)
    if finding.state != "done":
        _make(finding)
        with _holding(finding, progress):
            if finding.state != "done":
                (finding.dir / "cancel").unlink(missing_ok=True)
                finding._write(state="running", pid=None)  # somebody who cancels it does not end all of this process
                _compute(finding, progress)
    return finding


def submit_analysis(finding: Finding) -> None:
    """Compute a finding in a process of its own, which waits for a place; nothing happens if it is there or under way."""
    if finding.state in ("done", *LIVE):
        return
    from ffcore import jobs, worker

    _make(finding)
    (finding.dir / "cancel").unlink(missing_ok=True)
    finding._write(state="queued", queued_at=time.time(), done=0.0, doing="waiting for its turn", reason=None, pid=None)
    jobs.spawn("ffcore.analyses", finding.dir, threads=max(1, jobs.cores() // worker.places()))


@files.door("start analyses")
def _make(finding: Finding) -> None:
    """Make place for an answer that is not there yet."""
    with files.writing(FOLDER, finding.dir.parent.parent):
        finding.dir.mkdir(parents=True, exist_ok=True)
    files.replace(finding.dir, "request.json", files.to_json(finding.request), durable=False)


@contextmanager
def _holding(finding: Finding, tell: Tell | None = None) -> Iterator[None]:
    """Hold a finding's directory, once whoever computes it now is done."""
    lock = FileLock(finding.dir / ".lock")
    while not lock.is_locked:
        with files.writing(".lock", finding.dir), suppress(Timeout):
            lock.acquire(timeout=1)
        if tell and not lock.is_locked:
            status = finding.status()
            tell(status["done"], f"another process is at it: {status['doing']}")
    try:
        yield
    finally:
        lock.release()


def _compute(finding: Finding, progress: Tell | None) -> None:
    """Answer and store; the result is written last, so that it is there as a whole or not at all."""
    from ffcore.trained import Trained

    begun, wrote = time.time(), 0.0

    def tell(done: float, doing: str) -> None:
        nonlocal wrote
        if progress:
            progress(done, doing)
        if time.monotonic() - wrote > 0.3:
            if (finding.dir / "cancel").exists():
                raise Failed("cancelled")
            finding._write(state="running", done=done, doing=doing)
            wrote = time.monotonic()

    cls, request = ANALYSES[finding.kind], finding.request
    try:
        settings = build(cls.Settings, request["settings"], finding.kind)
        tell(0.0, "loading")
        epoch = request["settings"].get("epoch")
        trained = [Trained(directory, epoch) for directory in request["runs"]]
        numbers, arrays = cls.measure(trained, settings, tell, request["root"])
        told = {key: request[key] for key in ("kind", "version", "settings")}
        told |= {"runs": [run.id for run in trained], "seconds": time.time() - begun, "made": time.time()}
        _store(finding, {**told, **numbers}, arrays)
    except (Refused, Failed, KeyboardInterrupt) as error:
        finding._over(error)
        raise
    except Exception as error:
        failed = _failure(finding, error)
        finding._over(failed)
        raise failed from error


def _store(finding: Finding, told: dict[str, Any], arrays: dict[str, Any]) -> None:
    if arrays:
        import numpy as np

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **{key: np.asarray(value) for key, value in arrays.items()})

        files.replace(finding.dir, "arrays.npz", write)
        told = {**told, "arrays": sorted(arrays)}
    content = files.to_json(told, indent=None)
    if len(content) >= files.MAX_JSON:  # it could not be read again
        raise Failed(f"its answer has {len(content) / 2**20:.1f} MB of JSON, more than {files.MAX_JSON // 2**20}; ask for less")
    files.replace(finding.dir, "result.json", content)
    for left in ("status.json", "cancel"):
        (finding.dir / left).unlink(missing_ok=True)


def _failure(finding: Finding, error: Exception) -> Failed:
    """What went wrong in a line; how it came to that goes into log.txt."""
    said = files.said(error)
    if isinstance(error, MemoryError) or "out of memory" in said.lower() or "can't allocate memory" in said:
        return Failed("out of memory; ask for fewer images")
    with suppress(OSError):
        (finding.dir / "log.txt").write_text(traceback.format_exc(), encoding="utf-8")
    return Failed(f"{type(error).__name__}: {said[:200]}; {finding.dir / 'log.txt'} has the details")


def stored_analyses(run: Run, kind: str, root: str | None = None) -> list[Finding]:
    """The findings of a kind about the weights that a run has now, or had at the epoch they are of; the newest first."""
    found: list[tuple[float, Finding]] = []
    for place in {run.dir / FOLDER, runs.runs_root(root) / FOLDER}:
        for file in place.glob(f"{kind}-*/request.json"):
            request = files.read_json(file)[0]
            settings, weights = request.get("settings"), request.get("weights")
            alike = request.get("kind") == kind and request.get("version") == ANALYSES[kind].version
            if not (alike and isinstance(settings, dict) and isinstance(weights, list)):
                continue
            epoch, finding = settings.get("epoch"), Finding(file.parent, request)
            result, now = finding.result(), None
            with suppress(Refused):
                now = fingerprint(run, epoch if isinstance(epoch, int) else None)
            if not result or weights[:1] != [now]:
                continue
            of, made = result.get("runs"), result.get("made")
            if run.dir == file.parents[2] or (isinstance(of, list) and of[:1] == [run.id]):
                found.append((made if isinstance(made, int | float) else 0.0, finding))
    return [finding for _, finding in sorted(found, key=lambda pair: -pair[0])]


def probe(ref: Run | str, root: str | None = None, progress: Tell | None = None, **settings: Any) -> dict[str, Any]:
    """What a linear classifier reads from a run's layers on another dataset: {target, protocol, rows, …}.

    Settings: target, protocol, shots, train, layers, seed, epoch (`ffcore.lab.probe`).
    """
    finding = analyse("probe", ref, root=root, progress=progress, **settings)
    return {**(finding.result() or {}), "dir": str(finding.dir)}


def finetune(ref: Run | str, root: str | None = None, progress: Tell | None = None, **settings: Any) -> dict[str, Any]:
    """What a run's net comes to when all of it goes on learning on another dataset, by backprop: {target, rows, …}.

    Settings: target, epochs, train, seed (`ffcore.lab.finetune`).
    """
    finding = analyse("finetune", ref, root=root, progress=progress, **settings)
    return {**(finding.result() or {}), "dir": str(finding.dir)}


def health(
    ref: Run | str, root: str | None = None, progress: Tell | None = None, images: int | None = None, epoch: int | None = None
) -> dict[str, Any]:
    """{run, dir, model, epoch, images, layers}: every layer's health on the run's first (2,000) validation images.

    Each row: what `neurons.measure` says; `causes`, {cause: count} of its dead units (`autopsy.CAUSES`); and `objective`, what
    its objective makes of a little activity of theirs (`autopsy.objective`). Raises Refused where the run has no weights (of
    that epoch), or its data have too few validation images or are no longer the same.
    """
    run = ref if isinstance(ref, Run) else runs.find(ref, root)
    told = analyse("health", run, root=root, progress=progress, n=images, epoch=epoch).result() or {}
    return {"run": run.id, "dir": str(run.dir), **{key: told[key] for key in ("model", "epoch", "images", "layers")}}


def similarity(*refs: Run | str, root: str | None = None, progress: Tell | None = None, **settings: Any) -> dict[str, Any]:
    """{rows, columns, cka, …}: which layers of a run, or of two, represent the same images alike; settings: n, epoch."""
    finding = analyse("similarity", *refs, root=root, progress=progress, **settings)
    return finding.result() or {}


def embed(
    ref: Run | str, out: str | Path, root: str | None = None, progress: Tell | None = None, **settings: Any
) -> dict[str, Any]:
    """Images of a run on a plane, written to FILE.csv or FILE.parquet: {file, rows, method, seconds, trustworthiness}.

    Settings: layer, method, n, data, epoch, seed. Raises Refused where the file is there already.
    """
    from ffcore import embedding

    begun, path = time.perf_counter(), embedding.check_file(Path(out))
    finding = analyse("embed", ref, root=root, progress=progress, **settings)
    told, arrays = finding.result() or {}, finding.arrays()
    columns = {"x": arrays["xy"][-1, :, 0], "y": arrays["xy"][-1, :, 1], "label": arrays["label"]}
    columns |= {key: arrays[key][-1] for key in ("prediction", "goodness", "error") if key in arrays}
    embedding.write_table(path, {**columns, "index": arrays["index"]})
    return {
        "file": str(path),
        "rows": told["rows"],
        "method": told["method"],
        "seconds": time.perf_counter() - begun,
        "trustworthiness": told["trustworthiness"][-1],
        **{key: told[key] for key in ("layer", "data", "epochs")},
    }


def main() -> None:
    """`python -m ffcore.analyses DIR`: the process behind a submitted finding."""
    from ffcore import worker

    directory = Path(sys.argv[1])
    request = files.read_json(directory / "request.json")[0]
    finding = Finding(directory, request)
    with _holding(finding):
        if finding.state == "done":  # by somebody else, while we waited
            return
        finding._write(pid=os.getpid())
        try:
            os.environ["FFCORE_DATA"] = request["data_root"]
            root = Path(request["root"])
            with files.writing(FOLDER, root):
                root.mkdir(parents=True, exist_ok=True)
            with worker.place(root, "cpu", range(worker.places()), lambda: not (directory / "cancel").exists()) as number:
                if number is not None:
                    _compute(finding, None)
        except (Refused, Failed) as error:
            finding._over(error)
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    main()
