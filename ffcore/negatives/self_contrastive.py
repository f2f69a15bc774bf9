"""Self-contrastive Forward-Forward (SCFF, Chen et al. 2025): an image with itself against an image with another."""

from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import normal, others
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("self_contrastive")
class SelfContrastive(Strategy):
    """Positive: the image beside a noisy view of itself. Negative: the image beside another one. No labels.

    SCFF gives both halves the same weights, W·a + W·b, which is the drive of their mean image. So without the view noise
    and the standardised input of every layer (`model.norm=standard`; preset `scff` has both) this is image mixing, half
    and half.
    """

    title = "Self-contrastive (SCFF)"
    source = "Chen, Liu, Laydevant & Grollier, Nature Communications 16, 5978 (2025), arXiv 2409.11593"
    uses_labels = False
    embeds_label = False

    noise: float = Field(0.05, ge=0, le=2, description="standard deviation of the noise by which a view differs from its image")

    def pair(self, x, y, view, rng):
        own = (x + self.noise * normal(x.shape, rng)).clamp_(0, 1) if self.noise else x
        return Pair(Sample((x + own) / 2), Sample((x + others(x, rng)) / 2))
