"""Similarity of layers: against explicit centring matrices, by hand, and by what must not change it."""

import json

import pytest
import torch
from click.testing import CliRunner
from conftest import TINY

import ffcore
from ffcore import runs
from ffcore.cli import cli
from ffcore.errors import Refused
from ffcore.labels import Sample
from ffcore.similarities import LabelDependence, centred, cka, hsic, procrustes, separation


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def alike(x, y, **how):
    return cka(centred(x), centred(y), **how)


def apart(x, y):
    return procrustes(centred(x), centred(y))


def turned(x, seed=1):
    """A random rotation and reflection of the columns, another scale and another origin."""
    q = torch.linalg.qr(noise(x.shape[1], x.shape[1], seed=seed)).Q
    return 7.3 * x @ q + 5


def by_matrices(x, y, debiased):
    """HSIC out of N × N kernels and centring matrices, term by term as Song et al. (2012) and Gretton et al. (2005) do."""
    n, one = len(x), torch.ones(len(x), dtype=torch.double)
    k, m = x @ x.T, y @ y.T
    if not debiased:
        h = torch.eye(n, dtype=torch.double) - 1 / n
        return torch.trace(k @ h @ m @ h).item()
    k, m = k - k.diag().diag(), m - m.diag().diag()
    terms = torch.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    return terms.item()


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("p", "q"), [(5, 8), (90, 8), (8, 90), (120, 100)])
def test_it_is_what_kernels_and_centring_matrices_give(p, q, debiased):
    x, y = noise(40, p) + 3, noise(40, q, seed=1) - 2
    y[:, :5] += x[:, :5]
    assert hsic(centred(x), centred(y), debiased) == pytest.approx(by_matrices(x, y, debiased), rel=1e-9)
    expected = by_matrices(x, y, debiased) / (by_matrices(x, x, debiased) * by_matrices(y, y, debiased)) ** 0.5
    assert alike(x, y, debiased=debiased) == pytest.approx(expected, rel=1e-9)


def test_by_hand():
    """Two units over five images: x counts -2 … 2, y is on for the outer two. Every sum is written out."""
    x, y = torch.tensor([[-2.0], [-1], [0], [1], [2]]), torch.tensor([[1.0], [0], [0], [0], [1]])
    assert alike(x, y, debiased=False) == pytest.approx(0)  # uncorrelated: Σ x (y - 0.4) = 0
    k, m = [4, 1, 0, 1, 4], [0.36, 0.16, 0.16, 0.16, 0.36]  # squared distances from the mean
    cross = 0 - 5 / 3 * sum(a * b for a, b in zip(k, m, strict=True)) + 10 * 1.2 / (4 * 3)
    own_x = 100 - 5 / 3 * (16 + 1 + 1 + 16) + 100 / 12
    own_y = 1.44 - 5 / 3 * (2 * 0.36**2 + 3 * 0.16**2) + 1.44 / 12
    assert alike(x, y) == pytest.approx(cross / (own_x * own_y) ** 0.5, rel=1e-6)
    assert apart(x, y) == pytest.approx(2**0.5)
    assert alike(x, x + 0.5 * y, debiased=False) == pytest.approx(100 / (10 * (10 + 0.3)))


def test_the_debiased_estimate_of_unrelated_layers_is_nothing_and_the_biased_one_is_not():
    told = [alike(noise(200, 150, seed=s), noise(200, 150, seed=s + 100)) for s in range(20)]
    biased = [alike(noise(200, 150, seed=s), noise(200, 150, seed=s + 100), debiased=False) for s in range(20)]
    assert abs(sum(told) / 20) < 0.01
    assert max(map(abs, told)) < 0.05
    assert min(biased) > 0.35
    assert min(told) < 0 < max(told)


@pytest.mark.parametrize("width", [7, 60])
@pytest.mark.parametrize("debiased", [True, False])
def test_a_layer_is_itself_however_turned_scaled_or_moved(width, debiased):
    x, y = noise(30, width), noise(30, 12, seed=5)
    y[:, :3] += x[:, :3]
    assert alike(x, x, debiased=debiased) == pytest.approx(1)
    assert alike(x, turned(x), debiased=debiased) == pytest.approx(1)
    assert alike(turned(x), turned(y, 9), debiased=debiased) == pytest.approx(alike(x, y, debiased=debiased))
    assert alike(x, y, debiased=debiased) == pytest.approx(alike(y, x, debiased=debiased))
    stretched = x * torch.linspace(0.1, 4, width)
    assert alike(x, stretched, debiased=debiased) < 0.99  # only isotropic scale is free


def test_procrustes_is_a_metric_that_a_rotated_copy_does_not_feel():
    x, y, z = noise(30, 7), noise(30, 50, seed=3), noise(30, 9, seed=4)
    assert apart(x, turned(x)) == pytest.approx(0, abs=1e-6)
    assert apart(x, torch.cat([x, torch.zeros(30, 4)], 1)) == pytest.approx(0, abs=1e-6)
    assert apart(x, y) == pytest.approx(apart(y, x))
    assert 0 < apart(x, y) < 2**0.5
    assert apart(x, z) <= apart(x, y) + apart(y, z)
    a, b = (m - m.mean(0) for m in (x, noise(30, 7, seed=8)))
    a, b = a / a.norm(), b / b.norm()
    u, _, v = torch.linalg.svd(a.T @ b)
    assert apart(a, b) == pytest.approx((a @ u @ v - b).norm().item())  # Schönemann's rotation, applied


def test_dead_layers_are_no_data_and_never_no_number():
    x, dead, stuck = noise(30, 7), torch.zeros(30, 5), torch.full((30, 5), 0.1)
    lone = torch.zeros(30, 5)
    lone[3, 2] = 1  # one unit that one image wakes: the debiased estimate has nothing to go by
    for layer in (dead, stuck):
        assert centred(layer) is None
        assert alike(x, layer) is None
        assert alike(layer, layer, debiased=False) is None
        assert apart(x, layer) is None
        assert separation(layer, torch.arange(30) % 3) is None
    assert alike(x, lone) is None
    assert alike(lone, lone, debiased=False) == pytest.approx(1)
    assert alike(x[:3], x[:3]) is None


def test_separation_by_hand():
    x, y = torch.tensor([[0.0, 1], [2, 1], [10, 1], [12, 1]]), torch.tensor([0, 0, 1, 1])
    assert separation(x, y) == pytest.approx(4 * 25 / 4)  # means 1 and 11 about 6; each image 1 from its own
    assert separation(turned(x.double()), y) == pytest.approx(25)
    assert separation(x, torch.tensor([0, 1, 1, 0])) == pytest.approx(0)
    assert separation(torch.tensor([[0.0], [0], [1], [1]]), y) is None  # nothing varies within classes


def test_label_dependence_is_a_share_of_variance():
    def share(h):
        total = LabelDependence()
        for some in h.split(3):
            total.add(some)
        return total.value()

    image, label = noise(8, 1, 5), noise(1, 4, 5, seed=2)
    assert share(image.expand(8, 4, 5)) == pytest.approx(0, abs=1e-12)
    assert share(label.expand(8, 4, 5)) == pytest.approx(1)
    h = image + 0.5 * label + 9
    within = (0.5 * (label - label.mean(1, keepdim=True))).square().sum() / 4
    between = (image - image.mean(0)).square().sum() / 8
    assert share(h) == pytest.approx((within / (within + between)).item())
    assert share(torch.zeros(8, 4, 5)) is None
    assert LabelDependence().value() is None


# Of runs


def test_layers_of_one_run(store):
    told = ffcore.analyse("similarity", store["ff"]).result()
    assert told["rows"] == told["columns"] == ["ff layer 1", "ff layer 2"]
    assert told["images"] == 180
    net = ffcore.Trained(store["ff"].dir)
    x, y = net.held_out()
    first, second = net.model.features(net.model.shown(x.float() / 255))
    assert told["cka"][0][1] == pytest.approx(alike(first, second), rel=1e-4)
    assert told["cka"][1][0] == told["cka"][0][1]
    assert told["procrustes"][0][1] == pytest.approx(apart(first, second), rel=1e-4)
    assert told["biased_cka"][0][1] > told["cka"][0][1]
    assert told["diagonal"] == pytest.approx([1, 1])
    assert told["class_separation"]["ff layer 2"] == pytest.approx(separation(second, y), rel=1e-4)
    everywhere = [net.model.features(Sample(x.float() / 255, torch.full((180,), c)))[0] for c in range(10)]
    dependence = LabelDependence()
    dependence.add(torch.stack(everywhere, 1))
    assert told["label_dependence"]["ff layer 1"] == pytest.approx(dependence.value(), rel=1e-4)


def test_layers_of_two_runs(store):
    told = ffcore.similarity(store["ff"], store["backprop"], n=100)
    assert told["rows"] == ["ff layer 1", "ff layer 2"]
    assert told["columns"] == ["backprop layer 1", "backprop layer 2"]
    assert told["images"] == 100
    assert told["diagonal"] == [told["cka"][0][0], told["cka"][1][1]]
    back = ffcore.similarity(store["backprop"], store["ff"], n=100)
    assert back["cka"][0][1] == pytest.approx(told["cka"][1][0])
    assert told["label_dependence"]["backprop layer 1"] == pytest.approx(0, abs=1e-9)  # it is shown none


def test_two_runs_of_one_model_keep_their_names_apart(store):
    told = ffcore.similarity(store["ff"], store["stopped"], n=50)
    assert told["columns"] == ["ff (2) layer 1", "ff (2) layer 2"]
    assert set(told["class_separation"]) == {*told["rows"], *told["columns"]}


def test_nets_of_an_earlier_epoch(store):
    told = ffcore.similarity(store["ff"], epoch=0, n=50)
    assert told["epochs"] == [0]
    assert told["cka"] != ffcore.similarity(store["ff"], n=50)["cka"]


def test_what_does_not_fit_is_refused_in_a_line(store):
    other = ffcore.train(
        root=str(runs.runs_root()), **{**TINY, "data": "glyphs", "set": {"data.train": 100, "model.widths": [8]}}
    )
    with pytest.raises(Refused, match=r"images of shape \(1, 28, 28\).*choose runs"):
        ffcore.similarity(store["ff"], other)
    with pytest.raises(Refused, match="1 to 2 runs"):
        ffcore.analyse("similarity", *[store["ff"]] * 3)
    store["ff"].write_config(data={**store["ff"].config["data"], "name": "fashion-mnist"}, data_root="/nowhere")
    with pytest.raises(Refused, match="not here"):
        ffcore.similarity(store["ff"])


def test_similarity_by_command(store):
    done = CliRunner().invoke(cli, ["similarity", store["ff"].id, store["backprop"].id, "--n", "60", "--json"])
    told = json.loads(done.stdout)
    assert told["cka"] == ffcore.similarity(store["ff"], store["backprop"], n=60)["cka"]
    text = CliRunner().invoke(cli, ["similarity", store["ff"].id, "--n", "60"]).stdout
    assert "ff layer 2" in text
    assert "1.00" in text
