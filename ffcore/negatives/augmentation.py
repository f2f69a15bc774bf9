"""The image turned, moved, scaled and blurred by noise: augmentations, used the other way round."""

from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import distort, normal
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("augmentation")
class Augmentation(Strategy):
    """A strongly distorted image is the negative of itself, so the net learns what upright, centred images look like."""

    title = "Augmentation"
    source = "the reference study ff-negative-samples (2026), its self-supervised variant"
    uses_labels = False
    embeds_label = False

    degrees: float = Field(45, ge=0, le=180, description="largest turn, degrees either way")
    shift: float = Field(6, ge=0, le=64, description="largest move, pixels either way")
    scale: float = Field(0.3, ge=0, le=0.9, description="largest change of size, 1 ± this")
    noise: float = Field(0.1, ge=0, le=2, description="standard deviation of noise added to each pixel")
    matched: bool = Field(False, description="positives are distorted, too, by a quarter as much: sampling blur tells nothing")

    def pair(self, x, y, view, rng):
        return Pair(Sample(self._distorted(x, 1 / 4, rng) if self.matched else x), Sample(self._distorted(x, 1, rng)))

    def _distorted(self, x, share, rng):
        moved = distort(x, rng, share * self.degrees, share * self.shift, share * self.scale)
        return (moved + normal(x.shape, rng) * (share * self.noise)).clamp_(0, 1) if self.noise else moved
