"""Images out of runs, as an analysis, a function and a command: what they hold, whom they ask, what they refuse."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import TINY
from PIL import Image

import ffcore
from ffcore.cli import cli
from ffcore.errors import Refused

PFF = {"data": "digits", "epochs": 4, "set": {"model.widths": [64, 64]}, "device": "cpu", "model": "pff"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of pff on 8 × 8 digits, and backpropagation to judge it."""
    root = str(tmp_path_factory.mktemp("made"))
    pff = ffcore.train(root=root, test=False, **PFF)
    judge = ffcore.train(root=root, model="backprop", **{**TINY, "epochs": 6})
    return ffcore.Run(pff.dir), ffcore.Run(judge.dir), root


def asked(made, *judge, **settings):
    finding = ffcore.analyse("generate", made[0], *judge, root=made[2], **settings)
    return finding.result(), finding.arrays()


# Samples


def test_samples_are_images_of_their_class_with_the_nearest_training_image_beside_them(made):
    told, a = asked(made, what="samples", n=40)
    assert a["images"].shape == a["neighbours"].shape == (40, 8, 8)
    assert a["images"].dtype == np.uint8
    assert np.bincount(a["y"]).tolist() == [4] * 10
    train = made[0].config["data"]["name"] and ffcore.load(str(made[0].dir)).data().train
    assert np.array_equal(train.x[a["neighbour_index"], 0].numpy(), a["neighbours"])
    assert np.array_equal(train.y[a["neighbour_index"]].numpy(), a["neighbour_y"])
    x, all_of_them = a["images"].reshape(40, 64) / 255, train.x.flatten(1).numpy() / 255
    by_hand = np.linalg.norm(x[:, None] - all_of_them[None], axis=2).min(1)
    np.testing.assert_allclose(a["distances"], by_hand, atol=0.02)  # stored in 256 steps
    assert told["training_images"] == len(train.y)
    assert told["copies"]["sample"] == pytest.approx(np.median(a["distances"]), abs=0.1)
    assert told["copies"]["images"] == len(a["held_out_distances"]) == len(a["reconstructed_distances"])


def test_the_same_seed_makes_the_same_images_and_another_label_others(made):
    one, two = asked(made, n=6, label=3), asked(made, n=6, label=3, seed=1)
    repeat = ffcore.lab.ANALYSES["generate"]
    settings = repeat.Settings(**one[0]["settings"])
    again = repeat.measure([ffcore.Trained(made[0].dir)], settings, lambda *_: None, None)[1]
    assert np.array_equal(one[1]["images"], again["images"])
    assert not np.array_equal(one[1]["images"], two[1]["images"])
    assert not np.array_equal(one[1]["images"], asked(made, n=6, label=4)[1]["images"])
    assert set(one[1]["y"]) == {3}


def test_any_class_is_as_frequent_as_in_training(made):
    y = asked(made, n=200, label="any")[1]["y"]
    train = ffcore.load(str(made[0].dir)).data().train.y
    share = torch.bincount(train, minlength=10) / len(train)
    assert np.abs(np.bincount(y, minlength=10) - 200 * share.numpy()).max() < 1


def test_the_mixture_has_as_many_components_as_suit_the_validation_latents_best(made):
    """On those it was fitted to, more are always better."""
    told, a = asked(made, n=20)
    tried = {int(k): value for k, value in told["tried"].items()}
    assert told["components"] == max(tried, key=tried.get)
    assert told["log_likelihood"] == pytest.approx(max(tried.values()))
    for k in (1, 2):
        fixed, b = asked(made, n=20, components=k)
        assert fixed["log_likelihood"] == pytest.approx(tried[k])
        assert fixed["components"] == k
        assert np.array_equal(a["images"], b["images"]) == (k == told["components"])


def test_one_component_is_drawn_from_the_gaussian_of_the_training_latents(made):
    z = asked(made, n=2_000, label=4, components=1)[1]["latents"]
    net = ffcore.load(str(made[0].dir))
    train = net.data().train
    own = net.model.infer(train.x[train.y == 4].float() / 255, train.y[train.y == 4])
    spread = own.std(0)
    assert ((torch.from_numpy(z.mean(0)) - own.mean(0)).abs() < 0.1 * spread + 1e-4).all()
    assert (torch.from_numpy(np.cov(z.T)) - own.T.cov()).abs().max() < 0.1 * spread.max() ** 2


def test_a_judge_reads_the_samples_and_is_named_with_its_accuracy(made):
    told, a = asked(made, made[1], what="samples", n=100)
    judge = ffcore.load(str(made[1].dir))
    assert told["judge"] == made[1].id
    assert told["judge_test_accuracy"] == made[1].status()["result"]["test_accuracy"]
    assert (judge.predict(a["images"]).numpy() == a["read"]).mean() > 0.95  # it read them before they were rounded
    assert told["judged"] == pytest.approx((a["read"] == a["y"]).mean())
    assert told["judged"] > 0.5
    assert told["judged_by_class"][2] == pytest.approx((a["read"] == a["y"])[a["y"] == 2].mean())
    assert asked(made, what="samples", n=100)[0]["judge"] is None


# Reconstructions, steps, interpolation, epochs


def test_steps_begin_before_the_first_and_end_at_the_reconstruction(made):
    told, a = asked(made, what="steps", n=20)
    again, b = asked(made, what="reconstructions", n=20)
    k = made[0].config["model"]["steps"]
    assert a["images"].shape == (k + 1, 20, 8, 8)
    assert np.array_equal(a["images"][-1], b["images"])
    assert told["error"][-1] == pytest.approx(again["error"])
    real = a["originals"] / 255
    np.testing.assert_allclose(((a["images"] / 255 - real) ** 2).mean((2, 3)), a["errors"], atol=2e-3)
    np.testing.assert_allclose(told["error"], a["errors"].mean(1), rtol=1e-5)
    assert told["error"][-1] < told["mean_image_error"]
    net = ffcore.load(str(made[0].dir))
    held = net.held_out()
    assert np.array_equal(held.y[a["index"]].numpy(), a["y"])
    first = next(net.model.inference(held.x[a["index"]].float() / 255))
    torch.testing.assert_close(torch.from_numpy(a["latents"][0]), first, rtol=1e-3, atol=1e-4)
    assert asked(made, what="steps", n=20, steps=k + 3)[1]["images"].shape[0] == k + 4
    assert set(asked(made, what="steps", n=5, label=7)[1]["y"]) == {7}


def test_an_interpolation_ends_at_the_two_reconstructions(made):
    _, a = asked(made, what="interpolation", first=3, second=8, points=7)
    net = ffcore.load(str(made[0].dir))
    ends = net.held_out().x[[2, 7]]
    assert np.array_equal(a["originals"], ends[:, 0].numpy())
    np.testing.assert_allclose(a["images"][[0, -1]] / 255, net.reconstruct(ends)[:, 0], atol=0.003)
    assert a["images"].shape == (7, 8, 8)


def test_epochs_are_the_same_draws_through_the_nets_of_the_kept_epochs(made):
    told, a = asked(made, what="epochs", n=20, seed=5)
    assert told["epochs"] == made[0].kept() == [0, 1, 2, 4]
    for at, epoch in enumerate(told["epochs"]):
        drawn = ffcore.Trained(made[0].dir, epoch).sample(2, seed=5).flatten(0, 1)[:, 0]
        np.testing.assert_allclose(a["images"][at] / 255, drawn, atol=0.003)
    assert not np.array_equal(a["images"][1], a["images"][-1])


def test_an_earlier_epochs_net_makes_other_samples(made):
    assert not np.array_equal(asked(made, n=10, epoch=1)[1]["images"], asked(made, n=10)[1]["images"])


# Ascent


def test_each_layer_climbs_for_each_class_and_all_rise(trained, tmp_path):
    finding = ffcore.analyse("generate", ffcore.Run(trained["ff"]), layer="each", n=10, steps=30)
    told, a = finding.result(), finding.arrays()
    assert told["settings"]["what"] == "ascent"
    assert told["blocks"] == ["layer 1", "layer 2", "all layers"]
    assert a["images"].shape == (3, 10, 8, 8)
    assert (a["after"] > a["before"]).all()
    assert len(told["rows"]) == 30
    row = next(r for r in told["rows"] if r["block"] == "layer 2" and r["label"] == 3)
    assert row["after"] == pytest.approx(a["after"][1, 3], rel=1e-4)
    net = ffcore.Trained(trained["ff"])
    samples = net.samples()
    g = net.goodness(samples["images"])[torch.from_numpy(samples["labels"] == 3), :, 1]
    lead = g[:, 3] - (g.sum(1) - g[:, 3]) / 9
    assert row["real"] == pytest.approx(lead.mean().item(), rel=1e-3, abs=1e-4)
    assert told["judged"] == pytest.approx((a["read"] == a["y"]).mean())


def test_one_layer_alone_is_its_block_of_each(trained):
    run = ffcore.Run(trained["ff"])
    each = ffcore.analyse("generate", run, layer="each", n=10, steps=30).arrays()["images"]
    alone = ffcore.analyse("generate", run, layer=2, n=10, steps=30).arrays()["images"]
    assert np.array_equal(alone[0], each[1])


def test_a_net_without_goodness_climbs_in_its_score(trained):
    finding = ffcore.analyse("generate", ffcore.Run(trained["backprop"]), n=10, smooth=0, jitter=0)
    told, a = finding.result(), finding.arrays()
    assert told["settings"]["of"] == "score"
    assert (a["after"] > a["before"]).all()
    assert told["judged"] > 0.8


# Refusals


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label": 10}, "classes 0 to 9"),
        ({"layer": 1}, "samples knows no layer; leave it out, or ask for what=ascent"),
        ({"what": "interpolation", "n": 4}, "interpolation knows no n"),
        ({"what": "interpolation", "first": 10_000}, "choose a number from 1 to"),
        ({"what": "epochs", "epoch": 1}, "epochs knows no epoch"),
        ({"what": "ascent", "label": "any"}, "needs a label"),
        ({"what": "ascent", "layer": 9}, "layers 1 to 2"),
        ({"what": "ascent", "of": "score", "layer": 1}, "leave layer out"),
        ({"components": 50, "n": 1, "what": "ascent"}, "ascent knows no components"),
        ({"what": "dreams"}, "what="),
        ({"n": 0}, "n=0"),
        ({"epoch": 3}, "kept no weights of epoch 3"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_remedy(made, settings, said):
    with pytest.raises(Refused, match=said):
        ffcore.analyse("generate", made[0], root=made[2], **settings)


def test_a_run_that_generates_nothing_refuses_samples_and_a_judge_must_fit(made, trained):
    with pytest.raises(Refused, match="generates no samples; choose a run of pff, or what=ascent"):
        ffcore.analyse("generate", ffcore.Run(trained["ff"]), what="samples")
    with pytest.raises(Refused, match="cannot judge itself"):
        ffcore.analyse("generate", made[0], made[0])
    with pytest.raises(Refused, match="a judge and an epoch"):
        ffcore.analyse("generate", made[0], made[1], epoch=1)
    with pytest.raises(Refused, match="was trained for shape"):
        ffcore.analyse("generate", made[0], "ff-mnist")


# The function and the command


def test_an_npz_holds_images_in_0_to_1_and_their_classes(made, tmp_path):
    told = ffcore.generate(made[0], tmp_path / "a.npz", label=3, n=5, seed=2)
    assert (told["n"], told["label"], told["file"]) == (5, 3, str(tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as file:
        assert file["x"].shape == (5, 8, 8)
        assert file["x"].dtype == np.float32
        assert 0 <= file["x"].min() < 0.5 < file["x"].max() <= 1
        assert file["y"].tolist() == [3] * 5
        assert np.array_equal((255 * file["x"]).round(), asked(made, n=5, label=3, seed=2)[1]["images"])


def test_several_frames_are_numbered(made, tmp_path):
    ffcore.generate(made[0], tmp_path / "a.npz", what="epochs", n=10)
    with np.load(tmp_path / "a.npz") as file:
        assert file["x"].shape == (40, 8, 8)
        assert file["y"].tolist() == [*range(10)] * 4
        assert file["frame"].tolist() == np.repeat(range(4), 10).tolist()
    ffcore.generate(made[0], tmp_path / "b.npz", what="interpolation")
    with np.load(tmp_path / "b.npz") as file:
        assert file.files == ["x"]  # what lies between is of no class


def test_a_png_has_a_row_for_each_class_and_the_images_in_it(made, tmp_path):
    ffcore.generate(made[0], tmp_path / "a.png", n=30)
    picture = np.array(Image.open(tmp_path / "a.png"))
    side = 32  # 8 pixels, enlarged to at least 28
    assert picture.shape == (10 * (side + 2) - 2, 3 * (side + 2) - 2)
    images = asked(made, n=30)[1]["images"]
    assert np.array_equal(picture[:side:4, :side:4], images[0])
    assert np.array_equal(picture[34 : 34 + side : 4, 68 : 68 + side : 4], images[5])


def test_nothing_is_overwritten_unasked(made, tmp_path):
    file = tmp_path / "a.png"
    file.write_text("mine")
    with pytest.raises(Refused, match="is there already; choose another name, or say --overwrite"):
        ffcore.generate(made[0], file)
    assert file.read_text() == "mine"
    ffcore.generate(made[0], file, overwrite=True)
    assert Image.open(file).format == "PNG"
    for bad, said in ((tmp_path / "a.gif", "neither .png nor .npz"), (tmp_path / "no" / "a.png", "no folder"), (None, "--out")):
        with pytest.raises(Refused, match=said):
            ffcore.generate(made[0], bad)


def test_the_command_prints_one_object_and_says_that_it_climbs(made, trained, tmp_path, monkeypatch):
    def ran(*words):
        done = CliRunner().invoke(cli, ["generate", *map(str, words)], catch_exceptions=False, standalone_mode=False)
        return done.stdout if done.exception is None else str(done.exception)

    told = json.loads(ran(made[0].dir, "--n", 20, "--judge", made[1].dir, "--json"))
    assert told["file"] is None
    assert told["what"] == "samples"
    assert {"judged", "judge", "judge_test_accuracy", "copies"} <= told.keys()
    said = ran(trained["ff"], "--label", 3, "--n", 2, "--set", "steps=3", "--out", tmp_path / "a.png")
    assert "ascent" in said
    assert "look like no digit" in said
    told = json.loads(ran(trained["ff"], "--label", 3, "--n", 2, "--set", "steps=3", "--out", tmp_path / "b.npz", "--json"))
    assert (told["n"], told["label"], told["settings"]["steps"]) == (2, 3, 3)
