"""Layouts on a plane: clusters that were planted are found, the same seed gives the same picture, trust is what it says."""

import importlib.util
import json
import math

import numpy as np
import pytest

from ffcore import embedding
from ffcore.errors import Refused

METHODS = [m for m in embedding.METHODS if m == "pca" or importlib.util.find_spec({"tsne": "openTSNE"}.get(m, m))]


def clusters(n=150, width=30, k=3, apart=12, seed=0):
    """n points in k round clouds, and which cloud each is from."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return (apart * np.eye(k, width)[y] + rng.normal(size=(n, width))).astype(np.float32), y


def silhouette(xy, y):
    from sklearn.metrics import silhouette_score

    return silhouette_score(xy, y)


@pytest.fixture(scope="module", params=METHODS)
def made(request):
    """(method, features, clouds, layout, what was told)."""
    x, y = clusters()
    told = []
    return request.param, x, y, embedding.embed(x, request.param, tell=lambda *said: told.append(said)), told


def test_planted_clouds_lie_apart(made):
    _, x, y, xy, _ = made
    assert xy.shape == (150, 2)
    assert xy.dtype == np.float32
    assert silhouette(xy, y) > 0.6
    assert embedding.trustworthiness(x, xy) > 0.8


def test_progress_rises_to_the_end(made):
    method, _, _, _, told = made
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    if method != "pca":
        assert shares[-1] == pytest.approx(1)
        assert len({doing for _, doing in told}) >= 4


def test_the_same_seed_gives_the_same_picture(made):
    method, x, _, xy, _ = made
    assert np.array_equal(embedding.embed(x, method), xy)


def test_a_layout_begins_at_an_earlier_one_and_is_turned_onto_it(made):
    """Features that hardly change: points stay where they were, though a mirrored start asks for a mirrored picture."""
    method, x, _, xy, _ = made
    mirrored = xy @ np.array([[0, 1], [1, 0]], np.float32) + 3
    moved = x + 0.01 * np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    after = embedding.embed(moved, method, start=mirrored)
    spread = np.linalg.norm(mirrored - mirrored.mean(0), axis=1).mean()
    assert np.linalg.norm(after - mirrored, axis=1).mean() < 0.35 * spread
    assert np.allclose(after.mean(0), mirrored.mean(0), atol=1e-2)


def test_pca_is_the_projection_on_the_two_widest_directions():
    x, _ = clusters()
    xy = embedding.embed(x, "pca")
    _, _, v = np.linalg.svd(x - x.mean(0))
    assert np.allclose(np.abs(xy), np.abs((x - x.mean(0)) @ v[:2].T), atol=1e-3)
    assert embedding.embed(x[:, :1], "pca")[:, 1].tolist() == [0] * 150


def test_turning_keeps_all_distances_and_undoes_a_turn():
    rng = np.random.default_rng(0)
    xy, c, s = rng.normal(size=(40, 2)), math.cos(1), math.sin(1)
    turned = xy @ np.array([[c, -s], [s, c]]) * [1, 1] @ np.diag([1, -1]) + [4, -7]
    assert np.allclose(embedding.turned_onto(turned, xy), xy)
    other = embedding.turned_onto(2 * turned, xy)
    assert np.allclose(np.linalg.norm(other[1:] - other[:-1], axis=1), 2 * np.linalg.norm(xy[1:] - xy[:-1], axis=1))


def test_trustworthiness_by_hand_and_of_chance():
    line = np.arange(60.0)[:, None] ** 1.5  # no two neighbours equally far
    assert embedding.trustworthiness(line, np.c_[line, 0 * line]) == pytest.approx(1)
    x, _ = clusters(900)
    chance = embedding.trustworthiness(x, np.random.default_rng(0).normal(size=(900, 2)))
    assert chance == pytest.approx(0.5, abs=0.05)
    assert embedding.trustworthiness(x[:2], x[:2, :2]) is None


def test_trust_is_measured_on_a_sample_of_many():
    x, _ = clusters(3_000, width=4)
    xy = embedding.embed(x, "pca")
    some = np.random.default_rng(5).permutation(3_000)[:2_000]
    assert embedding.trustworthiness(x, xy, 5) == pytest.approx(embedding.trustworthiness(x[some], xy[some]), abs=1e-6)
    assert embedding.trustworthiness(x, xy, 5) != embedding.trustworthiness(x, xy, 6)


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_layer_has_no_layout_and_nan_is_refused(method):
    assert embedding.embed(np.full((40, 9), 0.3, np.float32), method) is None
    with pytest.raises(Refused, match="no numbers"):
        embedding.embed(np.full((40, 9), np.nan, np.float32), method)


@pytest.mark.parametrize("method", METHODS)
def test_a_handful_of_points_will_do(method):
    x, _ = clusters(20, width=3)
    assert np.isfinite(embedding.embed(x, method)).all()


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for method in ("tsne", "umap"):
        with pytest.raises(Refused, match=r"pip install 'ffcore\[embed\]'"):
            embedding.embed(clusters()[0], method)
    assert embedding.embed(clusters()[0], "pca") is not None


def test_tables_are_written_once(tmp_path, monkeypatch):
    columns = {"x": np.array([0.5, 1], np.float32), "label": np.array([3, 4], np.int16), "error": np.array([True, False])}
    file = embedding.check_file(tmp_path / "a.csv")
    embedding.write_table(file, columns)
    assert file.read_text().splitlines() == ["x,label,error", "0.5,3,True", "1.0,4,False"]
    with pytest.raises(Refused, match="there already"):
        embedding.check_file(file)
    for path, why in (("a.txt", "FILE.csv"), ("no/a.csv", "no folder")):
        with pytest.raises(Refused, match=why):
            embedding.check_file(tmp_path / path)
    from pyarrow import parquet  # comes with streamlit

    file = embedding.check_file(tmp_path / "a.parquet")
    embedding.write_table(file, columns)
    assert parquet.read_table(file).to_pydict() == json.loads('{"x": [0.5, 1.0], "label": [3, 4], "error": [true, false]}')
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="needs pyarrow"):
        embedding.check_file(tmp_path / "b.parquet")
