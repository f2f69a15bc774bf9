"""The page Negatives, without a browser: every strategy on one image, settings that redraw, and studies whole and damaged."""

import json

import pytest

import ffcore
from ffcore import catalogue, runs

pytest.importorskip("streamlit")
from conftest import TINY
from test_app_pages import click, page, picture, words

pytestmark = pytest.mark.usefixtures("no_bundle")
ITEMS = {item["name"]: item for item in catalogue.negatives()}


def cards(at) -> list[str]:
    """The pairs on screen: the opened strategy's, then every card's."""
    return [element.proto.body for element in at.get("html") if "class='contrast'" in element.proto.body]


def alone(at) -> str:
    return cards(at)[0]


def code(at) -> str:
    return at.code[0].value


# Every strategy


def test_every_strategy_is_shown_with_what_the_net_makes_of_it(store):
    at = page("negatives", run=store["ff"].id)
    samples = store["ff"].samples()
    told = catalogue.through(store["ff"], [{"name": name} for name in ITEMS], samples["images"], samples["labels"])
    assert len(cards(at)) == 1 + len(ITEMS)
    for one in told:
        assert ITEMS[one["name"]]["title"] in words(at)
        number = f"{one['difference'][0]:+.3g}".replace("-", "−")
        assert any(number in shown and f"{one['won'][0]:.0%}" in shown for shown in cards(at)[1:]), one["name"]
        assert one["reading"] in words(at)


def test_flawed_strategies_come_last_and_are_marked(store):
    at = page("negatives")
    heads = [m.value for m in at.markdown if m.value.startswith("**")]
    flawed = [head.startswith("**⚠") for head in heads if ":small[" in head]
    assert flawed == sorted(flawed)
    assert sum(flawed) == sum(not item["faithful"] for item in ITEMS.values())


def test_the_net_that_learnt_from_a_strategy_is_said_to(store):
    assert words(page("negatives")).count("this net learnt from these") == 1


def test_a_plug_in_that_fails_costs_its_own_card_only(store, monkeypatch):
    right = catalogue.through

    def through(net, wanted, *more):
        if any(one["name"] == "masking" for one in wanted):
            raise ZeroDivisionError("`<b>` of a plug-in")
        told = right(net, wanted, *more)
        return [{**one, "neg": one["neg"][:, :1]} if one["name"] == "cutmix" else one for one in told]

    monkeypatch.setattr(catalogue, "through", through)
    at = page("negatives")
    said = "\n".join(error.value for error in at.error)
    assert "ZeroDivisionError: ·<b>· of a plug-in" in said
    assert "not of shape (1, 8, 8)" in said
    assert len(at.error) == 2
    assert len(cards(at)) == 1 + len(ITEMS) - 2


# The image


def test_another_digit_is_another_picture_and_stands_in_the_address(store):
    at = page("negatives", run=store["ff"].id)
    before = cards(at)
    at = click(at, "Next")
    assert at.query_params["digit"] == ["2"] or at.query_params["digit"] == "2"
    assert "Test image 2 of 64" in words(at)
    assert cards(at)[1] != before[1]
    at = click(click(at, "Previous"), "Previous")
    assert "Test image 64 of 64" in words(at)
    at.number_input(key="digit").set_value(1).run()
    assert cards(at) == before


def test_drawing_again_takes_other_random_choices(store):
    at = page("negatives")
    before = cards(at)
    at = click(at, "Draw again")
    assert at.query_params["seed"] in ("1", ["1"])
    assert cards(at) != before
    assert cards(page("negatives", seed="1")) == cards(at)


def test_an_uploaded_image_gets_a_class_of_the_readers_choosing(store):
    at = page("negatives", run=store["ff"].id, image="upload", strategy="wrong_label")
    assert "made of test image 1" in words(at)
    before = cards(at)
    at.get("file_uploader")[0].upload("one.png", picture())
    at.run()
    assert not at.exception
    said = ffcore.Trained(store["ff"].dir).predict(ffcore.data.read_image(picture(), (1, 8, 8))).item()
    box = next(b for b in at.selectbox if b.label == "What is it?")
    assert box.value == said
    assert alone(at) != before[0]
    other = (said + 1) % 10
    box.set_value(other).run()
    assert f"label {other}<" in alone(at)


def test_what_is_no_image_is_refused_and_a_test_image_shown(store):
    at = page("negatives", image="upload")
    at.get("file_uploader")[0].upload("bad.png", b"no image")
    at.run()
    assert "bad.png" in at.error[0].value
    assert len(cards(at)) == 1 + len(ITEMS)


def test_an_empty_pad_shows_a_test_image_until_there_is_a_stroke(store):
    at = page("negatives", image="draw")
    assert "made of test image 1" in words(at)
    assert len(cards(at)) == 1 + len(ITEMS)


# One strategy's settings


def test_a_slider_redraws_its_strategys_pictures_and_tells_the_command(store):
    at = page("negatives", run=store["ff"].id, strategy="masking")
    assert code(at) == "ffcore train --negatives masking"
    before = cards(at)
    ratio = next(s for s in at.slider if s.label == "ratio")
    ratio.set_value(0.9).run()
    assert alone(at) != before[0]
    assert cards(at)[1:] == before[1:]  # the cards stay, to compare with
    assert code(at) == "ffcore train --negatives masking --set negatives.ratio=0.9"
    next(s for s in at.selectbox if s.label == "kind").set_value("block").run()
    next(t for t in at.toggle if t.label == "matched").set_value(True).run()
    assert code(at).endswith("--set negatives.kind=block --set negatives.ratio=0.9 --set negatives.matched=true")
    settings = [word for word in code(at).split() if "=" in word]
    config = ffcore.configure(negatives="masking", set=ffcore.parse_settings(settings))
    assert config["negatives"] | {"kind": "block", "ratio": 0.9, "matched": True} == config["negatives"]


@pytest.mark.parametrize("name", ITEMS)
def test_every_strategys_settings_are_controls_that_start_at_its_defaults(store, name):
    at = page("negatives", run=store["ff"].id, strategy=name)
    assert not at.error
    asked = code(at)
    if ITEMS[name]["faithful"]:
        assert asked == f"ffcore train --negatives {name}"
    else:
        assert asked.startswith("ffcore train --preset ref-")
    for slider in at.slider:
        assert slider.min <= slider.value <= slider.max


def test_adjust_opens_a_strategy_and_train_takes_it(store):
    at = page("negatives", run=store["ff"].id)
    at.button(key="open.cutmix").click().run()
    assert at.query_params["strategy"] in ("cutmix", ["cutmix"])
    assert code(at) == "ffcore train --negatives cutmix"
    at = click(at, "Train with these")
    assert at.title[0].value == "Train a net"
    assert "--negatives cutmix" in code(at)


def test_settings_go_along_to_train(store):
    at = page("negatives", strategy="masking")
    slider = next(s for s in at.slider if s.key.endswith("masking.ratio"))
    slider.set_value(0.25).run()
    at = click(at, "Train with these")
    assert "--negatives masking" in code(at)
    assert "negatives.ratio=0.25" in code(at)


def test_what_is_to_be_repeated_gives_the_numbers_on_the_page(store, capsys):
    at = page("negatives", run=store["ff"].id, strategy="cutmix", digit="3", seed="5")
    exec(next(c.value for c in at.code if c.value.startswith("import")), {})
    difference, *_ = capsys.readouterr().out.split()
    number = f"{float(difference.strip('[,')):+.3g}".replace("-", "−")
    assert number in next(shown for shown in cards(at))


def test_a_flawed_strategy_leads_to_train_by_its_preset(store):
    at = click(page("negatives", strategy="shuffled_label"), "Train with these")
    assert "--preset ref-shuffled" in code(at)


# Which run, and garbage in the address


@pytest.mark.parametrize(("key", "value"), [("digit", "0"), ("digit", "<b>"), ("seed", "-1"), ("strategy", "%00"),
                                            ("image", "../x"), ("run", "../../etc"), ("study", "`")])  # fmt: skip
def test_garbage_in_the_address_is_told_and_replaced(store, key, value):
    write_study()
    at = page("negatives", **{key: value})
    assert len(at.warning) == 1
    assert f"asks for {key}" in at.warning[0].value
    assert len(cards(at)) == 1 + len(ITEMS)


@pytest.mark.parametrize(("name", "why"), [("backprop", "learnt without negatives"), ("queued", "has not finished")])
def test_a_run_that_can_say_nothing_of_negatives_is_passed_over(store, name, why):
    at = page("negatives", run=store[name].id)
    assert why in at.info[0].value
    assert f"here is “{store['ff'].title()}”" in at.info[0].value
    assert not at.warning
    assert len(cards(at)) == 1 + len(ITEMS)


def test_a_study_s_run_is_not_the_default(store):
    study = ffcore.train(root=str(runs.runs_root()), tag="study negatives", **{**TINY, "epochs": 1})
    assert at_run(page("negatives")) == store["ff"].id
    assert at_run(page("negatives", run=study.id)) == study.id


def at_run(at) -> str:
    return at.session_state["run"]


def test_a_net_trained_without_labels_judges_too(store):
    run = ffcore.train(root=str(runs.runs_root()), negatives="image_mixing", **{**TINY, "epochs": 1})
    at = page("negatives", run=run.id)
    assert not at.error
    assert len(cards(at)) == 1 + len(ITEMS)
    assert code(at) == "ffcore train --negatives image_mixing"


@pytest.mark.parametrize("name", ["samples.npz", "weights.safetensors"])
def test_a_damaged_run_is_told_in_one_line(store, name):
    (store["ff"].dir / name).write_bytes(b"")
    at = page("negatives", run=store["ff"].id)
    assert "damaged" in at.error[0].value
    assert "\n" not in at.error[0].value
    assert "What training on them led to" in [s.value for s in at.header]


def test_settings_of_a_run_that_do_not_fit_are_told_and_the_rest_is_shown(store):
    store["ff"].write_config(negatives={**store["ff"].config["negatives"], "temperature": -1, "by": "magic"})
    at = page("negatives", run=store["ff"].id)
    assert any("negatives." in error.value for error in at.error)


def test_without_a_net_the_page_leads_to_train(own_runs):
    at = page("negatives")
    assert "No finished run has learnt from negatives yet" in words(at)
    at = click(at, "Train one")
    assert at.title[0].value == "Train a net"


# The study


def row(name: str, mean: float, hardness: list[float] | None, goodness: float | None = None, **more) -> dict:
    def scores(value):
        return {"scores": [value], "n": 1, "mean": value, "sd": None, "paired_difference": value - 0.9, "paired_sd": None}

    readouts = {"probe": scores(mean)} | ({} if goodness is None else {"goodness": scores(goodness)})
    return {"row": name, "readouts": readouts, "seconds": 1.0, "dead": 0.1, "hardness": hardness, "runs": [],
            **{k: v for k, v in scores(mean).items() if k != "scores"}, **more}  # fmt: skip


def write_study(name: str = "negatives-0123abcd", **changes):
    protocol = {"study": "negatives", "data": {"name": "digits"}, "model": {"name": "ff", "widths": [32, 32]},
                "train": {"epochs": 2}, "seeds": 1, "images": 1000}  # fmt: skip
    rows = [
        row("wrong_label", 0.9, [0.1, 0.2], 0.8, title="Wrong label", faithful=True),
        row("tiled_mixing", 0.7, [0.5, 0.7], title="Tiled", faithful=False),
        row("untrained", 0.85, None, title="Untrained layers"),
        row("raw pixels", 0.88, None, dead=None, seconds=0.0),
    ]
    folder = runs.runs_root() / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"protocol": protocol, "rows": rows, **changes}))


def test_without_a_study_the_page_says_how_to_run_one(store):
    at = page("negatives")
    assert "No study has been run here yet" in words(at)
    assert "ffcore study negatives" in [c.value for c in at.code]
    assert not at.dataframe


def test_a_study_is_shown_with_each_read_out_in_its_own_column(store):
    write_study()
    at = page("negatives")
    table = at.dataframe[0].value
    assert table["strategy"].tolist() == ["wrong label", "⚠ tiled mixing", "untrained", "raw pixels"]
    assert [value.strip("\u2007") for value in table["probe"]] == ["90.00", "70.00", "85.00", "88.00"]
    assert [value.strip("\u2007") for value in table["goodness"]] == ["80.00", "–", "–", "–"]
    assert table["difference"].tolist() == pytest.approx([0, -20, -5, -2])
    assert "digits · ff 32-32 · 2 epochs · 1 random seeds" in words(at)


def test_several_studies_can_be_chosen(store):
    write_study("negatives-00000001", rows=[row("wrong_label", 0.5, [0.5])])
    write_study("negatives-00000002")
    at = page("negatives", study="negatives-00000001")
    assert len(at.dataframe[0].value) == 1
    next(s for s in at.selectbox if s.label == "Study").set_value("negatives-00000002").run()
    assert len(at.dataframe[0].value) == 4


DAMAGED = {
    "no list": {"rows": 3},
    "no numbers": {"rows": [row("wrong_label", 0.5, ["much"])]},
    "more than all pairs": {"rows": [row("wrong_label", 0.5, [-0.1])]},
    "not a number": {"rows": [row("wrong_label", float("nan"), [0.1])]},
    "no readouts": {"rows": [{"row": "wrong_label"}]},
    "rows of nothing": {"rows": [None]},
    "no protocol": {"protocol": []},
    "a text for a mean": {"rows": [{**row("wrong_label", 0.5, None), "paired_difference": None}]},
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_study_is_left_out_with_a_word(store, kind):
    write_study()
    write_study("negatives-ffffffff", **DAMAGED[kind])
    at = page("negatives")
    assert "1 stored table(s) cannot be read" in words(at)
    assert len(at.dataframe[0].value) == 4


def test_a_file_that_is_no_study_at_all_breaks_nothing(store):
    folder = runs.runs_root() / "studies"
    folder.mkdir(parents=True)
    (folder / "negatives-00000000.json").write_bytes(b"\xff{")
    assert "No study has been run here yet" in words(page("negatives"))
