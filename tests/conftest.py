"""Data that every test may use: 5,000 real digits, and a four-class toy problem that is learnt in seconds."""

import pytest
import torch

from ffcore import data
from ffcore.config import TrainSettings, configure, resolve


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
    settings = {"model.widths": [32, 24], "train.batch_size": 64, "train.epochs": 12, "train.precision": "float32"}
    settings |= asked.pop("set", {})
    config = configure(model=model, data="mnist-5k", device="cpu", set=settings, **asked)
    config["train"] = resolve(TrainSettings(**config["train"]), 512).model_dump(mode="json")
    return config
