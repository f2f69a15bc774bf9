"""The net's own dreams: images climbed up in goodness, which it then must stop liking (Hinton 2022, §8)."""

from typing import Literal

from pydantic import Field

from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import other, under_its_label, uniform, unit, uphill
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("generated")
class Generated(Strategy):
    """What the net makes of noise, or of another class's image, when it climbs towards goodness under this label."""

    title = "Generated (dreams)"
    source = "Hinton 2022, arXiv 2212.13345, §8: the net's own generations as negatives; ascent after Simonyan et al. 2014"
    needs_view = True

    start: Literal["other", "noise"] = Field("other", description="where the climb begins: an image of another class, or noise")
    steps: int = Field(3, ge=1, le=100, description="steps of the climb")
    rate: float = Field(0.05, gt=0, le=1, description="length of a step: root mean square change of a pixel")

    def pair(self, x, y, view, rng):
        if self.start == "noise":
            begin = Pair(Sample(x, y), Sample(uniform(tuple(x.shape), 0, 1, rng), y))
        else:
            index, found = other(y, rng)
            begin = under_its_label(x, y, index, found, view.classes, rng)
        image, label = begin.neg
        for _ in range(self.steps):
            image = (image + self.rate * unit(uphill(view, Sample(image, label)))).clamp(0, 1)
        return Pair(begin.pos, Sample(image, label))
