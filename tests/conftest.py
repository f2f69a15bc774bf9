"""What every test may use: 5,000 real digits, a four-class toy problem that is learnt in seconds, runs in every state."""

import json
import os
import shutil
import time

import pytest
import torch
from browser import FLAGS, Server

import ffcore
from ffcore import cards, data, heldout, jobs, rundir, runs
from ffcore.config import TrainSettings, configure, resolve
from ffcore.models import MODELS

# A run of the dashboard's tests, not in bfloat16, which some processors would take: what is measured again is to be the same.
TINY = {"data": "digits", "epochs": 2, "set": {"model.widths": [32, 32], "train.precision": "float32"}, "device": "cpu"}


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    """Runs made in a test stay in its own folder."""
    monkeypatch.setenv("FFCORE_RUNS", str(tmp_path / "runs"))


@pytest.fixture(scope="session")
def digits():
    """The embedded MNIST digits."""
    return data.load(data.DataSettings(name="mnist-5k"))


def make_toy(classes=4, shape=(1, 6, 7), n=512, seed=0) -> data.Data:
    """Noisy copies of one random picture per class; images are not square, and channels may be three."""
    rng = torch.Generator().manual_seed(seed)
    pictures = torch.rand(classes, *shape, generator=rng)

    def split(size):
        y = torch.arange(size) % classes
        noise = torch.randn(size, *shape, generator=rng) * 0.25
        return data.Split(((pictures[y] + noise).clamp(0, 1) * 255).to(torch.uint8), y)

    train, validation, test = split(n), split(128), split(128)
    names = tuple(f"class {c}" for c in range(classes))
    mean, std = (0.5,) * shape[0], (0.3,) * shape[0]
    return data.Data("toy", "Toy", names, shape, train, validation, test, "0" * 32, "made up", mean, std)


@pytest.fixture(scope="session")
def toy():
    return make_toy()


def toy_config(model="ff", toy_data=None, **asked):
    """A configuration for the toy problem; `asked` as for `configure`."""
    small = {"widths": [32, 24, 16] if model == "hybrid" else [32, 24], "channels": [12, 24]}
    settings = {f"model.{key}": value for key, value in small.items() if key in MODELS[model].Settings.model_fields}
    settings |= {"train.batch_size": 64, "train.epochs": 12, "train.precision": "float32", **asked.pop("set", {})}
    config = configure(model=model, data="mnist-5k", device="cpu", set=settings, **asked)
    config["train"] = resolve(TrainSettings(**config["train"]), 512).model_dump(mode="json")
    return config


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two real runs, made once: Forward-Forward and backpropagation, two epochs of 8 × 8 digits each; and a paused one."""
    root = str(tmp_path_factory.mktemp("trained"))
    made = {model: ffcore.train(root=root, model=model, **TINY).dir for model in ("ff", "backprop")}

    def interrupt(run, event):
        if event["event"] == "epoch" and event["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ffcore.train(interrupt, root=root, seed=1, **TINY)
    made["paused"] = runs.find("latest", root).dir
    return made


@pytest.fixture
def no_bundle(tmp_path, monkeypatch):
    """Without what comes with the package, unless a test asks for it."""
    for module in (runs, rundir, cards, heldout):  # whoever has taken the name
        monkeypatch.setattr(module, "bundled_root", lambda: tmp_path / "bundled")


@pytest.fixture
def store(trained, own_runs):
    """{name: Run}: a runs folder of one's own with copies of the real runs; `failed`, `lost` and `stopped` are the paused one
    with another word in its status, `queued` waits for a process that a test never starts."""
    root = runs.runs_root()
    root.mkdir()

    def copy(name: str, number: int, **status) -> ffcore.Run:
        config = json.loads((trained[name] / "config.json").read_bytes())
        config["id"] = f"20300101-00000{number}-{config['model']['name']}-000{number}"
        run = ffcore.Run(shutil.copytree(trained[name], root / config["id"]))
        run.write_config(id=config["id"], created=f"2030-01-01T00:00:0{number}+00:00")
        if status:
            run.write_status(**status)
        return run

    made = {"ff": copy("ff", 1), "backprop": copy("backprop", 2), "paused": copy("paused", 3)}
    made["failed"] = copy("paused", 4, state="failed", reason="diverged at step 7: a loss is nan; lower train.lr")
    made["lost"] = copy("paused", 5, state="running", heartbeat=time.time())
    made["stopped"] = copy("paused", 6, state="stopped")
    made["queued"] = jobs.prepare(**TINY)[0]
    return made


@pytest.fixture(scope="session")
def browser_process():
    """One browser for all tests; without one they are skipped, or fail where FFCORE_BROWSER=required."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        say = pytest.fail if os.environ.get("FFCORE_BROWSER") == "required" else pytest.skip
        say("no Chromium on this machine; Debian's package is called chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def chromium(browser_process):
    """The browser, whose tabs a module leaves behind are closed: an open page goes on asking its server."""
    yield browser_process
    for context in list(browser_process.contexts):
        context.close()


@pytest.fixture(scope="session")
def server(browser_process, tmp_path_factory):
    """The dashboard over a folder with one finished run of digits; whatever a test has left running is stopped."""
    folder = tmp_path_factory.mktemp("dashboard")
    ffcore.train(root=str(folder / "runs"), data="digits", epochs=3, set={"model.widths": [32, 32]}, device="cpu")
    made = Server(folder)
    yield made
    for run in runs.list_runs(made.root, bundled=False):
        if run.state in runs.LIVE:
            ffcore.stop(run)
    made.kill()
