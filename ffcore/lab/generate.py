"""Images out of a run: PFF's samples, reconstructions and what lies between; for any net, the image that a layer likes best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ffcore.errors import Refused
from ffcore.lab import ANALYSES
from ffcore.lab.base import Analysis, Found, Tell
from ffcore.registry import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ffcore.data import Split
    from ffcore.models.base import Model
    from ffcore.rundir import Run
    from ffcore.trained import Trained

FITTED = 1_000  # training images of a class whose latents its mixture is fitted to
CHOICES, ENOUGH = (1, 2, 3, 5, 8), 20  # components that are tried, and the images of a class that each needs
HELD_OUT = 1_000  # validation images whose distances samples are compared with
MOST = 2_000  # images that are kept
NO_SLOPE = ("cwc", "reconstruction", "vicreg")  # models whose layers hand on no slope: said before torch is loaded

# what each question knows of, with its defaults; what depends on the run is None
KNOWN: dict[str, dict[str, Any]] = {
    "samples": {"label": None, "n": 100, "seed": 0, "components": None, "epoch": None},
    "reconstructions": {"label": None, "n": 20, "epoch": None},
    "steps": {"label": None, "n": 20, "steps": None, "epoch": None},
    "interpolation": {"first": 1, "second": 2, "points": 11, "epoch": None},
    "epochs": {"label": None, "n": 40, "seed": 0},
    "ascent": {
        "label": None, "n": 20, "seed": 0, "of": None, "layer": None, "aim": "contrast", "start": "noise", "steps": 100,
        "rate": 0.1, "smooth": 0.5, "jitter": 1, "ink": 1.0, "epoch": None,
    },
}  # fmt: skip


@ANALYSES.register("generate")
class Generate(Analysis):
    """A second run is a judge: what an independent net reads in the images."""

    title = "Images out of a net"
    source = "Ororbia & Mali 2023, arXiv 2301.01452 (PFF); Simonyan, Vedaldi & Zisserman 2014, arXiv 1312.6034 (ascent)"
    most = 2

    class Settings(Settings):
        what: Literal["samples", "reconstructions", "steps", "interpolation", "epochs", "ascent"] | None = Field(
            None, description="what to make; samples of a run that generates, else ascent"
        )
        label: int | Literal["any"] | None = Field(
            None, description="a class's number; any: all in their proportions; by default every class alike"
        )
        n: int | None = Field(None, ge=1, le=MOST, description="images")
        seed: int | None = Field(None, ge=0, lt=2**31, description="random seed")
        components: int | None = Field(
            None,
            ge=1,
            le=50,
            description="Gaussians in the mixture of each class; default the number that suits validation latents best",
        )
        steps: int | None = Field(None, ge=1, le=1_000, description="steps of inference (the model's K), or of the climb")
        first: int | None = Field(None, ge=1, description="validation image to start from, counted from 1")
        second: int | None = Field(None, ge=1, description="validation image to end at, counted from 1")
        points: int | None = Field(None, ge=2, le=101, description="images from one to the other, both included")
        of: Literal["goodness", "score"] | None = Field(None, description="climb in goodness, or in the class's score")
        layer: int | Literal["each"] | None = Field(
            None,
            description="layer whose goodness is climbed, from 1; each: one after the other, then all; default all that vote",
        )
        aim: Literal["contrast", "plain"] | None = Field(
            None, description="contrast: less the other labels' mean; plain: under the label alone"
        )
        start: Literal["noise", "mean"] | None = Field(None, description="where the climb begins: noise, or the mean image")
        rate: float | None = Field(None, gt=0, le=1, description="root mean square of the first step, per pixel; falls to 0")
        smooth: float | None = Field(None, ge=0, le=10, description="pull against total variation, as a share of the slope")
        jitter: int | None = Field(None, ge=0, le=10, description="pixels by which images shift while a slope is taken")
        ink: float | None = Field(
            None, ge=0, le=10, description="length that images are held at, in training images' mean lengths; 0: free"
        )
        epoch: int | None = Field(None, ge=0, description="the net of this epoch")

    @classmethod
    def resolve(cls, settings: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
        run = runs[0]
        settings["what"] = what = settings["what"] or ("samples" if generates(run) else "ascent")
        if what != "ascent" and not generates(run):
            raise Refused(f"model '{run.config['model']['name']}' generates no {what}; choose a run of pff, or what=ascent")
        for key, value in settings.items():
            if value is not None and key not in ("what", *KNOWN[what]):
                fits = [name for name, known in KNOWN.items() if key in known]
                raise Refused(f"{what} knows no {key}; leave it out, or ask for what={' or '.join(fits)}")
        filled = {**settings, **{k: v for k, v in KNOWN[what].items() if settings[k] is None}}
        _check_label(filled["label"], run)
        if what == "steps":
            filled["steps"] = filled["steps"] or run.config["model"]["steps"]
        if what == "ascent":
            filled["of"] = filled["of"] or ("goodness" if _answers_by_goodness(run) else "score")
            if (name := run.config["model"]["name"]) in NO_SLOPE:
                raise Refused(f"model '{name}' hands on no slope of its {filled['of']} to the image; choose a run of ff or pff")
            if filled["of"] == "score" and filled["layer"] is not None:
                raise Refused(f"a class's score is of the whole net, not of layer {filled['layer']}; leave layer out")
            if filled["label"] == "any":
                raise Refused("a climb needs a label; name one, or leave it out for every class")
        if len(runs) > 1:
            _check_judge(run, runs[1], filled["epoch"])
        return filled

    @classmethod
    def measure(cls, runs: Sequence[Trained], settings: Any, tell: Tell, root: str | None) -> Found:
        import torch

        run, judge = runs[0], runs[1] if len(runs) > 1 else None
        with torch.no_grad():
            numbers, arrays = _MAKE[settings.what](run, settings, tell)
            images = arrays["images"]
            flat = images.reshape(-1, *run.model.shape).float()
            arrays["read"] = _by(judge or run, flat).view(images.shape[: images.dim() - 3])
        numbers["judge"] = judge.id if judge else None
        numbers["judge_test_accuracy"] = ((judge.status()["result"] or {}).get("test_accuracy")) if judge else None
        if "y" in arrays and settings.what not in ("steps", "epochs", "interpolation"):
            right = arrays["read"] == arrays["y"]
            numbers["judged"] = right.float().mean().item()
            numbers["judged_by_class"] = [
                right[..., arrays["y"] == c].float().mean().item() if (arrays["y"] == c).any() else None
                for c in range(run.model.classes)
            ]
        return {**numbers, "classes": list(run.config["facts"]["classes"])}, {k: _stored(v) for k, v in arrays.items()}


def generates(run: Run) -> bool:
    """Does its model draw images from latents? Told by its settings, without torch."""
    return "latent" in run.config["model"]


def _answers_by_goodness(run: Run) -> bool:
    result = run.status()["result"] or {}
    learnt = bool(run.config["negatives"]) and run.config.get("labelled", True)
    return result["readout"] == "goodness" if result.get("readout") else learnt


def _check_label(label: int | str | None, run: Run) -> None:
    classes = len(run.config["facts"].get("classes", ()))
    if isinstance(label, int) and not 0 <= label < classes:
        raise Refused(f"label {label}: run {run.id} knows classes 0 to {classes - 1}; choose one of them")


def _check_judge(run: Run, judge: Run, epoch: int | None) -> None:
    if judge.dir == run.dir:
        raise Refused(f"run {run.id} cannot judge itself; name another run, or none")
    if epoch is not None:
        raise Refused("a judge and an epoch do not go together; leave one out")
    for fact in ("shape", "classes"):
        one, other = (r.config["facts"].get(fact) for r in (run, judge))
        if one != other:
            raise Refused(f"judge {judge.id} was trained for {fact} {other}, not {one}; choose one trained on the same images")


def _by(run: Trained, images: Tensor) -> Tensor:
    from ffcore import generation

    return generation.reading(run.model, images)


def _stored(value: Any) -> Any:
    """Tensors as arrays; images in [0, 1] as uint8, without the axis of a single channel."""
    value = value.numpy() if hasattr(value, "numpy") else value
    if value.dtype.kind == "f" and value.ndim >= 4:
        value = (255 * value).round().clip(0, 255).astype("uint8")
    return value[..., 0, :, :] if value.dtype == "uint8" and value.ndim >= 4 and value.shape[-3] == 1 else value


def _wanted(label: int | str | None, n: int, classes: int, counts: Sequence[float]) -> Tensor:
    """The classes of n images to be made, (n,), in order: one class, all alike, or in the proportions of `counts`."""
    import torch

    from ffcore import generation

    shares = (
        [1.0] * classes if label is None else list(counts) if label == "any" else [float(c == label) for c in range(classes)]
    )
    return torch.repeat_interleave(torch.arange(classes), torch.tensor(generation.portions(n, shares)))


def _real(run: Trained, settings: Any) -> tuple[Split, Tensor]:
    """The validation images, and the indices of those that are asked for."""
    import torch

    from ffcore import generation

    held = run.held_out()
    found = (
        torch.arange(len(held.y)) if not isinstance(settings.label, int) else torch.nonzero(held.y == settings.label).flatten()
    )
    if isinstance(settings.label, int) or settings.label == "any":
        return held, found[: settings.n]
    return held, generation.spread_over(held.y, settings.n, run.model.classes)


def _samples(run: Trained, settings: Any, tell: Tell) -> Found:
    """Images of classes from mixtures of latents, each with its nearest training image; and how near real ones come."""
    import torch

    from ffcore import generation
    from ffcore.data import Split

    model, data = run.model, run.data()
    train = data.train
    counts = torch.bincount(train.y, minlength=model.classes).tolist()
    y = _wanted(settings.label, settings.n, model.classes, counts)
    held = Split(*(part[:HELD_OUT] for part in data.validation))
    seen, own = {}, {}  # latents of training and of validation images, class by class
    drawn = sorted(set(y.tolist()))
    for i, c in enumerate(drawn):
        tell(0.4 * i / len(drawn), f"latents of class {data.classes[c]}")
        mine, its = torch.nonzero(train.y == c).flatten()[:FITTED], held.y == c
        seen[c] = generation.latents(model, train.x[mine], train.y[mine])
        if its.any():
            own[c] = generation.latents(model, held.x[its], held.y[its])
    fits = {k: {c: generation.fit(z, k, settings.seed) for c, z in seen.items()} for k in _choices(settings, seen, own)}
    tell(0.5, "mixtures")
    tried = {k: _likelihood(fitted, own) for k, fitted in fits.items()}
    components = max(fits, key=lambda k: tried[k] or 0.0)
    rng = torch.Generator().manual_seed(settings.seed)
    z = torch.cat([generation.draw(fits[components][c], int((y == c).sum()), rng) for c in drawn])
    images = model.generate(z)
    arrays = {"images": images, "y": y, "latents": z}
    numbers = {"components": components, "tried": tried, "log_likelihood": tried[components], "fitted": FITTED}
    numbers["training_images"] = len(train.y)
    like = torch.isin(held.y, torch.tensor(drawn))
    real = generation.variety(held.x[like].float() / 255, held.y[like])
    numbers["variety"] = {"sample": generation.variety(images, y), "held_out": real}
    return _with_neighbours(model, train, held, numbers, arrays, tell)


def _choices(settings: Any, seen: dict[int, Tensor], own: dict[int, Tensor]) -> list[int]:
    """The numbers of components to try: the one that is asked for, or those that the classes have images enough for."""
    if settings.components is not None or not own:
        return [settings.components or 1]
    least = min(map(len, seen.values()))
    return [k for k in CHOICES if k == 1 or k * ENOUGH <= least]


def _likelihood(fitted: dict[int, Any], own: dict[int, Tensor]) -> float | None:
    """Mean log-likelihood of validation latents under the mixture of their class; None without any."""
    told = [(fitted[c].score(z.double().numpy()), len(z)) for c, z in own.items()]
    return float(sum(value * n for value, n in told) / sum(n for _, n in told)) if told else None


def _with_neighbours(model: Model, train: Split, held: Split, numbers: dict, arrays: dict, tell: Tell) -> Found:
    """Are they copies? Distances to the nearest training image of samples, of held-out images, and of those images' own
    reconstructions, which are as smooth as samples and cannot be copied from training."""
    from ffcore import generation

    tell(0.6, "nearest training images")
    arrays["distances"], index = generation.nearest(arrays["images"], train.x)
    arrays |= {"neighbours": train.x[index], "neighbour_y": train.y[index], "neighbour_index": index}
    numbers["copies"] = told = {"sample": arrays["distances"].median().item(), "held_out": None, "reconstructed": None}
    told |= {"nearer_than_held_out": None, "nearer_than_reconstructed": None, "images": len(held.y)}
    if len(held.y):
        real = held.x.float() / 255
        tell(0.75, "nearest training images of held-out images")
        arrays["held_out_distances"] = generation.nearest(real, train.x)[0]
        tell(0.9, "nearest training images of reconstructions")
        again = model.generate(generation.latents(model, held.x, held.y))
        arrays["reconstructed_distances"] = generation.nearest(again, train.x)[0]
        for key in ("held_out", "reconstructed"):
            told[key] = arrays[f"{key}_distances"].median().item()
            least = arrays[f"{key}_distances"].quantile(0.01)
            told[f"nearer_than_{key}"] = (arrays["distances"] < least).float().mean().item()
    return numbers, arrays


def _reconstructions(run: Trained, settings: Any, tell: Tell) -> Found:
    """Validation images out of their own latents, inferred without their class; squared error per pixel."""
    from ffcore import generation

    held, index = _real(run, settings)
    again = run.model.generate(generation.latents(run.model, held.x[index]))
    real = held.x[index].float() / 255
    error = (again - real).square().flatten(1).mean(1)
    tell(0.5, "errors")
    arrays = {"images": again, "originals": held.x[index], "y": held.y[index], "index": index, "errors": error}
    return {"error": error.mean().item(), "mean_image_error": _mean_image_error(run, real)}, arrays


def _mean_image_error(run: Trained, real: Tensor) -> float:
    """What the mean training image, the same for all, would have for an error."""
    return (real - run.mean_image()).square().mean().item()


def _steps(run: Trained, settings: Any, tell: Tell) -> Found:
    """The latent and what it decodes to, before the first inference step and after each, with the error."""
    import torch

    held, index = _real(run, settings)
    real, z = held.x[index].float() / 255, []
    for step, told in enumerate(run.model.inference(real, steps=settings.steps)):
        z.append(told)
        tell(step / (settings.steps + 1), f"step {step}")
    images = torch.stack([run.model.generate(told) for told in z])
    error = (images - real).square().flatten(2).mean(2)
    arrays = {"images": images, "originals": held.x[index], "y": held.y[index], "index": index}
    arrays |= {"latents": torch.stack(z), "errors": error}
    numbers = {"error": error.mean(1).tolist(), "mean_image_error": _mean_image_error(run, real)}
    moved = torch.stack(z).diff(dim=0).norm(dim=2).mean(1)
    return {**numbers, "moved": [0.0, *moved.tolist()], "trained_steps": run.config["model"]["steps"]}, arrays


def _interpolation(run: Trained, settings: Any, tell: Tell) -> Found:
    """Images on the straight line between two validation images' latents. No class is asked for anywhere on the way."""
    import torch

    from ffcore import generation

    held = run.held_out()
    for key in ("first", "second"):
        if getattr(settings, key) > len(held.y):
            asked = getattr(settings, key)
            raise Refused(
                f"{key}={asked}: the run kept {len(held.y)} validation images; choose a number from 1 to {len(held.y)}"
            )
    ends = torch.tensor([settings.first - 1, settings.second - 1])
    z = generation.line(*generation.latents(run.model, held.x[ends]), settings.points)
    arrays = {"images": run.model.generate(z), "originals": held.x[ends], "latents": z, "y": held.y[ends]}
    return {"validation_images": len(held.y)}, arrays


def _epochs(run: Trained, settings: Any, tell: Tell) -> Found:
    """The same random draws through the net of every kept epoch, each with the classes' Gaussians that it had then."""
    import torch

    from ffcore.trained import Trained

    epochs = run.kept()
    counts = torch.bincount(run.data().train.y, minlength=run.model.classes).tolist() if settings.label == "any" else []
    y, frames = _wanted(settings.label, settings.n, run.model.classes, counts), []
    for i, epoch in enumerate(epochs):
        tell(i / len(epochs), f"epoch {epoch}")
        net, rng = Trained(run.dir, epoch).model, torch.Generator().manual_seed(settings.seed)
        drawn = [net.sample(int((y == c).sum()), c, rng) for c in y.unique().tolist()]
        frames.append(torch.cat(drawn))
    return {"epochs": epochs}, {"images": torch.stack(frames), "y": y}


def _ascent(run: Trained, settings: Any, tell: Tell) -> Found:
    """Images that climb in goodness (or score), a block per layer where each is asked for, (blocks, n, …)."""
    import torch

    from ffcore import generation

    model, rng = run.model, torch.Generator().manual_seed(settings.seed)
    if settings.of == "goodness" and not model.tries_labels:
        raise Refused(f"run {run.id} has no goodness under labels; climb in score")
    y = _wanted(settings.label, settings.n, model.classes, [])
    usual = run.samples()  # a bundled net's training images need not be on this machine
    if usual is None:
        raise Refused(f"run {run.id} has stored no sample images to compare with; train it again")
    real, its = torch.from_numpy(usual["images"]).float() / 255, torch.from_numpy(usual["labels"])
    blocks = _blocks(run, settings)
    first = torch.rand(len(y), *model.shape, generator=rng)
    if settings.start == "mean":
        first = real.mean(0).expand_as(first).clone()
    length = settings.ink * real.flatten(1).norm(dim=1).mean().item() or None
    first = first if length is None else generation.of_length(first, length)
    images, rows, before, after = [], [], [], []
    for i, (name, layers) in enumerate(blocks):
        tell(i / len(blocks), f"climbing for {name}")
        climb = {key: getattr(settings, key) for key in ("steps", "rate", "smooth", "jitter")}
        what = {"of": settings.of, "layers": layers, "aim": settings.aim}
        jolts = torch.Generator().manual_seed(settings.seed)
        done = generation.climb(model, y, first, jolts, length=length, **climb, **what)
        value = [generation.preference(model, x, y, **what) for x in (first, done)]
        told = generation.preference(model, real, its, **what)
        images.append(done), before.append(value[0]), after.append(value[1])
        for c in y.unique().tolist():
            mine, like = y == c, its == c
            row = {"block": name, "layers": [v + 1 for v in layers], "label": c, "before": value[0][mine].mean().item()}
            row |= {"after": value[1][mine].mean().item(), "real": told[like].mean().item() if like.any() else None}
            row["read"] = generation.reading(model, done[mine]).mode().values.item()
            rows.append(row)
    arrays = {"images": torch.stack(images), "y": y, "before": torch.stack(before), "after": torch.stack(after)}
    return {"rows": rows, "blocks": [name for name, _ in blocks], "compared": len(its)}, {**arrays, "first": first}


def _blocks(run: Trained, settings: Any) -> list[tuple[str, list[int]]]:
    """(name, layers from 0) of every climb."""
    if settings.of == "score":
        return [("the class's score", [])]
    import torch

    depth = run.model.label_goodness(torch.zeros(1, *run.model.shape)).shape[2]
    voting = ("all layers", list(getattr(run.model, "votes", range(depth))))
    if len(voting[1]) < depth:
        voting = (f"layers {', '.join(str(v + 1) for v in voting[1])}, which vote", voting[1])
    if settings.layer is None:
        return [voting]
    if settings.layer == "each":
        return [*((f"layer {i + 1}", [i]) for i in range(depth)), voting]
    if not 1 <= settings.layer <= depth:
        raise Refused(f"layer {settings.layer}: run {run.id} has layers 1 to {depth}; choose one of them")
    return [(f"layer {settings.layer}", [settings.layer - 1])]


_MAKE = {
    "samples": _samples,
    "reconstructions": _reconstructions,
    "steps": _steps,
    "interpolation": _interpolation,
    "epochs": _epochs,
    "ascent": _ascent,
}
