"""Image mixing whose second image is always of another class (the reference study's class-aware mixing)."""

from ffcore.negatives import STRATEGIES
from ffcore.negatives._parts import Mixing, other, others


@STRATEGIES.register("class_aware_mixing")
class ClassAwareMixing(Mixing):
    """Two images of different classes mixed into one: labels choose the partner, and are not shown to the net."""

    title = "Class-aware mixing"
    source = "the reference study ff-negative-samples (2026), after Hinton 2022, arXiv 2212.13345, §3.2"

    def pair(self, x, y, view, rng):
        index, found = other(y, rng)
        partner = x[index].where(found[:, None, None, None], others(x, rng))  # one class only: any other image
        return self.mixed(x, partner, rng)
