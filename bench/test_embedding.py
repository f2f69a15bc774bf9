"""`make bench`: what t-SNE and UMAP of 5,000 × 500 features cost, each in a process of its own. Printed, never asserted."""

import json
import os
import statistics
import subprocess
import sys

import pytest

ALONE = """
import json, sys, time
begun = time.perf_counter()
import numpy as np
from ffcore import embedding
rng = np.random.default_rng(0)
y = rng.integers(0, 10, 5_000)
x = np.maximum(rng.normal(size=(10, 500))[y] + rng.normal(size=(5_000, 500)), 0).astype(np.float32)
xy = embedding.embed(x, sys.argv[1], jobs=int(sys.argv[2]))
seconds = time.perf_counter() - begun
print(json.dumps({"seconds": seconds, "trust": embedding.trustworthiness(x, xy)}))
"""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_layout_of_5000_images_on_two_cores(benchmark, tell, method):
    """Seconds from the start of a process to the layout: imports, compilation and 50 principal components included."""
    runs = []

    def one():
        cores = "2" if (os.cpu_count() or 1) > 1 else "1"
        env = {**os.environ, "OMP_NUM_THREADS": cores}
        words = [sys.executable, "-c", ALONE, method, cores]
        runs.append(json.loads(subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout))

    benchmark.pedantic(one, rounds=3)
    for key, unit in (("seconds", "s, whole process"), ("trust", "trustworthiness")):
        values = [run[key] for run in runs]
        tell(f"{method}, 5,000 × 500, {key}", statistics.median(values), unit, values)
