"""A run's images laid out on a plane by what a layer makes of them, at one epoch or through training."""

from typing import Any, Literal

from pydantic import Field

from ffcore import data
from ffcore.errors import Refused
from ffcore.lab import ANALYSES
from ffcore.lab._images import check_images
from ffcore.lab.base import Analysis
from ffcore.registry import Settings


@ANALYSES.register("embed")
class Embed(Analysis):
    """Points (frames, N, 2), with what the net says of every image; the net is shown the neutral label."""

    title = "Embedding"
    source = "Poličar et al. 2024 (openTSNE); McInnes et al. 2018, arXiv 1802.03426; Venna & Kaski 2001 (trustworthiness)"

    class Settings(Settings):
        """Which activities of which images, and how they come onto the plane."""

        layer: str = Field("all", description="a layer's number, all (side by side) or pixels")
        method: Literal["pca", "tsne", "umap"] = Field("pca", description="how features come onto the plane")
        n: int = Field(5_000, ge=20, le=20_000, description="images: validation images first, then training images")
        data: str | None = Field(None, description="images of another data set by its name; null: the run's own")
        epoch: int | None = Field(None, ge=0, description="the net as it was after this epoch; null: as it is now")
        frames: Literal["one", "kept"] = Field("one", description="one: this net; kept: that of every epoch kept, laid over")
        seed: int = Field(0, ge=0, le=2**31 - 1, description="random seed of the layout")

    @classmethod
    def resolve(cls, settings, runs):
        from ffcore import embedding

        embedding.check_method(settings["method"])
        run, name = runs[0], settings["data"]
        if (depth := _depth(run)) is not None:
            _check_layer(settings["layer"], depth, run)
        facts, own = run.config["facts"], name is None or name == run.config["data"]["name"]
        entry = None if own else data.DATASETS[name]
        if entry and tuple(entry.shape) != tuple(facts["shape"]):
            raise Refused(
                f"{name} has images of shape {tuple(entry.shape)}, run {run.id} takes {tuple(facts['shape'])}; "
                "choose data of that shape"
            )
        sizes = entry.sizes if entry else facts["sizes"]
        have = sizes.get("validation", 0) + sizes.get("train", 0) or settings["n"]
        if settings["frames"] == "kept" and settings["epoch"] is not None:
            raise Refused("embed.frames=kept shows every epoch that is kept; leave out the epoch")
        return {**settings, "data": None if own else name, "n": min(settings["n"], have)}

    @classmethod
    def check_here(cls, settings, runs):
        check_images(runs[0], settings["data"], settings["n"])

    @classmethod
    def measure(cls, runs, settings, tell, root):
        import numpy as np
        import torch

        from ffcore import embedding
        from ffcore.trained import Trained

        run = runs[0]
        facts = run.config["facts"]
        name, title, classes = run.config["data"]["name"], facts["data_title"], facts["classes"]
        held = min(settings.n, facts["sizes"].get("validation", 0))
        if settings.data is None and held == settings.n:
            x, y = run.held_out(held)
        else:
            loaded = run.data() if settings.data is None else _other(run, settings.data)
            name, title, classes = loaded.name, loaded.title, loaded.classes
            held = min(settings.n, len(loaded.validation.y))
            parts = zip(loaded.validation, loaded.train, strict=True)
            x, y = (torch.cat([part[:held], rest[: settings.n - held]]) for part, rest in parts)
        own = list(classes) == list(facts["classes"])
        kept = settings.frames == "kept"
        epochs = run.kept() if kept else [run.epoch if run.epoch is not None else run.status()["epoch"]]
        told: dict[str, list] = {"xy": []}
        trust: list[float | None] = []
        for i, epoch in enumerate(epochs):

            def here(done: float, doing: str, i=i) -> None:
                tell((i + done) / len(epochs), f"epoch {epochs[i]}: {doing}" if kept else doing)

            here(0.0, "activities")
            net = Trained(run.dir, epoch) if kept else run
            features = _features(net, x, settings.layer)
            start = next((xy for xy in reversed(told["xy"]) if xy.any()), None)
            xy = embedding.embed(
                features,
                settings.method,
                settings.seed,
                start,
                torch.get_num_threads(),
                lambda done, doing, here=here: here(0.2 + 0.7 * done, doing),
            )
            here(0.9, "trustworthiness")
            trust.append(None if xy is None else embedding.trustworthiness(features, xy, settings.seed))
            told["xy"].append(np.zeros((len(x), 2), np.float32) if xy is None else xy)
            for key, values in _answers(net, x, y if own else None).items():
                told.setdefault(key, []).append(values)
        if not any(xy.any() for xy in told["xy"]):
            raise Refused(f"all {len(x)} images look the same to layer {settings.layer}: it is dead; choose another layer")
        arrays = {key: np.stack(values) for key, values in told.items()}
        return {
            "method": settings.method,
            "layer": settings.layer,
            "features": features.shape[1],
            "rows": len(x),
            "validation": held,
            "epochs": epochs,
            "trustworthiness": trust,
            "classes": list(classes),
            "answers": list(facts["classes"]),
            "data": name,
            "title": title,
            "own_classes": own,
        }, {**arrays, "label": y.numpy().astype(np.int16), "index": np.arange(len(x), dtype=np.int32), "images": _small(x)}


def _check_layer(layer: str, depth: int, run: Any) -> None:
    if layer not in ("all", "pixels", *map(str, range(1, depth + 1))):
        raise Refused(f"embed.layer={layer}: run {run.id} has {depth} layers; choose one from 1 to {depth}, all or pixels")


def _depth(run: Any) -> int | None:
    """How many layers a run's net has, as far as its settings tell."""
    for key in ("widths", "channels"):
        if isinstance(run.config["model"].get(key), list):
            return len(run.config["model"][key])
    return None


def _other(run, name: str):
    return data.load(data.DataSettings(name=name), run.config["data_root"])


def _features(run, x, layer: str):
    """Images (N, C, H, W) uint8 as a layer tells them to the next, every image at mean square 1, (N, n) float32."""
    import torch

    from ffcore import probes

    if layer == "pixels":
        return x.flatten(1).float().div(255).numpy()
    layers = [probes.normalised(h) for h in probes.activities(run.model, x, run.config["train"]["precision"])]
    if layer == "all":
        return torch.cat(layers, 1).numpy()
    _check_layer(layer, len(layers), run)
    return layers[int(layer) - 1].numpy()


def _answers(run, x, y):
    """prediction (N,), margin (N,) of the best score over the next, error (N,) where y is given, goodness (N,) where there is
    one: the mean over layers, under the label that the net answers."""
    import numpy as np
    import torch

    from ffcore.labels import Sample
    from ffcore.readout import autocast

    model, out = run.model, {"prediction": [], "margin": [], "goodness": []}
    with torch.no_grad(), autocast(run.config["train"]["precision"], "cpu"):
        for some in x.split(1_000):
            images = some.float() / 255
            known = model.label_goodness(images) if model.tries_labels else None
            best = model.scores(images, known)[model.readouts[0]].float().topk(2, 1)
            said = best.indices[:, 0]
            out["prediction"].append(said)
            out["margin"].append(best.values[:, 0] - best.values[:, 1])
            if known is not None:
                out["goodness"].append(known[torch.arange(len(said)), said].float().mean(1))
            elif model.has_goodness:
                out["goodness"].append(model.sample_goodness(Sample(images)).float().mean(1))
    told = {key: torch.cat(values).numpy() for key, values in out.items() if values}
    told["prediction"] = told["prediction"].astype(np.int16)
    return told if y is None else {**told, "error": told["prediction"] != y.numpy()}


def _small(x):
    """Thumbnails, (N, C, H, W) uint8 → (N, C, ≤ 28, ≤ 28)."""
    import torch.nn.functional as F

    if max(x.shape[2:]) <= 28:
        return x.numpy()
    return F.adaptive_avg_pool2d(x.float(), 28).round().byte().numpy()
