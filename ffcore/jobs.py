"""Runs as processes: train one here, queue one, pause, resume, stop."""

import hashlib
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffcore import data, files, runs, worker
from ffcore.errors import Failed, Refused
from ffcore.files import door
from ffcore.runs import Run
from ffcore.worker import Progress, cores, position

if TYPE_CHECKING:
    from ffcore.trained import Trained

__all__ = ["estimate", "keep_images", "pause", "position", "requeue", "resume", "stop", "submit", "train"]


@door("start runs")
def prepare(root: str | None = None, run_dir: str | None = None, here: bool = False, **asked) -> tuple[Run, data.Data]:
    """A new queued run from `configure`'s arguments, and its images (on its device if `here` is where it will train).

    They are read before the run is made: raises Refused for a damaged file as for a wrong setting, and creates nothing.
    """
    from ffcore.config import configure
    from ffcore.training import build_model

    config = configure(**asked)
    images = data.load(data.DataSettings(**config["data"]), config["data_root"], config["device"] if here else "cpu")
    net = build_model({**config, "device": "cpu"}, images)  # a net that does not fit the images is refused here
    parts = {}
    if config["train"]["init_from"]:
        worker.take_weights(net, config["train"]["init_from"], root)
        parts[worker.START] = worker.weights_of(net)
    if config["device"].startswith("cuda"):
        import torch

        config["slots"] = {"kind": "cuda", "count": torch.cuda.device_count()}
    else:
        config["slots"] = {"kind": config["device"], "count": worker.places()}
    return runs.create(config, root, run_dir, parts), images


def train(progress: Progress | None = None, root: str | None = None, run_dir: str | None = None, **asked) -> "Trained":
    """Train in this process, waiting in no queue; returns the run with its net.

    Takes what `configure` takes: model, negatives, data, preset, epochs, seed, device, test, tag, data_root, set.
    Raises Refused (nothing created) or Failed (the run directory says the same). Ctrl-C pauses the run.
    """
    started = time.time()
    run, images = prepare(root, run_dir, here=True, **asked)
    return worker.work(run, progress, started, images)


@door("keep uploaded files")
def keep_images(name: str, content: bytes, root: str | None = None) -> str:
    """Puts an uploaded .npz of images beside the runs that will use it, named by its content; returns its path.

    Raises Refused, and keeps nothing, for a file that is no such set.
    """
    folder = runs.runs_root(root) / ".data"
    path = folder / f"{Path(name).stem[:40]}-{hashlib.blake2b(content, digest_size=8).hexdigest()}.npz"
    if path.exists():
        return str(path)
    with files.writing(path.name, folder):
        folder.mkdir(parents=True, exist_ok=True)
    files.replace(folder, path.name, content)
    try:
        data.read_own(path)
    except Refused as error:
        path.unlink()
        raise Refused(str(error).replace(str(path), name)) from None
    return str(path)


def trained_once(wanted: dict[str, Any], progress: Progress | None, root: str | None = None) -> "Trained":
    """The finished run of what `train` takes, its tag included: found, taken up again, or trained now.

    Raises Failed where somebody paused or stopped it meanwhile: half a run compares with nothing.
    """
    from ffcore.config import configure
    from ffcore.trained import Trained

    recipe, found = configure(**wanted)["recipe"], None
    for run in runs.list_runs(root, bundled=False):
        if run.config.get("tag") == wanted["tag"] and run.config.get("recipe") == recipe:
            state = run.state
            if state == "done":
                return Trained(run.dir)
            if state in ("paused", "lost"):
                found = run
                break
    run = resume(found, progress) if found else train(progress, root, **wanted)
    if run.state != "done":
        raise Failed(f"run {run.id} is {run.state}; give the same command again to go on")
    return run


def submit(root: str | None = None, run_dir: str | None = None, **asked) -> Run:
    """Queue a run in a process of its own, which outlives this one; takes what `train` takes."""
    run, _ = prepare(root, run_dir, **asked)
    start(run)
    return run


def start(run: Run) -> None:
    """Start the worker process of a queued run."""
    spawn("ffcore.worker", run.dir, max(1, cores() // run.config.get("slots", {}).get("count", 1)))


def spawn(module: str, directory: Path, threads: int) -> None:
    """`python -m MODULE DIRECTORY`, in a session of its own that survives the server's Ctrl-C and a closed terminal."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}  # a server computes with one thread
    env["FFCORE_DATA"] = str(data.data_root())  # a relative path would mean another place there
    with (directory / "log.txt").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", module, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            cwd=directory,
            start_new_session=True,
        )


def estimate(config: dict[str, Any], root: str | None = None) -> float | None:
    """Seconds of training that a configuration may take, going by the newest like run of this machine; None without one.

    Like: the same model, negatives, data, schedule and kind of device; epochs and batch size may differ.
    """
    from ffcore.config import TrainSettings, resolve

    def kind(of: dict[str, Any]) -> tuple:
        return *(of[key] for key in ("model", "negatives", "data")), of["train"]["schedule"], of["device"].partition(":")[0]

    for run in runs.list_runs(root, bundled=False):
        status, past = run.status(), run.config
        with suppress(KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError):  # edited, or of another version
            if not (status["pid"] and status["step"] and past.get("facts") and kind(past) == kind(config)):
                continue  # an imported run has no pid: another machine timed it
            train = resolve(TrainSettings(**config["train"]), past["facts"]["sizes"]["train"])
            done = status["step"] / status["steps"] * past["train"]["epochs"]
            return status["train_seconds"] / done * train.epochs
    return None


def check_resumable(run: Run) -> None:
    """Raises Refused, with the reason, unless the run can go on."""
    state = run.state
    if run.bundled or state == "done":
        raise Refused(f"run {run.id} is done; train a new one with more epochs")
    if state in runs.LIVE:
        raise Refused(f"run {run.id} is {state}; `ffcore pause {run.id}` or stop it first")
    from ffcore.models import MODELS
    from ffcore.negatives import STRATEGIES

    for name, code in run.config.get("plugins", {}).items():
        if code not in [registry.fingerprint(name) for registry in (MODELS, STRATEGIES)]:
            raise Refused(f"plug-in '{name}' is not what run {run.id} began with; put it back or train anew: {run.command()}")
    if run.status()["step"] and not (run.dir / "state.safetensors").exists():  # an imported one, for example
        raise Refused(f"run {run.id} is {state} and has no saved state to go on from; train it anew: {run.command()}")


@door("resume runs")
def resume(run: Run | str, progress: Progress | None = None, root: str | None = None) -> "Trained":
    """Go on with a paused, stopped, failed or lost run, in this process, from its last saved state."""
    started = time.time()
    run = runs.find(run, root) if isinstance(run, str) else run
    check_resumable(run)
    run.control("run")
    return worker.work(run, progress, started)


@door("resume runs")
def requeue(run: Run) -> None:
    """Go on with a paused, stopped, failed or lost run, queued, in a process of its own."""
    check_resumable(run)
    run.control("run")
    run.write_status(state="queued", queued_at=time.time(), heartbeat=None, reason=None)
    start(run)


@door("pause or stop runs")
def ask(run: Run | str, want: str, root: str | None = None, wait: float = 10) -> Run:
    """Ask a living run to pause or stop, and wait up to `wait` seconds until it has. Raises Refused if it does not live."""
    run = runs.find(run, root) if isinstance(run, str) else run
    state = run.state
    if state == "paused" and want == "stop":
        from ffcore.trained import Trained

        with run.lock():
            if (run.dir / "state.safetensors").exists():  # else it was paused before its turn came
                worker.save_weights(run, Trained(run.dir).model)
            run.write_status(state="stopped", ended_at=time.time())
        return run
    if state not in runs.LIVE:
        raise Refused(f"run {run.id} is {state}, not running; there is nothing to {want}")
    run.control(want)
    end = time.monotonic() + wait
    while time.monotonic() < end and run.state in runs.LIVE:
        time.sleep(0.05)
    return run


def pause(run: Run | str, root: str | None = None) -> Run:
    """Save the exact state and end the process, which frees its slot and its GPU."""
    return ask(run, "pause", root)


def stop(run: Run | str, root: str | None = None) -> Run:
    """End the run and keep its weights."""
    return ask(run, "stop", root)
