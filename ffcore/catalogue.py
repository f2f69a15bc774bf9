"""What there is: models, strategies, datasets and presets with their settings, bounds and sources; and the machine's state."""

import inspect
from pathlib import Path
from typing import Any

from ffcore import data, runs
from ffcore.cards import zoo
from ffcore.errors import Refused
from ffcore.registry import Registry, describe

__all__ = [
    "datasets", "doctor", "examples", "models", "negatives", "presets", "reading", "through", "training_settings", "zoo",
]  # fmt: skip


def _items(registry: Registry, name: str | None, tell) -> list[dict[str, Any]]:
    return [{"name": key, **tell(registry[key])} for key in ([name] if name else registry)]


def models(name: str | None = None) -> list[dict[str, Any]]:
    """Every model, or the one called `name`, as `ffcore models --json` tells it."""
    from ffcore.models import MODELS

    facts = ("is_local", "uses_negatives", "has_goodness", "can_generate", "readouts", "recommended", "faithful")
    return _items(MODELS, name, lambda cls: {**_told(cls, cls.Settings, facts), **_shown(cls)})


def _shown(cls) -> dict[str, Any]:
    """Equation, traced quantities and wiring of a model, for a page of its own. A plug-in may say none, or nonsense."""
    equation, traces, wiring = cls.equation, cls.traces, cls.wiring
    wires = [list(wire) for wire in wiring if isinstance(wire, list | tuple)] if isinstance(wiring, list | tuple) else []
    return {
        "equation": equation if isinstance(equation, str) else "",
        "traces": {str(k): str(v) for k, v in traces.items()} if hasattr(traces, "items") else {},
        "wiring": [wire for wire in wires if len(wire) == 3 and all(isinstance(part, str) for part in wire)],
    }


def negatives(name: str | None = None) -> list[dict[str, Any]]:
    """Every negative strategy, or the one called `name`."""
    from ffcore.negatives import STRATEGIES

    return _items(STRATEGIES, name, lambda cls: _told(cls, cls, ("uses_labels", "embeds_label", "needs_view", "faithful")))


def _told(cls, settings, facts: tuple[str, ...]) -> dict[str, Any]:
    told = {fact: getattr(cls, fact) for fact in facts}
    told = {k: dict(v) if hasattr(v, "items") else v for k, v in told.items()}
    about = {"title": cls.title, "source": cls.source, "about": inspect.getdoc(cls)}
    return {**about, **told, "settings": describe(settings)}


def datasets(name: str | None = None, data_root: str | None = None) -> list[dict[str, Any]]:
    """Every dataset, or the one called `name`; `present` says whether it can be used without a download."""
    shared = describe(data.DataSettings)

    def tell(entry) -> dict[str, Any]:
        told = ("title", "source", "licence", "provenance", "classes", "shape", "sizes", "downloads")
        return {
            **{k: getattr(entry, k) for k in told},
            "present": data.present(entry.name, data_root),
            "settings": shared,
        }

    return _items(data.DATASETS, name, tell)


def presets(name: str | None = None) -> list[dict[str, Any]]:
    """Every preset, or the one called `name`, with the settings it stands for."""
    from ffcore.presets import PRESETS

    told = ("title", "why", "source", "good", "settings", "see", "fix", "instead", "variant")
    return _items(PRESETS, name, lambda p: {k: getattr(p, k) for k in told})


def training_settings() -> dict[str, dict]:
    """{key: {type, default, bounds, help}} of what `--set train.KEY=…` takes."""
    from ffcore.config import TrainSettings

    return describe(TrainSettings)


def examples(config: dict[str, Any], strategies: list[dict[str, Any]], n: int = 4) -> list[dict[str, Any]]:
    """What strategies ({name, **settings}) make of `n` training images of a configuration, one dict for each.

    pos, neg (n, C, H, W), pos_label, neg_label (n,) or None, classes. A strategy that asks the net sees an untrained one.
    """
    import torch

    from ffcore.models.base import generator
    from ffcore.training import build_model, build_strategy

    if not config["negatives"]:
        raise Refused(f"model '{config['model']['name']}' uses no negatives; there is nothing to show")
    loaded = data.load(data.DataSettings(**config["data"]), config["data_root"])
    x, y = loaded.train.x[:64].float() / 255, loaded.train.y[:64]
    view, told = build_model({**config, "device": "cpu"}, loaded).view(), []
    for wanted in strategies:
        with torch.no_grad():
            pair = build_strategy({"negatives": wanted})(x, y, view, generator(config["seed"], "negatives"))
        one = {"classes": loaded.classes}
        for side, sample in (("pos", pair.pos), ("neg", pair.neg)):
            one[side] = sample.image[:n].numpy()
            one[f"{side}_label"] = None if sample.label is None else sample.label[:n].numpy()
        told.append(one)
    return told


def through(run: runs.Run | str, strategies: list[dict[str, Any]], x, y, seed: int = 0) -> list[dict[str, Any]]:
    """What strategies ({name, **settings}) make of the first of some images, and what the net of a run makes of that.

    x (n, C, H, W) in [0, 1] or uint8, y (n,): the images that may become partners, 64 of them as a rule. Per strategy:
    name; pos, neg (C, H, W); pos_label, neg_label (class index or None); difference, g⁺ - g⁻ of that image in every layer;
    won, the share of all n pairs that each layer gets right; reading (`reading`). Raises Refused for a wrong setting, or
    a net without goodness.
    """
    import torch

    from ffcore.negatives import STRATEGIES
    from ffcore.registry import build
    from ffcore.trained import Trained, load
    from ffcore.training import contrast

    net = run if isinstance(run, Trained) else load(run) if isinstance(run, str) else Trained(run.dir)
    if not net.model.has_goodness:
        raise Refused(f"model '{net.model.name}' has no goodness; choose a run of one that has")
    x, y, told = net.images(x), net.labels(y, len(x)), []
    for wanted in strategies:
        settings = {key: value for key, value in wanted.items() if key != "name"}
        strategy = build(STRATEGIES[wanted["name"]], settings, "negatives")
        pair, difference, won = contrast(net.model, strategy, x, y, torch.Generator().manual_seed(seed))
        one = {"name": wanted["name"], "difference": difference[0].tolist(), "won": won.mean(0).tolist()}
        for side, sample in (("pos", pair.pos), ("neg", pair.neg)):
            one[side] = sample.image[0].numpy()
            one[f"{side}_label"] = None if sample.label is None else int(sample.label[0])
        told.append({**one, "reading": reading(one["won"])})
    return told


def reading(won: list[float]) -> str:
    """How hard negatives are for a net that gets these shares of the pairs right, layer by layer.

    "too easy": 99% right on average, there is little left to learn. "too hard": 60% or less, hardly better than a coin.
    Else "useful". A rule of thumb, not a law: the study's scatter shows what hardness went with what accuracy.
    """
    mean = sum(won) / len(won)
    return "too easy" if mean >= 0.99 else "too hard" if mean <= 0.6 else "useful"


def doctor(root: str | None = None, data_root: str | None = None) -> list[dict[str, Any]]:
    """Checks of this machine, [{name, ok, detail}]: versions, devices, data, write access."""
    import importlib.metadata as metadata
    import platform

    checks = [{"name": "python", "ok": True, "detail": platform.python_version()}]
    for package, needed in (("torch", True), ("torchvision", True), ("streamlit", False), ("plotly", False)):
        try:
            checks.append({"name": package, "ok": True, "detail": metadata.version(package)})
        except metadata.PackageNotFoundError:
            remedy = "pip install ffcore" if needed else "not installed; the dashboard needs it: pip install 'ffcore[app]'"
            checks.append({"name": package, "ok": not needed, "detail": remedy})
    import torch

    from ffcore.config import pick_device, pick_precision
    from ffcore.jobs import cores

    device = pick_device("auto")
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    checks.append(
        {
            "name": "device",
            "ok": True,
            "detail": f"{device} ({name}), {cores()} cores, trains in {pick_precision('auto', device)}",
        }
    )
    from ffcore.models import MODELS
    from ffcore.negatives import STRATEGIES
    from ffcore.registry import plugin_root

    checks.append(
        {"name": "plug-ins", "ok": True, "detail": f"{plugin_root()}: negatives/NAME.py, models/NAME.py (code that is run)"}
    )
    for registry in (STRATEGIES, MODELS):
        mine = [name for name in registry if registry.fingerprint(name)]
        checks += [
            {"name": f"plug-in {name}", "ok": True, "detail": f"{registry.kind}: {registry[name].title}"} for name in mine
        ]
        checks += [{"name": f"plug-in {name}", "ok": False, "detail": why} for name, why in registry.problems.items()]
    place = data.data_root(data_root)
    for item in datasets(data_root=data_root):
        where = "here" if item["present"] else f"not in {place}; downloaded when asked for by name"
        checks.append({"name": f"data {item['name']}", "ok": True, "detail": where})
    home = runs.runs_root(root)
    checks.append({"name": "runs", **_writable(home)})
    return checks


def _writable(folder: Path) -> dict[str, Any]:
    import os

    there = next(p for p in (folder, *folder.parents) if p.exists())
    ok = there.is_dir() and os.access(there, os.W_OK)
    return {
        "ok": ok,
        "detail": f"{folder} can be written" if ok else f"{folder} cannot be written; choose another with --runs",
    }
