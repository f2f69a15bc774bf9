"""The same net with its layers left at their initial weights; only the softmax head learns: what is a random net worth?"""

from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward, NetSettings


@MODELS.register("untrained")
class Untrained(ForwardForward):
    """The baseline to beat: Forward-Forward's own net with random, frozen layers and a trained softmax head."""

    title = "Untrained layers"
    source = "baseline"
    uses_negatives = False
    readouts = ("softmax", "goodness")
    Settings = NetSettings
    equation = r"h_l=\mathrm{ReLU}\big(W_l\,\mathrm{norm}(h_{l-1})+b_l\big),\qquad W_l,\,b_l\ \text{as drawn}"
    recommended = {"train.lr": 0.01}  # noqa: RUF012

    def terms(self, x, y, pair, active, view=None):
        return super().terms(x, y, None, set(active) - set(range(len(self.weights))), view)

    def layer_groups(self):
        return []
