"""The words of this field, a sentence or two each, for the Glossary page and docs/glossary.md (`python app/glossary.py`)."""

import re
from dataclasses import dataclass
from pathlib import Path

HINTON = "Hinton 2022, arXiv 2212.13345"
STUDY = "the reference study ff-negative-samples (2026)"
PAGES = {
    "start": "Start", "draw": "Draw", "replay": "Replay", "negatives": "Negatives", "variants": "Variants",
    "generations": "Generations", "train": "Train", "live": "Live", "runs": "Runs", "health": "Neuron health",
    "transfer": "Transfer", "embeddings": "Embeddings", "compare": "Compare", "lessons": "Lessons",
}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """A word, what it means, its formula where that is short, who says so, and the page where it is seen."""

    word: str
    text: str
    page: str
    formula: str = ""
    source: str = ""

    @property
    def anchor(self) -> str:
        """Its name in an address: `d′` → `d-prime`, `read-out` → `read-out`."""
        plain = self.word.lower().replace("′", "-prime").replace("θ", "theta").replace("α", "alpha")
        return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


TERMS = [
    Term(
        "Activity",
        "What a unit passes on: its drive after the activation function. It is 0 or more under ReLU.",
        "health",
        formula="h = relu(W·x + b)",
    ),
    Term(
        "Backpropagation",
        "Learning by sending the error at the output back through every layer. Here it is the honest reference: the same "
        "widths and images.",
        "compare",
        source="Rumelhart, Hinton & Williams 1986, Nature 323",
    ),
    Term(
        "Bundled run",
        "A finished run that comes with the package. It cannot be changed or deleted.",
        "runs",
    ),
    Term(
        "Centred kernel alignment (CKA)",
        "How alike two layers see the same images, 0 to 1, whatever the rotation or scale of their activities. Here by "
        "unbiased estimates, which may fall a little below 0.",
        "embeddings",
        formula="HSIC(K, L) / √(HSIC(K, K)·HSIC(L, L))",
        source="Kornblith, Norouzi, Lee & Hinton 2019, arXiv 1905.00414",
    ),
    Term(
        "Convergence",
        "A classifier has converged when more steps no longer improve its objective. A probe that is stopped before measures "
        "the size of features as well as their worth.",
        "transfer",
        source="Kornblith, Shlens & Le 2019, arXiv 1805.08974",
    ),
    Term(
        "d′",
        "How far the goodness of positives lies from that of negatives, in standard deviations; 0 is no difference.",
        "live",
        formula="(mean g⁺ − mean g⁻) / √((var g⁺ + var g⁻)/2)",
        source="Green & Swets 1966",
    ),
    Term(
        "Dead unit",
        "A unit that is never above 0 on the probe images, under the right label or a wrong one, before any mask. No "
        "gradient reaches it.",
        "health",
    ),
    Term(
        "Dormant unit",
        "A unit whose mean activity is at most a share τ = 2.5% of its layer's mean.",
        "health",
        formula="mean|hⱼ| ≤ τ · meanₖ mean|hₖ|",
        source="Sokar et al. 2023, arXiv 2302.12902",
    ),
    Term(
        "Effective rank",
        "How many directions the activities of a layer fill, as a number of equal ones.",
        "health",
        formula="exp(−Σ pᵢ ln pᵢ), pᵢ: normalised singular values",
        source="Roy & Vetterli 2007",
    ),
    Term(
        "Epoch",
        "One pass over the training images. The reference study calls a single full-batch step an epoch; here it is never "
        "that.",
        "train",
    ),
    Term(
        "Forward-Forward",
        "Learning in which every layer trains itself: more goodness for positives, less for negatives. No error crosses a "
        "layer.",
        "start",
        source=HINTON,
    ),
    Term(
        "Gap",
        "Goodness of positives minus that of negatives.",
        "live",
        formula="g⁺ − g⁻",
    ),
    Term(
        "Gap objective",
        "The loss that asks a positive to beat its own negative, and nothing of their level.",
        "lessons",
        formula="softplus(−α(g⁺ − g⁻))",
        source="SymBa, Lee & Song 2023, arXiv 2303.08418",
    ),
    Term(
        "Goodness",
        "How excited a layer is: the mean of its squared activities. Hinton has the sum.",
        "lessons",
        formula="g = Σ hⱼ² / n",
        source=f"{HINTON}, §2",
    ),
    Term(
        "Greedy schedule",
        "Layers are trained one after the other; those below are then left as they are.",
        "train",
    ),
    Term(
        "Hard negative",
        "A negative that the net finds likely, such as the image under the wrong label that it believes in.",
        "negatives",
        source=f"{HINTON}, §3.3",
    ),
    Term(
        "Hardness",
        "The share of pairs that a net still gets wrong, layer by layer: the negative has at least as much goodness.",
        "negatives",
    ),
    Term(
        "Held out",
        "Not used for training. Validation images are held out of the training set and drive every choice; test images are "
        "looked at once, at the end.",
        "train",
    ),
    Term(
        "Homeostasis",
        "Biases are moved until every unit is on for a target share of the images.",
        "health",
    ),
    Term(
        "Label embedding",
        "How a label becomes input: ten more inputs of which one is lit (appended), or the first ten pixels instead (overlay).",
        "lessons",
        source=f"{HINTON}, §3.3",
    ),
    Term(
        "Layer collaboration",
        "A layer's logit also counts the goodness of the others, held fixed.",
        "variants",
        source="Lorberbom et al. 2024, arXiv 2305.12393",
    ),
    Term(
        "Local learning",
        "Each layer's loss moves that layer's weights alone. A test measures it: the gradient outside is 0.",
        "variants",
    ),
    Term(
        "Masked metric",
        "Counts a unit as dead when it never passes on more than 0.01, after a mask if there is one. It also counts healthy "
        "units behind a strong mask.",
        "health",
        source=STUDY,
    ),
    Term(
        "Negative",
        "What a layer should stay calm about: an image with a wrong label, a mixture of images, noise. Written x⁻.",
        "negatives",
        source=HINTON,
    ),
    Term(
        "Negative strategy",
        "The rule that makes the negatives out of a batch.",
        "negatives",
    ),
    Term(
        "Neutral label",
        "One part in C in every label input: no label in particular. Features for a probe are taken under it.",
        "transfer",
        formula="1/C each",
        source=f"{HINTON}, §3.3",
    ),
    Term(
        "Normalisation",
        "Before a layer's activities go on they are divided by their length, so that the next layer cannot read off the "
        "goodness of the one below.",
        "variants",
        formula="h / √(mean h²)",
        source=f"{HINTON}, §2.1",
    ),
    Term(
        "Overlap",
        "The area that the histograms of positive and negative goodness share: 0 apart, 1 alike.",
        "replay",
    ),
    Term(
        "Peer normalisation",
        "A small pull of every unit's mean activity towards the mean of its layer: it keeps units from falling silent or "
        "from dominating.",
        "train",
        source="the MATLAB code published with Hinton 2022",
    ),
    Term(
        "Population sparseness",
        "How few units answer an image: 0 if all alike, 1 if one alone. Lifetime sparseness is the same of a unit over images.",
        "health",
        formula="(1 − (mean h)²/mean h²) / (1 − 1/n)",
        source="Treves & Rolls 1991; Vinje & Gallant 2000",
    ),
    Term(
        "Positive",
        "What a layer should be excited by: an image with its right label, or a real image. Written x⁺.",
        "negatives",
        source=HINTON,
    ),
    Term(
        "Preset",
        "A named bundle of settings: known-good ones, and known-bad ones with the reason why.",
        "train",
    ),
    Term(
        "Probe",
        "A linear classifier on frozen features: what can be read off them? Here trained to convergence on standardised "
        "features.",
        "transfer",
        source="Alain & Bengio 2016, arXiv 1610.01644",
    ),
    Term(
        "Random seed",
        "The number from which all random draws of a run follow. The same run twice gives the same weights.",
        "train",
    ),
    Term(
        "Read-out",
        "How a net's answer is read: by goodness (try every label, take the most exciting), by a softmax head, or by a "
        "probe. Only like read-outs are compared.",
        "start",
    ),
    Term(
        "Receptive field",
        "The incoming weights of a unit of the first layer, drawn as an image.",
        "replay",
    ),
    Term(
        "Recycling",
        "Dormant units get new incoming weights, so that they may serve again.",
        "health",
        source="ReDo, Sokar et al. 2023, arXiv 2302.12902",
    ),
    Term(
        "θ (threshold)",
        "The goodness above which an input counts as positive, under the threshold objective. The gap objective has none.",
        "lessons",
        source=f"{HINTON}, §2",
    ),
    Term(
        "Threshold objective",
        "The loss that asks positives to lie above θ and negatives below.",
        "lessons",
        formula="½[softplus(α(θ − g⁺)) + softplus(α(g⁻ − θ))]",
        source=f"{HINTON}, §2",
    ),
    Term(
        "Transfer",
        "Features learnt on one dataset, read on another. Compared with the same net untrained, raw pixels and "
        "backpropagation.",
        "transfer",
    ),
    Term(
        "Untrained twin",
        "The same net with random weights, drawn from the run's seed: the zero of every transfer figure here.",
        "transfer",
    ),
]


def markdown() -> str:
    """The glossary as docs/glossary.md holds it."""
    lines = [
        "# Glossary",
        "",
        "Generated from `app/glossary.py` by `python app/glossary.py`; the *Glossary* page shows the same.",
    ]
    for term in TERMS:
        more = [f"`{term.formula}`"] if term.formula else []
        more += [f"Source: {term.source}." if term.source else ""]
        seen = f"Seen on the *{PAGES[term.page]}* page."
        lines += [
            "",
            f'<a id="{term.anchor}"></a>',
            "",
            f"**{term.word}.** {term.text} " + " ".join(m for m in [*more, seen] if m),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    place = Path(__file__).absolute().parent.parent / "docs" / "glossary.md"
    place.write_text(markdown(), "utf-8")
