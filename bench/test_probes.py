"""`make bench`: what a converged probe of 60,000 × 500 features costs, beside scikit-learn's LogisticRegression.

The features are those of an untrained net's second layer on Fashion-MNIST where FFCORE_DATA has it, else made-up ones.
"""

import json
import statistics
import subprocess
import sys

import pytest

ONE = """
import json, sys, time
import torch
from ffcore import data, probes
from ffcore.config import configure
from ffcore.training import build_model

if data.present("fashion-mnist") and data.present("mnist"):
    images = data.load(data.DataSettings(name="fashion-mnist"))
    net = build_model(configure(model="untrained", data="mnist", device="cpu"), data.load(data.DataSettings(name="mnist")))
    x, y = (torch.cat(pair) for pair in zip(images.train, images.validation))
    x, x_out, y_out = probes.activities(net, x)[1], probes.activities(net, images.test.x)[1], images.test.y
else:
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(10, (70_000,), generator=rng)
    x = torch.relu(0.3 * torch.randn(10, 500, generator=rng)[y] + torch.randn(70_000, 500, generator=rng))
    x, y, x_out, y_out = x[:60_000], y[:60_000], x[60_000:], y[60_000:]
torch.optim.LBFGS([torch.zeros(1, requires_grad=True)])  # its import takes seconds once a process
told = probes.linear((x, y), (x_out, y_out), 10)
a, b = probes.standardised(x, x_out)
begun = time.perf_counter()
model = probes.Logistic(a, y, 10)
model.fit(told.l2)
alone = time.perf_counter() - begun
from sklearn.linear_model import LogisticRegression
begun = time.perf_counter()
theirs = LogisticRegression(C=1 / (told.l2 * len(y)), max_iter=1_000).fit(a.numpy(), y.numpy())
seconds = time.perf_counter() - begun
print(json.dumps({
    "probe with its sweep": told.seconds, "one fit": alone, "scikit-learn, one fit": seconds,
    "accuracy": told.accuracy, "scikit-learn's accuracy": theirs.score(b.numpy(), y_out.numpy()),
    "scikit-learn / one fit": seconds / alone, "l2": told.l2,
}))
"""


@pytest.mark.timeout(1800)
def test_converged_probe_beside_scikit_learn(benchmark, tell):
    """Seconds and test accuracy of both, at the penalty that the probe chose, to scikit-learn's default tolerance."""
    runs = []

    def one():
        told = subprocess.run([sys.executable, "-c", ONE], capture_output=True, text=True, check=True)
        runs.append(json.loads(told.stdout))

    benchmark.pedantic(one, rounds=3)
    for key in runs[0]:
        values = [run[key] for run in runs]
        tell(
            f"60,000 × 500: {key}", statistics.median(values), "" if "acc" in key or key == "l2" or "/" in key else "s", values
        )
