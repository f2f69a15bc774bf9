"""Start: its ways on, its file, and what it must not load."""

import csv
import io
import os
import shutil
import subprocess
import sys

import pytest

import ffcore

pytest.importorskip("streamlit")
from test_app_pages import click, html, page, words

pytestmark = pytest.mark.usefixtures("no_bundle")


def test_watch_it_learn_replays_this_very_net(store):
    at = click(page(run=store["ff"].id), "Watch it learn")
    assert at.title[0].value == "Replay"
    assert at.query_params["run"] == store["ff"].id
    assert at.query_params["epoch"] == "0"


def test_draw_your_own_goes_to_the_pad_with_this_net(store):
    at = click(page(run=store["ff"].id), "Draw your own")
    assert at.query_params["run"] == store["ff"].id
    assert at.title[0].value == "Draw"


def test_draw_your_own_begins_with_the_digit_on_screen_and_says_so_in_the_address(store):
    at = click(page(run=store["ff"].id, digit="5"), "Draw your own")
    assert "test image 5 of 64" in words(at)
    assert at.query_params["digit"] == "5"


def test_break_it_shows_the_dying_net_that_comes_along_else_how_to_train_one(store, trained, tmp_path):
    at = click(page(run=store["ff"].id), "Break it")
    assert at.title[0].value == "Train a net"
    assert at.query_params["preset"] == "ref-pcl"
    shutil.copytree(trained["ff"], tmp_path / "bundled" / "ref-pcl-mnist")
    at = click(page(run=store["ff"].id), "Break it")
    assert at.title[0].value == "Neuron health"
    assert at.query_params["run"] == "ref-pcl-mnist"


def test_the_heat_map_comes_down_with_the_numbers_on_screen(store, monkeypatch):
    given = {}
    monkeypatch.setattr("streamlit.download_button", lambda label, text, *_, **__: given.update({label: text}))
    page(run=store["ff"].id, digit="5")
    head, *rows = csv.reader(io.StringIO(given["Heat map as CSV"]))
    assert head == ["label", "Layer 1", "Layer 2"]
    assert [row[0] for row in rows] == store["ff"].config["facts"]["classes"]
    assert [[float(v) for v in row[1:]] for row in rows] == store["ff"].snapshot(2)["goodness"][4].tolist()


def test_the_lines_of_python_give_the_numbers_on_screen(store, monkeypatch):
    at = page(run=store["ff"].id, digit="5", epoch="1")
    command, code = (one.value for one in at.code)
    assert command == store["ff"].command()
    *lines, last = code.splitlines()
    told: dict = {}
    exec("\n".join(lines), told)
    numbers = eval(last.partition("#")[0], told)
    assert f"<span>★{numbers[:, 0].max():.2f}</span>" in html(at)


def test_start_leads_on_to_six_places(store):
    links = [link.proto.page for link in page().get("page_link")]
    assert links == ["lessons", "negatives", "compare", "health", "embeddings", "train"]


def test_an_upload_is_for_draw(store):
    assert not page().get("file_uploader")
    assert page("draw", run=store["ff"].id, image="upload").get("file_uploader")


def test_starts_script_loads_no_torch(trained):
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\nfrom ffcore.serve import app_folder\n"
        "at = AppTest.from_file(str(app_folder() / 'main.py'), default_timeout=60).run()\n"
        "loaded = 'torch' in sys.modules\nassert not at.exception and at.title[0].value.startswith('A net')\nprint(loaded)"
    )
    env = {**os.environ, "FFCORE_RUNS": str(trained["ff"].parent)}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60)
    assert out.stdout.strip() == "False", out.stderr[-500:]


def test_start_reads_by_the_public_function(store):
    told = ffcore.answers(store["ff"], store["ff"].snapshot(2))
    right = int((told == store["ff"].samples()["labels"]).sum())
    assert f"**{right} of 64 test images read right**" in words(page(run=store["ff"].id))
