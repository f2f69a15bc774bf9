"""The house keeps its shape: who imports whom, what is public, what is found by name, and what must never be there."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ffcore

ROOT = Path(ffcore.__file__).parents[1]
LIBRARY = sorted((ROOT / "ffcore").rglob("*.py"))
APP = sorted((ROOT / "app").rglob("*.py"))
OPEN_TO_THE_APP = {"ffcore", "ffcore.catalogue", "ffcore.data", "ffcore.errors", "ffcore.registry", "ffcore.runs"}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """(module, name or None) of every import in a file, wherever it stands; `from a import b` may name the module a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively; say where from"
            yield from ((node.module, alias.name) for alias in node.names)


def modules(path):
    """Every module that a file may import."""
    for module, name in imports(path):
        yield module
        if name and (ROOT / module.replace(".", "/") / f"{name}.py").exists():
            yield f"{module}.{name}"


def test_imports_point_downwards():
    """import-linter's contracts, as pyproject.toml states them."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("kind", ["models", "negatives"])
def test_no_variant_knows_another(kind):
    """Models build on base and on ff, the rule; strategies on base and shared parts: a diff is read without its neighbours."""
    allowed = {"models": {"base", "ff"}, "negatives": {"base", "_parts"}}[kind]
    for path in LIBRARY:
        if path.parent.name != kind:
            continue
        known = {m.split(".")[2] for m in modules(path) if m.startswith(f"ffcore.{kind}.")}
        assert known <= allowed, f"{name_of(path)} imports {sorted(known - allowed)}"
        other = {"models": "ffcore.negatives", "negatives": "ffcore.models"}[kind]
        assert not any(m.startswith(other) for m in modules(path)), f"{name_of(path)} imports {other}"


def test_the_dashboard_holds_to_what_is_public():
    for path in APP:
        tree = ast.parse(path.read_text())
        for module, name in imports(path):
            if module.partition(".")[0] != "ffcore":
                continue
            assert module in OPEN_TO_THE_APP, f"{name_of(path)} imports {module}"
            assert not (name or "").startswith("_"), f"{name_of(path)} imports {module}.{name}"
            if module == "ffcore" and name:
                assert name in ffcore.__all__, f"{name_of(path)} imports ffcore.{name}"
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ffcore"
        }
        assert used <= set(ffcore.__all__), f"{name_of(path)} uses {sorted(used - set(ffcore.__all__))}"


def test_charts_know_no_streamlit_and_no_library():
    drawn = sorted((ROOT / "app" / "charts").glob("*.py"))
    assert drawn
    for path in drawn:
        assert not {module.partition(".")[0] for module, _ in imports(path)} & {"streamlit", "ffcore", "torch"}, name_of(path)


def test_no_science_in_the_dashboard():
    """It draws what one call returned: torch is loaded early there, but computes nothing."""
    for path in APP:
        used = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch"
        }
        assert used <= {"set_num_threads"}, f"{name_of(path)} uses torch.{sorted(used)}"


def test_nothing_is_ever_unpickled():
    for path in [*LIBRARY, *APP]:
        roots = {module.partition(".")[0] for module, _ in imports(path)}
        assert not roots & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, name_of(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "torch.save", "eval", "exec", "os.system"), f"{name_of(path)}: {called}"
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            assert options.get("allow_pickle", "False") == "False", f"{name_of(path)}: {called}"
            assert options.get("shell", "False") == "False", f"{name_of(path)}: {called}"
            if called.endswith(("np.load", "numpy.load")):
                assert "allow_pickle" in options, f"{name_of(path)}: say allow_pickle=False"


def test_every_file_and_every_public_name_says_what_it_is():
    silent = []
    for path in LIBRARY:
        tree = ast.parse(path.read_text())
        silent += [] if ast.get_docstring(tree) else [name_of(path)]
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                silent.append(f"{name_of(path)}: {node.name}")
    for name in ("Run", "Trained"):
        cls = getattr(ffcore, name)
        methods = [k for k, v in vars(cls).items() if callable(v) and not k.startswith("_")]
        silent += [f"{name}.{k}" for k in methods if not getattr(cls, k).__doc__]
    assert silent == []


def test_every_setting_explains_itself():
    from ffcore import catalogue

    told = [*catalogue.models(), *catalogue.negatives(), *catalogue.datasets()]
    described = [(item["name"], item["settings"]) for item in told] + [("train", catalogue.training_settings())]
    assert [f"{name}.{key}" for name, settings in described for key, s in settings.items() if len(s["help"]) < 8] == []


def test_no_text_leads_to_somebodys_machine():
    """No path of one machine stands in code, documents or checkpoints."""
    texts = [*LIBRARY, *APP, *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    texts += [*ROOT.glob("app/components/*.js"), *ROOT.glob("checkpoints/*/*.json"), *ROOT.glob("checkpoints/*/*.txt")]
    assert len(texts) > 30
    for path in texts:
        found = re.search(r"/(?:home|root|Users|work|tmp)/\w|[A-Z]:\\\\", path.read_text())
        assert not found, f"{name_of(path)}: {found[0]}"


STRATEGY = '''"""The next class, always."""
from ffcore.labels import Sample
from ffcore.negatives import STRATEGIES
from ffcore.negatives.base import Pair, Strategy


@STRATEGIES.register("next_label")
class NextLabel(Strategy):
    """The same image under the class that follows."""

    title = "Next label"
    source = "this test"

    def __call__(self, x, y, view, rng):
        return Pair(Sample(x, y), Sample(x, (y + 1) % view.classes))
'''
MODEL = '''"""Goodness by mean absolute activity."""
from pydantic import Field

from ffcore.models import MODELS
from ffcore.models.ff import ForwardForward


@MODELS.register("absolute")
class Absolute(ForwardForward):
    """One hook changed."""

    title = "Absolute"
    source = "this test"

    class Settings(ForwardForward.Settings):
        strength: float = Field(1.0, gt=0, le=2, description="what the mean is multiplied by")

    def goodness(self, layer, h):
        return self.settings.strength * h.abs().mean(1)
'''
TRAIN = """
import json, pathlib, ffcore
from ffcore import catalogue
run = ffcore.train(model="absolute", negatives="next_label", data="digits", device="cpu", epochs=1,
                   set={"model.widths": [16], "model.strength": 0.5})
print(json.dumps({
    "from": str(pathlib.Path(ffcore.__file__).parents[1]),
    "models": [item["name"] for item in catalogue.models()],
    "negatives": [item["name"] for item in catalogue.negatives()],
    "settings": catalogue.models("absolute")[0]["settings"]["strength"],
    "state": run.state,
    "config": run.config,
    "shape": list(run.goodness(run.samples()["images"]).shape),
}))
"""


def test_a_new_file_is_found_by_its_name_and_needs_no_other_edit(tmp_path):
    shutil.copytree(ROOT / "ffcore", tmp_path / "ffcore", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "ffcore" / "negatives" / "next_label.py").write_text(STRATEGY)
    (tmp_path / "ffcore" / "models" / "absolute.py").write_text(MODEL)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", TRAIN], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["from"] == str(tmp_path)
    assert {"absolute", "ff", "backprop"} <= set(told["models"])
    assert {"next_label", "hard_label"} <= set(told["negatives"])
    assert told["settings"]["help"] == "what the mean is multiplied by"
    assert told["state"] == "done"
    assert told["config"]["model"]["strength"] == 0.5
    assert told["config"]["negatives"] == {"name": "next_label"}
    assert told["shape"] == [64, 10, 1]
