"""Images as points on a plane, coloured by class, answer, goodness or error; and which classes a selection holds."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from charts import INK, LAYERS, MARKS, NEGATIVE, POSITIVE, _figure, _list, _pack

COLOURS = (*LAYERS[:5], INK, "#F0E442", "#7F8A95", "#882255", "#7570B3")  # no two alike on a dark page either
Part = tuple[str, np.ndarray]  # a name, and the indices of its points


def parts_by(values: np.ndarray, names: Sequence[str]) -> list[Part]:
    """Points in groups by a class index (N,), one for each name that occurs."""
    return [(str(name), some) for i, name in enumerate(names) if len(some := np.flatnonzero(values == i))]


def parts_by_error(error: np.ndarray) -> list[Part]:
    """Points that the net gets right, and those it does not, error (N,) bool."""
    return [("right", np.flatnonzero(~error)), ("wrong", np.flatnonzero(error))]


def chosen(selected: Mapping[int, Sequence[int]], parts: Sequence[Part]) -> np.ndarray:
    """Indices of the points that are selected, {part: places in it}, ascending; places that do not exist are left out."""
    found = [parts[i][1][[p for p in places if p < len(parts[i][1])]] for i, places in selected.items() if i < len(parts)]
    return np.sort(np.concatenate(found)) if found else np.array([], int)


def scatter(
    xy: np.ndarray,
    parts: Sequence[Part],
    span: np.ndarray,
    names: Sequence[str] = (),
    goodness: np.ndarray | None = None,
    revision: str = "",
) -> dict:
    """Points (N, 2) in named parts; `span` (2, 2), lowest and highest x, y: of all frames, so that they compare.

    Parts in `names` have that name's colour and mark, and their name at their middle; `goodness` (N,) colours by number.
    """
    traces, notes = [], []
    for name, some in parts:
        marker = {"size": 5, "opacity": 0.75}
        if goodness is not None:
            low, high = np.percentile(goodness, [1, 99])  # a few outliers would leave one colour for the rest
            marker |= {"color": _pack(goodness[some]), "colorscale": "Cividis", "showscale": True}
            marker |= {"cmin": float(low), "cmax": float(max(high, low + 1e-6))}
            bar = {"orientation": "h", "y": -0.02, "yanchor": "top", "thickness": 10, "outlinewidth": 0}
            marker["colorbar"] = {"title": {"text": "goodness", "side": "bottom"}, **bar}
        elif name in names:
            c = list(names).index(name)
            marker |= {"color": COLOURS[c % len(COLOURS)], "symbol": MARKS[c % len(MARKS)]}
            x, y = (float(v) for v in np.median(xy[some], 0))
            text, look = f"<b>{html.escape(name)}</b>", {"bgcolor": "rgba(38,50,56,.8)", "borderpad": 2}  # on light and dark
            notes.append({"x": x, "y": y, "text": text, "showarrow": False, "font": {"size": 13, "color": "#FFFFFF"}, **look})
        elif name == "wrong":
            marker = {"size": 7, "color": NEGATIVE, "symbol": "square", "opacity": 0.95}
        else:
            marker |= {"color": POSITIVE, "opacity": 0.35, "size": 4}
        value = "goodness %{marker.color:.3g}" if goodness is not None else html.escape(name)
        traces.append(
            {
                "type": "scattergl", "mode": "markers", "name": html.escape(name), "x": _pack(xy[some, 0]),
                "y": _pack(xy[some, 1]), "marker": marker, "hovertemplate": f"{value}<extra></extra>",
                "unselected": {"marker": {"opacity": 0.12}},
            }
        )  # fmt: skip
    figure = _figure(traces, 560, x="", y="", legend=len(parts) > 1)
    room = 0.04 * (span[1] - span[0] + 1e-9)
    for axis, low, high in zip(("xaxis", "yaxis"), span[0] - room, span[1] + room, strict=True):
        figure["layout"][axis] |= {
            "range": _list([low, high]), "showticklabels": False, "showgrid": False, "zeroline": False, "title": {"text": ""},
        }  # fmt: skip
    figure["layout"]["yaxis"]["scaleanchor"] = "x"  # a distance is a distance in every direction
    figure["layout"] |= {
        "hovermode": "closest", "dragmode": "lasso", "annotations": notes, "selectionrevision": revision,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "legend": {"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top", "itemsizing": "constant"},
    }  # fmt: skip
    return figure


def label_histogram(labels: np.ndarray, of: np.ndarray, classes: Sequence[str]) -> dict:
    """How many of each class are among the selected labels, and how many percent of that class `of` all (N,) that is."""
    counts, total = (np.bincount(some, minlength=len(classes)) for some in (labels, of))
    share = counts / np.maximum(1, total)
    names = [f"{html.escape(str(c))} " for c in classes]  # a text axis: digits must not become numbers
    bars = {
        "type": "bar", "x": names, "y": counts.tolist(), "marker": {"color": POSITIVE},
        "text": [str(n) if n else "" for n in counts.tolist()], "textposition": "outside", "cliponaxis": False,
        "customdata": [f"{s:.1%} of its {n:,}" for s, n in zip(share, total, strict=True)],
        "hovertemplate": "%{y} of class %{x}: %{customdata}<extra></extra>",
    }  # fmt: skip
    figure = _figure([bars], 230, x="class", y="selected images")
    figure["layout"]["margin"]["t"] = 22
    figure["layout"]["xaxis"] |= {"type": "category", "automargin": True, "title": {"text": "class", "standoff": 10}}
    figure["layout"] |= {"hovermode": "closest"}
    return figure
