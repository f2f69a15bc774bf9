"""A training over again: moments on common axes, maps that do not tumble, bookmarks where they are due."""

import json
import shutil
import sys
import zlib

import numpy as np
import pytest

import ffcore
from ffcore import replays


@pytest.fixture
def run(trained, tmp_path):
    """A Forward-Forward run of two epochs, to be altered."""
    return ffcore.Run(shutil.copytree(trained["ff"], tmp_path / "run"))


def alter(run, change) -> None:
    """Rewrite every snapshot by `change(arrays, epoch)`."""
    for epoch in run.snapshots():
        run.write_snapshot(epoch, change(run.snapshot(epoch), epoch))


def turned(cloud: np.ndarray, angle: float, mirror: bool) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return cloud @ (turn @ np.diag([1, -1 if mirror else 1]))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi, 4.5])
def test_a_turned_or_mirrored_copy_of_a_map_lies_exactly_on_it_again(angle, mirror):
    cloud = np.random.default_rng(0).normal(size=(300, 2)) * [2, 0.5]
    out = replays.align(np.stack([cloud, turned(cloud, angle, mirror), turned(cloud, 1 - angle, not mirror)]))
    np.testing.assert_allclose(out, np.stack([cloud] * 3), atol=1e-9)


def test_alignment_moves_no_image_nearer_to_another():
    clouds = np.random.default_rng(1).normal(size=(4, 50, 2))
    out = replays.align(clouds)
    for before, after in zip(clouds, out, strict=True):
        apart = [np.linalg.norm(c[:, None] - c[None], axis=2) for c in (before, after)]
        np.testing.assert_allclose(*apart, atol=1e-9)


def test_a_map_of_a_dead_layer_stays_where_it_is():
    clouds = np.zeros((3, 20, 2))
    assert (replays.align(clouds) == 0).all()


def test_new_bins_hold_as_many_as_the_old_ones_even_where_the_axis_ends_earlier():
    rng = np.random.default_rng(0)
    counts, edges = rng.integers(0, 50, (6, 40)), np.sort(rng.normal(size=(6, 41)), axis=1) * 10
    for common in (np.linspace(-40, 40, 61), np.linspace(-3, 3, 61)):
        out = replays.rebin(counts, edges, common)
        np.testing.assert_allclose(out.sum(1), counts.sum(1))
        assert (out >= 0).all()
    same = np.linspace(0, 1, 41)
    np.testing.assert_allclose(replays.rebin(counts[:1], same[None], same), counts[:1])


def test_new_bins_take_their_share_of_the_old_ones():
    edges, counts = np.array([[0.0, 1.0, 2.0, 4.0]]), np.array([[1, 2, 1]])
    assert replays.rebin(counts, edges, np.array([0.0, 2, 4, 8])).tolist() == [[3, 1, 0]]
    assert replays.rebin(counts, edges, np.array([0, 0.5, 3, 4])).tolist() == [[0.5, 3, 0.5]]


def test_new_bins_leave_the_mean_where_it_was():
    edges = np.linspace(2, 6, 41)
    counts = np.random.default_rng(0).integers(0, 50, (1, 40))
    common = np.linspace(0, 12, 481)  # 40 bins of the new to 10 of the old
    out = replays.rebin(counts, edges[None], common)[0]
    assert (out * (common[1:] + common[:-1])).sum() == pytest.approx((counts[0] * (edges[1:] + edges[:-1])).sum())


def history(**more):
    """Five moments of a net with two layers in which nothing happens."""
    still = {"dead": np.zeros(5), "won": np.full(5, 0.5), "dprime": np.zeros(5)}
    layers = [{**still, **more.pop(name, {})} for name in ("one", "two")]
    return {"epochs": [0, 1, 2, 4, 8], "accuracy": np.full(5, np.nan), "layers": layers, **more}


def marks(**more) -> dict[str, int]:
    return {mark["name"]: mark["epoch"] for mark in replays.bookmarks(history(**more))}


def test_where_nothing_happens_there_is_no_bookmark():
    assert marks() == {}
    assert marks(accuracy=np.full(5, 0.1)) == {}


def test_bookmarks_are_found_where_they_were_planted():
    assert marks(
        one={"dead": np.array([0, 0, 0.1, 0.5, 0.9]), "won": np.array([0.5, 0.94, 0.95, 0.9, 1])},
        two={"dead": np.array([0, 0.01, 0, 0, 0]), "dprime": np.array([0, 0.5, 0.99, 1.0, 3])},
        accuracy=np.array([0.1, 0.8, 0.87, 0.96, 0.95]),
        said=np.array([[1, 2], [1, 3], [1, 3], [0, 3], [0, 3]]),
    ) == {
        "first dead unit, in layer 2": 1, "90% of the final accuracy": 2, "layer 1 wins its pairs": 2,
        "half of layer 1 is dead": 4, "layer 2 separates": 4, "best validation": 4, "a sample changes its mind last": 4,
    }  # fmt: skip


def test_a_net_that_learns_nothing_has_no_nine_tenths():
    assert "90% of the final accuracy" not in marks(accuracy=np.array([0.1, 0.09, 0.11, 0.1, 0.12]))


def test_frames_tell_what_the_run_tells(run):
    told = ffcore.frames(run)
    events = {e["epoch"]: e for e in run.events()[0] if e["event"] == "epoch"}
    assert told["epochs"] == run.snapshots() == [0, 1, 2]
    assert told["readout"] == run.status()["result"]["readout"]
    assert told["accuracy"].tolist() == [events[e]["validation"]["goodness"] for e in told["epochs"]]
    assert told["seconds"].tolist() == [events[e]["seconds"] for e in told["epochs"]]
    for i, layer in enumerate(told["layers"]):
        for m, epoch in enumerate(told["epochs"]):
            arrays = run.snapshot(epoch)
            assert layer["dprime"][m] == pytest.approx(arrays["apart"][i, 1])
            for side in ("pos", "neg", "pair"):
                assert layer[side][m].sum() == pytest.approx(arrays[side][i].sum())
            assert layer["dead"][m] == events[epoch]["layers"][i]["dead"]
            np.testing.assert_allclose(
                np.linalg.norm(layer["map"][m], axis=1), np.linalg.norm(arrays[f"map_{i + 1}"].astype(float), axis=1), atol=1e-6
            )
    snapshot, labels = run.snapshot(2), run.samples()["labels"]
    assert (told["said"][2] == snapshot["goodness"].astype(float).sum(2).argmax(1)).all()
    assert (told["labels"] == labels).all()
    assert not told["estimated"]


def test_a_later_line_of_the_same_epoch_counts(run):
    run.append({"event": "epoch", "step": 9, "epoch": 2, "seconds": 99.0, "validation": {"goodness": 0.25}, "layers": []})
    told = ffcore.frames(run)
    assert (told["seconds"][2], told["accuracy"][2]) == (99, 0.25)


def test_the_layers_that_vote_answer(run):
    goodness = np.zeros((3, 4, 2))
    goodness[:, 1, 0], goodness[:, 3, 1] = 5, 4
    assert ffcore.answers(run, {"goodness": goodness}).tolist() == [1, 1, 1]
    run.write_config(model={**run.config["model"], "votes": [2]})
    assert ffcore.answers(run, {"goodness": goodness}).tolist() == [3, 3, 3]
    run.write_config(model={**run.config["model"], "votes": [7]})  # by hand, there is no such layer
    assert ffcore.answers(run, {"goodness": goodness}).tolist() == [1, 1, 1]
    assert ffcore.answers(run, {"scores": np.eye(4)}).tolist() == [0, 1, 2, 3]
    assert ffcore.answers(run, {}) is None


def test_backprop_has_no_heaps_and_a_map(trained):
    told = ffcore.frames(ffcore.Run(trained["backprop"]))
    assert all("pos" not in layer and "map" in layer for layer in told["layers"])
    assert told["said_by"] == "scores"
    assert "map_labels" in told


def test_a_run_of_an_older_version_lacks_maps_and_has_its_separation_estimated(run):
    new = ffcore.frames(run)
    alter(run, lambda arrays, _: {k: v for k, v in arrays.items() if not k.startswith(("map_", "apart"))})
    old = ffcore.frames(run)
    assert old["estimated"]
    assert "map_labels" not in old
    assert all("map" not in layer for layer in old["layers"])
    for before, after in zip(new["layers"], old["layers"], strict=True):
        np.testing.assert_allclose(after["dprime"], before["dprime"], atol=0.1)


def test_what_one_snapshot_lacks_is_told_of_none(run):
    alter(run, lambda arrays, epoch: {k: v for k, v in arrays.items() if epoch or k not in ("fields", "map_2")})
    told = ffcore.frames(run)
    assert "fields" not in told
    assert ["map" in layer for layer in told["layers"]] == [True, False]


@pytest.mark.parametrize("name", ["pos", "edges", "pair_edges", "goodness", "map_1", "fields", "apart"])
@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((1, 1)), np.full((2, 41), np.nan), np.array(["x"])])
def test_nonsense_in_a_snapshot_costs_its_own_part(run, name, bad):
    alter(run, lambda arrays, _: {**arrays, name: bad})
    told = ffcore.frames(run)
    assert told["epochs"] == [0, 1, 2]
    assert np.isfinite(told["accuracy"]).all()


def test_a_damaged_snapshot_is_left_out_and_counted(run):
    (run.dir / "snapshots" / "epoch-0001.npz").write_bytes(b"")
    told = ffcore.frames(run)
    assert (told["epochs"], told["lost"], told["of"]) == ([0, 2], 1, 3)
    shutil.rmtree(run.dir / "snapshots")
    with pytest.raises(ffcore.Refused, match=r"no snapshots that can be read; train one with train\.telemetry on"):
        ffcore.frames(run)


def test_a_run_without_events_still_has_its_layers(run):
    (run.dir / "events.jsonl").unlink()
    told = ffcore.frames(run)
    assert np.isnan(told["accuracy"]).all()
    assert len(told["layers"]) == 2


def test_of_a_long_run_the_first_and_the_last_are_kept(run, monkeypatch):
    monkeypatch.setattr(replays, "FRAMES", 4)
    for epoch in range(3, 12):
        shutil.copy(run.dir / "snapshots" / "epoch-0002.npz", run.dir / "snapshots" / f"epoch-{epoch:04d}.npz")
    told = ffcore.frames(run)
    assert told["epochs"] == [0, 4, 7, 11]
    assert told["of"] == 12


def test_what_is_sent_can_be_had_again_and_is_small(run):
    """Opened here as the browser opens it: 60 epochs of four layers would take 300 kB at most."""
    from charts.replay import LEVELS, pack

    told = ffcore.frames(run) | {"title": "one", "classes": run.config["facts"]["classes"]}
    raw = zlib.decompress(pack([told], {"epoch": "epochs"}, {"name": "x"}))
    length = int.from_bytes(raw[:4], "little")
    head, body = json.loads(raw[4 : 4 + length]), raw[4 + length :]

    def opened(about):
        values = np.frombuffer(body, about["kind"], np.prod(about["shape"]), about["at"]).reshape(about["shape"])
        return np.cumsum(values, 0, dtype=values.dtype) if about["moments"] else values

    (sent,) = head["runs"]
    assert (opened(sent["said"]) == told["said"]).all()
    assert (opened(sent["images"]) == told["images"]).all()
    fields = opened(sent["fields"]) / LEVELS * np.abs(told["fields"]).max((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(fields, told["fields"], atol=np.abs(told["fields"]).max() / LEVELS)
    for layer, before in zip(sent["layers"], told["layers"], strict=True):
        share = before["pos"] / before["pos"].sum(1, keepdims=True)
        got = opened(layer["pos"]) / 255 * np.array(layer["edges_top"])[:, None]
        np.testing.assert_allclose(got, share, atol=0.005)
        reach = np.quantile(np.abs(before["map"]), 0.995)
        np.testing.assert_allclose(opened(layer["map"]) / 127 * reach, np.clip(before["map"], -reach, reach), atol=reach / 120)


def test_replays_never_load_torch():
    import subprocess

    code = "import sys, ffcore; ffcore.frames; ffcore.answers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
