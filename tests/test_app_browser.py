"""The live path in a real Chromium: submit, watch, zoom, reload, queue, stop; a killed server; nothing leaves this machine."""

import re
import time
import zipfile
from pathlib import Path
from urllib.parse import urlparse

import pytest
from browser import READY, Server, wait

import ffcore
from ffcore import runs

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
CURVES = "goodness of positives and negatives of layer"


@pytest.fixture(scope="module")
def page(chromium, server):
    """One tab for the whole story. It asks no other machine for anything, complains of nothing, and no script breaks."""
    tab = chromium.new_page(viewport={"width": 1280, "height": 1000})
    tab.asked, tab.broken = set(), []
    tab.on("console", lambda message: tab.broken.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda request: tab.asked.add(request.url))
    tab.on("websocket", lambda socket: tab.asked.add(socket.url))
    tab.on("pageerror", lambda error: tab.broken.append(str(error)))
    tab.set_default_timeout(30_000)
    yield tab
    hosts = {urlparse(url).hostname for url in tab.asked if urlparse(url).scheme not in ("data", "blob", "about")}
    assert hosts == {"127.0.0.1"}
    assert tab.broken == []
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def submitted(server, page):
    """A run of many epochs, started by a click on Train; it goes on until a test stops it."""
    return submit(server, page)


def submit(server: Server, page, seed: int = 0) -> ffcore.Run:
    page.goto(f"{server.url}/train?data=mnist-5k")
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("epochs", exact=True).fill("2000")
    page.get_by_label("epochs", exact=True).press("Enter")
    page.get_by_text("train.epochs=2000").wait_for()
    if seed:
        page.get_by_role("spinbutton", name="Random seed").fill(str(seed))
        page.get_by_role("spinbutton", name="Random seed").press("Enter")
        page.get_by_text(f"--seed {seed}").wait_for()
    before = set(runs.list_runs(server.root, bundled=False))
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/live?**")
    (made,) = set(runs.list_runs(server.root, bundled=False)) - before
    assert made.id in page.url
    return made


def open_live(server: Server, page, run: ffcore.Run) -> None:
    page.goto(f"{server.url}/live?run={run.id}")
    page.locator(f"[aria-label^='{CURVES} 2']").wait_for()
    wait(lambda: len(ends(page)) == 2, 20, "the two layers' curves were not drawn")


def ends(page) -> list[list[float]]:
    """Of each layer's goodness chart: the last epoch of the positives' and of the negatives' curve, and the points of one."""
    return page.evaluate(
        """start => [...document.querySelectorAll(`[aria-label^="${start}"]`)].filter(n => n._fullData?.length).map(n => {
             const curves = n._fullData.filter(t => t.name && t.showlegend !== false && t.x?.length);
             return curves.length == 2 ? [...curves.map(t => t.x.at(-1)), curves[0].x.length] : [];
           }).filter(c => c.length)""",
        CURVES,
    )


def test_the_server_is_well(server):
    assert server.healthy()


def test_start_shows_the_goodness_of_a_trained_net(server, page):
    page.goto(server.url)
    table = page.locator(".goodness table")
    table.wait_for()
    assert table.locator("tr").count() == 4  # labels, two layers, their sum
    assert table.locator("td.win").count() == 3
    assert page.locator(".sheet img").count() == 64
    before = table.inner_text()
    page.get_by_role("button", name="Next").click()
    wait(lambda: table.inner_text() != before, 5, "the next digit did not come")


@pytest.mark.pace
def test_both_curves_of_every_layer_move_at_least_once_a_second(server, page, submitted):
    open_live(server, page, submitted)
    wait(lambda: min((points for *_, points in ends(page)), default=0) > 3, 20, "no points came")
    begin, changes, last = time.monotonic(), 0, ends(page)
    while time.monotonic() - begin < 10:
        now = ends(page)
        if len(now) == 2 and all(now[i][side] > last[i][side] for i in (0, 1) for side in (0, 1)):
            changes, last = changes + 1, now
        page.wait_for_timeout(40)
    rate = changes / (time.monotonic() - begin)
    print(f"both layers' curves moved {rate:.2f} times a second")
    assert rate >= 1, f"the curves of both layers moved {rate:.2f} times a second"


@pytest.mark.pace
def test_a_zoom_survives_ten_ticks(server, page, submitted):
    chart = page.locator(f"[aria-label^='{CURVES} 1']")
    chart.scroll_into_view_if_needed()
    box = chart.locator(".nsewdrag").first.bounding_box()
    x, y = box["x"], box["y"] + box["height"] / 2
    page.mouse.move(x + 0.2 * box["width"], y)
    page.mouse.down()
    page.mouse.move(x + 0.7 * box["width"], y, steps=5)
    page.mouse.up()

    def view():
        return chart.evaluate("n => [n._fullLayout.xaxis.autorange, ...n._fullLayout.xaxis.range]")

    zoomed = wait(lambda: (now := view())[0] is not True and now, 5, "dragging did not zoom")
    ticks, last = 0, ends(page)
    end = time.monotonic() + 40
    while ticks < 10:
        assert time.monotonic() < end, f"only {ticks} ticks came"
        page.wait_for_timeout(50)
        if (now := ends(page)) != last:
            ticks, last = ticks + 1, now
    assert view() == zoomed
    assert max(e for curve in last for e in curve[:2]) > zoomed[2]  # the data went on beyond the view


@pytest.mark.pace
def test_a_reload_keeps_the_run(server, page, submitted):
    page.reload()
    wait(lambda: len(ends(page)) == 2, 30, "the curves did not come back")
    assert submitted.id in page.url
    assert page.get_by_text(submitted.id).first.is_visible()


@pytest.mark.pace
def test_a_second_run_is_queued_and_told_so(server, page, submitted):
    second = submit(server, page, seed=1)
    page.get_by_text("Queued: number 1 in line.").wait_for()
    assert second.state == "queued"
    assert submitted.state == "running"


@pytest.mark.pace
def test_stop_takes_two_seconds_at_most_and_keeps_the_weights(server, page, submitted):
    open_live(server, page, submitted)
    page.get_by_role("button", name="Stop").click()
    clicked = time.monotonic()
    wait(lambda: submitted.stored_status()["state"] == "stopped", 10, "it did not stop")
    seconds = time.monotonic() - clicked
    print(f"stopped {seconds:.2f} s after the click")
    assert seconds <= 2, f"stopped after {seconds:.1f} s"
    assert (submitted.dir / "weights.safetensors").exists()
    page.get_by_role("button", name="Resume").wait_for()


@pytest.mark.pace
def test_a_killed_server_loses_nothing(server, page, submitted):
    second = next(run for run in runs.list_runs(server.root) if run.config["seed"] == 1)
    wait(lambda: second.state == "running", 20, "the queued run did not start when the first had stopped")
    open_live(server, page, second)
    told = len(page.broken)
    server.kill()
    step = second.status()["step"]
    wait(lambda: second.status()["step"] > step, 10, "the run did not go on without the server")
    server.start()
    open_live(server, page, second)
    before = ends(page)
    wait(lambda: ends(page) > before, 10, "the curves did not go on")
    del page.broken[told:]  # a tab whose server is gone complains, as it should
    assert second.state == "running"
    ffcore.stop(second)
    assert second.state == "stopped"


def test_an_export_comes_down_as_a_zip(server, page, tmp_path):
    page.goto(f"{server.url}/runs?filter=digits")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as zip").click()
    file = tmp_path / "run.zip"
    download.value.save_as(file)
    with zipfile.ZipFile(file) as archive:
        assert {Path(name).name for name in archive.namelist()} >= {"config.json", "weights.safetensors"}


def test_a_stroke_on_the_pad_goes_through_every_strategy(server, page):
    page.goto(f"{server.url}/negatives?run=ff-mnist&image=draw")
    shown = page.locator(".contrast")
    shown.first.wait_for()
    page.locator(READY).wait_for()
    before = shown.nth(1).locator("img").first.get_attribute("src")
    pad = page.get_by_role("application")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    x, y, side = box["x"], box["y"], box["width"]
    page.mouse.move(x + 0.5 * side, y + 0.2 * side)
    page.mouse.down()
    page.mouse.move(x + 0.5 * side, y + 0.8 * side, steps=8)
    page.mouse.up()
    begin = time.monotonic()

    def first():
        return shown.nth(1).locator("img").first.get_attribute("src")

    drawn = wait(lambda: (now := first()) != before and now, 10, "the pictures did not change")
    print(f"a stroke was seen in the cards {time.monotonic() - begin:.2f} s after its end")
    page.get_by_role("combobox", name="What is it?").wait_for()
    pad.focus()  # and without a pointer
    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    wait(lambda: first() != drawn, 10, "the arrow keys drew nothing")
    page.get_by_role("button", name="Clear").click()
    wait(lambda: first() == before, 10, "Clear did not bring the test image back")


def test_a_click_on_the_map_of_units_shows_that_unit(server, page):
    page.set_viewport_size({"width": 1280, "height": 1000})
    run = next(run for run in runs.list_runs(server.root, bundled=False) if run.state == "done")
    page.goto(f"{server.url}/health?run={run.id}&layer=1")
    title = page.get_by_role("heading", name=re.compile("^Unit .* of layer 1$"))
    title.wait_for()
    chart = page.locator("[aria-label^='units of layer 1']")
    chart.locator(".modebar-btn").first.wait_for(state="attached")
    buttons = [button.get_attribute("data-title") for button in chart.locator(".modebar-btn").all()]
    assert "Zoom in" in buttons
    assert not [name for name in buttons if "share" in name.lower() or "cloud" in name.lower()]  # nothing is to be sent away
    box = chart.locator(".nsewdrag").first.bounding_box()
    before = title.inner_text()
    wanted = chart.evaluate("n => n._fullData[0].y[20]").capitalize()  # 32 rows, the first on top
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 20.5 / 32)
    wait(lambda: title.inner_text() != before, 10, "the click did nothing")
    assert title.inner_text() == f"{wanted} of layer 1"
    assert f"unit={wanted.split()[1]}" in page.url
