"""The process that trains a run: holds its lock for life, writes what happens into its directory, leaves it resumable."""

import ctypes
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ffcore import data, runs
from ffcore.errors import Failed, Refused
from ffcore.files import writing
from ffcore.rundir import validated
from ffcore.runs import Run

if TYPE_CHECKING:
    from ffcore.models.base import Model
    from ffcore.trained import Trained
    from ffcore.training import Trainer

CORES_PER_RUN = 2
SAVE_SHARE = 20  # a state is saved when the last save's cost is below one in so many of the time since
SAVE_EVERY = 15  # seconds; within long epochs
START = "start.safetensors"  # the weights that a run begins with, where they are another's
SPARSE = 1_000  # ticks come at most so often in a run's age: every 0.2 s at first, every 3.6 s after an hour

Progress = Callable[[Run, dict[str, Any]], None]


def position(run: Run) -> int:
    """Place in the queue: 1 is next; 0 if the run is not waiting."""
    if run.state != "queued":
        return 0
    mine = run.status()["queued_at"] or 0
    kind = run.config.get("slots", {}).get("kind")
    waiting = [
        other.status()
        for other in runs.list_runs(run.dir.parent, bundled=False)
        if other != run and other.config.get("slots", {}).get("kind") == kind
    ]
    return 1 + sum(s["state"] == "queued" and (s["queued_at"] or 0) < mine for s in waiting)


@contextmanager
def slot(run: Run) -> Iterator[int | None]:
    """Hold one of the places (one per GPU, or per two CPU cores) of the runs in this folder, first come, first served.

    Yields its number, or None if the run was asked to pause or stop while it waited. Torch is not loaded yet.
    """
    slots = run.config.get("slots", {"kind": "cpu", "count": 1})
    _, _, own = run.config["device"].partition(":")
    numbers = [int(own)] if own else range(slots["count"])

    def waits() -> bool:
        run.write_status(heartbeat=time.time(), pid=os.getpid())
        return run.want() == "run"

    with place(run.dir.parent, slots["kind"], numbers, waits, lambda: position(run) == 1) as number:
        yield number


def places() -> int:
    """How many may compute at once on this machine's processors: one per two cores."""
    return max(1, cores() // CORES_PER_RUN)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def place(
    root: Path, kind: str, numbers: Iterable[int], waits: Callable[[], bool], turn: Callable[[], bool] = lambda: True
) -> Iterator[int | None]:
    """Hold one of a folder's places of a kind and yield its number, or None once `waits` says no. `turn`: is it mine?"""
    folder = root / ".slots"
    with writing(".slots", root):
        folder.mkdir(exist_ok=True)
    while waits():
        for number in numbers if turn() else ():
            lock = FileLock(folder / f"{kind}-{number}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield number
            finally:
                lock.release()
            return
        time.sleep(0.25)
    yield None


def work_queued(run: Run) -> None:
    """Wait for a place, then train: what the process behind `submit` does."""
    with run.lock(), _interruptible(run), slot(run) as number:
        if number is None:
            state = "stopped" if run.want() == "stop" else "paused"
            run.write_status(state=state, ended_at=time.time(), reason="before its turn came")
            return
        if run.config["device"] == "cuda":
            run.write_config(device=f"cuda:{number}")
        _work(run, None, time.time())


def work(run: Run, progress: Progress | None, started: float, images: data.Data | None = None) -> "Trained":
    """Train a run in this process while holding its lock; `images` are its data if they are loaded already."""
    with run.lock():
        return _work(run, progress, started, images)


def _work(run: Run, progress: Progress | None, started: float, images: data.Data | None = None) -> "Trained":
    from ffcore.trained import Trained

    run.write_status(state="running", pid=os.getpid(), heartbeat=time.time(), started_at=started, reason=None)
    try:
        with _interruptible(run) as interrupted:
            _train(run, progress, started, images)
        if interrupted and run.stored_status()["state"] == "paused":
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        log(run, "interrupted")
        if run.stored_status()["state"] == "running":  # in the middle of a step: what was saved before it counts
            run.write_status(state="paused", reason="interrupted; goes on from the last saved state", ended_at=time.time())
        raise KeyboardInterrupt(run.dir) from None
    except (Failed, Refused) as error:
        _fail(run, str(error))
        raise
    except MemoryError:
        raise _fail(run, "out of memory; set train.batch_size or model.widths lower") from None
    except Exception as error:
        if "out of memory" in str(error).lower() or "can't allocate memory" in str(error):
            batch = run.config["train"]["batch_size"] or 512
            raise _fail(run, f"out of memory at train.batch_size={batch}; try {max(1, batch // 2)}") from None
        log(run, traceback.format_exc())
        raise _fail(
            run,
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}; "
            f"{run.dir / 'log.txt'} has the details",
        ) from error
    return Trained(run.dir)


@contextmanager
def _interruptible(run: Run) -> Iterator[list[int]]:
    """Turn Ctrl-C and SIGTERM into a request to pause, so that no step is cut in two; a second one interrupts at once.

    Yields the list of signals that came.
    """
    came: list[int] = []

    def ask(number, _):
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        run.control("pause")

    if threading.current_thread() is not threading.main_thread():
        yield came  # signals go to the main thread, which is not ours
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fail(run: Run, reason: str) -> Failed:
    """Record a failure, as far as the disk allows; the weights of the last saved state stay."""
    for attempt in (
        lambda: _keep_last_good(run),
        lambda: log(run, reason),
        lambda: run.append({"event": "end", "time": time.time(), "state": "failed", "reason": reason}),
        lambda: run.write_status(state="failed", reason=reason, eta=None, ended_at=time.time()),
    ):
        try:
            attempt()
        except (Failed, Refused, OSError):
            continue
    return Failed(reason)


def _keep_last_good(run: Run) -> None:
    from ffcore.trained import Trained

    if (run.dir / "state.safetensors").exists():
        save_weights(run, Trained(run.dir).model)


def save_weights(run: Run, model) -> None:
    """weights.safetensors, as one file."""
    run.replace("weights.safetensors", weights_of(model))


def weights_of(model: "Model") -> bytes:
    """A net's weights as the content of a safetensors file."""
    from safetensors.torch import save

    return save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})


def take_weights(model: "Model", source: str, root: str | Path | None) -> None:
    """Give a net the weights of a finished `RUN`, or of `RUN@EPOCH`. Raises Refused where there are none that fit, or where
    the same words would soon mean others."""
    from ffcore.trained import Trained

    ref, at, epoch = source.rpartition("@")
    then = int(epoch) if at and epoch.isdecimal() else None
    ref = source if then is None else ref
    run = Trained(runs.find(ref, root).dir, then)
    if ref == "latest":
        raise Refused(f"train.init_from={source}: another run will be the latest soon; name it: {run.id}")
    if then is None and run.state != "done":
        raise Refused(f"train.init_from={source}: it is {run.state}; name one of the epochs {run.kept()}: {source}@EPOCH")
    try:
        model.load_state_dict(run.model.state_dict())
    except RuntimeError:
        told = {key: value for key, value in run.config["model"].items() if key in ("name", "widths", "channels")}
        raise Refused(f"train.init_from={source}: that net has other layers; give this one its own: {told}") from None


def begin(run: Run, trainer: "Trainer") -> None:
    """Give a run its first weights, where they are another run's, and save its first state, which holds them from then on."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    run.truncate_events(0)
    start = run.dir / START
    if trainer.train.init_from:
        try:
            trainer.model.load_state_dict(load_file(start))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise Failed(f"{start.name} in {run.dir} is damaged ({reason}); start the run again: {run.command()}") from None
    save_state(run, trainer)


def keep_weights(run: Run, model, epoch: int) -> None:
    """The weights after epochs 0, 1, 2, 4, 8 …, in half precision, for looking back."""
    from safetensors.torch import save

    if epoch & (epoch - 1) == 0:
        small = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
        tensors = {k: v.detach().cpu().contiguous() for k, v in small.items()}
        run.replace(f"snapshots/weights-{epoch:04d}.safetensors", save(tensors), durable=False)


def save_state(run: Run, trainer: "Trainer") -> None:
    """Everything an exact resume needs, in one file that is there as a whole or not at all."""
    from safetensors.torch import save

    trainer.check_finite()  # the last step may have broken what the loss before it could not show
    run.replace("state.safetensors", save(*trainer.state(events=run.events_size())))


def restore_state(run: Run, trainer: "Trainer") -> None:
    """Go back to the last saved state, events included."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(run.dir / "state.safetensors", "pt") as file:
            saved = trainer.restore({k: file.get_tensor(k) for k in file.keys()}, file.metadata())  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise Failed(f"state.safetensors in {run.dir} is damaged ({reason}); start the run again") from None
    run.truncate_events(saved["events"])


def log(run: Run, text: str) -> None:
    """One line for a human in log.txt."""
    with (run.dir / "log.txt").open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {text.rstrip()}\n")


def _train(run: Run, progress: Progress | None, started: float, images: data.Data | None) -> None:
    _settle_process(run)
    from ffcore.training import Trainer

    trainer = Trainer(*_facts(run, images))
    saved = (run.dir / "state.safetensors").exists()
    (restore_state if saved else begin)(run, trainer)
    (run.dir / START).unlink(missing_ok=True)  # the state holds them
    log(
        run,
        f"{'resumed at step ' + str(trainer.step) if saved else 'started'}: {run.title()}, "
        f"{run.config['device']}, {run.config['train']['precision']}",
    )
    run.write_status(steps=trainer.steps, epochs=trainer.epochs)
    run.write_arrays("samples.npz", trainer.samples())
    waited, cost, wrote, ticked = time.monotonic(), 0.0, 0.0, 0.0
    pace: dict[str, float] = {}
    for event in trainer.events():
        arrays = event.pop("arrays", None)
        if arrays:
            event["snapshot"] = run.write_snapshot(event["epoch"], arrays)
        if event["event"] == "epoch" and trainer.train.keep_weights and trainer.step < trainer.steps:
            keep_weights(run, trainer.model, event["epoch"])
        now = time.monotonic()
        if event["event"] != "tick":
            run.append(event)
        elif event["seconds"] - ticked >= event["seconds"] / SPARSE:  # since the last tick; an epoch's end stands for none
            run.append(event)
            ticked = event["seconds"]
        if progress:
            progress(run, event)
        pace |= {k: event[k] for k in ("eta", "images_per_second") if k in event}
        due = SAVE_EVERY if event["event"] == "tick" else SAVE_SHARE * cost
        if event["event"] in ("tick", "epoch") and now - waited > due:
            save_state(run, trainer)
            waited, cost = time.monotonic(), time.monotonic() - now
        if now - wrote > 1 or event["event"] == "epoch":
            run.write_status(
                heartbeat=time.time(),
                step=trainer.step,
                epoch=trainer.step // trainer.steps_per_epoch,
                train_seconds=trainer.seconds,
                seconds=time.time() - started,
                **pace,
            )
            wrote = now
        if event["event"] == "epoch" and event["epoch"]:
            log(run, f"epoch {event['epoch']}: {validated(event['validation'])}")
        if (want := run.want()) != "run":
            return _leave(run, trainer, want)
    _finish(run, trainer, started)


def _leave(run: Run, trainer: "Trainer", want: str) -> None:
    """Pause or stop: save first, then say so."""
    state = {"pause": "paused", "stop": "stopped"}[want]
    run.append({"event": "end", "time": time.time(), "state": state, "reason": None})
    save_state(run, trainer)
    if want == "stop":
        save_weights(run, trainer.model)
    run.write_status(
        state=state,
        step=trainer.step,
        epoch=trainer.step // trainer.steps_per_epoch,
        eta=None,
        train_seconds=trainer.seconds,
        ended_at=time.time(),
        result=_result(trainer),
    )
    log(run, state)


def _finish(run: Run, trainer: "Trainer", started: float) -> None:
    from ffcore import readout

    save_weights(run, trainer.model)
    test, touched = None, run.stored_status()["test_touches"]
    if run.config["test"]:
        split = trainer.data.test
        test = readout.evaluate(trainer.model, split.x, split.y, run.config["train"]["precision"])
        run.write_arrays("evaluation.npz", test.arrays(split.x, split.y))
        touched += 1
    run.append({"event": "end", "time": time.time(), "state": "done", "reason": None})
    run.write_status(
        state="done", step=trainer.step, epoch=trainer.epochs, eta=None, train_seconds=trainer.seconds,
        seconds=time.time() - started, ended_at=time.time(), heartbeat=time.time(), test_touches=touched,
        result={**_result(trainer, test), "peak_memory": _peak_memory(run.config["device"])},
    )  # fmt: skip
    (run.dir / "state.safetensors").unlink(missing_ok=True)
    log(run, trainer.how)
    log(run, f"done: {run.stored_status()['result']['readouts']}")


def _result(trainer: "Trainer", test=None) -> dict[str, Any]:
    """The accuracies that `--json` prints and the pages show."""
    checked = trainer.check()
    held_out = len(trainer.data.validation.y) > 0
    names = trainer.model.readouts
    readouts = {
        name: {
            "validation": checked.accuracy[name] if held_out else None,
            "test": test.accuracy[name] if test else None,
        }
        for name in names
    }
    layers = [{"layer": i, "validation_accuracy": right} for i, right in enumerate(checked.layers if held_out else [], 1)]
    return {
        "readout": names[0],
        "validation_accuracy": readouts[names[0]]["validation"],
        "test_accuracy": readouts[names[0]]["test"],
        "readouts": readouts,
        "layers": layers,
        "usual": checked.usual,
    }


def _peak_memory(device: str) -> int | None:
    """Bytes at the most since `_settle_process`: of tensors on a GPU, of this process on a CPU; None where nobody counts."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    if device != "cpu":
        return None
    with suppress(OSError, IndexError, ValueError):
        line = next((x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")), "")
        return int(line.split()[1]) * 1024
    return None


def _facts(run: Run, images: data.Data | None) -> tuple[dict[str, Any], data.Data]:
    """Load the data and complete the configuration with what only now is known; the same data or none on a resume."""
    import torch

    from ffcore import __version__
    from ffcore.config import TrainSettings, pick_precision, resolve

    config = run.config
    loaded = images or data.load(data.DataSettings(**config["data"]), config["data_root"], config["device"])
    facts = config["facts"]
    if facts and facts["data_hash"] != loaded.hash:
        raise Failed(f"{loaded.name} has changed since the run began; start a new run on the new data")
    train = resolve(TrainSettings(**config["train"]), len(loaded.train.y))
    precision = pick_precision(train.precision, config["device"])
    gpu = config["device"].startswith("cuda")
    facts = facts or {
        "data_hash": loaded.hash,
        "data_title": loaded.title,
        "provenance": loaded.provenance,
        "shape": list(loaded.shape),
        "classes": list(loaded.classes),
        "mean": list(loaded.mean),
        "std": list(loaded.std),
        "sizes": {part: len(getattr(loaded, part).y) for part in ("train", "validation", "test")},
        "versions": {"ffcore": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "device_name": torch.cuda.get_device_name(config["device"]) if gpu else platform.machine(),
        "threads": torch.get_num_threads(),
    }
    run.write_config(facts=facts, train={**train.model_dump(mode="json"), "precision": precision})
    return run.config, loaded


def _settle_process(run: Run) -> None:
    """Make this process quick and repeatable: as many threads as the run began with, and freed memory kept for reuse."""
    import torch

    if threads := run.config["facts"].get("threads"):
        torch.set_num_threads(threads)
    if run.config["device"].startswith("cuda"):
        torch.cuda.init()  # or there are no statistics yet
        torch.cuda.reset_peak_memory_stats(run.config["device"])
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        # glibc hands every freed batch back to the system and faults it in again: up to half of a step's time
        libc.mallopt(-1, 1 << 29)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD
        libc.malloc_trim(0)  # and the peak told in the end is this run's, not that of one before it
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """`python -m ffcore.worker DIR`: the process behind a submitted run."""
    run = Run(Path(sys.argv[1]))
    try:
        work_queued(run)
    except (Failed, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        if run.stored_status().get("state") == "queued" and not run.locked():
            _fail(run, str(error))  # it never came to its turn
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
