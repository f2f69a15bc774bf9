"""What the analysis "similarity" found → figures: every layer against every other, and layer by layer at equal depth."""

import html
import itertools

from charts import POSITIVE, _clear, _figure, _list, _of_layer, _titled


def cka_map(told: dict, key: str = "cka") -> dict:
    """Debiased CKA of all pairs of layers as a heat map with its numbers, rows × columns; no data (a dead layer) says so.

    `key`: biased_cka or procrustes for the other two; Procrustes runs from 0, the same, to √2.
    """
    rows, columns = ([html.escape(str(name)) for name in told[side]] for side in ("rows", "columns"))
    table, most = told[key], 2**0.5 if key == "procrustes" else 1.0
    deep = [_clear(POSITIVE, 0.04), _clear(POSITIVE, 0.9)]  # the more alike, the deeper
    colours = [[i, colour] for i, colour in enumerate(deep[::-1] if key == "procrustes" else deep)]
    head = {"cka": "CKA, debiased", "biased_cka": "CKA, biased", "procrustes": "Procrustes distance"}[key]
    cells = {
        "type": "heatmap", "z": [_list(row) for row in table], "x": columns, "y": rows, "zmin": 0, "zmax": most,
        "colorscale": colours,
        "showscale": False, "xgap": 3, "ygap": 3, "hoverongaps": False,
        "hovertemplate": f"%{{y}} and %{{x}}: %{{z:.3f}}<extra>{head}</extra>",
    }  # fmt: skip
    figure = _titled(_figure([cells], 130 + 46 * len(rows), x="", y=""), head)
    layout = figure["layout"]
    layout |= {"hovermode": "closest"}
    layout["margin"] |= {"l": 8 + 7 * max(map(len, rows)), "b": 30}
    layout["xaxis"] |= {"type": "category", "showgrid": False, "title": {"text": ""}, "tickangle": 0, "automargin": True}
    layout["yaxis"] |= {"type": "category", "showgrid": False, "autorange": "reversed", "title": {"text": ""}}
    layout["annotations"] = [
        {
            "x": columns[j], "y": rows[i], "showarrow": False, "font": {"size": 13 if len(columns) < 9 else 10},
            "text": "no data" if table[i][j] is None else f"{table[i][j]:.2f}",
        }
        for i, j in itertools.product(range(len(rows)), range(len(columns)))
    ]  # fmt: skip
    return figure


def diagonal(told: dict) -> dict:
    """Debiased CKA of the two nets' layers at equal depth, a bar each: how far they agree, layer by layer."""
    values = told["diagonal"]
    names = [f"layer {i + 1}" for i in range(len(values))]
    bars = {
        "type": "bar", "x": names, "y": _list(values), "cliponaxis": False, "textposition": "outside",
        "text": ["no data" if v is None else f"{v:.2f}" for v in values],
        "marker": {"color": [_of_layer(i + 1)["line"]["color"] for i in range(len(values))]},
        "hovertemplate": "%{x}: %{y:.3f}<extra></extra>",
    }  # fmt: skip
    figure = _titled(_figure([bars], 230, x="", y="CKA, debiased"), "Layers at equal depth")
    lowest = min([0.0, *(v for v in values if v is not None)])
    figure["layout"]["yaxis"]["range"] = [lowest, 1.12]
    figure["layout"]["xaxis"] |= {"type": "category", "title": {"text": ""}}
    figure["layout"] |= {"hovermode": "closest"}
    return figure
