"""The command line as scripts meet it: one JSON object, exit statuses, one-line refusals that change nothing; and the API."""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ffcore
from ffcore import cli, data, runs
from ffcore.errors import Failed, Refused

ROOT = Path(ffcore.__file__).parents[1]
SMALL = ["--data", "digits", "--device", "cpu", "--epochs", "3", "--set", "model.widths=[32,32]"]
RUN_KEYS = {
    "run", "dir", "state", "model", "negatives", "data", "device", "seed", "epochs", "steps", "train_seconds", "seconds",
    "validation_accuracy", "test_accuracy", "readout", "readouts", "layers",
}  # fmt: skip


@pytest.fixture
def ffc(capsys, monkeypatch):
    """Call the command line in this process → (exit status, standard output, standard error)."""

    def call(*words):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["ffcore", *map(str, words)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def told(ffc):
    """Call a command that succeeds, with --json → the one object on its standard output."""

    def call(*words):
        status, out, err = ffc(*words, "--json")
        assert status == 0, err
        assert out.count("\n") == 1
        value = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert isinstance(value, dict)
        return value

    return call


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small nets on few cores are quicker on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(one_thread, tmp_path_factory):
    """A finished run that tests look at and leave as it is."""
    root = tmp_path_factory.mktemp("shared")
    return ffcore.train(root=str(root), data="digits", device="cpu", epochs=12, set={"model.widths": [32, 32]})


@pytest.fixture(scope="module")
def digits_8():
    return data.load(data.DataSettings(name="digits"))


def python(*words, **more):
    """A process of its own, in which only the environment leads to the package."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more.pop("env", {})}
    return subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, timeout=120, **more)


def assert_fractions(value):
    """Every accuracy in a JSON value is a fraction or null."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if "accuracy" in str(key) or key in ("validation", "test"):
            assert inner is None or 0 <= inner <= 1, (key, inner)
        assert_fractions(inner)


def is_run_object(value, state):
    assert value.keys() >= RUN_KEYS
    assert value["state"] == state
    assert Path(value["dir"]).is_absolute()
    assert 0 < value["train_seconds"] < value["seconds"]
    assert_fractions(value)
    assert value["readout"] in value["readouts"]
    assert all(row.keys() >= {"layer", "validation_accuracy"} for row in value["layers"])
    return True


# what loads what


def test_import_is_light_and_help_loads_no_torch():
    """`import ffcore`, `--help` of everything and `--version` stay free of what takes seconds."""
    heavy = {"torch", "torchvision", "sklearn", "streamlit", "plotly", "umap", "pandas", "matplotlib", "scipy"}
    report = python("-X", "importtime", "-c", "import ffcore").stderr
    loaded = {line.split("|")[-1].strip().partition(".")[0] for line in report.splitlines()}
    assert "ffcore" in loaded
    assert not loaded & heavy
    script = (
        "import sys\n"
        "from ffcore import cli\n"
        "commands = [[], *([name] for name in cli.cli.commands), *(['runs', name] for name in cli.runs_group.commands)]\n"
        "for words in [['--version'], *([*words, '--help'] for words in commands)]:\n"
        "    sys.argv = ['ffcore', *words]\n"
        "    try: cli.main()\n"
        "    except SystemExit as end: assert not end.code, words\n"
        f"print('LOADED', sorted(set(sys.modules) & {heavy | {'numpy', 'pydantic'}!r}))\n"
    )
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("LOADED []\n")
    assert f"ffcore, version {ffcore.__version__}" in done.stdout
    assert "negative strategy; `ffcore negatives` lists them" in done.stdout


def test_every_command_of_the_contract_is_there():
    contract = {"app", "train", "submit", "resume", "stop", "pause", "runs", "evaluate", "study", "doctor", "bench",
                "models", "negatives", "datasets", "presets"}  # fmt: skip
    assert contract <= set(cli.cli.commands)
    assert set(cli.runs_group.commands) == {"list", "show", "delete", "export", "import", "tag"}
    for name, command in [*cli.cli.commands.items(), *cli.runs_group.commands.items()]:
        assert command.help, f"{name} has no help"
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options or name in ("app", "runs")
        assert "--runs" in options or name in ("models", "negatives", "datasets", "presets", "runs", "bench")


def test_every_public_name_is_there():
    for name in ffcore.__all__:
        assert getattr(ffcore, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        ffcore.trian  # noqa: B018


# commands


def test_train_in_a_process_of_its_own_prints_one_object(tmp_path):
    """From another directory, with --runs and nothing else."""
    done = python("-m", "ffcore", "train", *SMALL, "--seed", "3", "--runs", "mine", "--tag", "blue", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    value = json.loads(done.stdout)
    assert is_run_object(value, "done")
    assert (value["model"], value["negatives"], value["data"], value["seed"]) == ("ff", "hard_label", "digits", 3)
    assert (value["device"], value["epochs"], value["steps"]) == ("cpu", 3, 30)
    assert value["seconds"] > 1  # the whole process, with its imports
    assert value["readouts"].keys() == {"goodness", "softmax"}
    assert value["test_accuracy"] == value["readouts"]["goodness"]["test"] > 0.5
    assert value["dir"] == str(tmp_path / "mine" / value["run"])
    run = runs.Run(value["dir"])
    (right,) = (event["validation"] for event in run.events()[0] if event["event"] == "epoch" and event["epoch"] == 3)
    told = f"epoch 3: validation: goodness {right['goodness']:.2%}  softmax {right['softmax']:.2%}\n"
    assert told in done.stderr
    assert told in (run.dir / "log.txt").read_text()
    assert run.config["tag"] == "blue"


def test_train_without_validation_images_says_so(ffc):
    status, _, err = ffc(*TRAIN, "--set", "data.validation=0")
    assert status == 0, err
    assert "epoch 1: no validation images\n" in err


def test_train_tells_a_person_the_accuracy_and_the_place(ffc):
    status, out, err = ffc("train", *SMALL, "--set", "train.telemetry=false")
    run = runs.find("latest")
    assert status == 0
    assert f"{run.id} done after" in out
    assert f"test accuracy {run.status()['result']['test_accuracy']:.2%}" in out
    assert str(run.dir) in out
    assert [line.split("epoch ")[1][:1] for line in err.splitlines() if "epoch " in line] == ["0", "1", "2", "3"]


def test_no_test_leaves_the_test_images_untouched(told):
    value = told("train", *SMALL, "--no-test", "--run-dir", Path(os.environ["FFCORE_RUNS"]).parent / "here")
    assert is_run_object(value, "done")
    assert value["test_accuracy"] is None
    assert all(right["test"] is None for right in value["readouts"].values())
    run = runs.Run(value["dir"])
    assert (run.status()["test_touches"], run.evaluation()) == (0, None)
    assert run.command().endswith("--no-test")


def test_zero_epochs_is_the_untrained_net(told):
    value = told("train", "--data", "digits", "--device", "cpu", "--epochs", 0)
    assert is_run_object(value, "done") if value["train_seconds"] else value["state"] == "done"
    assert (value["epochs"], value["steps"]) == (0, 0)
    assert value["test_accuracy"] < 0.4
    assert runs.Run(value["dir"]).snapshots() == [0]
    assert runs.Run(value["dir"]).config["train"]["epochs"] == 0


def test_without_data_the_default_is_the_embedded_digits(told, monkeypatch, tmp_path):
    monkeypatch.setenv("FFCORE_DATA", str(tmp_path / "nothing"))
    value = told("train", "--device", "cpu", "--epochs", 0)
    assert value["data"] == "mnist-5k"
    assert not (tmp_path / "nothing").exists()


def test_submit_pause_resume_and_stop(told, ffc, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ["--data", "digits", "--device", "cpu", "--set", "model.widths=[16]"]
    submitted = told("submit", *words, "--epochs", 10_000)
    run = runs.find(submitted["run"])
    assert submitted["state"] == "queued"
    assert submitted["position"] == 1
    assert submitted.keys() >= RUN_KEYS
    try:
        end = time.monotonic() + 60
        while run.status()["step"] < 20 and time.monotonic() < end:
            time.sleep(0.05)
        shown = told("runs", "show", run.id)
        assert (shown["state"], shown["position"]) == ("running", 0)
        status, out, _ = ffc("pause", run.id[:15])  # the start of an id will do
        assert (status, out) == (0, f"{run.id} is paused\n")
        stopped = told("stop", "latest")
        assert stopped["state"] == "stopped"
    finally:
        if run.alive():
            os.kill(run.status()["pid"], signal.SIGKILL)
    assert ffc("pause", run.id)[0] == 2
    assert (run.dir / "weights.safetensors").exists()


def test_resume_prints_what_train_would_have(told):
    def pause(run, event):
        if event["event"] == "epoch" and event["epoch"] == 1:
            run.control("pause")

    ffcore.train(pause, data="digits", device="cpu", epochs=2, set={"model.widths": [16]})
    value = told("resume", "latest")
    assert is_run_object(value, "done")
    assert value["epochs"] == 2


def test_runs_are_listed_shown_exported_imported_and_deleted(told, ffc, trained, tmp_path):
    assert told("runs", "list")["runs"] == [
        {**row, "bundled": True} for row in told("runs", "list")["runs"]
    ]  # nothing of one's own yet
    exported = told("runs", "export", trained.dir, tmp_path / "run.zip")
    assert exported == {"run": trained.id, "file": str(tmp_path / "run.zip")}
    imported = told("runs", "import", tmp_path / "run.zip")
    assert Path(imported["dir"]).parent == tmp_path / "runs"
    rows = told("runs", "list")["runs"]
    assert [row["run"] for row in rows if not row["bundled"]] == [trained.id]
    row = next(row for row in rows if row["run"] == trained.id)
    assert is_run_object(row, "done")
    assert row["title"] == "ff · hard_label · Digits 8 × 8 · seed 0"
    shown = told("runs", "show", trained.id)
    assert shown["command"] == trained.command()
    assert shown["config"]["model"]["widths"] == [32, 32]
    assert shown["position"] == 0
    again = told("evaluate", trained.id)
    assert again["test_accuracy"] == trained.status()["result"]["test_accuracy"]
    status, out, _ = ffc("runs", "list")
    assert status == 0
    assert any(line.startswith(trained.id) and "done" in line and "%" in line for line in out.splitlines())
    assert told("runs", "tag", trained.id, "good", "for class", "--note", "see lr") == {
        "run": trained.id, "tags": ["good", "for class"], "note": "see lr"
    }  # fmt: skip
    assert told("runs", "tag", trained.id, "late", "--clear") == {"run": trained.id, "tags": ["late"], "note": "see lr"}
    assert told("runs", "tag", trained.id)["tags"] == ["late"]
    assert told("runs", "delete", trained.id) == {"run": trained.id, "deleted": True}
    assert not Path(imported["dir"]).exists()


def test_a_damaged_directory_is_listed_and_can_be_deleted_with_nothing_else(told, ffc, trained, tmp_path):
    shutil.copytree(trained.dir, tmp_path / "runs" / "half")
    (tmp_path / "runs" / "half" / "status.json").write_text("{")
    row = next(row for row in told("runs", "list")["runs"] if row["run"] == trained.id)
    assert (row["state"], row["reason"]) == ("damaged", "status.json is not a JSON object")
    assert ffc("runs", "show", tmp_path / "runs" / "half")[0] == 2
    assert told("runs", "delete", tmp_path / "runs" / "half")["deleted"]


@pytest.mark.parametrize("command", ["models", "negatives", "datasets", "presets"])
def test_what_there_is_is_told_with_settings_and_sources(command, told, ffc):
    items = told(command)["items"]
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)
    facts = {
        "models": {"is_local", "uses_negatives", "can_generate", "readouts"},
        "negatives": {"uses_labels", "embeds_label", "needs_view", "faithful"},
        "datasets": {"classes", "shape", "sizes", "licence", "downloads", "present"},
        "presets": {"why", "good"},
    }[command]
    for item in items:
        assert item.keys() >= {"name", "title", "source", "settings"} | facts
        if command != "presets":
            assert all(s.keys() == {"type", "default", "bounds", "help"} and s["help"] for s in item["settings"].values())
        assert told(command, item["name"])["items"] == [item]
        status, out, _ = ffc(command, item["name"])
        assert status == 0
        assert item["title"] in out
        assert all(key in out for key in item["settings"])


def test_evaluate_on_a_file_of_the_same_images_says_the_same(told, trained, digits_8, tmp_path):
    stored = trained.status()["result"]
    np.savez(tmp_path / "same.npz", x=digits_8.test.x.numpy(), y=digits_8.test.y.numpy())
    np.savez(tmp_path / "shifted.npz", x=digits_8.test.x.numpy(), y=(digits_8.test.y.numpy() + 1) % 10)
    value = told("evaluate", trained.dir, "--data", tmp_path / "same.npz")
    assert is_run_object(value, "done")
    assert value["test_accuracy"] == stored["test_accuracy"] > 0.8
    assert {k: v["test"] for k, v in value["readouts"].items()} == {k: v["test"] for k, v in stored["readouts"].items()}
    assert value["images"] == len(digits_8.test.y) == np.sum(value["confusion"])
    assert value["layers"][0]["accuracy"] > 0.5
    assert told("evaluate", trained.dir, "--data", tmp_path / "shifted.npz")["test_accuracy"] <= 0.05
    assert told("evaluate", trained.dir, "--data", "digits")["test_accuracy"] == stored["test_accuracy"]
    assert trained.status()["test_touches"] == 1  # only the run itself has looked


def test_evaluate_counts_every_look_at_the_runs_own_test_images(told, trained):
    before = trained.status()["test_touches"]
    value = told("evaluate", trained.dir, "--readout", "softmax")
    assert (value["readout"], value["test_accuracy"]) == ("softmax", value["readouts"]["softmax"]["test"])
    assert value["validation_accuracy"] == trained.status()["result"]["readouts"]["softmax"]["validation"]
    assert trained.status()["test_touches"] == before + 1
    trained.write_status(test_touches=before)


def test_evaluate_takes_a_folder_of_some_of_the_classes(told, ffc, trained, digits_8, tmp_path):
    """Images in the net's own size; the folder names say which classes they are, wherever they stand among them."""
    for label in (3, 7):
        (tmp_path / "mine" / str(label)).mkdir(parents=True)
        for i, image in enumerate(digits_8.test.x[digits_8.test.y == label][:12]):
            Image.fromarray(image[0].numpy()).save(tmp_path / "mine" / str(label) / f"{i}.png")
    value = told("evaluate", trained.dir, "--data", tmp_path / "mine")
    assert value["images"] == 24
    assert value["test_accuracy"] > 0.7
    assert np.sum(value["confusion"][3]) == np.sum(value["confusion"][7]) == 12
    status, out, _ = ffc("evaluate", trained.dir, "--data", tmp_path / "mine")
    assert status == 0
    assert f"on 24 images of {tmp_path / 'mine'}" in out


def test_a_study_runs_every_cell_once_and_nothing_anew(told, ffc):
    words = ["study", "--vary", "model.alpha=2,8", "--seeds", 2, *SMALL[:4], "--epochs", 1, "--set", "model.widths=[16]"]
    rows = told(*words)["rows"]
    assert [row["model.alpha"] for row in rows] == [2, 8]
    for row in rows:
        assert row.keys() >= {"n", "mean", "sd", "paired_difference", "seconds", "runs"}
        assert row["n"] == 2
        assert row["mean"] == pytest.approx(np.mean(row["scores"]))
        assert row["sd"] == pytest.approx(np.std(row["scores"], ddof=1))
    assert rows[0]["paired_difference"] == 0
    assert rows[1]["paired_difference"] == pytest.approx(np.mean(np.subtract(rows[1]["scores"], rows[0]["scores"])))
    made = runs.list_runs(bundled=False)
    assert len(made) == 4
    assert {run.status()["test_touches"] for run in made} == {0}
    assert {run.config["seed"] for run in made} == {0, 1}
    ffcore.delete(made[0])
    again = told(*words)["rows"]
    assert [row["scores"] for row in again] == [row["scores"] for row in rows]
    assert set(runs.list_runs(bundled=False)) > set(made[1:])
    assert len(runs.list_runs(bundled=False)) == 4  # one was trained, three were found
    status, out, _ = ffc(*words)
    assert status == 0
    assert out.count("model.alpha=") == 2
    assert len(runs.list_runs(bundled=False)) == 4


def test_a_study_that_is_interrupted_compares_no_half_run_and_goes_on():
    def disturb(run, event):
        if event["event"] == "epoch" and event["epoch"] == 1:
            run.control("pause")

    asked = {"data": "digits", "device": "cpu", "epochs": 2, "set": {"model.widths": [16]}}
    with pytest.raises(Failed, match=r"run \S+ is paused; give the same command again"):
        ffcore.study({"train.lr": [0.01]}, 1, disturb, **asked)
    (row,) = ffcore.study({"train.lr": [0.01]}, 1, **asked)
    (run,) = runs.list_runs(bundled=False)
    assert row["runs"] == [run.id]
    assert (run.state, row["scores"]) == ("done", [run.status()["result"]["validation_accuracy"]])


FEW = ["wrong_label", "random_noise", "adversarial", "shuffled_label"]


@pytest.fixture
def few_strategies(monkeypatch):
    """The study of negatives on four strategies: one of each kind."""
    from ffcore.negatives import STRATEGIES

    monkeypatch.setattr(STRATEGIES, "names", lambda: sorted(FEW))


STUDY = ["study", "negatives", *SMALL[:4], "--epochs", "2", "--seeds", "2", "--set", "model.widths=[24]"]


def test_a_study_of_negatives_compares_like_with_like(told, ffc, few_strategies):
    value = told(*STUDY)
    rows = {row["row"]: row for row in value["rows"]}
    assert rows.keys() == {*FEW, "untrained", "raw pixels"}
    for row in value["rows"]:
        assert row["n"] == 2
        for name, column in row["readouts"].items():
            assert column["mean"] == pytest.approx(np.mean(column["scores"]))
            assert column["sd"] == pytest.approx(np.std(column["scores"], ddof=1))
            base = rows["wrong_label"]["readouts"].get(name, column)
            assert column["paired_difference"] == pytest.approx(np.mean(np.subtract(column["scores"], base["scores"])))
        assert row["mean"] == row["readouts"]["probe"]["mean"]
    assert set(rows["random_noise"]["readouts"]) == {"softmax", "probe"}  # labels were never shown: none are tried on
    assert set(rows["wrong_label"]["readouts"]) == {"goodness", "softmax", "probe"}
    assert set(rows["raw pixels"]["readouts"]) == {"probe"}
    assert not rows["shuffled_label"]["faithful"]
    assert "collapsed" in rows["adversarial"]["remark"] or "too hard" in rows["adversarial"]["remark"]
    assert Path(value["file"]).parent == tmp_studies()
    assert ffcore.stored_studies()[0]["rows"] == value["rows"]

    made = runs.list_runs(bundled=False)
    assert len(made) == 2 * (len(FEW) + 1)
    assert {run.config["tag"] for run in made} == {"study negatives"}
    assert {run.status()["test_touches"] for run in made} == {0}
    assert len({run.status()["step"] for run in made}) == 1
    for seed in (0, 1):  # the same net to begin with, but for what never learns
        firsts = [run.snapshot(0)["bias_1"] for run in made if run.config["seed"] == seed]
        assert all(np.array_equal(bias, firsts[0]) for bias in firsts)

    before = {run.id: run.stored_status()["ended_at"] for run in made}
    kept = (made[0].dir / "study.json").stat().st_mtime_ns
    status, out, _ = ffc(*STUDY)
    assert status == 0
    assert out.count("(flawed)") == 1
    assert {run.id: run.stored_status()["ended_at"] for run in runs.list_runs(bundled=False)} == before
    assert (made[0].dir / "study.json").stat().st_mtime_ns == kept


def test_a_study_of_negatives_takes_settings_that_only_the_model_has(told, few_strategies):
    rows = told(*STUDY, "--seeds", "1", "--set", "model.objective=threshold")["rows"]
    made = {run.config["model"]["name"]: run.config["model"] for run in runs.list_runs(bundled=False)}
    assert made["ff"]["objective"] == "threshold"
    assert made["untrained"]["widths"] == [24]
    assert len(rows) == len(FEW) + 2


def test_a_study_of_negatives_does_not_trust_what_a_run_brings_along(told, few_strategies):
    told(*STUDY, "--seeds", "1", "--set", "train.telemetry=false")
    made = runs.list_runs(bundled=False)
    for run, text in zip(made, ["[]", '{"images": 20000}', '{"images": 20000, "probe": {"accuracy": "x"}}', "{"], strict=False):
        (run.dir / "study.json").write_text(text)
    rows = told(*STUDY, "--seeds", "1", "--set", "train.telemetry=false")["rows"]
    assert all(0 < row["mean"] < 1 for row in rows)
    assert all(row["dead"] is None for row in rows)  # without telemetry nobody has counted


def tmp_studies():
    return runs.runs_root() / "studies"


def test_a_study_of_negatives_goes_on_after_a_kill_and_comes_to_the_same(told, few_strategies, monkeypatch):
    from ffcore import studies

    whole = told(*STUDY, "--runs", runs.runs_root() / "whole")["rows"]
    asked = {"data": "digits", "device": "cpu", "epochs": 2, "set": {"model.widths": [24]}}

    def disturb(run, event):
        if event["event"] == "epoch" and event["epoch"] == 1 and run.config["negatives"]["name"] == "random_noise":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ffcore.study_negatives(2, disturb, **asked)
    done = {run.id for run in runs.list_runs(bundled=False) if run.state == "done"}
    assert done
    trained_now = []
    train = studies.jobs.train
    monkeypatch.setattr(studies.jobs, "train", lambda *a, **k: trained_now.append(train(*a, **k)) or trained_now[-1])
    again = ffcore.study_negatives(2, **asked)["rows"]
    assert len(trained_now) == 2 * (len(FEW) + 1) - len(done) - 1  # one was half-way and has been resumed
    assert [row["readouts"] for row in again] == [row["readouts"] for row in whole]


def test_doctor_checks_this_machine(told):
    checks = {check["name"]: check for check in told("doctor")["checks"]}
    assert all(check.keys() == {"name", "ok", "detail"} for check in checks.values())
    assert {"python", "torch", "device", "data mnist", "data mnist-5k", "runs"} <= checks.keys()
    assert checks["torch"]["detail"].startswith(torch.__version__.partition("+")[0])


def test_doctor_says_what_is_wrong_and_exits_with_1(ffc, tmp_path):
    (tmp_path / "file").write_text("")
    status, out, err = ffc("doctor", "--runs", tmp_path / "file", "--json")
    assert status == 1
    assert not next(check for check in json.loads(out)["checks"] if check["name"] == "runs")["ok"]
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_failure_while_running_exits_with_1(ffc):
    wild = ["train.optimiser=sgd", "train.lr=10", "train.lr_schedule=constant", "model.norm=none",
            "model.objective=threshold", "model.alpha=1000"]  # fmt: skip
    status, out, err = ffc("train", *SMALL, *(word for pair in wild for word in ("--set", pair)), "--json")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: diverged at step ")
    assert runs.find("latest").status()["reason"] in err


def test_a_reader_that_leaves_early_is_no_error():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "ffcore", "models", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    process.stdout.close()
    err = process.stderr.read()
    process.wait(60)
    assert err == b""


# requests that are wrong


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_files(folder, change=lambda name, raw: raw, labels=10):
    """MNIST's four files with a handful of images, one of them perhaps spoilt."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        x, y = np.zeros((60, 28, 28), np.uint8), (np.arange(60) % labels).astype(np.uint8)
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            name = f"{part}-{kind}-ubyte"
            (raw / name).write_bytes(change(name, idx(array)))


@pytest.fixture(scope="module")
def junk(trained, tmp_path_factory):
    """One of everything that is wrong."""
    place = tmp_path_factory.mktemp("junk")
    (place / "file").write_text("precious")
    (place / "full").mkdir()
    (place / "full" / "thesis.txt").write_text("precious")
    mnist_files(place / "cut", lambda name, raw: raw[:-100] if name == "train-images-idx3-ubyte" else raw)
    mnist_files(place / "alien", lambda name, raw: b"GIF89a" + raw[6:] if name == "t10k-images-idx3-ubyte" else raw)
    mnist_files(place / "eleven", labels=11)
    x, y = np.zeros((60, 8, 8), np.uint8), np.arange(60) % 3
    np.savez(place / "good.npz", x=x, y=y)
    (place / "cut.npz").write_bytes((place / "good.npz").read_bytes()[:300])
    np.savez(place / "nox.npz", images=x, y=y)
    np.savez(place / "negative.npz", x=x, y=y - 1)
    np.savez(place / "many.npz", x=x, y=y + 100_000)
    np.savez(place / "classes.npz", x=x, y=np.arange(60) % 12)
    np.savez(place / "large.npz", x=np.zeros((60, 28, 28), np.uint8), y=y)
    (place / "images" / "cat").mkdir(parents=True)
    (place / "images" / "cat" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (place / "empty").mkdir()
    for name, spoil in (
        ("half", lambda run: (run / "status.json").unlink()),
        ("torn", lambda run: (run / "config.json").write_text('{"format": 1, "id"')),
        ("spoilt", lambda run: (run / "weights.safetensors").write_bytes(b"\xff" * 500)),
        ("short", lambda run: os.truncate(run / "weights.safetensors", 2_000)),
        ("bare", lambda run: (run / "weights.safetensors").unlink()),
    ):
        shutil.copytree(trained.dir, place / name)
        spoil(place / name)
    ffcore.export(trained, place / "run.zip")
    for name, entry in (("up", "../evil.json"), ("root", "/evil.json"), ("pickle", "model.pkl")):
        shutil.copy(place / "run.zip", place / f"{name}.zip")
        with zipfile.ZipFile(place / f"{name}.zip", "a") as archive:
            archive.writestr(entry, b"{}")
    shutil.copy(place / "run.zip", place / "link.zip")
    with zipfile.ZipFile(place / "link.zip", "a") as archive:
        link = zipfile.ZipInfo("snapshots/epoch-9999.npz")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(place / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("events.jsonl", bytes(600 * 2**20), compresslevel=1)
    return place


TRAIN = ["train", "--data", "digits", "--device", "cpu", "--epochs", "1"]
BAD = {
    "unknown command": (["trian"], "No such command 'trian'"),
    "unknown option": ([*TRAIN, "--colour", "red"], "No such option"),
    "unknown model": ([*TRAIN, "--model", "pcn"], "no model named 'pcn'; did you mean 'pcl'? known: backprop, conv_ff, "),
    "unknown strategy": ([*TRAIN, "--negatives", "hard_lable"], "did you mean 'hard_label'?"),
    "unknown dataset": (["train", "--data", "mnits"], "no dataset named 'mnits'"),
    "unknown preset": ([*TRAIN, "--preset", "quik"], "did you mean 'quick'?"),
    "flawed strategy": ([*TRAIN, "--negatives", "shuffled_label"], "only a preset may use them"),
    "strategy for a model without": ([*TRAIN, "--model", "backprop", "--negatives", "hard_label"], "uses no negatives"),
    "preset of another model": ([*TRAIN, "--model", "backprop", "--preset", "hinton"], "is made for model 'ff'"),
    "value out of bounds": ([*TRAIN, "--set", "model.theta=-1"], "model.theta=-1"),
    "value of the wrong type": ([*TRAIN, "--set", "train.lr=fast"], 'train.lr="fast"'),
    "list of the wrong type": ([*TRAIN, "--set", "model.widths=[500,x]"], "model.widths"),
    "not a number": ([*TRAIN, "--set", "model.alpha=NaN"], "model.alpha"),
    "unknown word": ([*TRAIN, "--set", "model.objective=win"], "it takes one of gap, threshold"),
    "unknown setting": ([*TRAIN, "--set", "model.thta=1"], "did you mean 'theta'?"),
    "unknown section": ([*TRAIN, "--set", "lr=1"], "a setting begins with model., negatives., data., train."),
    "no value": ([*TRAIN, "--set", "model.theta"], "not of the form KEY=VALUE"),
    "epochs below 0": ([*TRAIN, "--epochs", "-1"], "train.epochs=-1"),
    "epochs of the wrong type": ([*TRAIN, "--epochs", "many"], "'many' is not a valid integer"),
    "seed below 0": ([*TRAIN, "--seed", "-1"], "seed=-1"),
    "unknown device": ([*TRAIN, "--device", "tpu"], "no device named 'tpu'"),
    "a vote of no layer": ([*TRAIN, "--set", "model.votes=[9]"], "there is no layer 9"),
    "too many validation images": ([*TRAIN, "--set", "data.validation=99999"], "data.validation=99999"),
    "too many training images": ([*TRAIN, "--set", "data.train=99999"], "data.train=99999"),
    "resizing no folder": ([*TRAIN, "--set", "data.size=20"], "only a folder of images is resized"),
    "missing npz": (["train", "--data", "{junk}/none.npz"], "does not exist"),
    "truncated npz": (["train", "--data", "{junk}/cut.npz"], "cut.npz cannot be read"),
    "npz without x": (["train", "--data", "{junk}/nox.npz"], "no array 'x' in it"),
    "labels below 0": (["train", "--data", "{junk}/negative.npz"], "labels go from -1 to 1"),
    "labels too high": (["train", "--data", "{junk}/many.npz"], "labels go from 100000"),
    "damaged image": (["train", "--data", "{junk}/images"], "1.png is no readable image"),
    "empty folder": (["train", "--data", "{junk}/empty"], "holds no class folders"),
    "neither npz nor folder": (["train", "--data", "{junk}/file"], "is neither a FILE.npz nor a FOLDER"),
    "truncated IDX": (["train", "--data", "mnist", "--data-root", "{junk}/cut"], "train-images-idx3-ubyte is damaged"),
    "wrong IDX": (["train", "--data", "mnist", "--data-root", "{junk}/alien"], "t10k-images-idx3-ubyte is damaged"),
    "IDX labels out of range": (["train", "--data", "mnist", "--data-root", "{junk}/eleven"], "labels 0 to 10 where 0 to 9"),
    "submit of a damaged file": (["submit", "--data", "{junk}/cut.npz"], "cut.npz cannot be read"),
    "submit of an unknown setting": (["submit", *TRAIN[1:], "--set", "model.thta=1"], "did you mean 'theta'?"),
    "run directory is a file": ([*TRAIN, "--run-dir", "{junk}/file"], "is a file; choose another place"),
    "run directory below a file": ([*TRAIN, "--run-dir", "{junk}/file/run"], "choose another place"),
    "run directory is full": ([*TRAIN, "--run-dir", "{junk}/full"], "is not empty; choose another place"),
    "runs is a file": ([*TRAIN, "--runs", "{junk}/file"], "choose another place"),
    "no run yet": (["resume", "latest"], "there is no run in"),
    "unknown run": (["resume", "20200101-000000-ff-0000"], "no run '20200101-000000-ff-0000'"),
    "not a run directory": (["runs", "show", "{junk}/full"], "is not a run directory"),
    "half-written run": (["runs", "show", "{junk}/half"], "is damaged: no status.json"),
    "torn run": (["resume", "{junk}/torn"], "is damaged: config.json is not a JSON object"),
    "resume of what is done": (["resume", "{run}"], "is done; train a new one"),
    "pause of what is done": (["pause", "{run}"], "is done, not running"),
    "stop of what is done": (["stop", "{run}"], "is done, not running"),
    "delete of no run": (["runs", "delete", "{junk}/full"], "is not a run directory"),
    "export over a file": (["runs", "export", "{run}", "{junk}/file"], "is already there"),
    "export to nowhere": (["runs", "export", "{run}", "{junk}/none/run.zip"], "cannot write"),
    "import of nothing": (["runs", "import", "{junk}/none.zip"], "cannot import"),
    "import of no zip": (["runs", "import", "{junk}/file"], "cannot import"),
    "zip with ..": (["runs", "import", "{junk}/up.zip"], "'../evil.json' is no part of a run directory"),
    "zip with an absolute path": (["runs", "import", "{junk}/root.zip"], "'/evil.json' is no part"),
    "zip with a pickle": (["runs", "import", "{junk}/pickle.zip"], "'model.pkl' is no part"),
    "zip with a link": (["runs", "import", "{junk}/link.zip"], "is a link"),
    "zip that unpacks to too much": (["runs", "import", "{junk}/bomb.zip"], "unpacks to more than"),
    "damaged weights": (["evaluate", "{junk}/spoilt"], "weights.safetensors in"),
    "truncated weights": (["evaluate", "{junk}/short"], "weights.safetensors in"),
    "no weights": (["evaluate", "{junk}/bare"], "has no weights"),
    "unknown read-out": (["evaluate", "{run}", "--readout", "vote"], "has no read-out 'vote'; it has goodness, softmax"),
    "images of another shape": (["evaluate", "{run}", "--data", "{junk}/large.npz"], "the net takes (1, 8, 8)"),
    "more classes than the net": (["evaluate", "{run}", "--data", "{junk}/classes.npz"], "the net knows 10"),
    "data that do not exist": (["evaluate", "{run}", "--data", "{junk}/none.npz"], "does not exist"),
    "evaluation on a truncated file": (["evaluate", "{run}", "--data", "{junk}/cut.npz"], "cut.npz cannot be read"),
    "study of nothing": (["study", "--data", "digits"], "a study varies something"),
    "unknown study": (["study", "negativs"], "no study named 'negativs'; did you mean 'negatives'?"),
    "study of two kinds": (["study", "negatives", "--vary", "model.alpha=2"], "leave out --vary or the name"),
    "study of negatives with one": (["study", "negatives", "--negatives", "wrong_label"], "chooses negatives itself"),
    "study of negatives with a setting": (["study", "negatives", "--set", "negatives.ratio=0.5"], "negatives.ratio itself"),
    "study of negatives with a preset": (["study", "negatives", "--preset", "paper"], "chooses preset itself"),
    "study of negatives with no seed": (["study", "negatives", *TRAIN[1:], "--seeds", "0"], "at least one"),
    "study of a model without negatives": (["study", "negatives", *TRAIN[1:], "--model", "backprop"], "uses no negatives"),
    "mask of everything": ([*TRAIN, "--negatives", "masking", "--set", "negatives.ratio=1"], "negatives.ratio=1"),
    "mask of nothing": ([*TRAIN, "--negatives", "masking", "--set", "negatives.ratio=0"], "negatives.ratio=0"),
    "study without values": (["study", "--data", "digits", "--vary", "model.alpha="], "not of the form KEY=a,b,c"),
    "study with a bad cell": (["study", *TRAIN[1:], "--vary", "model.alpha=2,-1"], "model.alpha=-1"),
    "study with no seed": (["study", *TRAIN[1:], "--vary", "model.alpha=2", "--seeds", "0"], "at least one"),
    "study without validation": (["study", *TRAIN[1:], "--vary", "data.validation=100,0"], "data.validation=0"),
    "study on missing data": (["study", *TRAIN[3:], "--vary", "data=digits,{junk}/none.npz"], "does not exist"),
    "unknown model to tell of": (["models", "pcn"], "no model named 'pcn'"),
    "unknown dataset to tell of": (["datasets", "mnits"], "no dataset named 'mnits'"),
    "port out of range": (["app", "--port", "70000"], "70000 is not in the range"),
    "host that is none": (["app", "--host", "999.0.0.1"], "cannot serve on 999.0.0.1"),
}  # fmt: skip


def tree(*folders):
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_request_is_one_line_and_changes_nothing(what, ffc, junk, trained, tmp_path):
    words, expected = BAD[what]
    words = [word.format(junk=junk, run=trained.dir) for word in words]
    before = tree(junk, trained.dir)
    status, out, err = ffc(*words)
    assert (status, out) == (2, ""), err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert "; " in err, f"no remedy: {err}"
    assert expected in err
    assert tree(junk, trained.dir) == before
    assert list(tmp_path.iterdir()) == []  # runs would have lain here


def test_a_refusal_is_the_same_for_json(ffc):
    status, out, err = ffc(*TRAIN, "--model", "pcn", "--json")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1


# the dashboard's door


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as reply:
        return reply.read() == b"ok"
    return False


def test_app_on_a_busy_port_is_refused(ffc):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        status, out, err = ffc("app", "--port", port)
    assert (status, out) == (2, "")
    assert err == f"error: cannot serve on 127.0.0.1:{port}: Address already in use; take another with --port {port + 1}\n"


@pytest.mark.parametrize(
    "ended",
    [lambda pid: os.kill(pid, signal.SIGTERM), lambda pid: os.killpg(pid, signal.SIGINT)],
    ids=["told", "ctrl-c"],
)
def test_app_serves_from_any_directory_and_ends_when_told_or_by_ctrl_c(ended, tmp_path):
    port = free_port()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ffcore", "app", "--port", str(port)],
            cwd=tmp_path,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches all processes of a terminal
        )
    try:
        end = time.monotonic() + 60
        while not answers(port) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert answers(port), (tmp_path / "log").read_text()
        ended(process.pid)
        assert process.wait(15) == 0
        assert not answers(port)  # no server is left behind
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


# the Python API


def test_a_trained_net_answers_in_every_usual_shape(trained, digits_8):
    run, x, y = ffcore.load(str(trained.dir)), digits_8.test.x[:6], digits_8.test.y[:6]
    scores = run.scores(x)
    assert {name: tuple(value.shape) for name, value in scores.items()} == {"goodness": (6, 10), "softmax": (6, 10)}
    floats = x.float() / 255
    for same in (floats, floats[:, 0], floats.flatten(1), floats.numpy(), x.numpy()):
        torch.testing.assert_close(run.scores(same)["goodness"], scores["goodness"])
    assert run.scores(x[0])["softmax"].shape == (1, 10)
    assert run.predict(x).tolist() == scores["goodness"].argmax(1).tolist()
    assert (run.predict(x) == y).float().mean() > 0.6

    assert [tuple(h.shape) for h in run.features(x)] == [(6, 32), (6, 32)]
    goodness, under_y = run.goodness(x), run.goodness(x, y)
    assert (goodness.shape, under_y.shape) == ((6, 10, 2), (6, 2))
    assert torch.equal(under_y, goodness[torch.arange(6), y])
    torch.testing.assert_close(goodness.sum(2), scores["goodness"])
    for layer, h in enumerate(run.features(x, y)):
        torch.testing.assert_close(h.pow(2).mean(1), under_y[:, layer], rtol=1e-4, atol=1e-5)
    assert not any(value.requires_grad for value in (*scores.values(), goodness))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(2, 28, 28), r"images of shape \(2, 28, 28\): this net takes \(B, 1, 8, 8\); reshape"),
        (torch.zeros(0, 8, 8), "reshape"),
        (torch.zeros(2, 32, 2), "reshape"),
        (torch.full((2, 8, 8), 255.0), "pixels from 255 to 255: images lie in"),
        (torch.full((2, 8, 8), float("nan")), r"images lie in \[0, 1\]"),
        (torch.full((2, 8, 8), -0.1), r"images lie in \[0, 1\]"),
    ],
)
def test_images_that_do_not_fit_are_refused(trained, x, said):
    for ask in (trained.scores, trained.features, trained.goodness, trained.predict):
        with pytest.raises(Refused, match=said):
            ask(x)


@pytest.mark.parametrize("labels", [[1], [1, 10], [-1, 2], [0.5, 1.0], [[1], [2]]])
def test_labels_that_do_not_fit_are_refused(trained, labels):
    for ask in (trained.features, trained.goodness):
        with pytest.raises(Refused, match=r"labels .*: give every one of the 2 images a class from 0 to 9"):
            ask(torch.zeros(2, 8, 8), labels)


def test_a_net_without_goodness_says_so():
    run = ffcore.train(model="backprop", data="digits", device="cpu", epochs=1, set={"model.widths": [16]})
    assert run.scores(torch.zeros(2, 8, 8)).keys() == {"softmax"}
    with pytest.raises(Refused, match="model 'backprop' has no goodness; ask for scores or features"):
        run.goodness(torch.zeros(2, 8, 8))
    assert run.status()["result"]["layers"] == []


def test_python_says_what_the_command_line_says(trained, told, digits_8, tmp_path):
    np.savez(tmp_path / "same.npz", x=digits_8.test.x.numpy(), y=digits_8.test.y.numpy())
    value = ffcore.evaluate(trained, str(tmp_path / "same.npz"))
    clock = ("seconds", "train_seconds")
    line = told("evaluate", trained.dir, "--data", tmp_path / "same.npz")
    assert {k: v for k, v in value.items() if k not in clock} == {k: v for k, v in line.items() if k not in clock}
    assert ffcore.load(str(trained.dir)) == trained
    with pytest.raises(Refused, match="no run 'nobody'"):
        ffcore.load("nobody")
