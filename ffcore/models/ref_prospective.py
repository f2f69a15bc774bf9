"""The reference study's "prospective" rule, kept because nothing in it looks ahead (flawed on purpose)."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ffcore import labels
from ffcore.labels import Sample
from ffcore.models import MODELS
from ffcore.models.base import generator
from ffcore.models.ff import ForwardForward


@MODELS.register("ref_prospective")
class ReferenceProspective(ForwardForward):
    """Activities are pulled towards ReLU(h ± β·F·q): F and the map to the hint q are random, fixed and never learnt.

    Nothing is inferred, and the pull is 10⁻⁶ of the loss: this is Forward-Forward, judged after 100 steps where others had
    1,000.
    """

    title = "Reference study: prospective"
    source = "The reference study ff-negative-samples (2026); not what Song et al. describe"
    faithful = False
    equation = (
        r"\mathcal L_l=\mathrm{FF}_l+\lambda\big(\overline{(h^{*+}-h^+)^2}+\overline{(h^{*-}-h^-)^2}\big),"
        r"\quad h^{*\pm}=\mathrm{ReLU}(h^\pm\pm\beta F q)"
    )
    traces = {"consolidation": "share of the loss that is the pull"}  # noqa: RUF012

    class Settings(ForwardForward.Settings):
        feedback: float = Field(0.5, ge=0, le=10, description="β, size of the feedback")
        consolidation: float = Field(0.01, ge=0, le=100, description="λ, weight of the pull")

    def __init__(self, settings, shape, classes, seed=0, **standardise):
        super().__init__(settings, shape, classes, seed, **standardise)
        above = [*settings.widths[1:], classes]
        for i, (n, m) in enumerate(zip(settings.widths, above, strict=True)):
            self.register_buffer(f"hint_{i}", self._fixed(f"hint {i}", n, m, 0.5 if m == classes else 0.1))
            self.register_buffer(f"feedback_{i}", self._fixed(f"feedback {i}", n, n, 0.1))

    def _fixed(self, purpose: str, n: int, m: int, gain: float) -> Tensor:
        matrix = torch.empty(n, m)
        torch.nn.init.orthogonal_(matrix, gain, generator=generator(self.seed, purpose))
        return matrix

    def context(self, z: Tensor, *samples: Sample):
        with torch.no_grad():
            label = labels.joined(samples, self.classes)
            if label is None:
                label = torch.zeros(len(z), self.classes, device=z.device)
            elif not label.is_floating_point():
                label = F.one_hot(label, self.classes).float()
            return [*self.plain(z)[1:], label]

    def activity(self, layer, z, context):
        self.above = context[layer]
        return super().activity(layer, z, context)

    def extra(self, layer, z, h):
        with torch.no_grad():
            hint = F.linear(self.above, getattr(self, f"hint_{layer}"))
            push = self.settings.feedback * F.linear(hint, getattr(self, f"feedback_{layer}"))
            pos, neg = push.chunk(2)
            target = torch.relu(h + torch.cat([pos, -neg]))
        self.pull = 2 * self.settings.consolidation * (target - h).square().mean()
        return super().extra(layer, z, h) + self.pull

    def term(self, layer, z, h):
        term = super().term(layer, z, h)
        share = self.pull.detach() / term.loss.detach().clamp(min=1e-12)
        return term._replace(stats={**term.stats, "consolidation": share})
