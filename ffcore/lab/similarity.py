"""Which layers of one net, or of two, represent the same images alike."""

import itertools
from functools import partial

from pydantic import Field

from ffcore.errors import Refused
from ffcore.lab import ANALYSES
from ffcore.lab._images import check_images, settle_held_out
from ffcore.lab.base import Analysis
from ffcore.registry import Settings

LABELLED = 500  # images that tell the label dependence, each under every label


@ANALYSES.register("similarity")
class Similarity(Analysis):
    """CKA and Procrustes distance of all pairs of layers, on the same images, each net shown the neutral label."""

    title = "Similarity of layers"
    source = "Kornblith et al., ICML 2019; Nguyen et al., ICLR 2021; Williams et al., NeurIPS 2021"
    most = 2

    class Settings(Settings):
        """Which images, and the nets of which epoch."""

        n: int = Field(2_000, ge=20, le=10_000, description="the first run's first validation images")
        epoch: int | None = Field(None, ge=0, description="the nets as they were after this epoch; null: as they are now")

    @classmethod
    def resolve(cls, settings, runs):
        first, second = runs[0], runs[-1]
        shapes = [tuple(run.config["facts"]["shape"]) for run in (first, second)]
        if shapes[0] != shapes[1]:
            raise Refused(
                f"run {second.id} takes images of shape {shapes[1]}, run {first.id} {shapes[0]}; "
                "layers are compared on the same images: choose runs on images of one shape"
            )
        return settle_held_out(settings, first)

    @classmethod
    def check_here(cls, settings, runs):
        check_images(runs[0], n=settings["n"])

    @classmethod
    def measure(cls, runs, settings, tell, root):
        from ffcore import probes, similarities

        x, y = runs[0].held_out(settings.n)
        names, layers, separation, dependence = [], [], {}, {}
        for place, run in enumerate(runs):
            tell(0.5 * place / len(runs), f"activities of {run.config['model']['name']}")
            features = probes.activities(run.model, x, run.config["train"]["precision"])
            names.append(_names(run, len(features), place, runs))
            shares = _label_dependence(run, x[:LABELLED])
            for name, h, share in zip(names[-1], features, shares or [None] * len(features), strict=True):
                separation[name], dependence[name] = similarities.separation(h, y), share
            layers.append([similarities.centred(h) for h in features])
        rows, columns = layers[0], layers[-1]
        measures = {
            "cka": similarities.cka,
            "biased_cka": partial(similarities.cka, debiased=False),
            "procrustes": similarities.procrustes,
        }
        done, pairs = itertools.count(), len(rows) * len(columns)

        def compared(a, b):
            tell(0.5 + 0.5 * next(done) / pairs, "comparing layers")
            return {key: of(a, b) for key, of in measures.items()}

        cells = similarities.table(rows, columns, compared)
        told = {key: [[cell[key] for cell in row] for row in cells] for key in measures}
        return {
            "rows": names[0],
            "columns": names[-1],
            **told,
            "diagonal": [told["cka"][i][i] for i in range(min(len(rows), len(columns)))],
            "class_separation": separation,
            "label_dependence": dependence,
            "images": len(y),
            "label_images": min(LABELLED, len(y)),
            "data": runs[0].config["data"]["name"],
            "epochs": [run.epoch if run.epoch is not None else run.status()["epoch"] for run in runs],
        }, {}


def _names(run, depth, place, runs) -> list[str]:
    """`ff layer 1`; of two nets of one model the second says so."""
    model = run.config["model"]["name"]
    twin = place and model == runs[0].config["model"]["name"]
    return [f"{model}{' (2)' if twin else ''} layer {i}" for i in range(1, depth + 1)]


def _label_dependence(run, x):
    """Every layer's share of variance that comes from the label, or None for a net that is shown none."""
    import torch

    from ffcore.labels import Sample
    from ffcore.readout import autocast
    from ffcore.similarities import LabelDependence

    model, sums = run.model, []
    if not model.labelled:
        return None
    with torch.no_grad(), autocast(run.config["train"]["precision"], "cpu"):
        for some in x.split(50):
            labels = torch.arange(model.classes).repeat(len(some))
            images = (some.float() / 255).repeat_interleave(model.classes, 0)
            layers = [h.float().unflatten(0, (len(some), -1)) for h in model.features(Sample(images, labels))]
            sums = sums or [LabelDependence() for _ in layers]
            for total, h in zip(sums, layers, strict=True):
                total.add(h)
    return [total.value() for total in sums]
