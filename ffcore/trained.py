"""A run with its net: what a notebook works with."""

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ffcore import autopsy, data, heldout, lifetimes, readout, runs
from ffcore.data import Split
from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.models.base import Model
from ffcore.training import build_model


class Trained(runs.Run):
    """A run directory and the net in it; images are given in [0, 1], or as uint8, in any of the usual shapes.

    `epoch`: the net as it was then, for the epochs that `kept()` names; by default as it is now.
    """

    def __init__(self, directory: str | Path, epoch: int | None = None):
        super().__init__(directory)
        self.epoch = epoch

    @cached_property
    def model(self) -> Model:
        """The net with the run's weights, on the CPU. Raises Refused when there are none or they are damaged."""
        path = self.need_weights(self.epoch)
        prefix = "model." if path.name == "state.safetensors" else ""
        try:
            with safe_open(path, "pt") as file:
                weights = {k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
            model = build_model({**self.config, "device": "cpu"}, facts=self.config["facts"])
            model.load_state_dict(weights)
        except (SafetensorError, RuntimeError, KeyError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise Refused(f"{path.name} in {self.dir} is damaged or of another net: {reason}; train the run again") from None
        return model.eval()

    def held_out(self, images: int | None = None) -> Split:
        """The run's first validation images and their labels, on the CPU; those of the bundled checkpoints come with ffcore.

        Raises Refused where its data have none or are no longer the same, or there are too few here.
        """
        facts = self.config["facts"]
        if not (kept := facts["sizes"].get("validation", 0)):
            raise Refused(f"run {self.id} kept no validation images; train one with data.validation above 0")
        if (found := heldout.stored(self, images)) is not None:
            return Split(*(torch.from_numpy(part.copy()) for part in found))
        if 0 < (few := heldout.held_out_here(self)) < min(images or kept, kept):
            raise Refused(
                f"{few:,} of the {kept:,} validation images of {facts['data_title']} come with ffcore; "
                "ask for no more, or set FFCORE_DATA to where the data set lies"
            )
        return Split(*(part[:images].cpu() for part in self.data().validation))

    def mean_image(self) -> Tensor:
        """The mean of its training images, (C, H, W) in [0, 1]. Raises Refused as `data` does, where it does not come with
        ffcore."""
        if (found := heldout.mean_image(self)) is not None:
            return torch.from_numpy(found.copy())
        return self.data().train.x.cpu().float().mean(0) / 255

    def data(self) -> data.Data:
        """The images it was trained on, with their splits. Raises Refused where they are no longer the same."""
        loaded = data.load(data.DataSettings(**self.config["data"]), self.config["data_root"])
        if loaded.hash != self.config["facts"]["data_hash"]:
            raise Refused(f"{loaded.name} is no longer the data that run {self.id} was trained on; train it again")
        return loaded

    def images(self, x: Any) -> Tensor:
        """(B, C, H, W) floats in [0, 1] from arrays or tensors shaped (B, C, H, W), (B, H, W), (B, D) or one image."""
        c, h, w = self.config["facts"]["shape"]
        x = torch.as_tensor(x)
        if x.numel() == 0 or x.numel() % (c * h * w) or x.shape[-1] not in (w, c * h * w):
            raise Refused(f"images of shape {tuple(x.shape)}: this net takes (B, {c}, {h}, {w}); reshape them")
        x = x.reshape(-1, c, h, w)
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
        if not (x.min() >= 0 and x.max() <= 1):
            raise Refused(f"pixels from {x.min():g} to {x.max():g}: images lie in [0, 1]; divide by their maximum")
        return x

    def labels(self, y: Any, images: int) -> Tensor:
        """(B,) int64 classes of `images` images; raises Refused for anything else."""
        y, classes = torch.as_tensor(y), len(self.config["facts"]["classes"])
        if y.shape != (images,) or y.is_floating_point() or y.min() < 0 or y.max() >= classes:
            raise Refused(f"labels {y.tolist()!s:.80}: give every one of the {images} images a class from 0 to {classes - 1}")
        return y.long()

    @torch.no_grad()
    def scores(self, x: Any, goodness: Tensor | None = None) -> dict[str, Tensor]:
        """Read-out name → (B, C); higher is likelier. `goodness` of x under every label, (B, C, L), spares asking again."""
        return self.model.scores(self.images(x), goodness)

    def predict(self, x: Any) -> Tensor:
        """(B,) labels by the default read-out."""
        return self.scores(x)[self.model.readouts[0]].argmax(1)

    @torch.no_grad()
    def features(self, x: Any, label: Any = None) -> list[Tensor]:
        """Activity of every layer, [(B, n₁), …], under `label` (B,), or none."""
        x = self.images(x)
        return self.model.features(Sample(x, None if label is None else self.labels(label, len(x))))

    @torch.no_grad()
    def goodness(self, x: Any, label: Any = None) -> Tensor:
        """Goodness per layer, (B, L) under `label` (B,), or (B, C, L) under every label; a net without labels: (B, L)."""
        if not self.model.has_goodness:
            raise Refused(f"model '{self.model.name}' has no goodness; ask for scores or features")
        if not self.model.labelled:
            if label is not None:
                raise Refused(f"run {self.id} was trained without labels; ask for the goodness of the images alone")
            return self.model.sample_goodness(Sample(self.images(x)))
        g = self.model.label_goodness(self.images(x))
        return g if label is None else g[torch.arange(len(g)), self.labels(label, len(g))]

    def reconstruct(self, x: Any) -> Tensor:
        """Images in [0, 1] out of the latents of images, both (B, C, H, W). Raises Refused where the model generates none."""
        return self._generator().reconstruct(self.images(x))

    def sample(self, n: int = 1, label: int | None = None, seed: int = 0) -> Tensor:
        """n images in [0, 1] of a class, (n, C, H, W), or of every class, (classes, n, C, H, W)."""
        model, rng = self._generator(), torch.Generator().manual_seed(seed)
        if label is None:
            return torch.stack([model.sample(n, c, rng) for c in range(model.classes)])
        return model.sample(n, int(self.labels([label], 1)[0]), rng)

    def _generator(self) -> Model:
        if not self.model.can_generate:
            raise Refused(f"model '{self.model.name}' generates no images; choose a run of pff")
        return self.model


def load(ref: str = "latest", root: str | None = None) -> Trained:
    """The run that `ref` names (a path, an id, "latest" or a bundled checkpoint), with its net."""
    return Trained(runs.find(ref, root).dir)


def evaluate(
    run: runs.Run | str,
    data_name: str | None = None,
    readout_name: str | None = None,
    root: str | None = None,
    data_root: str | None = None,
) -> dict[str, Any]:
    """Accuracy of a finished run on its own test images, or on a dataset, .npz or folder: the object that `--json` prints.

    Looking at the run's own test images is counted in its status.
    """
    trained = load(run, root) if isinstance(run, str) else Trained(run.dir)
    model, config = trained.model, trained.config
    facts = config["facts"]
    if readout_name and readout_name not in model.readouts:
        raise Refused(f"model '{model.name}' has no read-out '{readout_name}'; it has {', '.join(model.readouts)}")
    own = data_name is None
    name = config["data"]["name"] if own else data_name
    test, classes = _test_set(name, config, data_root or config["data_root"], own)
    if tuple(test.x.shape[1:]) != tuple(facts["shape"]):
        raise Refused(
            f"{name} has images of shape {tuple(test.x.shape[1:])}, the net takes {tuple(facts['shape'])}; "
            f"choose data of that shape"
        )
    known = {name: i for i, name in enumerate(facts["classes"])}
    if set(classes) <= set(known):  # a folder may hold some of the classes, and in another order
        test = test._replace(y=torch.tensor([known[name] for name in classes])[test.y])
    elif len(classes) > len(known):
        raise Refused(f"{name} has {len(classes)} classes, the net knows {len(known)}; choose other data")
    result = readout.evaluate(model, test.x, test.y, config["train"]["precision"])
    status = trained.status()
    if own and not trained.bundled:
        with trained.lock():  # or a process that trains it would write its status at the same time
            trained.write_status(test_touches=trained.stored_status()["test_touches"] + 1)
    told = summary(trained, status)
    for key, right in result.accuracy.items():
        told["readouts"].setdefault(key, {"validation": None})["test"] = right
    validation = {row["layer"]: row["validation_accuracy"] for row in told["layers"]}
    told["readout"] = readout_name or model.readouts[0]
    told["validation_accuracy"] = told["readouts"][told["readout"]]["validation"]
    told["test_accuracy"] = result.accuracy[told["readout"]]
    return told | {
        "data": name,
        "images": result.images,
        "layers": [
            {"layer": i, "validation_accuracy": validation.get(i), "accuracy": right}
            for i, right in enumerate(result.layers, 1)
        ],
        "confusion": result.confusion.tolist(),
    }


def autopsies(trained: Trained, x: Tensor, y: Tensor, dead: list[Tensor]) -> list[list[dict[str, Any]]]:
    """`autopsy.examine` of a run's dead units (k,) per layer, with the history that it kept; without one where it kept none."""
    if not any(map(len, dead)):
        return [[] for _ in dead]
    try:
        told = lifetimes.unit_history(trained)
    except Refused:
        return autopsy.examine(trained.model, x, y, dead)
    until = [e for e in told["epochs"] if trained.epoch is None or e <= trained.epoch]
    names = ("rate", "bias", "weight_norm")
    if not until or [len(b) for _, b in trained.model.incoming()] != [layer["rate"].shape[1] for layer in told["layers"]]:
        return autopsy.examine(trained.model, x, y, dead)
    kept, pasts = trained.kept(), []
    pairs = [e for i, e in enumerate(until) if any(n in kept for n in until[max(0, i - 1) : i + 2] if n != e) and e in kept]
    weights = {}
    for e in pairs:
        with suppress(Refused):  # lengths alone must do then
            weights[e] = [w.detach() for w, _ in Trained(trained.dir, e).model.incoming()]
    for i, layer in enumerate(told["layers"]):
        numbers = [torch.from_numpy(layer[name][: len(until)]) for name in names]
        pasts.append(autopsy.Past(until, *numbers, {e: w[i] for e, w in weights.items()}))
    return autopsy.examine(trained.model, x, y, dead, pasts)


def _test_set(name: str, config: dict, root: str | None, own: bool) -> tuple[Split, tuple[str, ...]]:
    if own or name in data.DATASETS or name == "auto":
        settings = config["data"] if own else {"name": name}
        loaded = data.load(data.DataSettings(**settings), root)
        if own and loaded.hash != config["facts"]["data_hash"]:
            raise Refused(f"{name} is no longer the data that run {config['id']} was trained on; name it with --data")
        return loaded.test, loaded.classes
    return data.read_own(name, config["facts"]["shape"][-1])


def summary(run: runs.Run, status: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `--json` prints of a run: accuracies are fractions or null, times are seconds."""
    config, status = run.config, status or run.status()
    result = status["result"] or {}
    return {
        "run": run.id,
        "dir": str(run.dir),
        "state": status["state"],
        "model": config["model"]["name"],
        "negatives": config["negatives"] and config["negatives"]["name"],
        "data": config["data"]["name"],
        "device": config["device"],
        "seed": config["seed"],
        "epochs": status["epoch"],
        "steps": status["step"],
        "train_seconds": status["train_seconds"],
        "seconds": status["seconds"],
        "validation_accuracy": None,
        "test_accuracy": None,
        "readout": None,
        "readouts": {},
        "layers": [],
        "reason": status["reason"],
        **{key: value for key, value in result.items() if key not in ("run", "dir")},
    }
