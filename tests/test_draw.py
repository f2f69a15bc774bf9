"""Drawings: strokes that look like MNIST's digits, links that hold them, changes that do what they say, nets that read them."""

import base64
import io
import json
import shutil
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from traces import traced

import ffcore
from ffcore import rundir
from ffcore.cli import cli
from ffcore.data import strokes
from ffcore.data.strokes import Change
from ffcore.errors import Refused

FIELD = (28, 28)


def seen(paths) -> np.ndarray:
    """A drawing as a link holds it and a net of MNIST sees it."""
    return strokes.rounded(strokes.placed(strokes.drawn(paths), FIELD))


@pytest.fixture(scope="module")
def net():
    """The net that comes with ffcore, and its 64 test images."""
    return ffcore.Trained(rundir.bundled_root() / "ff-mnist")


@pytest.fixture(scope="module")
def samples(net):
    return net.samples()


@pytest.fixture(scope="module")
def again(samples):
    """The 64 test images, traced along their centre lines and drawn by the pad's pen."""
    return np.stack([seen(traced(image[0])) for image in samples["images"]])[:, None]


# The pen


def test_traced_digits_are_read_as_well_as_the_originals(net, samples, again):
    right = [int((net.predict(x).numpy() == samples["labels"]).sum()) for x in (samples["images"], again)]
    assert right[0] >= 60
    assert right[1] >= right[0] - 2


def test_traced_digits_hold_as_much_ink_as_the_originals(samples, again):
    ink = [x.mean((1, 2, 3)) for x in (samples["images"], again)]
    assert np.median(ink[1] / ink[0]) == pytest.approx(1, abs=0.08)


def test_how_large_and_where_one_draws_makes_no_difference():
    hook = [np.array([[0, 0], [9, 1], [7, 16], [3, 17]], float), np.array([[2, 9], [9, 8]], float)]
    large = seen([path * 12 + 40 for path in hook])
    small = seen([path * 3 + (200, 11) for path in hook])
    assert np.abs(large.astype(int) - small).max() <= 17


def test_the_pens_width_is_the_same_for_small_and_large_drawings():
    line = np.array([[0, 0], [0, 100]])
    for size in (0.4, 1, 2.5):
        width = seen([line * size]).sum(1, dtype=float).max() / 255
        assert width == pytest.approx(strokes.PEN, abs=0.4)


def test_a_dot_is_a_drawing_and_nothing_is_none():
    assert seen([np.array([[5, 5]])]).max() > 200
    for nothing in ([], [np.empty((0, 2))]):
        with pytest.raises(Refused, match="draw a stroke first"):
            strokes.drawn(nothing)


def test_a_curve_is_drawn_without_gaps():
    bow = np.array([[100 * np.cos(a), 100 * np.sin(a)] for a in np.linspace(0, 2 * np.pi, 90)])
    image = seen([bow])
    ring = [image[round(14 + 8.8 * np.sin(a)), round(14 + 8.8 * np.cos(a))] for a in np.linspace(0, 6.2, 60)]
    assert min(ring) > 60
    assert image[13:16, 13:16].max() == 0


# How images are placed


def test_digits_of_mnist_are_known_by_how_they_stand(digits, samples):
    assert strokes.are_centred(digits.test.x.numpy())
    assert strokes.are_centred(samples["images"])
    assert strokes.are_centred(samples["images"].repeat(3, 1))
    moved = np.roll(samples["images"], 3, 2)
    assert not strokes.are_centred(moved)
    assert not strokes.are_centred(255 - samples["images"])
    assert not strokes.are_centred(np.zeros((4, 1, 28, 28), np.uint8))


def test_other_nets_get_a_drawing_that_fills_the_square():
    drawing = seen([np.array([[0, 0], [10, 100]])])
    image = strokes.suited(drawing, (3, 32, 24), by_mass=False)
    assert image.shape == (3, 32, 24)
    assert (image == image[:1]).all()
    rows = np.flatnonzero(image[0].any(1))
    assert (rows[0], rows[-1]) == (0, 31)
    assert (strokes.suited(drawing, (1, 28, 28), by_mass=True)[0] == drawing).all()  # placed once is placed


def test_an_image_becomes_what_a_net_of_another_shape_takes(samples):
    image = samples["images"][0]
    assert strokes.taken(image, (1, 28, 28)) is image
    assert (strokes.taken(image, (3, 28, 28)) == image).all()
    colour = np.concatenate([image, image // 2, image // 4])
    assert strokes.taken(colour, (1, 28, 28)) == pytest.approx(colour.mean(0, keepdims=True), abs=0.5)
    small = strokes.taken(image, (1, 14, 14))
    assert small.shape == (1, 14, 14)
    assert small.mean() == pytest.approx(image.mean(), rel=0.05)


# Links


def test_a_link_holds_a_drawing_exactly_and_is_short(again):
    noise = strokes.rounded(np.random.default_rng(0).integers(0, 256, FIELD))
    for image in [*again[:, 0], noise]:
        text = strokes.to_text(image)
        assert len(text) <= 600
        assert text.replace("-", "").replace("_", "").isalnum()
        assert (strokes.from_text(text) == image).all()
    assert np.mean([len(strokes.to_text(image)) for image in again[:, 0]]) < 250


def packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(raw)).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    ["", "x", "<b>", "ü" * 9, "A" * 601, packed(b""), packed(bytes(391)), packed(bytes(393)), packed(bytes(10**7)),
     packed(bytes(392))[:-3], base64.urlsafe_b64encode(zlib.compress(bytes(392)) + b"more").decode(), "/etc/passwd"],
)  # fmt: skip
def test_what_is_no_drawing_is_refused_in_one_line(text):
    with pytest.raises(Refused, match="copy the whole link again"):
        strokes.from_text(text)


# Changes


def test_no_change_is_no_change(samples):
    for image in samples["images"][:5]:
        assert (strokes.changed(image, Change()) == image).all()


def test_shifts_and_quarter_turns_move_pixels_exactly(samples):
    image = samples["images"][3]
    assert (strokes.changed(image, Change(x=3))[0, :, 3:] == image[0, :, :-3]).all()
    assert (strokes.changed(image, Change(x=3))[0, :, :3] == 0).all()
    assert (strokes.changed(image, Change(y=-2))[0, :-2] == image[0, 2:]).all()
    assert (strokes.changed(image, Change(turn=90))[0] == np.rot90(image[0], -1)).all()  # clockwise
    assert (strokes.changed(image, Change(turn=180))[0] == image[0, ::-1, ::-1]).all()
    turned = strokes.changed(image, Change(turn=90, x=2))[0]
    assert (turned[:, 2:] == np.rot90(image[0], -1)[:, :-2]).all()  # turned first, then shifted


def test_size_scales_the_ink():
    square = np.zeros((1, 28, 28), np.uint8)
    square[0, 10:18, 10:18] = 255
    for scale in (50, 150):
        ink = strokes.changed(square, Change(scale=scale)).sum(dtype=float) / square.sum(dtype=float)
        assert ink == pytest.approx((scale / 100) ** 2, rel=0.05)


@pytest.mark.parametrize("paper", [0, 255])
def test_what_hides_and_what_comes_in_is_paper(paper):
    image = np.full((3, 20, 24), paper, np.uint8)
    image[:, 4:16, 4:16] = 100
    assert (strokes.changed(image, Change(x=6))[:, :, :6] == paper).all()
    covered = strokes.changed(image, Change(cover=8))
    assert (covered[:, 6:14, 8:16] == paper).all()
    assert (covered[:, :6] == image[:, :6]).all()
    assert image[0, 10, 10] == 100  # the original is left alone


def test_noise_is_as_strong_as_asked_and_the_same_for_a_seed():
    grey = np.full((1, 100, 100), 128, np.uint8)
    one = strokes.changed(grey, Change(noise=10, seed=4))
    assert one.std() == pytest.approx(25.5, rel=0.05)
    assert (one == strokes.changed(grey, Change(noise=10, seed=4))).all()
    assert (one != strokes.changed(grey, Change(noise=10, seed=5))).mean() > 0.9


@pytest.mark.parametrize("bad", [{"turn": 181}, {"x": -99}, {"cover": 29}, {"noise": 101}, {"scale": 0}])
def test_a_change_out_of_bounds_is_refused(samples, bad):
    with pytest.raises(Refused, match=f"{next(iter(bad))} is .*; choose it from"):
        strokes.changed(samples["images"][0], Change(**bad))


@pytest.mark.parametrize("along", ["x", "y", "turn", "scale", "noise", "cover"])
def test_a_sweep_runs_from_end_to_end_and_through_what_is_shown(samples, along):
    image, here = samples["images"][1], Change(x=1, turn=7, scale=93, noise=11, cover=3, seed=2)
    values, images = strokes.sweep(image, here, along)
    low, high = strokes.limits(image.shape)[along]
    assert (values[0], values[-1]) == (low, high)
    assert len(values) <= 34
    assert values == sorted(set(values))
    assert (images[values.index(getattr(here, along))] == strokes.changed(image, here)).all()


# What a net reads


def copied(run, folder):
    return shutil.copytree(run.dir, folder / "copy")


def test_read_tells_what_the_net_says(net, samples):
    told = ffcore.read(net, sample=5)
    image = samples["images"][4:5]
    assert told == ffcore.read(net, samples["images"][4])
    assert told["label"] == int(net.predict(image)) == int(told["class"])
    assert np.allclose(told["goodness"], net.goodness(image)[0])
    assert np.allclose(told["scores"]["softmax"], net.scores(image)["softmax"][0])
    assert np.allclose(np.array(told["goodness"])[:, [v - 1 for v in told["votes"]]].sum(1), told["scores"]["goodness"])
    best, second = sorted(told["scores"]["goodness"])[:-3:-1]
    assert told["lead"] == pytest.approx(best - second)
    assert told["threshold"] is None  # the gap objective has no θ
    assert ffcore.read(net, sample=5, turn=180) == ffcore.read(net, samples["images"][4][:, ::-1, ::-1])
    json.dumps(told)


def test_an_older_run_says_nothing_of_what_is_usual_and_others_compare(trained, tmp_path):
    run = ffcore.Run(trained["ff"])
    usual = run.status()["result"]["usual"]
    told = ffcore.read(run, sample=1)
    assert told["usual"] == {name: usual[name] for name in told["scores"]}
    copy = ffcore.Run(copied(run, tmp_path))
    status = copy.stored_status()["result"]

    def planted(best: float, lead: float) -> dict:
        copy.write_status(result=status | {"usual": {name: {"best": best, "lead": lead} for name in told["scores"]}})
        return ffcore.read(copy, sample=1)

    assert planted(-1e9, -1)["odd"] == []
    assert planted(1e9, -1)["odd"] == list(told["scores"])
    assert planted(-1e9, 1e9)["torn"]
    assert not planted(1e9, -1)["torn"]
    for broken in (None, {}, {"goodness": 3}, [1]):
        copy.write_status(result=status | {"usual": broken})
        assert ffcore.read(copy, sample=1)["usual"] is None
        assert ffcore.read(copy, sample=1)["odd"] == []


def test_theta_is_told_where_the_objective_has_one(trained, tmp_path):
    copy = ffcore.Run(copied(ffcore.Run(trained["ff"]), tmp_path))
    copy.write_config(model=copy.config["model"] | {"objective": "threshold", "theta": 1.5})
    assert ffcore.read(ffcore.Run(copy.dir), sample=1)["threshold"] == 1.5


def test_a_net_that_tries_no_labels_tells_scores_only(trained):
    told = ffcore.read(ffcore.Run(trained["backprop"]), sample=1)
    assert told["goodness"] is None
    assert told["votes"] == []
    assert len(told["scores"]["softmax"]) == 10


def test_read_refuses_what_is_no_image(net):
    for asked, said in (
        ({}, "name one image"),
        ({"sample": 1, "drawing": "x"}, "name one image"),
        ({"sample": 65}, "choose from 1 to 64"),
        ({"sample": 1, "twist": 3}, "nothing called 'twist'"),
        ({"sample": 1, "turn": 1.5}, "give a whole number"),
        ({"image": np.zeros((28, 28))}, "give \\(C, H, W\\) uint8"),
        ({"image": b"no image"}, "no readable image"),
    ):
        with pytest.raises(Refused, match=said):
            ffcore.read(net, **asked)


def test_a_file_with_ink_is_placed_and_may_be_dark_on_light(net, again, samples):
    sheet = np.zeros((300, 200), np.uint8)
    large = np.array(Image.fromarray(again[2, 0]).resize((140, 140), Image.Resampling.BICUBIC))
    sheet[150:290, 10:150] = large
    files = []
    for pixels in (sheet, 255 - sheet):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        files.append(file.getvalue())
    told = [ffcore.read(net, file, ink=True) for file in files]
    assert told[0] == told[1]
    assert told[0]["label"] == samples["labels"][2]


def test_the_command_tells_the_same(net, again):
    code = strokes.to_text(again[0, 0])
    done = CliRunner().invoke(cli, ["read", "ff-mnist", "--drawing", code, "--set", "turn=20", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == ffcore.read(net, drawing=code, turn=20)
    said = CliRunner().invoke(cli, ["read", "ff-mnist", "--sample", "1"]).output
    assert said.startswith("ff-mnist reads 7 (goodness")
    wrong = CliRunner().invoke(cli, ["read", "ff-mnist", "--sample", "1", "--set", "root=x"])
    assert isinstance(wrong.exception, Refused)
