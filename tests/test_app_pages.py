"""Every page of the dashboard, run without a browser: with runs in every state, with none, and with garbage in the address."""

import io
import re
import shutil
import time
import zipfile

import numpy as np
import pytest
from conftest import TINY
from PIL import Image

import ffcore
from ffcore import rundir, runs
from ffcore.serve import app_folder

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

BUNDLED = rundir.bundled_root
pytestmark = pytest.mark.usefixtures("no_bundle")


def page(name: str = "start", **query: str) -> AppTest:
    at = AppTest.from_file(str(app_folder() / "main.py"), default_timeout=60)
    if name != "start":
        at.switch_page(f"views/{name}.py")
    for key, value in query.items():
        at.query_params[key] = value
    at.run()
    assert not at.exception, at.exception[0].message
    return at


def click(at: AppTest, label: str) -> AppTest:
    next(b for b in at.button if b.label == label).click().run()
    assert not at.exception, at.exception[0].message
    return at


def html(at: AppTest) -> str:
    return "".join(element.proto.body for element in at.get("html"))


def words(at: AppTest) -> str:
    return "\n".join(element.value for element in [*at.title, *at.header, *at.markdown, *at.caption])


def seen(markdown: str) -> str:
    """What a reader sees of escaped Markdown."""
    return re.sub(r"`(--[a-z-]+)`|\\([^\w\s])", r"\1\2", markdown.replace("\u2060", ""))


def labels(at: AppTest) -> list[str]:
    return [b.label for b in at.button]


def metrics(at: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in at.metric}


# Start


def test_start_shows_what_each_layer_of_a_trained_net_makes_of_a_digit(store):
    at = page()
    samples = store["ff"].samples()
    assert html(at).count("<figure") == len(samples["labels"]) == 64
    assert "class='goodness'" in html(at)
    assert "Layer 2" in html(at)
    assert "the net says" in words(at)
    assert "64 fixed test images of" in words(at)
    assert store["ff"].title() in words(at)


def test_start_turns_to_the_next_digit_and_back_in_time(store):
    at = click(page(), "Next digit")
    assert "Test image 2 of 64" in words(at)
    assert at.query_params["digit"] == "2"
    trained, guesses = html(at), words(at)
    at.slider[0].set_value(0).run()
    assert "before training" in words(at)
    assert html(at) != trained
    assert words(at) != guesses
    assert at.query_params["epoch"] == "0"


def test_the_sentence_on_start_says_what_the_arrays_say(store):
    snapshot, samples = store["ff"].snapshot(2), store["ff"].samples()
    sums = snapshot["goodness"].astype(float).sum(2)
    right = int((sums.argmax(1) == samples["labels"]).sum())
    assert f"**{right} of 64 test images read right** after epoch 2" in words(page())
    at = page(digit="5")
    assert f"the net says **{sums[4].argmax()}**" in words(at)


def test_start_says_that_backprop_has_no_goodness(store):
    at = page(run=store["backprop"].id)
    assert "This net has no goodness" in words(at)
    assert html(at).count("<tr>") == 2  # the classes, one row of scores


def test_start_asks_for_a_first_run_where_there_is_none():
    at = page()
    assert "No net has been trained here yet" in words(at)
    at = click(at, "Train the first one")
    assert at.title[0].value == "Train a net"


def test_start_shows_the_bundled_net_when_there_is_no_run_of_ones_own(trained, tmp_path):
    shutil.copytree(trained["ff"], tmp_path / "bundled" / "ff-digits")
    at = page()
    assert "class='goodness'" in html(at)
    assert "Watch it learn" in labels(at)


def test_a_fresh_checkout_shows_the_net_that_comes_with_it(monkeypatch):
    for module in (runs, rundir):
        monkeypatch.setattr(module, "bundled_root", BUNDLED)
    net = runs.list_runs()[0]
    at = page()
    assert net.bundled
    assert net.title() in words(at)
    assert "class='goodness'" in html(at)
    assert metrics(page("live"))["Test accuracy"] == f"{100 * net.status()['result']['test_accuracy']:.2f}%"
    assert next(b for b in page("runs").button if b.label == "Delete").disabled


@pytest.mark.parametrize("digit", ["-5", "abc", "1e9", "65", "²", "<b>"])
def test_start_explains_a_digit_that_is_not_there(store, digit):
    at = page(digit=digit)
    assert "asks for digit" in at.warning[0].value
    assert "Test image 1 of 64" in words(at)


@pytest.mark.parametrize("epoch", ["abc", "-1", "99"])
def test_start_explains_an_epoch_that_is_not_there(store, epoch):
    at = page(epoch=epoch)
    assert "asks for epoch" in at.warning[0].value
    assert "after epoch 2" in words(at)


def test_start_falls_back_when_the_run_it_was_sent_has_nothing_to_show(store):
    at = page(run=store["queued"].id)
    assert "has nothing to show yet" in at.info[0].value
    assert store["ff"].title() in words(at)


@pytest.mark.parametrize("name", ["samples.npz", "snapshots/epoch-0002.npz"])
def test_start_passes_over_a_run_whose_arrays_are_damaged(store, name):
    (store["ff"].dir / name).write_bytes(b"")
    at = page(run=store["ff"].id)
    assert f"{name.rpartition('/')[2]} is damaged" in at.info[0].value
    assert f"On screen: {store['backprop'].title()}" in words(at)
    assert store["backprop"].title() in words(page())


def test_start_passes_over_a_damaged_snapshot_within_a_run(store):
    (store["ff"].dir / "snapshots" / "epoch-0001.npz").write_bytes(b"")
    at = page(run=store["ff"].id, epoch="1")
    assert "test images read right** before training" in words(at)  # the nearest that can be read


def test_start_does_not_take_random_layers_sums_for_the_nets_answer(store):
    untrained = ffcore.train(root=str(runs.runs_root()), model="untrained", **{**TINY, "epochs": 1})
    at = page(run=untrained.id)
    assert "class='goodness'" in html(at)
    assert "answers with its softmax read-out" in at.info[0].value
    assert "random layers" in at.info[0].value
    hybrid = ffcore.train(root=str(runs.runs_root()), model="hybrid", **{**TINY, "epochs": 1})
    assert "random" not in page(run=hybrid.id).info[0].value  # its layers have learnt
    assert "test images right by its softmax read-out" in words(at)
    assert "so the sums say" in words(at)
    assert "the net says" not in words(at)
    assert "the net says" in words(page(run=store["ff"].id))


def test_the_address_of_start_tells_the_run_and_the_digit_that_are_remembered(store):
    at = page("live", run=store["backprop"].id)
    at.switch_page("views/start.py").run()
    assert at.query_params["run"] == store["backprop"].id
    at = click(page(digit="4"), "Next digit")
    at.switch_page("views/start.py")
    at.query_params.clear()
    at.run()
    assert "Test image 5 of 64" in words(at)
    assert at.query_params["digit"] == "5"


def test_start_stands_although_a_result_lacks_what_it_tells(store):
    store["ff"].write_status(result={"test_accuracy": 0.5})
    assert f"On screen: {store['ff'].title()}." in words(page(run=store["ff"].id))
    config = store["ff"].config
    store["ff"].write_config(facts={**config["facts"], "classes": ["one"]})  # fewer than its samples have
    assert f"On screen: {store['backprop'].title()}" in words(page())


def test_a_part_of_a_page_whose_run_is_gone_has_the_page_run_again(store, monkeypatch):
    import widgets

    class Again(BaseException):
        pass

    def again():
        raise Again

    monkeypatch.setattr(widgets.st, "fragment", lambda body, **_: body)
    monkeypatch.setattr(widgets.st, "rerun", again)
    shown = []
    widgets.part("It", lambda run: shown.append(run.config["facts"]), store["ff"])
    assert shown
    shutil.rmtree(store["ff"].dir)
    with pytest.raises(Again):
        widgets.part("It", lambda run: shown.append(run.config["facts"]), store["ff"])


@pytest.mark.parametrize("name", ["start", "draw", "replay", "negatives", "live", "run"])
def test_no_picture_or_link_is_made_of_the_words_of_an_imported_run(store, name):
    bad, ff = "![](https://evil.example/x.png)", store["ff"]
    names = dict.fromkeys(("data_title", "provenance", "device_name"), bad)
    ff.write_config(facts={**ff.config["facts"], **names, "classes": [f"{bad}{i}" for i in range(10)]})
    ff.write_status(reason=bad)
    ff.append({"event": "alarm", "step": ff.status()["step"], "kind": "dead", "message": bad})
    at = page(name, run=ff.id)
    told = [element.value for kind in (at.markdown, at.caption, at.info, at.warning, at.error) for element in kind]
    assert any("evil.example" in text for text in told)
    assert not any(re.search(r"(?<!\\)\]\(https", text) for text in told)
    assert "<img src='https" not in html(at)


def test_what_is_plain_is_seen_as_it_was_written():
    import widgets

    for text in (
        "a_b *c* [d](e) `f` <g> $h$ ~~i~~ :red[j] &amp; k",
        "1. no list",
        "- nor this",
        "www.x.org, a@x.org, http://x.org",
        "take --epochs 3 (or --lr=0.1)",
    ):
        assert seen(widgets.plain(text)) == text
        assert widgets.plain(text) != text
    assert widgets.plain("take --out-dir X (or --lr=0.1)") == "take `--out-dir` X (or `--lr`=0.1)"  # can be copied


# One's own image


def drop(at: AppTest, name: str, content: bytes) -> AppTest:
    at.get("file_uploader")[0].upload(name, content)
    at.run()
    assert not at.exception, at.exception[0].message
    return at


def picture(colour: str = "white", paper: str = "black") -> bytes:
    image, file = Image.new("L", (40, 40), paper), io.BytesIO()
    image.paste(colour, (18, 6, 22, 34))
    image.save(file, "png")
    return file.getvalue()


def test_ink_on_paper_is_turned_into_what_the_net_knows(store, tmp_path):
    def look(colour, paper):
        return drop(page("draw", run=store["ff"].id, image="upload"), "one.png", picture(colour, paper))

    at = look("black", "white")
    assert next(t for t in at.toggle if t.label == "Swap light and dark").value is True
    command = next(code.value for code in at.code if code.value.startswith("ffcore read"))
    assert command == f"ffcore read {store['ff'].id} IMAGE.png --invert"
    (tmp_path / "one.png").write_bytes(picture("black", "white"))
    told = ffcore.read(store["ff"], tmp_path / "one.png", invert=True)
    assert f"reads **{told['class']}**" in words(at)
    assert f"★{told['best']:.2f}" in html(at)
    assert words(at) == words(look("white", "black"))


@pytest.mark.parametrize("content", [b"", b"not an image", picture()[:60]], ids=["empty", "text", "cut off"])
def test_a_file_that_is_no_image_is_refused_in_one_line(store, content):
    at = drop(page("draw", run=store["ff"].id, image="upload"), "broken.png", content)
    assert at.error[0].value.startswith("broken.png:")
    assert "\n" not in at.error[0].value


# Train


def test_train_shows_the_command_that_it_would_run(own_runs):
    at = page("train")
    assert at.code[0].value == f"ffcore train --model ff --negatives hard_label --data {ffcore.data.ensure('auto')} --seed 0"
    at.number_input[0].set_value(7).run()
    assert at.code[0].value.endswith("--seed 7")
    assert at.query_params["seed"] == "7"


def test_a_link_to_train_carries_settings_and_the_form_goes_back_into_the_address(own_runs):
    at = AppTest.from_file(str(app_folder() / "main.py"), default_timeout=60)
    at.switch_page("views/train.py")
    at.query_params["data"], at.query_params["seed"] = "digits", "3"
    at.query_params["set"] = ["model.widths=[16]", "train.epochs=1"]
    at.run()
    assert "Set by the link" in at.info[0].value
    line = at.code[0].value
    assert line == (
        "ffcore train --model ff --negatives hard_label --data digits --seed 3 --set 'model.widths=[16]' --set train.epochs=1"
    )
    key = next(w.key for w in at.text_input if (w.key or "").endswith("train.lr"))
    at.text_input(key=key).set_value("0.01").run()
    assert at.code[0].value == f"{line} --set train.lr=0.01"
    assert at.query_params["set"] == ["model.widths=[16]", "train.epochs=1", "train.lr=0.01"]
    click(at, "Forget them")
    assert at.code[0].value == "ffcore train --model ff --negatives hard_label --data digits --seed 3"


@pytest.mark.parametrize("setting", ["data.name=/etc/passwd", "train.init_from=/etc", "train.init_from={id}@../x"])
def test_no_link_to_train_opens_a_file(store, monkeypatch, setting):
    asked = []
    monkeypatch.setattr(ffcore.data, "read_own", lambda path: asked.append(path))
    at = page("train", set=setting.format(id=store["ff"].id))
    assert "are left out" in at.warning[0].value
    assert "--set" not in at.code[0].value
    assert not asked


def test_a_link_may_begin_with_the_weights_of_a_run_that_is_here(store):
    begin = f"train.init_from={store['ff'].id}@2"
    at = page("train", set=begin)
    assert not at.warning
    assert f"--set {begin}" in at.code[0].value


def test_failures_are_apart_from_recipes_and_say_why_and_what_mends_them(own_runs):
    at = page("train", preset="ref-tiled")
    assert "61% off these features" in words(at)
    assert "**What mends it**" in words(at)
    assert "--preset ref-tiled" in at.code[0].value
    assert "What mends it" not in words(page("train"))


def test_train_promises_a_minute_for_the_default_only_and_says_what_a_failure_shows(own_runs):
    assert "about a minute" in "".join(m.value for m in page("train").markdown)
    other = page("train", model="cwc")
    assert "about a minute" not in "".join(m.value for m in other.markdown)
    assert "Within 60 steps" in words(page("train", preset="ref-pcl"))


def test_train_shows_what_each_strategy_makes(own_runs):
    at = page("train")
    assert html(at).count("class='side pos'") == 1
    before = html(at)
    at = page("train", negatives="image_mixing")
    assert html(at).count("class='side pos'") == 1
    assert html(at) != before
    at = page("train", model="backprop")
    assert html(at).count("class='side pos'") == 0
    assert "--model backprop" in at.code[0].value


def test_a_look_at_train_downloads_nothing(own_runs, tmp_path, monkeypatch):
    def download(*_):
        raise AssertionError("a look at the page has started a download")

    monkeypatch.setattr(ffcore.data.public, "download", download)
    monkeypatch.setenv("FFCORE_DATA", str(tmp_path))
    at = page("train", data="cifar10")
    assert "It will be downloaded on Start" in words(at)
    assert "--data cifar10" in at.code[0].value
    at = page("train", preset="ref-ff")  # asks for MNIST, whose images the strategies would be shown on
    assert "no examples can be shown yet" in words(at)
    assert "class='side pos'" not in html(at)


def test_train_says_how_many_runs_it_may_wait_for(store):
    assert "It may wait for **1 run**." in words(page("train"))
    store["queued"].write_status(state="stopped")
    assert "It starts at once." in words(page("train"))


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("train.lr", "-1", "train.lr=-1"),
        ("train.epochs", "many", "train.epochs="),
        ("model.widths", "[]", "model.widths=[]"),
    ],
)
def test_a_setting_out_of_bounds_is_told_in_the_librarys_one_line_and_starts_nothing(own_runs, key, value, complaint):
    at = page("train")
    at.text_input(key=f"None.ff.hard_label.{key}").set_value(value).run()
    assert complaint in seen(at.error[0].value)
    assert "\n" not in at.error[0].value
    assert next(b for b in at.button if b.label == "Start training").disabled
    assert not runs.runs_root().exists()


def test_garbage_in_trains_address_is_told_and_replaced(own_runs):
    at = page("train", preset="nope", model="%00", negatives="<b>", data="/etc/passwd")
    assert len(at.warning) == 4
    assert at.code[0].value == f"ffcore train --model ff --negatives hard_label --data {ffcore.data.ensure('auto')} --seed 0"


def test_another_preset_brings_its_own_model_and_negatives(own_runs):
    at = page("train", preset="hinton")
    assert "--preset hinton" in at.code[0].value
    assert not at.error


def test_start_training_makes_a_run_that_finishes_and_opens_live(own_runs):
    at = page("train", data="digits")
    at.text_input(key="None.ff.hard_label.train.epochs").set_value("1").run()
    at.text_input(key="None.ff.hard_label.model.widths").set_value("[16]").run()
    command = at.code[0].value
    at = click(at, "Start training")
    run = runs.find(at.query_params["run"])
    assert at.title[0].value == "Live"
    end = time.monotonic() + 40
    while run.state in runs.LIVE and time.monotonic() < end:
        time.sleep(0.1)
    assert run.state == "done", run.status()["reason"]
    assert run.command() == command


def test_an_own_npz_is_kept_and_a_bad_one_is_not(own_runs):
    at = page("train")
    file = io.BytesIO()
    np.savez(file, x=np.zeros((40, 8, 8), np.uint8), y=np.arange(40) % 4)
    at.get("file_uploader")[0].upload("mine.npz", file.getvalue())
    at.run()
    assert "40 images of 4 classes" in at.success[0].value
    assert "mine-" in at.code[0].value
    at = page("train")
    at.get("file_uploader")[0].upload("bad.npz", b"PK but not really")
    at.run()
    assert "bad.npz" in at.error[0].value
    assert "\n" not in at.error[0].value
    assert [p.name.partition("-")[0] for p in (runs.runs_root() / ".data").iterdir()] == ["mine"]


# Live


def test_live_tells_the_headline_of_a_finished_run_and_leads_on(store):
    at = page("live", run=store["ff"].id)
    accuracy = f"{100 * store['ff'].status()['result']['test_accuracy']:.2f}%"
    assert metrics(at)["Test accuracy"] == accuracy
    assert metrics(at)["Epoch"] == "2 / 2"
    assert "**Layer 1**" in words(at)
    assert f"It is done: **{accuracy}** of test images right" in words(at)
    assert "Resume" not in labels(at)
    assert store["ff"].command() in [code.value for code in at.code]
    at = click(at, "See the run")
    assert at.title[0].value == "Run"
    assert at.query_params["run"] == store["ff"].id


@pytest.fixture
def drawn(monkeypatch):
    """What charts are given: {key: figures}."""
    import components

    seen = {}
    monkeypatch.setattr(components, "live_charts", lambda charts, *, key, **_: seen.update({key: [f for f, _ in charts]}))
    return seen


def test_live_draws_backprop_by_its_loss(store, drawn):
    at = page("live", run=store["backprop"].id)
    assert [figure["layout"]["title"]["text"] for figure in drawn["loss"]] == ["Loss of all layers together"]
    assert "**Layer 1**" not in words(at)
    assert "Test accuracy" in metrics(at)


def test_live_draws_what_is_special_to_a_net_without_negatives(store, drawn):
    tick = {"event": "tick", "step": 1, "epoch": 0.5, "seconds": 1.0, "loss": 2.0, "eta": 1.0, "images_per_second": 9.0}
    layers = [{"layer": i, "loss": 1.0, "traces": {"right": 0.1 * i}} for i in (1, 2)]
    store["backprop"].append({**tick, "layers": layers})
    page("live", run=store["backprop"].id)
    titles = [figure["layout"]["title"]["text"] for figure in drawn["loss"]]
    assert titles == ["Loss of all layers together", "right"]
    assert [trace["name"] for trace in drawn["loss"][1]["data"]] == ["layer 1", "layer 2"]


@pytest.mark.parametrize(
    ("name", "buttons", "reason"),
    [
        ("paused", {"Resume", "Stop"}, None),
        ("stopped", {"Resume"}, None),
        ("lost", {"Resume"}, "its process ended without a word"),
        ("failed", {"Resume"}, "diverged at step 7"),
        ("queued", {"Pause", "Stop"}, "Queued: number 1 in line"),
        ("ff", set(), None),
    ],
)
def test_live_offers_what_a_state_allows_and_says_why_it_stands(store, name, buttons, reason):
    at = page("live", run=store[name].id)
    assert set(labels(at)) & {"Resume", "Stop", "Pause"} == buttons
    assert store[name].state in words(at)
    if reason:
        assert any(reason in said.value for said in [*at.error, *at.info])


def test_stop_keeps_the_weights_of_a_paused_run(store):
    at = page("live", run=store["paused"].id)
    assert not (store["paused"].dir / "weights.safetensors").exists()
    click(at, "Stop")
    assert store["paused"].state == "stopped"
    assert (store["paused"].dir / "weights.safetensors").exists()


def test_pause_and_stop_are_asked_of_the_process(store):
    at = click(page("live", run=store["queued"].id), "Stop")
    assert store["queued"].want() == "stop"
    assert "Stopping …" in labels(at)


@pytest.mark.parametrize("label", ["Pause", "Stop"])
def test_what_a_full_disk_refuses_is_told(store, monkeypatch, label):
    def full(run, want):
        raise ffcore.Failed(f"disk full while writing control.json in {run.dir}; free some space and resume")

    monkeypatch.setattr(ffcore.Run, "control", full)
    at = click(page("live", run=store["queued"].id), label)
    assert any("disk full" in e.value for e in at.error)


@pytest.mark.parametrize("name", ["samples.npz", "evaluation.npz", "snapshots/epoch-0002.npz"])
def test_live_shows_the_rest_of_a_run_whose_arrays_are_damaged(store, name):
    (store["ff"].dir / name).write_bytes(b"")
    at = page("live", run=store["ff"].id)
    said = [w.value for w in at.warning if "is damaged" in w.value]
    assert len(said) == 1
    assert name.rpartition("/")[2] in said[0]
    assert "\n" not in said[0]
    assert "Test accuracy" in metrics(at)
    assert "**Layer 1**" in words(at)


def test_a_refusal_to_resume_is_told(store):
    at = page("live", run=store["paused"].id)
    with store["paused"].lock():
        click(at, "Stop")
    assert any("another process" in e.value for e in at.error)


def test_live_without_runs_leads_to_train():
    at = click(page("live"), "Start one")
    assert at.title[0].value == "Train a net"


@pytest.mark.parametrize("name", ["live", "runs", "run", "start"])
@pytest.mark.parametrize("ref", ["../../etc/passwd", "/etc", "nope", "2030", "`<script>", "%00"])
def test_a_run_that_the_address_makes_up_is_told_and_another_shown(store, name, ref):
    at = page(name, run=ref)
    why = "of which there are several" if ref == "2030" else "which is not here"
    assert why in at.warning[0].value
    shown = ref.replace("`", "·")  # inert: within the backticks of code
    assert f"`{shown}`" in at.warning[0].value


# Runs


def table(at: AppTest):
    return at.dataframe[0].value


def test_runs_lists_every_run_with_its_state(store):
    shown = table(page("runs"))
    assert len(shown) == len(store)
    states = {row["id"]: row["state"][0] for _, row in shown.iterrows()}
    assert states == {run.id: run.state for run in store.values()}
    assert "None" not in shown["time"].tolist()


def test_runs_filters_by_word_and_state(store):
    at = page("runs")
    at.text_input(key="filter").set_value("backprop").run()
    assert table(at)["id"].tolist() == [store["backprop"].id]
    at = page("runs", filter="no such thing")
    assert "None of the" in at.info[0].value


def test_a_run_that_is_here_but_filtered_out_is_told_so(store):
    at = page("runs", run=store["ff"].id, states="paused")
    assert "which is here but not among those that this page shows" in at.warning[0].value


def test_runs_shows_a_damaged_directory_and_why(store):
    (store["ff"].dir / "config.json").write_text("{")
    at = page("runs")
    states = dict(zip(table(at)["id"], (s[0] for s in table(at)["state"]), strict=True))
    assert states[store["ff"].dir.name] == "damaged"


def test_a_deleted_run_is_gone_and_undo_brings_it_back(store):
    at = click(page("runs", run=store["stopped"].id), "Delete")
    assert not store["stopped"].dir.exists()
    assert any("is in the trash" in said.value for said in at.info)
    assert store["stopped"].id not in table(at)["id"].tolist()
    at = click(at, "Undo")
    assert store["stopped"].dir.exists()
    assert store["stopped"].id in table(at)["id"].tolist()
    assert "Undo" not in labels(at)


def test_the_trash_tells_what_it_holds_and_can_be_emptied(store):
    ffcore.discard(store["stopped"])
    ffcore.discard(store["failed"])
    at = page("runs")
    assert "Undo" not in labels(at)  # of another visit
    assert [e.label for e in at.expander if e.label.startswith("Trash: 2 runs")]
    at = click(at, "Empty the trash")
    assert "2 runs removed for good" in at.success[0].value
    assert ffcore.discarded() == []


def test_a_living_run_is_not_deleted(store):
    with store["lost"].lock():
        at = click(page("runs", run=store["lost"].id), "Delete")
        assert "is alive" in at.error[0].value
    assert store["lost"].dir.exists()


def tick(at: AppTest, *ids: str) -> AppTest:
    """The rows of these runs are chosen."""
    shown = table(at)["id"].tolist()
    at.session_state[at.dataframe[0].proto.id.rpartition("-")[2]] = {
        "selection": {"rows": [shown.index(name) for name in ids], "columns": [], "cells": []}
    }
    at.run()
    assert not at.exception, at.exception[0].message
    return at


def test_ticked_runs_are_compared(store):
    at = tick(page("runs"), store["ff"].id, store["backprop"].id)
    assert "**2 runs ticked**" in words(at)
    at = click(at, "Compare these")
    assert at.title[0].value == "Compare"
    wanted = {g["key"] for g in ffcore.groups() if g["model"] in ("ff", "backprop")}
    assert {part.partition(".")[0] for part in at.query_params["groups"].split(",")} == wanted


def test_runs_that_do_not_compare_are_told_why(store):
    at = tick(page("runs"), store["paused"].id, store["failed"].id)
    assert "2 of these are not finished" in words(at)
    assert "1 of these is not finished" in words(tick(page("runs"), store["paused"].id, store["ff"].id))
    assert next(b for b in at.button if b.label == "Compare these").disabled
    assert not next(b for b in at.button if b.label == "Delete").disabled


def test_one_ticked_run_is_the_chosen_one(store):
    at = tick(page("runs"), store["backprop"].id)
    assert at.query_params["run"] == store["backprop"].id
    assert click(at, "Open").title[0].value == "Run"


def test_the_box_chooses_another_run_while_a_row_is_ticked(store):
    at = tick(page("runs"), store["backprop"].id)
    at.selectbox(key="picked_run").set_value(store["ff"].id).run()
    assert at.query_params["run"] == store["ff"].id
    assert click(at, "Open").query_params["run"] == store["ff"].id


def test_ticks_do_not_outlive_the_rows_they_were_set_on(store):
    at = click(tick(page("runs"), store["paused"].id, store["failed"].id), "Delete")
    assert not {store["paused"].id, store["failed"].id} & set(table(at)["id"])
    assert "runs ticked" not in words(at)


def test_runs_are_found_by_tags_and_columns_live_in_the_address(store):
    ffcore.annotate(store["ff"], ["for class"], "bends nicely")
    at = page("runs", tags="for class", columns="note")
    assert table(at)["id"].tolist() == [store["ff"].id]
    assert [list(tags) for tags in table(at)["tags"]] == [["for class"]]
    assert "note" in at.dataframe[0].proto.columns or "note" in str(at.dataframe[0].proto)
    assert table(page("runs", filter="bends"))["id"].tolist() == [store["ff"].id]
    at = page("runs", tags="nope", columns="x,made")
    assert sum("The address asks for" in warning.value for warning in at.warning) == 2
    assert at.query_params["columns"] == "made"


def offer(content: bytes) -> AppTest:
    at = page("runs")
    at.get("file_uploader")[0].upload("run.zip", content)
    at.run()
    return click(at, "Import")


def test_an_exported_run_can_be_imported(store, tmp_path):
    file = tmp_path / "run.zip"
    ffcore.export(store["ff"], file)
    at = offer(file.read_bytes())
    assert "Imported" in at.success[0].value
    new = [run for run in runs.list_runs() if run not in store.values()]
    assert len(new) == 1
    assert new[0].status()["result"]["test_accuracy"] == store["ff"].status()["result"]["test_accuracy"]
    assert new[0].id in table(at)["id"].tolist()


def bad_zips():
    def zipped(**members: str) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        return file.getvalue()

    return {"none": b"no zip at all", "empty": zipped(), "climbing": zipped(**{"../evil": "x"}), "no run": zipped(a="x")}


@pytest.mark.parametrize("kind", bad_zips())
def test_a_bad_zip_is_refused_with_the_reason_and_creates_nothing(store, kind, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    at = offer(bad_zips()[kind])
    assert "run.zip" in at.error[0].value
    assert "\n" not in at.error[0].value
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_without_any_leads_to_train_and_takes_an_import(trained, tmp_path):
    file = tmp_path / "run.zip"
    ffcore.export(ffcore.Run(trained["ff"]), file)
    at = page("runs")
    assert "Start one" in labels(at)
    at = offer(file.read_bytes())
    assert len(table(at)) == 1


# What the pages ask of the library


def test_the_estimate_goes_by_a_like_run_and_scales_with_its_epochs(store):
    config = ffcore.configure(model="ff", **{**TINY, "epochs": 20})
    seconds = store["ff"].status()["train_seconds"]
    runs.delete(store["stopped"])
    told = ffcore.estimate(config)
    assert told is not None
    for name in ("failed", "lost", "paused"):
        runs.delete(store[name])
    assert ffcore.estimate(config) == pytest.approx(10 * seconds)
    assert ffcore.estimate(ffcore.configure(model="ff", data="glyphs")) is None


# A net that learnt without labels


def test_pages_show_a_net_that_never_saw_a_label(own_runs):
    run = ffcore.train(negatives="image_mixing", **TINY)
    at = page(run=run.id)
    assert "learnt without labels, so there are none to try on" in words(at)
    assert "class='goodness'" in html(at)
    at = page("live", run=run.id)
    assert "the positive wins" in words(at)
    assert "Test accuracy, softmax" in metrics(page("run", run=run.id))
    assert [r for r in run.status()["result"]["readouts"]] == ["softmax"]
    assert run.snapshot(2)["pos"].sum() == run.snapshot(2)["neg"].sum() > 0
    page("runs")
