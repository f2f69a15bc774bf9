"""Two images in one: Hinton's hybrids by a blurred mask (2022, §3.2), or a weighted mean."""

from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import Mixing, others


@STRATEGIES.register("image_mixing")
class ImageMixing(Mixing):
    """Two images mixed into one, right in its parts and wrong as a whole; no labels are needed or shown."""

    title = "Image mixing"
    source = "Hinton 2022, arXiv 2212.13345, §3.2 (hybrid); the reference study ff-negative-samples, 2026 (interpolate)"
    uses_labels = False

    def pair(self, x, y, view, rng):
        return self.mixed(x, others(x, rng), rng)
