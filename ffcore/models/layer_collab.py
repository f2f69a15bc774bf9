"""Layer collaboration (Lorberbom et al., AAAI 2024): a layer's logit also counts the others' goodness, held fixed."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


@MODELS.register("layer_collab")
class LayerCollaboration(ForwardForward):
    """Each layer asks whether all of them together tell the pair apart, and mends its own share: g_l + γ·Σ g_k, k ≠ l."""

    title = "Layer collaboration"
    recommended = {  # noqa: RUF012
        "negatives.name": "hard_label",
        "train.lr": 0.02,
        "train.batch_size": 256,
        "train.drop_pixels": 0.3,
    }
    source = "Lorberbom, Gat, Adi, Schwing & Hazan, AAAI 2024, 38(13), 14141-14148, arXiv 2305.12393"

    equation = (
        r"\mathcal L_l=\mathrm{softplus}\Big(-\alpha\big[(g_l^++\gamma\textstyle\sum_{k\ne l}g_k^+)"
        r"-(g_l^-+\gamma\sum_{k\ne l}g_k^-)\big]\Big),\quad g_k\ \text{held fixed}"
    )
    traces = {"others": "share of the pairs that the other layers already get right"}  # noqa: RUF012
    wiring = (("layer above", "layer", "goodness"), ("layer", "layer above", "goodness"), ("layer below", "layer", "goodness"))

    class Settings(ForwardForward.Settings):
        gamma: float = Field(0.5, ge=0, le=2, description="γ, weight of the other layers' goodness; the paper has 1")
        alpha: float = Field(3.0, gt=0, le=10_000, description="α, slope of the objective; n makes the mean goodness a sum")
        mode: Literal["all", "previous", "next"] = Field("all", description="which others count: all, those below, those above")

    def terms(self, x, y, pair, active, view=None):
        view = view or self.view()
        self.together = torch.cat(self.pair_goodness(pair, view))  # (2B, L), as they are before this step
        yield from super().terms(x, y, pair, active, view)

    def logits(self, layer, g):
        return g + self.settings.gamma * self.others(layer)

    def others(self, layer: int) -> Tensor:
        """Goodness of the layers that count for this one, (2B,)."""
        parts = {"previous": self.together[:, :layer], "next": self.together[:, layer + 1 :]}
        wanted = parts if self.settings.mode == "all" else (self.settings.mode,)
        return sum(parts[part].sum(1) for part in wanted)

    def traced(self, layer):
        alone = {"all": len(self.weights) == 1, "previous": layer == 0, "next": layer + 1 == len(self.weights)}
        if alone[self.settings.mode]:
            return {}
        pos, neg = self.others(layer).chunk(2)
        return {"others": (pos > neg).float().mean()}
