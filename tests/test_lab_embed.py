"""Embeddings of runs: what is laid out, what the net says of every image, frames through training, the command's table."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY

import ffcore
from ffcore import data, probes, runs
from ffcore.cli import cli
from ffcore.errors import Failed, Refused


def found(run, **settings):
    finding = ffcore.analyse("embed", run, **settings)
    return finding.result(), finding.arrays()


def test_points_are_the_runs_validation_images_and_what_the_net_says_of_them(store):
    told, arrays = found(store["ff"], n=100, layer="2")
    net = ffcore.Trained(store["ff"].dir)
    x, y = net.held_out(100)
    assert (told["rows"], told["validation"], told["features"], told["epochs"]) == (100, 100, 32, [2])
    assert told["method"] == "pca"
    assert arrays["xy"].shape == (1, 100, 2)
    assert np.array_equal(arrays["images"], x.numpy())
    assert np.array_equal(arrays["label"], y.numpy())
    said = net.predict(x)
    assert np.array_equal(arrays["prediction"][0], said.numpy())
    assert np.array_equal(arrays["error"][0], (said != y).numpy())
    goodness = net.goodness(x, said).mean(1)
    assert np.allclose(arrays["goodness"][0], goodness, rtol=1e-4)
    best = net.scores(x)["goodness"].topk(2, 1).values
    assert np.allclose(arrays["margin"][0], best[:, 0] - best[:, 1], rtol=1e-3, atol=1e-4)
    h = probes.normalised(probes.activities(net.model, x)[1])
    centred = (h - h.mean(0)).numpy()
    assert np.allclose(np.abs(arrays["xy"][0]), np.abs(centred @ np.linalg.svd(centred)[2][:2].T), atol=1e-3)
    assert 0.5 < told["trustworthiness"][0] <= 1


def test_training_images_follow_when_validation_images_run_out(store):
    told, arrays = found(store["ff"], n=300, layer="pixels")
    whole = ffcore.Trained(store["ff"].dir).data()
    assert (told["rows"], told["validation"], told["features"]) == (300, 180, 64)
    assert np.array_equal(arrays["images"][180:], whole.train.x[:120].numpy())
    every, _ = found(store["ff"], n=20_000, layer="pixels")
    assert every["rows"] == 180 + len(whole.train.y)


def test_the_true_label_plays_no_part(store, monkeypatch):
    """Shuffled labels leave every point where it is: nothing reads the class off its input."""
    _, arrays = found(store["ff"], n=90)
    load = data.load

    def shuffled(*args, **more):
        got = load(*args, **more)
        object.__setattr__(got, "validation", got.validation._replace(y=got.validation.y.roll(1)))
        return got

    monkeypatch.setattr(data, "load", shuffled)
    _, other = found(store["ff"], n=90, seed=1)
    assert not np.array_equal(arrays["label"], other["label"])
    assert np.array_equal(arrays["xy"], other["xy"])
    assert np.array_equal(arrays["prediction"], other["prediction"])


def test_frames_through_training_lie_over_each_other(store):
    told, arrays = found(store["ff"], n=120, layer="1", frames="kept")
    assert told["epochs"] == [0, 1, 2]
    assert arrays["xy"].shape == (3, 120, 2)
    assert arrays["prediction"].shape == (3, 120)
    alone = [found(store["ff"], n=120, layer="1", epoch=e)[1]["xy"][0] for e in (1, 2)]
    apart = np.linalg.norm(alone[1] - alone[0])
    laid_over = np.linalg.norm(arrays["xy"][2] - arrays["xy"][1])
    assert laid_over <= apart + 1e-3
    span = np.linalg.norm(alone[1] - alone[1].mean(0))
    assert np.linalg.norm(arrays["xy"][2] - arrays["xy"][2].mean(0)) == pytest.approx(span, rel=1e-4)  # turned, not scaled


def test_another_data_sets_images(store):
    run = ffcore.train(root=str(runs.runs_root()), data="mnist-5k", epochs=0, set={"data.train": 100, "model.widths": [16]})
    told, arrays = found(run, n=60, data="glyphs")
    assert told["data"] == "glyphs"
    assert told["classes"] == list("ABCDEFGHIJ")
    assert not told["own_classes"]
    assert "error" not in arrays  # a digit's name for a letter is neither right nor wrong
    assert set(arrays["prediction"][0]) <= set(range(10))


def test_a_net_without_goodness_tells_none(store):
    _, arrays = found(store["backprop"], n=50)
    assert "goodness" not in arrays
    assert {"margin", "prediction", "error"} <= set(arrays)


def test_what_makes_no_sense_is_refused(store):
    run = store["ff"]
    for settings, why in (
        ({"layer": "3"}, "has 2 layers"),
        ({"layer": "top"}, r"embed\.layer=top: .* choose one from 1 to 2, all or pixels"),
        ({"layer": "0"}, "has 2 layers"),
        ({"method": "lda"}, "pca, tsne, umap"),
        ({"data": "mnist-5k"}, "choose data of that shape"),
        ({"data": "nothing"}, "no dataset named"),
        ({"frames": "kept", "epoch": 1}, "leave out the epoch"),
        ({"n": 5}, "≥ 20"),
    ):
        with pytest.raises(Refused, match=why):
            ffcore.find_analysis("embed", run, **settings)
    run.write_config(data={**run.config["data"], "name": "kmnist"}, data_root="/nowhere")
    with pytest.raises(Refused, match="not here"):
        ffcore.find_analysis("embed", run)


def test_a_dead_layer_is_told_in_a_line(store, monkeypatch):
    from ffcore import embedding

    monkeypatch.setattr(embedding, "embed", lambda *args: None)
    with pytest.raises((Refused, Failed), match="it is dead; choose another layer"):
        ffcore.analyse("embed", store["ff"], n=40)


def test_embed_by_command(store, tmp_path):
    out = tmp_path / "points.csv"
    words = ["embed", store["ff"].id, "--layer", "1", "--n", "80", "--out", str(out), "--json"]
    told = json.loads(CliRunner().invoke(cli, words).stdout)
    assert {"file", "rows", "method", "seconds", "trustworthiness"} <= set(told)
    assert (told["file"], told["rows"], told["method"]) == (str(out), 80, "pca")
    rows = list(csv.DictReader(out.open()))
    assert list(rows[0]) == ["x", "y", "label", "prediction", "goodness", "error", "index"]
    _, arrays = found(store["ff"], n=80, layer="1")
    assert [float(row["x"]) for row in rows] == pytest.approx(arrays["xy"][0, :, 0].tolist())
    assert [row["error"] == "True" for row in rows] == arrays["error"][0].tolist()
    again = CliRunner().invoke(cli, words)
    assert isinstance(again.exception, Refused)
    assert "is there already" in str(again.exception)
    text = CliRunner().invoke(cli, [*words[:-2], str(tmp_path / "b.csv")]).stdout
    assert "80 images by pca" in text
    assert TINY["data"] in told["data"]
