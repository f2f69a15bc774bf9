"""Convolutional Forward-Forward: labels that every place sees, an exact shortcut, weights that places share."""

import pytest
import torch
import torch.nn.functional as F
from conftest import make_toy, toy_config

from ffcore.errors import Refused
from ffcore.labels import Sample, neutral
from ffcore.models.conv_ff import waves
from ffcore.readout import evaluate
from ffcore.training import Trainer, build_model


def net_for(shape=(1, 6, 7), classes=4, **settings):
    data = make_toy(classes, shape)
    return build_model(toy_config("conv_ff", set={f"model.{k}": v for k, v in settings.items()}), data), data


def batch_of(data, n=16):
    return data.train.x[:n].float() / 255, data.train.y[:n]


@pytest.mark.parametrize(("classes", "height", "width"), [(10, 28, 28), (100, 32, 32), (12, 6, 7), (17, 6, 7), (4, 1, 9)])
def test_label_codes_are_waves_of_equal_length_at_right_angles(classes, height, width):
    codes = waves(classes, height, width).flatten(1).double()
    alike = codes @ codes.T / (height * width)
    assert codes.shape == (classes, height * width)
    torch.testing.assert_close(alike.diagonal(), torch.ones(classes).double(), rtol=0, atol=1e-6)
    assert codes.mean(1).abs().max() < 1e-6
    assert (alike - alike.diag().diag()).abs().max() < 1e-6


def test_any_number_of_classes_has_codes_of_equal_length_that_differ():
    codes = waves(60, 6, 7).flatten(1).double()
    torch.testing.assert_close(codes.square().mean(1), torch.ones(60).double(), rtol=0, atol=1e-6)
    assert torch.pdist(codes).min() > 0.5


def test_a_wave_is_its_formula():
    y, x = torch.meshgrid(torch.arange(6) / 6, torch.arange(8) / 8, indexing="ij")
    longest = waves(2, 6, 8)
    torch.testing.assert_close(longest[0], 2**0.5 * torch.cos(2 * torch.pi * x))
    torch.testing.assert_close(longest[1], 2**0.5 * torch.cos(2 * torch.pi * y))


def test_pictures_too_small_for_a_wave_are_refused_with_the_remedy():
    with pytest.raises(Refused, match=r"model.label=planes"):
        waves(2, 2, 2)
    net, data = net_for((1, 2, 2), label="planes")
    assert net.scores(batch_of(data)[0])["goodness"].shape == (16, 4)


def by_brute_force(net, image, label):
    """Drive of layer 1 by one convolution over image and label channels together; label: (B, C) weights of the classes."""
    s = net.settings
    if s.label == "waves":
        shown = torch.einsum("bc,chw->bhw", label, net.codes[:, 0])[:, None]
    else:
        shown = label[:, :, None, None].expand(-1, -1, *image.shape[2:])
    whole = torch.cat([image, s.label_value * shown], 1)
    mean_square = whole.flatten(1).square().sum(1) / ((image.shape[1] + 1) * image.shape[2] * image.shape[3])
    whole = whole / (mean_square.sqrt() + 1e-4)[:, None, None, None]
    return F.conv2d(whole, torch.cat([net.weights[0], net.label_weights], 1), net.biases[0], stride=s.stride, padding=1)


@pytest.mark.parametrize("label", ["waves", "planes"])
@pytest.mark.parametrize(("shape", "classes"), [((1, 6, 7), 4), ((3, 8, 9), 3), ((1, 6, 7), 17)])
def test_the_shortcut_equals_brute_force(label, shape, classes):
    net, data = net_for(shape, classes, label=label, label_value=0.7)
    x, _ = batch_of(data)
    goodness = net.label_goodness(x)
    for c in range(classes):
        told = by_brute_force(net, x, F.one_hot(torch.full((16,), c), classes).float())
        torch.testing.assert_close(torch.relu(told).square().flatten(1).mean(1), goodness[:, c, 0])
        torch.testing.assert_close(net.features(Sample(x, torch.full((16,), c)))[0], torch.relu(told))
    soft = torch.rand(16, classes)
    for shown in (soft, neutral(16, classes)):
        torch.testing.assert_close(net.features(Sample(x, shown))[0], torch.relu(by_brute_force(net, x, shown)))
    none = torch.zeros(16, classes)
    torch.testing.assert_close(net.features(Sample(x))[0], torch.relu(by_brute_force(net, x, none)))


@pytest.mark.parametrize("pool", ["max", "average"])
@pytest.mark.parametrize("shape", [(1, 6, 7), (1, 1, 5), (3, 9, 8)])
def test_layers_above_are_a_convolution_of_what_is_pooled(pool, shape):
    net, data = net_for(shape, pool=pool, stride=1)
    x, y = batch_of(data)
    first, second = net.features(Sample(x, y))
    pooling = F.max_pool2d if pool == "max" else F.avg_pool2d
    h = pooling(first, 2, ceil_mode=True)
    h = h / (h.flatten(1).square().mean(1).sqrt() + 1e-4)[:, None, None, None]
    torch.testing.assert_close(second, torch.relu(F.conv2d(h, net.weights[1], net.biases[1], padding=1)))
    assert second.shape[2:] == (-(-shape[1] // 2), -(-shape[2] // 2))


def test_layer_1_moves_with_the_image():
    """Away from the border, and but for the label: an image that moves by one place moves the activity by one place."""
    net, _ = net_for((1, 12, 12), stride=1)
    x = torch.zeros(1, 1, 12, 12)
    x[..., 3:8, 3:8] = torch.rand(5, 5)
    here, there = net.features(Sample(x))[0], net.features(Sample(x.roll((1, 2), (2, 3))))[0]
    torch.testing.assert_close(here.roll((1, 2), (2, 3))[..., 2:-2, 3:-2], there[..., 2:-2, 3:-2])
    assert not torch.equal(here, there)


def test_goodness_is_the_mean_over_channels_and_places():
    net, data = net_for((1, 6, 7))
    x, y = batch_of(data)
    told = net.sample_goodness(Sample(x, y))
    for layer, h in enumerate(net.features(Sample(x, y))):
        torch.testing.assert_close(told[:, layer], h.square().mean((1, 2, 3)))
    assert [tuple(h.shape[1:]) for h in net.features(Sample(x, y))] == [(32, 3, 4), (24, 2, 2)]
    assert [tuple(w.shape) for w, _ in net.incoming()] == [(32, 1, 3, 3), (24, 32, 3, 3)]
    assert [tuple(b.shape) for _, b in net.incoming()] == [(32,), (24,)]


def test_a_channel_is_one_unit_to_what_keeps_units_alive():
    net, _ = net_for((1, 6, 7), peer=2)
    z = torch.randn(16, 32, 3, 4)
    h = torch.relu(z)
    mean = 0.1 * h.mean((0, 2, 3))
    told = net.penalty(0, z.flatten(1), h.flatten(1))
    torch.testing.assert_close(told, 2 * (mean - mean.mean()).square().mean())
    torch.testing.assert_close(net.mean_activity_0, mean)


def test_the_head_reads_pooled_activity():
    net, data = net_for((1, 12, 14), stride=1)
    assert net.head.weight.shape == (4, 32 * 6 * 7 + 24 * 3 * 4)
    few, _ = net_for((1, 12, 14), stride=1, votes=[2])
    assert few.head.weight.shape == (4, 24 * 3 * 4)
    x, _ = batch_of(data)
    pooled = [F.max_pool2d(h, 2, ceil_mode=True).flatten(1) for h in net.features(net.shown(x))]
    read = torch.cat([h / (h.square().mean(1, keepdim=True).sqrt() + 1e-4) for h in pooled], 1)
    torch.testing.assert_close(net.neutral_votes(x), read)


@pytest.mark.parametrize("label", ["waves", "planes"])
def test_colour_images_are_learnt(label):
    data = make_toy(4, (3, 8, 9))
    trainer = Trainer(toy_config("conv_ff", set={"model.label": label}), data)
    for _ in trainer.events():
        pass
    told = evaluate(trainer.model, *data.test).accuracy
    assert told["goodness"] > 0.9
    assert told["softmax"] > 0.9
