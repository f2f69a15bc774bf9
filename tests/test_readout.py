"""What a run keeps for a look back: scores that digits usually reach, and where images lie among each other."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from ffcore import Trained, readout, telemetry


def test_usual_scores_are_those_that_99_of_100_images_reach(trained):
    run = Trained(trained["ff"])
    usual, (x, y) = run.status()["result"]["usual"], run.held_out()
    for name, scores in run.scores(x).items():
        best, second = np.sort(scores.numpy(), 1)[:, ::-1][:, :2].T
        assert np.mean(best >= usual[name]["best"]) == pytest.approx(0.99, abs=0.5 / len(y) + 1e-3)
        assert np.mean(best - second >= usual[name]["lead"]) == pytest.approx(0.99, abs=0.5 / len(y) + 1e-3)
    assert readout.evaluate(run.model, x, y).usual["goodness"]["best"] == pytest.approx(usual["goodness"]["best"], abs=0.02)


@pytest.mark.parametrize("shape", [(40, 7), (30, 90)])
def test_a_map_shows_the_two_main_axes_at_one_common_scale(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.1, shape[1]) + 5
    ours, theirs = telemetry.principal(x).numpy(), PCA(2).fit_transform(x.numpy())
    theirs = theirs / np.sqrt((theirs**2).sum(1).mean())
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)  # an axis may point either way
    np.testing.assert_allclose(telemetry.principal(1e25 * x).abs(), np.abs(theirs), atol=1e-3)


def test_a_silent_layer_has_all_images_in_one_place():
    assert not telemetry.principal(torch.zeros(20, 5)).any()
    assert telemetry.principal(torch.full((20, 1), torch.inf)).shape == (20, 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_layer_that_is_nearly_silent_is_mapped_and_ends_no_training(seed):
    rng = torch.Generator().manual_seed(seed)
    h, few = torch.zeros(300, 250), torch.randperm(250, generator=rng)[:34]
    some = [torch.randint(n, (157,), generator=rng) for n in (300, 34)]
    h[some[0], few[some[1]]] = torch.rand(157, generator=rng)
    at = telemetry.principal(h)
    assert at.dtype == torch.float32
    assert at.square().sum(1).mean() == pytest.approx(1, abs=1e-3)


def test_every_snapshot_maps_the_images_whose_classes_the_run_keeps(trained):
    run = Trained(trained["ff"])
    labels, layers = run.samples()["map_labels"], len(run.config["model"]["widths"])
    y = run.held_out(telemetry.MAPPED).y
    assert labels.tolist() == y.tolist()
    for epoch in run.snapshots():
        arrays = run.snapshot(epoch)
        assert all(arrays[f"map_{i}"].shape == (len(labels), 2) for i in range(1, layers + 1))
        assert arrays["apart"].shape == (layers, 3)
    first, last = (run.snapshot(run.snapshots()[i])["apart"] for i in (0, -1))
    assert (last[:, 1] > first[:, 1]).all()  # d′ grows
