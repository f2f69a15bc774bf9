"""Features → points on a plane: PCA, t-SNE, UMAP; laid over an earlier layout; and how far such a map can be trusted."""

from __future__ import annotations

import csv
import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffcore.errors import Failed, Refused

if TYPE_CHECKING:
    from numpy import ndarray

METHODS = ("pca", "tsne", "umap")
_LIBRARY = {"tsne": "openTSNE", "umap": "umap"}
FIRST = 50  # principal components that t-SNE and UMAP see
NEIGHBOURS = 15  # whom trustworthiness and UMAP look at
SAMPLED = 2_000  # points at most that tell the trustworthiness
Tell = Callable[[float, str], Any]


def check_method(method: str) -> None:
    """Raises Refused where the library behind a method is not installed; loads none."""
    library = _LIBRARY.get(method)
    if library and importlib.util.find_spec(library) is None:
        raise Refused(f"method {method} needs {library}, which is not installed; pip install 'ffcore[embed]'")


def embed(
    x: ndarray, method: str, seed: int = 0, start: ndarray | None = None, jobs: int = 1, tell: Tell = lambda done, doing: None
) -> ndarray | None:
    """Features (N, n) as points (N, 2) float32; None where all rows are alike.

    pca: the two directions of most variance (scikit-learn). tsne: openTSNE's defaults (Poličar, Stražar & Zupan, J. Stat.
    Softw. 2024; van der Maaten & Hinton 2008), perplexity 30, from the principal components (Kobak & Berens 2019). umap:
    McInnes, Healy & Melville 2018, arXiv 1802.03426, 15 neighbours. Both see the first 50 principal components.
    `start`: an earlier layout (N, 2), from which they begin, and onto which the outcome is turned. `jobs`: processors that
    t-SNE takes; UMAP with a seed takes one. Raises Refused for features that are no numbers.
    """
    import numpy as np

    check_method(method)
    if not np.isfinite(x).all():
        raise Refused("features that are no numbers cannot be laid out; train the net again with a lower train.lr")
    if len(x) < 4 or not (np.ptp(x, axis=0) > 0).any():
        return None
    xy = {"pca": _pca, "tsne": _tsne, "umap": _umap}[method](x, seed, start, jobs, tell)
    xy = xy if start is None else turned_onto(xy, start)
    return np.ascontiguousarray(xy, dtype=np.float32)


def _components(x: ndarray, n: int, seed: int) -> ndarray:
    """The first n principal components, (N, ≤ n)."""
    from sklearn.decomposition import PCA

    return PCA(min(n, *x.shape), random_state=seed).fit_transform(x)


def _pca(x, seed, start, jobs, tell):
    import numpy as np

    tell(0.1, "finding the directions of most variance")
    xy = _components(x, 2, seed)
    return np.pad(xy, ((0, 0), (0, 2 - xy.shape[1])))


def _tsne(x, seed, start, jobs, tell):
    import numpy as np
    from openTSNE import TSNE, affinity, initialization

    tell(0.0, "t-SNE: first 50 principal components")
    x = _components(x, FIRST, seed)
    tell(0.05, "t-SNE: finding neighbours")
    # exact: with 50 columns and at most 20,000 rows that takes seconds, and is the same every time
    perplexity = min(30.0, (len(x) - 1) / 3)
    near = affinity.PerplexityBasedNN(x, perplexity, method="exact", n_jobs=jobs, random_state=seed)
    if start is None:
        begin = initialization.pca(x, random_state=seed) if x.shape[1] > 1 else initialization.random(len(x), random_state=seed)
    else:
        begin = initialization.rescale(np.array(start, float), inplace=False)
    rounds, each = 750, 25
    told = iter(range(each, 10 * rounds, each))

    def step(iteration, error, embedding):
        tell(0.1 + 0.9 * min(1, (done := next(told)) / rounds), f"t-SNE: step {done} of {rounds}")

    # below 10,000 points openTSNE would take Barnes-Hut trees; interpolation (FIt-SNE) is faster from a few thousand on
    gradient = "fft" if len(x) > 2_000 else "bh"
    tsne = TSNE(n_jobs=jobs, random_state=seed, negative_gradient_method=gradient, callbacks=[step], callbacks_every_iters=each)
    return np.asarray(tsne.fit(affinities=near, initialization=begin))


def _umap(x, seed, start, jobs, tell):
    import warnings

    import numpy as np
    from sklearn.neighbors import NearestNeighbors

    tell(0.0, "UMAP: loading, which takes a while")
    from umap import UMAP

    class Bar:
        """Where UMAP's own progress bar writes."""

        def write(self, text: str) -> None:
            if share := re.search(r"(\d+)%", text):
                tell(0.4 + 0.006 * int(share[1]), f"UMAP: {share[1]}% of the layout")

        def flush(self) -> None:
            pass

    tell(0.1, "UMAP: finding neighbours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one processor is known
        x = _components(x, FIRST, seed)
        near = min(NEIGHBOURS, len(x))  # a point counts among its own
        # exact, and half a minute less than to have UMAP's own search compiled
        distances, who = NearestNeighbors(n_neighbors=near).fit(x).kneighbors(x)
        bar = {"disable": False, "file": Bar(), "mininterval": 0.3}
        fit = UMAP(
            n_neighbors=near,
            precomputed_knn=(who, distances.astype(np.float32)),
            init="pca" if start is None else np.array(start, np.float32),
            random_state=seed,
            n_jobs=1,
            tqdm_kwds=bar,
        )
        return fit.fit_transform(x)


def turned_onto(xy: ndarray, onto: ndarray) -> ndarray:
    """Points (N, 2) turned, mirrored and moved, but not scaled, to lie as near as they can to others (Schönemann 1966)."""
    import numpy as np

    centre, target = xy.mean(0), onto.mean(0)
    u, _, v = np.linalg.svd((xy - centre).T.astype(float) @ (onto - target))
    return (xy - centre) @ (u @ v) + target


def trustworthiness(x: ndarray, xy: ndarray, seed: int = 0) -> float | None:
    """How truly the neighbours on the plane (N, 2) are neighbours among the features (N, n), at most 1.

    1 - what the 15 nearest on the plane cost that are not among the 15 nearest in feature space, by their rank (Venna &
    Kaski 2001; scikit-learn); about ½ for a random layout. On at most 2,000 points drawn at random. None for fewer than 4.
    """
    import numpy as np
    from sklearn.manifold import trustworthiness as measure

    some = np.random.default_rng(seed).permutation(len(x))[:SAMPLED]
    near = min(NEIGHBOURS, math.ceil(len(some) / 2) - 1)
    return float(measure(x[some], xy[some], n_neighbors=near)) if near > 0 else None


def check_file(path: Path) -> Path:
    """The absolute path of a table to be written. Raises Refused where that cannot be."""
    if path.suffix not in (".csv", ".parquet"):
        raise Refused(f"--out {path}: a table is FILE.csv or FILE.parquet")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise Refused(f"--out {path}: parquet needs pyarrow; pip install pyarrow, or write FILE.csv")
    if path.exists():
        raise Refused(f"{path} is there already; name another file or remove it")
    if not path.absolute().parent.is_dir():
        raise Refused(f"{path}: there is no folder {path.absolute().parent}; make it or name another")
    return path.absolute()


def write_table(path: Path, columns: Mapping[str, ndarray]) -> None:
    """Write columns (N,) to a new FILE.csv or FILE.parquet; raises Failed where the system does not let it."""
    try:
        if path.suffix == ".parquet":
            import pyarrow
            from pyarrow import parquet

            with path.open("xb") as file:
                parquet.write_table(pyarrow.table(dict(columns)), file)
            return
        with path.open("x", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(columns)
            table.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror or error}; mend that and ask again") from None
