"""Analyses of runs: asked once, kept beside the run, computed here or in a process of their own that waits for its turn.

A finding is a directory `analyses/KIND-DIGEST` of its run, or, where that cannot be written to (a bundled run), of the
runs folder. The digest is of the question: kind, settings, and the weights of the runs. The same question is never
computed twice. Read without torch.
"""

import hashlib
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ffcore import data, files, runs
from ffcore.errors import Failed, Refused
from ffcore.lab import ANALYSES
from ffcore.lab.base import Tell
from ffcore.registry import build
from ffcore.rundir import fingerprint
from ffcore.runs import Run

FOLDER = "analyses"
STARTS_WITHIN = 15  # s that a new process may take to lock its directory
LIVE = ("queued", "running")


class Finding:
    """One question and, once it is computed, its answer. States: absent, queued, running, done, failed, cancelled, lost."""

    def __init__(self, directory: Path, request: dict[str, Any]):
        self.dir, self.request = directory, request

    @property
    def kind(self) -> str:
        """The name of the analysis."""
        return self.request["kind"]

    def status(self) -> dict[str, Any]:
        """{state, done (share), doing, reason, seconds}."""
        blank = {"state": "absent", "done": 0.0, "doing": "", "reason": None, "seconds": None}
        if (self.dir / "result.json").exists():
            return {**blank, "state": "done", "done": 1.0}
        told = files.read_json(self.dir / "status.json")[0]
        status = {**blank, **{key: told[key] for key in blank if key in told}}
        if status["state"] not in LIVE:
            return status
        fresh = status["state"] == "queued" and time.time() - told.get("queued_at", 0) < STARTS_WITHIN
        if not self._locked() and not fresh:
            if (self.dir / "result.json").exists():  # it ended while we looked
                return {**blank, "state": "done", "done": 1.0}
            now = files.read_json(self.dir / "status.json")[0]
            if now.get("state") not in (None, *LIVE):
                return {**status, **{key: now[key] for key in blank if key in now}}
            if (self.dir / "cancel").exists():
                return {**status, "state": "cancelled"}
            return {**status, "state": "lost", "reason": "its process ended without a word; ask again"}
        return status

    @property
    def state(self) -> str:
        """Its state in a word."""
        return self.status()["state"]

    def result(self) -> dict[str, Any] | None:
        """The numbers, or None before they are there or if they are damaged."""
        return files.read_json(self.dir / "result.json")[0] or None

    def arrays(self) -> dict[str, Any]:
        """{name: array}, empty where there are none. Raises Refused if they are damaged."""
        path = self.dir / "arrays.npz"
        return files.load_arrays(path)[0] if path.exists() else {}

    def cancel(self) -> None:
        """End the process that computes it, if there is one; nothing else is lost."""
        if self.state not in LIVE:
            return
        (self.dir / "cancel").touch()
        pid = files.read_json(self.dir / "status.json")[0].get("pid")
        if isinstance(pid, int) and pid > 1 and self._locked():
            with suppress(OSError):
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


def find_analysis(kind: str, *refs: Run | str, root: str | None = None, **settings: Any) -> Finding:
    """The finding of a question, computed or not. Nothing is created; raises Refused for a question that makes no sense.

    Settings that are None count as not given.
    """
    cls = ANALYSES[kind]
    chosen = [ref if isinstance(ref, Run) else runs.find(ref, root) for ref in refs]
    if not 1 <= len(chosen) <= cls.most:
        raise Refused(f"{kind} takes {'1 run' if cls.most == 1 else f'1 to {cls.most} runs'}, not {len(chosen)}")
    given = {key: value for key, value in settings.items() if value is not None}
    asked = build(cls.Settings, given, kind)  # first what is wrong in itself
    asked = build(cls.Settings, cls.resolve(asked.model_dump(mode="json"), chosen), kind).model_dump(mode="json")
    of = [fingerprint(run, asked.get("epoch")) for run in chosen]
    question = {"kind": kind, "version": cls.version, "settings": asked, "weights": of}
    name = f"{kind}-{hashlib.blake2b(files.to_json(question), digest_size=8).hexdigest()}"
    own = chosen[0].dir / FOLDER / name
    elsewhere = runs.runs_root(root) / FOLDER / name
    place = own if (own / "result.json").exists() or not (chosen[0].bundled or _read_only(chosen[0].dir)) else elsewhere
    request = {**question, "runs": [str(run.dir) for run in chosen], "root": str(runs.runs_root(root))}
    return Finding(place, {**request, "data_root": str(data.data_root())})


def _read_only(folder: Path) -> bool:
    return not os.access(folder, os.W_OK)


def analyse(kind: str, *refs: Run | str, root: str | None = None, progress: Tell | None = None, **settings: Any) -> Finding:
    """The finding of a question, with its answer: found, waited for where another process is at it, or computed here.

    Raises Refused for a question that makes no sense, Failed when it cannot be answered.
    """
    finding = find_analysis(kind, *refs, root=root, **settings)
    if finding.state != "done":
        _make(finding)
        with _holding(finding):
            if finding.state != "done":
                _compute(finding, progress)
    return finding


def submit_analysis(finding: Finding) -> None:
    """Compute a finding in a process of its own, which waits for a place; nothing happens if it is there or under way."""
    if finding.state in ("done", *LIVE):
        return
    from ffcore import jobs

    _make(finding)
    (finding.dir / "cancel").unlink(missing_ok=True)
    finding._write(state="queued", queued_at=time.time(), done=0.0, doing="waiting for its turn", reason=None, pid=None)
    jobs.spawn("ffcore.analyses", finding.dir, threads=jobs.cores())


def _make(finding: Finding) -> None:
    with files.writing(FOLDER, finding.dir.parent.parent):
        finding.dir.mkdir(parents=True, exist_ok=True)
    files.replace(finding.dir, "request.json", files.to_json(finding.request), durable=False)


def _holding(finding: Finding) -> FileLock:
    lock = FileLock(finding.dir / ".lock")
    with files.writing(".lock", finding.dir):
        lock.acquire()
    return lock


def _compute(finding: Finding, progress: Tell | None) -> None:
    """Answer and store; the result is written last, so that it is there as a whole or not at all."""
    from ffcore.trained import Trained

    begun, wrote = time.time(), 0.0

    def tell(done: float, doing: str) -> None:
        nonlocal wrote
        if progress:
            progress(done, doing)
        if time.monotonic() - wrote > 0.3:
            finding._write(state="running", done=min(max(float(done), 0.0), 1.0), doing=doing, pid=os.getpid())
            wrote = time.monotonic()

    cls, request = ANALYSES[finding.kind], finding.request
    settings = build(cls.Settings, request["settings"], finding.kind)
    tell(0.0, "loading")
    try:
        epoch = request["settings"].get("epoch")
        trained = [Trained(directory, epoch) for directory in request["runs"]]
        numbers, arrays = cls.measure(trained, settings, tell, request["root"])
    except (Refused, Failed) as error:
        finding._write(state="failed", reason=" ".join(str(error).split()))
        raise
    except KeyboardInterrupt:
        finding._write(state="cancelled", reason=None)
        raise
    except MemoryError:
        finding._write(state="failed", reason="out of memory; ask for fewer images")
        raise Failed("out of memory; ask for fewer images") from None
    except Exception as error:
        (finding.dir / "log.txt").write_text(traceback.format_exc(), encoding="utf-8")
        said = str(error).splitlines()[0] if str(error) else "no reason given"
        reason = f"{type(error).__name__}: {said}; {finding.dir / 'log.txt'} has the details"
        finding._write(state="failed", reason=reason)
        raise Failed(reason) from error
    if arrays:
        import numpy as np

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **{key: np.asarray(value) for key, value in arrays.items()})

        files.replace(finding.dir, "arrays.npz", write)
    told = {key: request[key] for key in ("kind", "version", "settings")}
    told |= {"runs": [run.id for run in trained], "seconds": time.time() - begun, "made": time.time()}
    files.replace(finding.dir, "result.json", files.to_json({**told, **numbers}))
    (finding.dir / "status.json").unlink(missing_ok=True)


def stored_analyses(run: Run, kind: str, root: str | None = None) -> list[Finding]:
    """The findings of a kind about the weights that a run has now, the newest first."""
    found: list[tuple[float, Finding]] = []
    try:
        now = fingerprint(run)
    except Refused:
        return []
    for place in {run.dir / FOLDER, runs.runs_root(root) / FOLDER}:
        for file in place.glob(f"{kind}-*/request.json"):
            request = files.read_json(file)[0]
            fits = request.get("kind") == kind and isinstance(request.get("settings"), dict)
            weights = request.get("weights")
            if not fits or not isinstance(weights, list) or not weights or not isinstance(request.get("runs"), list):
                continue
            finding = Finding(file.parent, request)
            current = weights[0] == now or request["settings"].get("epoch") is not None
            result = finding.result() if current else None
            if result and (run.dir == file.parents[2] or run.id in result.get("runs", [])[:1]):
                found.append((result.get("made") or 0.0, finding))
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
    os.environ["FFCORE_DATA"] = request["data_root"]
    with _holding(finding):
        finding._write(pid=os.getpid())
        folder = Path(request["root"])
        with worker.place(folder, "cpu", range(worker.places()), lambda: not (directory / "cancel").exists()) as number:
            if number is None or finding.state == "done":
                return
            try:
                _compute(finding, None)
            except (Refused, Failed) as error:
                print(f"error: {error}", file=sys.stderr)
                sys.exit(1)


if __name__ == "__main__":
    main()
