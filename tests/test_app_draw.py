"""The page Draw: what one net or two read in a drawing, changes and where the answer turns, links, and a pad in a browser."""

import re
import shlex

import numpy as np
import pytest
from browser import READY, wait
from click.testing import CliRunner
from traces import traced

import ffcore
from ffcore import rundir
from ffcore.cli import cli
from ffcore.data import strokes

pytest.importorskip("streamlit")
from test_app_pages import click, html, page, picture, words

BUNDLED = rundir.bundled_root()
pytestmark = pytest.mark.usefixtures("no_bundle")


def reads(at) -> list[str]:
    """What each net on the page reads."""
    return re.findall(r"reads \*\*(.+?)\*\*", words(at))


def drawing(store) -> str:
    """A stroke as a link holds it."""
    hook = [np.array([[0, 0], [60, 3], [40, 120]])]
    return strokes.to_text(strokes.rounded(strokes.placed(strokes.drawn(hook), (28, 28))))


def test_the_page_opens_with_a_test_image_that_is_read_already(store):
    at = page("draw")
    told = ffcore.read(store["ff"], sample=1)
    assert reads(at) == [told["class"]]
    assert html(at).count("<span class=fill") == 10
    assert html(at).count("<tr class='win'>") == 1
    assert "class='goodness'" in html(at)
    assert f"test image 1 of {len(store['ff'].samples()['labels'])}" in words(at)
    assert f"★{told['best']:.2f}" in html(at)
    assert "99% of the validation images reach" in words(at)
    assert not at.error


def test_a_link_brings_a_drawing_back_and_its_command_tells_the_same(store):
    code = drawing(store)
    at = page("draw", run=store["ff"].id, img=code, turn="20", x="-1")
    told = ffcore.read(store["ff"], drawing=code, turn=20, x=-1)
    assert reads(at) == [told["class"]]
    assert f"★{told['best']:.2f}" in html(at)
    assert "your drawing, changed below" in words(at)
    command = next(block.value for block in at.code if block.value.startswith("ffcore read"))
    done = CliRunner().invoke(cli, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert f"reads {told['class']} ({told['readout']} {told['best']:.4g}" in done.output
    python = next(block.value for block in at.code if block.value.startswith("import ffcore"))
    scope = {}
    exec(compile(python, "snippet", "exec"), scope)
    assert scope["told"] == told


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"img": "x" * 700}, "should hold a drawing"),
        ({"img": "<b>"}, "should hold a drawing"),
        ({"img": strokes.to_text(np.zeros((28, 28), np.uint8))}, "should hold a drawing"),
        ({"turn": "999"}, "runs from -180 to 180"),
        ({"x": "--1"}, "The address asks for x"),
        ({"noise": "1e3"}, "runs from 0 to 100"),
        ({"seed": "-1"}, "asks for seed"),
        ({"beside": "../etc"}, "beside it, which is not here"),
        ({"along": "time"}, "asks for along"),
        ({"image": "photo"}, "asks for image"),
        ({"run": "nowhere"}, "asks for run"),
    ],
)
def test_nonsense_in_the_address_gets_a_friendly_word(store, query, said):
    at = page("draw", **query)
    assert said in "\n".join(w.value for w in at.warning)
    assert reads(at)


def test_two_nets_read_the_same_image_side_by_side(store):
    at = page("draw", run=store["ff"].id, beside=store["backprop"].id, image="sample", digit="3")
    assert reads(at) == [ffcore.read(store[name], sample=3)["class"] for name in ("ff", "backprop")]
    assert html(at).count("<span class=fill") == 20
    assert "This net tries no labels on" in words(at)
    at.selectbox(key="beside").set_value("").run()
    assert len(reads(at)) == 1
    assert "beside" not in at.query_params


def test_a_slider_changes_the_image_and_the_address(store):
    at = page("draw", run=store["ff"].id)
    at.slider(key="change.turn").set_value(60).run()
    at.slider(key="change.cover").set_value(2).run()
    assert at.query_params["turn"] in ("60", ["60"])
    assert f"★{ffcore.read(store['ff'], sample=1, turn=60, cover=2)['best']:.2f}" in html(at)
    at = click(at, "Reset")
    assert not {"turn", "cover"} & set(at.query_params)
    assert f"★{ffcore.read(store['ff'], sample=1)['best']:.2f}" in html(at)


def test_the_sentence_on_the_sweep_names_where_the_answer_turns(store):
    run = store["ff"]
    values, images = strokes.sweep(run.samples()["images"][0], strokes.Change(), "turn")
    said = ffcore.Trained(run.dir).predict(images).tolist()
    here = values.index(0)
    text = words(page("draw", run=run.id))
    places = [
        f"{values[i]}°".replace("-", "−")
        for path in (range(here, -1, -1), range(here, len(values)))
        if (i := next((i for i in path if said[i] != said[here]), None)) is not None
    ]
    assert places  # an 8 × 8 net of two epochs is not turned upside down with impunity
    line = next(line for line in text.splitlines() if line.startswith("Read as"))
    assert line.startswith(f"Read as **{said[here]}** here, but as ")
    assert re.findall(r"−?\d+°", line) == places or sorted(re.findall(r"−?\d+°", line)) == sorted(places)


def test_unusual_and_torn_readings_are_told(store):
    run = store["ff"]
    result = run.stored_status()["result"]

    def warned(best: float, lead: float) -> str:
        run.write_status(result=result | {"usual": {n: {"best": best, "lead": lead} for n in ("goodness", "softmax")}})
        return "\n".join(w.value for w in page("draw", run=run.id).warning)

    assert "This looks like no digit" in warned(1e9, 0)
    assert "Torn between two labels" in warned(-1e9, 1e9)
    assert warned(-1e9, -1) == ""
    run.write_status(result={k: v for k, v in result.items() if k != "usual"})
    assert "did not note how sure images usually make it" in words(page("draw", run=run.id))


def test_theta_is_drawn_where_the_objective_has_one(store):
    run = store["ff"]
    assert "votes theta" not in html(page("draw", run=run.id))
    run.write_config(model=run.config["model"] | {"objective": "threshold"})
    at = page("draw", run=run.id)
    assert "votes theta" in html(at)
    assert "The line is θ = 1 in every voting layer" in words(at)


def test_the_last_drawings_come_back_by_a_click(store):
    code = drawing(store)
    at = page("draw", run=store["ff"].id)
    assert "are kept here until" in words(at)
    at.session_state["drawings"] = [(1, code)]
    at.run()
    said = ffcore.read(store["ff"], drawing=code)["class"]
    at.button(key="kept.0").click().run()
    assert at.button(key="kept.0").label == said
    assert at.query_params["img"] in (code, [code])
    assert reads(at) == [said]
    at = click(at, "Clear all")
    assert "img" not in at.query_params
    assert "drawings" not in at.session_state


def test_an_uploaded_image_is_read(store):
    at = page("draw", run=store["ff"].id, image="upload")
    assert reads(at) == []
    at.get("file_uploader")[0].upload("one.png", picture())
    at.run()
    assert not at.exception
    image = ffcore.data.read_image(picture(), (1, 8, 8))[0].numpy()
    assert reads(at) == [ffcore.read(store["ff"], image)["class"]]


def test_a_run_that_cannot_be_asked_costs_a_line(store):
    queued = page("draw", run=store["queued"].id)
    assert "has no weights yet" in queued.info[0].value
    assert reads(queued)
    (store["ff"].dir / "weights.safetensors").write_bytes(b"no weights")
    at = page("draw", run=store["ff"].id)
    assert "damaged" in at.error[0].value
    at = page("draw", run=store["backprop"].id, beside=store["ff"].id)
    assert len(reads(at)) == 1
    assert "damaged" in at.error[0].value
    (store["backprop"].dir / "samples.npz").write_bytes(b"no samples")
    at = page("draw", run=store["backprop"].id)
    assert "Choose an image" in "\n".join(i.value for i in at.info)
    assert reads(page("draw", run=store["backprop"].id, img=drawing(store)))


def test_without_a_net_there_is_one_thing_to_do():
    at = page("draw")
    assert "No net has been trained here yet" in words(at)
    assert click(at, "Train one").title[0].value == "Train a net"


def test_what_a_pad_tells_is_read_with_suspicion():
    from components.pad import paths_of

    told = paths_of({"paths": [[1, 2, 3, 4], [5, 6]], "at": 1})
    assert [path.tolist() for path in told] == [[[1, 2], [3, 4]], [[5, 6]]]
    odd = [[1, 2, 3]], [[]], [[1.5, 2]], [["1", "2"]], [[True, False]], [[1e9, 2]], [[10**9, 2]], [3], "ab", {"0": [1, 2]}
    for paths in (*odd, [[1, 2] * 10_001], None):
        assert paths_of({"paths": paths}) == []
    for whole in (None, 3, [], "x"):
        assert paths_of(whole) == []


def test_bars_begin_at_the_lowest_label_and_the_line_is_where_theta_is():
    from charts import draw

    def widths(told):
        return [float(w) for w in re.findall(r"--share:([\d.]+)%", told)]

    told = draw.bars(np.array([3.0, 5.0, 4.0]), ["a", "<b>", "c"])
    assert widths(told) == [0, 100, 50]
    assert re.findall("<tr class='(.*?)'><th scope=row>(.*?)</th>", told) == [("", "a"), ("win", "&lt;b&gt;"), ("next", "c")]
    assert "theta" not in told.partition("</style>")[2]
    told = draw.bars(np.array([3.0, 5.0]), "ab", votes=2, theta=3.5)  # 7 in all, above every label
    assert widths(told) == [0, 50]
    assert "--theta:1.0000" in told
    many = draw.bars(np.arange(40.0), [str(c) for c in range(40)])
    assert re.findall("scope=row>(.*?)<", many) == [str(c) for c in range(28, 40)]


def test_the_chart_of_a_sweep_draws_who_wins_the_nearest_first_and_marks_it_there():
    from charts import draw

    winners = [4, 3, 0, 0, 0, 1, 2]
    totals = np.full((7, 6), 10.0)
    totals[range(7), winners] = 16
    figure = draw.along([-30, -20, -10, 0, 10, 20, 30], totals, "abcdef", 0, "turned")
    names = [trace["name"] for trace in figure["data"]]
    assert [names[0], {*names[1:3]}, {*names[3:]}] == ["a", {"b", "d"}, {"c", "e"}]
    for trace in figure["data"]:
        won = [size > 0 for size in trace["marker"]["size"]]
        assert won == [w == "abcdef".index(trace["name"]) for w in winners]
        assert trace["y"] == [5.0 if w else -1.0 for w in won]
    assert figure["layout"]["shapes"][0]["x0"] == 0
    always = np.tile([3.0, 1.0, 2.0], (7, 1))
    assert [t["name"] for t in draw.along(range(7), always, "abc", 3, "")["data"]] == ["a", "c"]


# In a browser


@pytest.fixture(scope="module")
def tab(chromium, server):
    """The page in a browser with the net that comes with ffcore."""
    tab = chromium.new_page(viewport={"width": 1280, "height": 1000})
    tab.broken = []
    tab.on("console", lambda message: tab.broken.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: tab.broken.append(str(error)))
    tab.set_default_timeout(30_000)
    tab.goto(f"{server.url}/draw?run=ff-mnist")
    tab.locator("table.votes").wait_for()
    tab.get_by_text("draw here").wait_for()  # it can be drawn on
    tab.locator(READY).wait_for()
    yield tab
    tab.close()


def trace(tab, paths) -> None:
    """Draw strokes, in pixels of a 28 × 28 image, onto an empty pad."""
    if (clear := tab.get_by_role("button", name="Clear", exact=True)).is_enabled():
        before = shown(tab)
        clear.click()
        wait(lambda: shown(tab) != before, 10, "Clear did nothing")
    pad = tab.get_by_role("application")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    for path in paths:
        spots = [(box["x"] + x * box["width"] / 28, box["y"] + y * box["height"] / 28) for x, y in path]
        tab.mouse.move(*spots[0])
        tab.mouse.down()
        for spot in spots[1:]:
            tab.mouse.move(*spot)
        tab.mouse.up()


def shown(tab) -> str:
    """The picture that the net sees."""
    return tab.locator("img[alt^='what the net sees']").first.get_attribute("src")


def answer(tab) -> str:
    return tab.locator("table.votes tr.win th").inner_text()


@pytest.mark.browser
@pytest.mark.timeout(240)
def test_twenty_test_digits_traced_onto_the_pad_are_read_as_well_as_the_originals(tab):
    net = ffcore.Trained(BUNDLED / "ff-mnist")
    samples = net.samples()
    images, labels = samples["images"][:20], samples["labels"][:20].tolist()
    originals = int((net.predict(images).numpy() == labels).sum())
    right = 0
    for i, (image, label) in enumerate(zip(images, labels, strict=True), 1):
        paths = traced(image[0])
        trace(tab, paths)
        code = on_pad(tab)
        wait(lambda code=code: code_of(tab) == code and drawn_is_read(tab, code), 10, "what is traced is not what the net sees")
        right += answer(tab) == str(label)
        kept = tab.locator("img[alt^='drawing ']")  # one of each digit, however many strokes it has
        wait(lambda i=i, kept=kept: kept.count() == min(i, 8), 10, "the last drawings are not those drawn")
    print(f"{right} of 20 traced digits are read right, {originals} of the originals")
    assert right >= originals - 1
    assert tab.broken == []


def code_of(tab) -> str:
    """The drawing in the address, or nothing."""
    return tab.evaluate("new URL(location).searchParams.get('img') ?? ''")  # tab.url would stand still while we wait


def on_pad(tab) -> str:
    """The drawing on the pad, as a link should hold it."""
    told = tab.get_by_role("application").evaluate("n => n.kept.paths")
    paths = [np.array(path).reshape(-1, 2) for path in told]
    return strokes.to_text(strokes.rounded(strokes.placed(strokes.drawn(paths), (28, 28))))


def drawn_is_read(tab, code: str) -> bool:
    """Is the picture on screen the drawing of this code?"""
    from charts import png

    return shown(tab) == png(strokes.from_text(code)[None])


@pytest.mark.browser
@pytest.mark.timeout(120)
def test_a_copied_link_shows_the_same_drawing_in_a_fresh_browser_and_undo_takes_a_stroke_back(tab, chromium):
    trace(tab, [np.array([[8, 6], [20, 6], [14, 24]])])
    code = wait(lambda: code_of(tab), 10, "the address did not follow")
    seven = wait(lambda: drawn_is_read(tab, code) and shown(tab), 10, "it was not read")
    fresh = chromium.new_page()
    fresh.goto(tab.evaluate("location.href"))
    fresh.locator("table.votes").wait_for()
    assert shown(fresh) == seven
    assert answer(fresh) == answer(tab)
    fresh.close()
    pad = tab.get_by_role("application")
    pad.focus()
    for key in ("Shift+ArrowLeft", "ArrowLeft", "ArrowLeft"):
        tab.keyboard.press(key)
    wait(lambda: shown(tab) != seven, 10, "the arrow keys drew nothing")
    tab.get_by_role("button", name="Undo").click()
    wait(lambda: shown(tab) == seven, 10, "Undo did not take the last stroke back")
