"""Named bundles of settings: known-good ones, and known-bad ones with the reason why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ffcore.registry import Registry

PRESETS = Registry("preset")


@dataclass
class Preset:
    """Dotted settings under a name; `good` False marks a failure kept for study."""

    title: str
    why: str
    settings: Mapping[str, Any]
    source: str = ""
    good: bool = True
    name: str = ""


PRESETS.register("quick")(
    Preset(
        title="Quick",
        why="The default: a 784-500-500 net learns MNIST to over 98% in seconds on two cores.",
        settings={},
    )
)
PRESETS.register("paper")(
    Preset(
        title="Best accuracy for 784-500-500",
        why="Longer training on all training images, settings chosen on the validation split beforehand.",
        settings={"train.epochs": 24, "train.drop_pixels": 0.3, "data.validation": 0},
    )
)
PRESETS.register("hinton")(
    Preset(
        title="As in Hinton's own code",
        why="Threshold objective on the sum of squares, minibatches of 100, hard labels from the softmax head, "
        "peer normalisation, SGD with momentum and linear decay; the first layer does not vote.",
        source="Hinton 2022, arXiv 2212.13345, and the MATLAB code published with it",
        settings={
            "model.objective": "threshold",
            "model.widths": [1000, 1000, 1000],
            "model.alpha": 1000,
            "model.theta": 1,
            "model.peer": 150,  # his gradient 0.03·(m̄ - m) per unit and image, where ours is (2·0.1/n)·peer·(m̄ - m)
            "model.votes": [2, 3],
            "negatives.name": "hard_label",
            "negatives.by": "softmax",
            "negatives.temperature": 1,
            "train.batch_size": 100,
            "train.epochs": 40,
            "train.optimiser": "sgd",
            "train.lr": 0.001,
            "train.weight_decay": 0.0003,
            "train.lr_schedule": "linear",
            "train.head_every": 1,
            "train.drop_pixels": 0,
        },
    )
)
PRESETS.register("scff")(
    Preset(
        title="Self-contrastive (SCFF)",
        why="Learning without labels as in the paper: an image with a noisy view of itself against an image with another, "
        "and every layer's input standardised. Read it by the softmax head, or by `ffcore study negatives`' probe.",
        source="Chen, Liu, Laydevant & Grollier 2025, doi 10.1038/s41467-025-61037-0",
        settings={"model.norm": "standard", "negatives.name": "self_contrastive"},
    )
)
PRESETS.register("ref-shuffled")(
    Preset(
        title="Reference study: shuffled labels",
        why="The default recipe with one change: negatives carry the batch's labels, shuffled, and one in C of them is right. "
        "Here that costs little: under the gap objective such a pair is its own negative, the gradients cancel, and a pair is "
        "wasted. Under model.objective=threshold they pull both ways. What holds `ref-ff` down is more than this.",
        source="The reference study ff-negative-samples (2026), after mpezeshki/pytorch_forward_forward",
        good=False,
        settings={"negatives.name": "shuffled_label"},
    )
)
PRESETS.register("ref-tiled")(
    Preset(
        title="Reference study: 64 tiled hard negatives",
        why="The default recipe with the study's hard mining: of 128 mix-ups the 64 best-liked are kept and repeated for the "
        "whole batch. Best-liked mix-ups are those with nearly one image in them, so positives are called negative. The study "
        "read such nets by trying on labels they had never seen: a constant answer, 8.75% or 9.80%, its share of class 0.",
        source="The reference study ff-negative-samples (2026)",
        good=False,
        settings={"negatives.name": "tiled_mixing"},
    )
)
PRESETS.register("ref-leak")(
    Preset(
        title="Reference study: a label in the positives only",
        why="The default recipe with the study's label-free protocol: positives show their label, mix-ups show none. A lit "
        "label input is all there is to tell, any label will do, and trying on labels ends near chance. The study read "
        "77%, 21% and 14% off the features of such nets and ranked strategies by them.",
        source="The reference study ff-negative-samples (2026)",
        good=False,
        settings={"negatives.name": "label_leak"},
    )
)
PRESETS.register("ref-ff")(
    Preset(
        title="The reference study's recipe (slow and flawed on purpose)",
        why="Slow because each of its 2,000 steps is a pass over all 50,000 images, which the minibatch default does in "
        "seconds; stops at 91–94% because one fixed shuffle of labels leaves one negative in ten correct, and "
        "unit-length inputs starve layer 2.",
        source="The reference study ff-negative-samples (2026), after mpezeshki/pytorch_forward_forward",
        good=False,
        settings={
            "model.objective": "threshold",
            "model.alpha": 1,
            "model.theta": 2,
            "model.norm": "unit",
            "model.peer": 0,
            "model.label": "overlay",
            "model.label_value": 2.82,
            "negatives.name": "shuffled_label",
            "data.name": "mnist",
            "data.validation": 10_000,
            "data.standardise": True,
            "train.schedule": "greedy",
            "train.epochs": 1_000,
            "train.batch_size": 50_000,
            "train.optimiser": "adam",
            "train.lr": 0.03,
            "train.weight_decay": 0,
            "train.lr_schedule": "constant",
            "train.precision": "float32",
            "train.head_every": 10,
            "train.drop_pixels": 0,
        },
    )
)
