"""Replay: the page without a browser, with runs of every kind; and its scrubber in a real Chromium."""

import json
import re
import zlib

import pytest

import ffcore
from ffcore import runs

pytest.importorskip("streamlit")
from browser import READY, wait
from components.replay import stopped
from test_app_pages import click, labels, words
from test_app_pages import page as open_page

usual = pytest.mark.usefixtures("no_bundle")


def sent(at) -> dict:
    """The header of what the browser is given."""
    (element,) = [e for e in at.main.get("bidi_component") if e.proto.component_name == "replay"]
    raw = zlib.decompress(element.proto.bytes)
    return json.loads(raw[4 : 4 + int.from_bytes(raw[:4], "little")])


@usual
def test_replay_opens_with_a_run_that_has_positives_and_tells_how_far_it_came(store):
    at = open_page("replay")
    told = ffcore.frames(store["ff"])
    assert [run["title"] for run in sent(at)["runs"]] == [store["ff"].title()]
    assert f"**{told['accuracy'][-1]:.1%} after epoch 2**" in words(at)
    assert sent(at)["start"] | {"name": ""} == {"name": "", "axis": "epoch", "at": None, "play": False, "layer": 1}
    assert sent(at)["runs"][0]["bookmarks"] == told["bookmarks"]


@usual
def test_a_link_to_an_epoch_opens_there(store):
    at = open_page("replay", run=store["ff"].id, epoch="1", layer="1", play="1")
    assert sent(at)["start"] | {"name": ""} == {"name": "", "axis": "epoch", "at": 1, "play": True, "layer": 0}
    assert at.query_params["epoch"] == "1"
    assert "play" not in at.query_params
    first = sent(at)["start"]
    assert sent(at.run())["start"] == first  # the same again: nothing is sent anew


@usual
@pytest.mark.parametrize(
    ("key", "value"), [("epoch", "99"), ("epoch", "-1"), ("second", "x"), ("layer", "7"), ("beside", "<b>")]
)
def test_garbage_in_replays_address_is_told(store, key, value):
    at = open_page("replay", run=store["ff"].id, **{key: value})
    assert f"asks for {key}" in at.warning[0].value
    assert sent(at)["runs"]


@usual
def test_a_race_is_on_one_axis_of_seconds_unless_they_are_of_different_machines(store):
    at = open_page("replay", run=store["ff"].id, beside=store["backprop"].id)
    assert sent(at)["start"]["axis"] == "second"
    assert [run["title"] for run in sent(at)["runs"]] == [store["ff"].title(), store["backprop"].title()]
    assert "right on validation images" in words(at)
    assert not at.info
    facts = store["backprop"].config["facts"] | {"device_name": "another"}
    store["backprop"].write_config(facts=facts)
    at = open_page("replay", run=store["ff"].id, beside=store["backprop"].id)
    assert sent(at)["start"]["axis"] == "epoch"
    assert "do not compare" in at.info[0].value


@usual
def test_the_natural_opponent_is_one_click_away(store):
    at = open_page("replay", run=store["ff"].id)
    at = click(at, "Race backprop")
    assert at.query_params["beside"] == store["backprop"].id
    assert len(sent(at)["runs"]) == 2
    assert "Race backprop" not in labels(at)


@usual
def test_another_run_is_not_asked_for_the_epoch_of_the_one_before(store):
    short = ffcore.train(root=str(runs.runs_root()), data="digits", epochs=1, set={"model.widths": [8]}, device="cpu")
    at = open_page("replay", run=store["ff"].id, epoch="2")
    at.selectbox(key="picked_run").set_value(short.id).run()
    assert not at.warning
    assert [run["title"] for run in sent(at)["runs"]] == [short.title()]


@usual
def test_another_run_is_not_asked_for_the_layer_or_the_race_of_the_one_before(store):
    short = ffcore.train(root=str(runs.runs_root()), data="digits", epochs=1, set={"model.widths": [8]}, device="cpu")
    at = open_page("replay", run=store["ff"].id, beside=store["backprop"].id, layer="2")
    at.selectbox(key="picked_run").set_value(short.id).run()
    assert not at.warning
    at.selectbox(key="picked_run").set_value(store["backprop"].id).run()
    assert not at.warning
    assert [run["title"] for run in sent(at)["runs"]] == [store["backprop"].title()]


@usual
def test_older_and_damaged_runs_cost_a_line(store):
    run = store["ff"]
    for epoch in run.snapshots():
        arrays = run.snapshot(epoch)
        run.write_snapshot(epoch, {k: v for k, v in arrays.items() if not k.startswith(("map_", "apart"))})
    (run.dir / "snapshots" / "epoch-0001.npz").write_bytes(b"")
    at = open_page("replay", run=run.id)
    assert "no map of images: they are of an older version" in words(at)
    assert "taken from the histograms" in words(at)
    assert "Left out, as they cannot be read: 1 snapshot." in words(at)
    for file in (run.dir / "snapshots").iterdir():
        file.write_bytes(b"")
    at = open_page("replay", run=run.id)
    assert "no snapshots that can be read" in at.error[0].value
    assert "\n" not in at.error[0].value


@usual
def test_backprop_alone_says_that_it_has_no_heaps(store):
    assert "no heaps of goodness" in words(open_page("replay", run=store["backprop"].id))


@usual
def test_replay_without_runs_leads_to_train():
    at = click(open_page("replay"), "Train one")
    assert at.title[0].value == "Train a net"


@pytest.mark.parametrize(
    "told", [None, "x", {}, {"axis": "hour", "at": 1, "layer": 1}, {"axis": "epoch", "at": -1, "layer": 1},
             {"axis": "epoch", "at": True, "layer": 1}, {"axis": "epoch", "at": 1}],
)  # fmt: skip
def test_nonsense_from_a_browser_stops_nowhere(told):
    assert stopped(told) is None
    assert stopped({"axis": "second", "at": 3, "layer": 2}) == ("second", 3, 2)


@pytest.mark.browser
@pytest.mark.timeout(120)
def test_the_scrubber_moves_without_the_server_and_stops_in_the_address(server, chromium):
    run = next(r for r in runs.list_runs(server.root, bundled=False) if r.state == "done")
    page, broken, frames = chromium.new_page(viewport={"width": 390, "height": 900}), [], []
    page.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("websocket", lambda socket: socket.on("framesent", lambda data: frames.append(data)))
    page.set_default_timeout(20_000)
    page.goto(f"{server.url}/replay?run={run.id}&epoch=1")
    slider = page.get_by_role("slider", name="moment of training")
    slider.wait_for()
    page.locator(READY).wait_for()
    now, maps = page.locator(".replay .now"), page.locator(".replay .map canvas")
    wait(lambda: now.inner_text().startswith("After epoch 1 of 3"), 10, "the address was not followed")
    before = maps.get_attribute("aria-label")
    asked = len(frames)
    slider.focus()
    page.keyboard.press("ArrowRight")
    wait(lambda: now.inner_text().startswith("After epoch 2 of 3"), 2, "the arrow key did nothing")
    assert len(frames) == asked  # shown before the server has heard of it
    assert maps.get_attribute("aria-label") != before
    page.wait_for_url("**epoch=2**")
    page.get_by_role("button", name=re.compile("^epoch .: best validation$")).click()
    best = next(m for m in ffcore.frames(run)["bookmarks"] if m["name"] == "best validation")
    wait(lambda: now.inner_text().startswith(f"After epoch {best['epoch']} "), 2, "the bookmark was not jumped to")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    seen = set()
    wait(lambda: seen.add(now.inner_text().partition(",")[0]) or "After epoch 3 of 3" in seen, 20, "it did not play")
    page.get_by_role("button", name="Play").wait_for()
    assert {"After epoch 1 of 3", "After epoch 2 of 3"} <= seen
    page.wait_for_url("**epoch=3**")
    page.reload()
    wait(lambda: now.inner_text().startswith("After epoch 3 of 3"), 20, "a reload lost the epoch")
    wide = page.locator("[data-testid='stMain']").evaluate("n => n.scrollWidth - n.clientWidth")
    assert wide <= 0, f"{wide} px too wide"
    assert broken == []
    page.close()
