"""The checkpoints that come with ffcore: small, whole, as good as their cards say, and enough for every page without data."""

import importlib.util
import json
import re
import shutil
import socket

import numpy as np
import pytest
from safetensors import safe_open

import ffcore
from ffcore import cards, catalogue, files, heldout, rundir
from ffcore.errors import Refused
from ffcore.lab import ANALYSES
from ffcore.runs import Run
from ffcore.serve import app_folder

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

ZOO = rundir.bundled_root()
ROOT = ZOO.parent
NAMES = sorted(path.parent.name for path in ZOO.glob("*/config.json"))
MACHINE = re.compile(r"/(?:home|root|Users|work|tmp|mnt)/\w|[A-Z]:\\\\")

_spec = importlib.util.spec_from_file_location("build", ZOO / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No data set but those inside packages, no run of one's own, and no network."""
    (tmp_path / "no-data").mkdir()
    monkeypatch.setenv("FFCORE_DATA", str(tmp_path / "no-data"))

    def refuse(*_):
        raise OSError("there is no network here")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A function that copies a checkpoint into a folder of bundled checkpoints of its own, with the images."""
    zoo = tmp_path / "zoo"
    shutil.copytree(ZOO / heldout.FOLDER, zoo / heldout.FOLDER)
    for module in (rundir, heldout, cards):
        monkeypatch.setattr(module, "bundled_root", lambda: zoo)
    monkeypatch.setattr(build, "HERE", zoo)
    return lambda name: Run(shutil.copytree(ZOO / name, zoo / name))


# What lies there


def test_the_zoo_is_the_one_that_its_builder_makes():
    assert sorted(build.CHECKPOINTS) == NAMES
    assert len(NAMES) >= 8
    models = [
        "ff",
        "backprop",
        "untrained",
        "layer_collab",
        "cwc",
        "pff",
        "dendritic",
        "three_factor",
        "prospective",
        "pcl",
        "ref_pcl",
    ]
    assert {Run(ZOO / name).config["model"]["name"] for name in NAMES} == set(models)
    assert next(run.id for run in ffcore.list_runs()) == next(iter(build.CHECKPOINTS)), "what pages show by themselves"


def test_all_of_it_fits_in_25_megabytes():
    sizes = {path: path.stat().st_size for path in ZOO.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert sum(sizes.values()) <= 25e6
    assert max(sizes.values()) < 2.5e6


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_whole_small_and_of_no_machine(name):
    run = Run(ZOO / name)
    assert run.bundled
    assert run.problem is None
    assert run.state == "done"
    assert run.config["data_root"] is None
    assert run.status()["epoch"] == run.snapshots()[-1]
    assert len(run.samples()["images"]) == 64
    told = run.evaluation()
    assert told["worst_images"].shape == (len(told["worst_index"]), *run.config["facts"]["shape"])
    assert told["confusion"].trace() / told["confusion"].sum() == pytest.approx(
        run.status()["result"]["test_accuracy"], abs=1e-4
    )
    with safe_open(run.dir / "weights.safetensors", "np") as weights:
        assert {weights.get_slice(key).get_dtype() for key in weights.keys()} <= {"F16", "I64", "BOOL"}  # noqa: SIM118
    parts = {path.relative_to(run.dir).as_posix() for path in run.dir.rglob("*") if path.is_file()}
    assert not [part for part in parts - {"README.md"} if not files.PARTS.fullmatch(part)], "it travels in a zip as it is"
    for path in run.dir.rglob("*.json*"):
        assert not MACHINE.search(path.read_text(encoding="utf-8")), path.relative_to(ZOO)
    assert all(isinstance(event, dict) and rundir.is_event(event) for event in run.events()[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_as_good_as_its_card_says(alone, name):
    """The cheap form of `make check-checkpoints`: on the validation images that come along."""
    rows = build.check(name, ffcore.held_out_here(Run(ZOO / name)))
    assert len(rows) >= 2
    assert [row for row in rows if not row[3]] == []


def test_the_net_that_is_dead_on_purpose_is_dead_and_says_why():
    run = Run(ZOO / "ref-pcl-mnist")
    assert min(cards.dead_units(run)) > 0.95
    assert run.status()["result"]["test_accuracy"] < 0.2
    told = ffcore.card(run)
    assert "Flawed on purpose" in told
    assert "a predictor's error" in told
    assert "units of layer 2 are dead" in told
    others = [Run(ZOO / name) for name in NAMES if name != run.dir.name]
    assert all(r.status()["result"]["test_accuracy"] > 0.85 for r in others)


# The check can fail


def test_weights_that_are_others_than_the_card_speaks_of_are_found_out(alone, copy):
    run = copy("ff-mnist")
    shutil.copy(ZOO / "ff-threshold-mnist" / "weights.safetensors", run.dir / "weights.safetensors")
    wrong = [row[0] for row in build.check("ff-mnist", 5_000) if not row[3]]
    assert "validation accuracy by goodness" in wrong


def test_a_figure_that_does_not_hold_is_named(alone, copy, monkeypatch, capsys):
    run = copy("backprop-mnist")
    monkeypatch.setattr(build, "check", lambda name: [("test accuracy by softmax", 0.98, 0.95, False)])
    assert build.report(["backprop-mnist"]) == 1
    assert "DIFFERS: backprop-mnist, test accuracy by softmax: 98.00% on the card, 95.00% now" in capsys.readouterr().out
    monkeypatch.setattr(build, "check", lambda name: [("test accuracy by softmax", 0.98, 0.98, True)])
    assert build.report(["backprop-mnist"]) == 0
    (run.dir / "README.md").write_text("# another card\n")
    assert build.report(["backprop-mnist"]) == 1
    assert "README.md is not what its files say" in capsys.readouterr().out


# Made again


def test_what_has_not_changed_is_left_as_it_is(copy, tmp_path):
    run, place = copy("backprop-mnist"), tmp_path / "made"

    def made(**status) -> Run:
        shutil.rmtree(place, ignore_errors=True)
        again = Run(shutil.copytree(run.dir, place))
        again.write_config(id="20300101-000000-backprop-0000", created="2030-01-01T00:00:00+00:00")
        again.write_status(**status)
        return again

    before = {path: path.read_bytes() for path in run.dir.rglob("*") if path.is_file()}
    build.settle(made(train_seconds=run.status()["train_seconds"] + 1), run.dir)
    assert {path: path.read_bytes() for path in run.dir.rglob("*") if path.is_file()} == before
    build.settle(made(train_seconds=0.5), run.dir)  # the same training with less company
    assert run.status()["train_seconds"] == 0.5
    assert {path.name for path in before if path.read_bytes() != before[path]} == {"status.json"}
    result = run.status()["result"]
    build.settle(made(result={**result, "test_accuracy": 0.5}), run.dir)
    assert run.status()["result"]["test_accuracy"] == 0.5
    assert (run.config["id"], run.config["created"]) == (
        json.loads(before[run.dir / "config.json"])["id"],
        run.config["created"],
    )


def test_the_builder_does_what_it_is_asked_and_says_what_it_cannot(monkeypatch, capsys):
    done = []
    monkeypatch.setattr(build, "build", lambda names, raw, root, kinds: done.append((len(names), kinds)))
    monkeypatch.setattr(build, "study", done.append)
    assert build.main(["--kinds", "probe"]) == 0
    assert build.main(["negatives-mnist"]) == 0
    assert build.main(["ff-mnist"]) == 0
    assert done == [(len(NAMES), ["probe"]), "negatives-mnist", (1, None)]
    assert build.main([]) == 0
    assert done[3:] == [(len(NAMES), None), *build.STUDIES]
    for words in (["--check", "negatives-mnist"], ["negatives-mnist", "--kinds", "probe"]):
        with pytest.raises(SystemExit):
            build.main(words)
        assert "'negatives-mnist' is a study; --check and --kinds take checkpoints: ff-mnist" in capsys.readouterr().err
    assert len(done) == 4 + len(build.STUDIES)


def test_a_finding_keeps_its_numbers_when_it_is_made_small(alone, copy):
    """Its images lie beside the checkpoints once; they and half precision give back what was computed."""
    run = copy("backprop-mnist")
    finding = ffcore.analyse("embed", run, n=60, method="pca")
    target = run.dir / "analyses" / finding.dir.name
    build.adopt(finding, target, run)
    assert "images" not in files.load_arrays(target / "arrays.npz")[0]
    whole, small = finding.arrays(), ffcore.Finding(target, finding.request).arrays()
    assert whole.keys() == small.keys()
    for key, value in whole.items():
        assert small[key].dtype == value.dtype
        assert np.allclose(small[key], value, rtol=1e-3, atol=1e-3), key
    shutil.rmtree(finding.dir)
    assert ffcore.find_analysis("embed", run, n=60, method="pca").dir == target
    assert [found.dir for found in ffcore.stored_analyses(run, "embed")].count(target) == 1


# Images without their data set


@pytest.mark.parametrize("name", NAMES)
def test_validation_images_are_here_without_the_data(alone, name):
    run = ffcore.Trained(ZOO / name)
    n = ffcore.held_out_here(run)
    assert n >= 500
    x, y = run.held_out(n)
    assert x.shape == (n, *run.config["facts"]["shape"])
    right = (run.predict(x[:500]) == y[:500]).float().mean().item()
    assert right == pytest.approx(run.status()["result"]["validation_accuracy"], abs=0.05)


def test_more_images_than_come_along_are_refused_with_the_remedy(alone):
    run = ffcore.Trained(ZOO / "ff-fashion")
    assert len(run.held_out(2_000).y) == 2_000
    with pytest.raises(Refused, match=r"2,000 of the 5,000 validation images of Fashion-MNIST come with ffcore; .*FFCORE_DATA"):
        run.held_out(2_001)
    with pytest.raises(Refused):
        run.held_out()


def test_images_that_are_not_the_runs_own_are_never_given(alone, copy):
    run = copy("ff-mnist")
    run.write_config(facts={**run.config["facts"], "data_hash": "0" * 32})
    assert ffcore.held_out_here(run) == 0
    assert heldout.stored(run) is None
    again = copy("backprop-mnist")
    arrays = files.load_arrays(build.HERE / heldout.FOLDER / "mnist.npz")[0]
    arrays["x"] = arrays["x"].copy()
    arrays["x"][3, 0, 14, 14] ^= 1
    Run(build.HERE / heldout.FOLDER).write_arrays("mnist.npz", arrays)
    with pytest.raises(Refused, match="holds other images than it should"):
        heldout.stored(again, 10)


def test_the_images_name_their_licences():
    index = json.loads((ZOO / heldout.FOLDER / "index.json").read_bytes())
    assert "CC BY-SA 3.0" in index["sets"]["mnist"]["licence"]
    assert index["sets"]["fashion-mnist"]["licence"] == "MIT"
    assert {run.config["facts"]["data_hash"] for run in map(Run, map(ZOO.joinpath, NAMES))} == set(index["hashes"])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("health", {"n": 50}), ("similarity", {"n": 50}), ("embed", {"n": 50}), ("generate", {"what": "steps", "n": 10})],
)
def test_what_has_not_been_asked_before_is_answered_without_the_data(alone, kind, settings):
    run = Run(ZOO / ("pff-mnist" if kind == "generate" else "ff-fashion"))
    assert ffcore.find_analysis(kind, run, **settings).state == "absent"
    assert ffcore.analyse(kind, run, **settings).state == "done"


# What was asked before


PROBED = [name for name in NAMES if name not in ("cwc-mnist", "untrained-mnist", "ref-pcl-mnist")]  # by both protocols
FINDINGS = sorted(path.parent.relative_to(ZOO).as_posix() for path in ZOO.glob("*/analyses/*/request.json"))


def test_every_stored_answer_is_found_again(alone):
    """By its question, without the data; so each is of the weights that lie there and of this version of its analysis."""
    assert {place.partition("/analyses/")[2].partition("-")[0] for place in FINDINGS} == {
        "health", "embed", "similarity", "generate", "probe",
    }  # fmt: skip
    for place in FINDINGS:
        request = json.loads((ZOO / place / "request.json").read_bytes())
        result = json.loads((ZOO / place / "result.json").read_bytes())
        refs = [Run(ZOO / name) for name in result["runs"]]
        assert request["version"] == ANALYSES[request["kind"]].version, place
        found = ffcore.find_analysis(request["kind"], *refs, **request["settings"])
        assert found.dir == ZOO / place, place
        assert not {"root", "data_root"} & request.keys()
        found.arrays()


@pytest.mark.parametrize("name", NAMES)
def test_pages_find_their_default_answers(alone, name):
    for kind, others, settings in build.questions(name):
        if kind == "probe" and name not in PROBED:
            continue
        finding = ffcore.find_analysis(kind, *(Run(ZOO / one) for one in (name, *others)), **settings)
        assert finding.state == "done", (kind, others, settings)
        assert finding.dir.is_relative_to(ZOO)


# Cards


def test_a_card_is_made_of_the_runs_own_files(trained):
    run = Run(trained["ff"])
    told = ffcore.card(run)
    assert told.startswith(f"# {run.id}\n")
    assert run.command() in told
    assert f"{100 * run.status()['result']['test_accuracy']:.2f}%" in told
    assert run.config["facts"]["provenance"] in told
    assert "The weights are yours" in told
    assert "CC BY 4.0" in told.rpartition("## Licence")[2]


def test_a_run_that_has_no_figures_says_so(store):
    assert "None yet: the run is queued" in ffcore.card(store["queued"])
    (store["ff"].dir / "config.json").write_text("{")
    with pytest.raises(Refused, match="is damaged"):
        ffcore.card(store["ff"])


def test_a_card_speaks_of_mistakes_that_were_made_and_of_classes_that_were_asked(store):
    run = store["ff"]
    counts = np.diag([5] * len(run.config["facts"]["classes"]))
    counts[3] = 0  # no test image of this class
    run.write_arrays("evaluation.npz", {"confusion": counts})
    assert "mistake" not in ffcore.card(run)
    counts[7, 1] = 2
    run.write_arrays("evaluation.npz", {"confusion": counts})
    assert "least often right about “7” (71.4%); its most frequent mistake is to read “7” as “1” (2 times)" in ffcore.card(run)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_beside_a_checkpoint_is_the_one_that_its_files_make(name):
    assert (ZOO / name / "README.md").read_text(encoding="utf-8") == ffcore.card(Run(ZOO / name))


def test_the_list_of_checkpoints_is_generated():
    assert next(iter(catalogue.zoo()))["name"] == "ff-mnist"
    assert sorted(row["name"] for row in catalogue.zoo()) == NAMES
    assert (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8") == cards.zoo_page()


# Pages


ASKS = {  # page → what the buttons of its default questions are called while they are unanswered
    "start": [], "draw": [], "replay": [], "negatives": [], "variants": [], "generations": ["generate"],
    "health": ["health"], "transfer": ["converged", "reference"], "embeddings": ["embed"], "compare": ["similarity"],
}  # fmt: skip
UNLIKE = ["ff-mnist", "cwc-mnist", "pff-mnist", "ref-pcl-mnist"]  # where a page only shows what lies there, they stand for all


def shown(page: str, **query: str) -> AppTest:
    at = AppTest.from_file(str(app_folder() / "main.py"), default_timeout=120)
    if page != "start":
        at.switch_page(f"views/{page}.py")
    for key, value in query.items():
        at.query_params[key] = value
    return at.run()


@pytest.mark.parametrize("page", ASKS)
def test_a_page_needs_no_training_no_data_and_no_network(alone, page):
    """No exception, no error box, and the question that it opens with is answered."""
    about_one = page in ("generations", "health", "transfer", "embeddings")
    for name in [None, *(NAMES if about_one else [] if page == "compare" else UNLIKE)]:
        at = shown(page, **({"run": name} if name else {}))
        assert [error.message for error in at.exception] == [], name
        assert [error.value for error in at.error] == [], name
        if page == "transfer" and name not in PROBED:
            continue
        asks = {b.key.rpartition(".ask")[0].partition(".")[0] for b in at.button if b.key and b.key.endswith(".ask")}
        assert not asks & set(ASKS[page]), name
    assert not list((alone / "runs").glob("*")), "a page that only shows makes nothing"
