"""Do the tests bite? One line of the library is spoilt at a time, in a copy, and the suite must notice."""

import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAWS, RULE, FORMULAS, JOBS, CLI, NEGATIVES, PROBES, VARIANTS, NEURONS = (
    f"tests/test_{name}.py::test_"
    for name in ("laws", "ff", "goodness", "jobs", "cli", "negatives", "probes", "variants", "neurons")
)


class Sabotage(NamedTuple):
    """`old` stands exactly once in `file`; with `new` in its place, `test` must fail."""

    file: str
    old: str
    new: str
    test: str


SABOTAGES = {
    "an error crosses a layer": Sabotage(
        "models/ff.py", "self.pair_input(pair, layer, h.detach())", "self.pair_input(pair, layer, h)",
        LAWS + "gradient_of_a_loss_stays_in_its_group_exactly_when_local[dendritic]",
    ),
    "the head moves the layers": Sabotage(
        "models/ff.py", "with torch.no_grad():  # the head moves no layer", "with torch.enable_grad():",
        LAWS + "gradient_of_a_loss_stays_in_its_group_exactly_when_local[ff]",
    ),
    "every optimiser steps": Sabotage(
        "training.py", "optimiser.step()", "[each.step() for each in self.optimisers]",
        LAWS + "frozen_layers_are_bit_identical_under_the_greedy_schedule[ff]",
    ),
    "the gap's sign is flipped": Sabotage(
        "goodness.py", "F.softplus(-alpha * (pos - neg))", "F.softplus(alpha * (pos - neg))",
        FORMULAS + "gap_objective_by_hand",
    ),
    "positives and negatives change places": Sabotage(
        "models/ff.py", "loss = self.objective(*self.logits(layer, g).chunk(2))",
        "loss = self.objective(*self.logits(layer, g).chunk(2)[::-1])",
        LAWS + "each_model_learns_the_toy_problem[ff]",
    ),
    "goodness is a sum": Sabotage(
        "goodness.py", "dim=1).square() / h.shape[1]", "dim=1).square()",
        FORMULAS + "goodness_is_the_mean_of_squares",
    ),
    "a wrong label may be right": Sabotage(
        "labels.py", "torch.randint(1, classes", "torch.randint(0, classes",
        LAWS + "no_negative_shows_the_right_label_of_its_image[wrong_label]",
    ),
    "a hard label may be right": Sabotage(
        "negatives/hard_label.py", ".scatter(1, y[:, None], -torch.inf)", "",
        LAWS + "no_negative_shows_the_right_label_of_its_image[hard_label]",
    ),
    "another image may be of the same class": Sabotage(
        "negatives/_parts.py", "allowed = y[pool] != y[:, None]", "allowed = y[pool] == y[pool, None]",
        NEGATIVES + "ten_thousand_draws_never_show_the_class_of_the_image[class_confusion]",
    ),
    "an image is mixed with itself": Sabotage(
        "negatives/_parts.py", "order.roll(1)", "order",
        NEGATIVES + "mixtures_lie_between_their_images",
    ),
    "an adversary falls short of its radius": Sabotage(
        "negatives/adversarial.py", "2.5 * self.epsilon / self.steps", "0.01 * self.epsilon",
        NEGATIVES + "an_adversary_reaches_epsilon_and_raises_goodness[10-linf]",
    ),
    "an adversary goes downhill": Sabotage(
        "negatives/adversarial.py", "change + length * self._step", "change - length * self._step",
        NEGATIVES + "an_adversary_reaches_epsilon_and_raises_goodness[1-l2]",
    ),
    "a layer's own corruption is forgotten": Sabotage(
        "models/ff.py", "if pair.corrupt is None:", "if True:",
        NEGATIVES + "layer_wise_corrupts_the_input_of_each_layer_more_and_more",
    ),
    "labels are tried on a net that never saw any": Sabotage(
        "training.py", "        net.unlabelled()", "        pass",
        LAWS + "a_net_trains_on_any_strategy_and_repeats_itself[masking-float32]",
    ),
    "a probe reads features as they are": Sabotage(
        "probes.py", "x, x_out = standardised(x, x_out)", "pass",
        PROBES + "the_scale_of_features_does_not_matter",
    ),
    "the held-out images choose the penalty": Sabotage(
        "probes.py", "told = [accuracy(part.scores(x[rest]), y[rest])", "told = [accuracy(part.scores(x_out), y_out)",
        PROBES + "the_penalty_is_chosen_without_the_held_out_images",
    ),
    "a study trains again what is done": Sabotage(
        "jobs.py", 'if state == "done":', "if False:",
        JOBS + "what_a_study_has_trained_is_found_and_not_trained_again",
    ),
    "the label's length is forgotten": Sabotage(
        "models/ff.py", "total = squared + labels.squared_norm(label, self.settings.label_value)", "total = squared",
        RULE + "layer_1_shortcut_equals_brute_force_for_every_label[1.0-appended-rms]",
    ),
    "the label's value is dropped": Sabotage(
        "labels.py", "return found if value == 1 else found * value", "return found",
        FORMULAS + "one_hot_and_soft_labels_agree_and_the_neutral_one_is_shorter",
    ),
    "the read-out tries one label only": Sabotage(
        "models/ff.py", "table[c : c + together, None]", "table[:together, None]",
        RULE + "layer_1_shortcut_equals_brute_force_for_every_label[1.0-appended-rms]",
    ),
    "the miner's look starves layer 1": Sabotage(
        "models/ff.py", "with torch.set_grad_enabled(grad and self._grad):", "with torch.no_grad():",
        RULE + "a_miner_that_looks_without_gradient_does_not_starve_layer_1",
    ),
    "every epoch has the same order": Sabotage(
        "training.py", 'f"batches {epoch}"', '"batches"',
        RULE + "full_batches_come_in_one_order_and_minibatches_in_a_new_one_each_epoch",
    ),
    "validation looks at training images": Sabotage(
        "training.py", "held_out = self.data.validation\n", "held_out = self.data.train\n",
        RULE + "events_come_in_order_and_snapshots_at_every_epoch",
    ),
    "a resume forgets the generators": Sabotage(
        "training.py", 'rng.set_state(tensors[f"rng.{purpose}"])', "pass",
        RULE + "resume_from_any_step_is_bit_identical[one_cycle-adamw]",
    ),
    "a resume forgets the optimisers": Sabotage(
        "training.py", '{"state": inner, "param_groups"', '{"state": {}, "param_groups"',
        RULE + "resume_from_any_step_is_bit_identical[one_cycle-adamw]",
    ),
    "a resume forgets the learning rate's schedule": Sabotage(
        "training.py", 'self.taken[i] = plain["taken"]', 'plain["taken"]',
        RULE + "resume_from_any_step_is_bit_identical[linear-adamw]",
    ),
    "a resume keeps the events of lost steps": Sabotage(
        "worker.py", 'run.truncate_events(saved["events"])', "pass",
        JOBS + "a_full_disk_keeps_the_earlier_state_to_go_on_from",
    ),
    "a state is saved unlooked": Sabotage(
        "worker.py", "trainer.check_finite()", "pass",
        JOBS + "a_step_that_breaks_a_weight_is_noticed_before_the_state_is_saved",
    ),
    "a failed run keeps no weights": Sabotage(
        "worker.py", "lambda: _keep_last_good(run),", "",
        JOBS + "a_diverged_run_says_why_and_keeps_its_last_good_weights",
    ),
    "a unit is its own neighbour": Sabotage(
        "models/dendritic.py", "1)[:, 0] - h) / (2 * reach)", "1)[:, 0]) / (2 * reach)",
        VARIANTS + "co_activity_by_rolling_equals_the_gather_over_neighbours",
    ),
    "inhibition excites": Sabotage(
        "models/pcl.py", "h = self.activate(z - inhibition.detach())", "h = self.activate(z + inhibition.detach())",
        VARIANTS + "inhibition_is_not_negative_spares_the_unit_itself_and_lowers_activity",
    ),
    "inhibition sees the objective": Sabotage(
        "models/pcl.py", "h = self.activate(z - inhibition.detach())", "h = self.activate(z - inhibition)",
        VARIANTS + "the_inhibitory_rule_is_that_of_vogels_and_sees_nothing_of_the_objective",
    ),
    "activities climb their energy": Sabotage(
        "models/prospective.py", "[a - step * s * d", "[a + step * s * d",
        VARIANTS + "relaxing_lowers_the_energy_step_by_step_and_brings_the_answer_nearer",
    ),
    "backpropagation crosses the border": Sabotage(
        "models/hybrid.py", "with torch.set_grad_enabled(layer >= self.border):", "with torch.set_grad_enabled(True):",
        VARIANTS + "backpropagation_stops_at_the_border",
    ),
    "a modulator is a learning rate": Sabotage(
        "models/three_factor.py", "factor / mean.clamp(min=1e-6), 1.0)", "2 * factor, 1.0)",
        VARIANTS + "a_third_factor_is_positive_has_mean_1_and_carries_no_gradient[attention]",
    ),
    "a recycled unit keeps its moments": Sabotage(
        "neurons.py", "                    value[asleep] = 0", "                    pass",
        NEURONS + "recycling_begins_dormant_units_anew_and_nothing_else",
    ),
    "homeostasis runs away": Sabotage(
        "neurons.py", "bias += speed * (target", "bias -= speed * (target",
        NEURONS + "homeostasis_wakes_a_silent_unit_and_calms_a_loud_one",
    ),
    "the test images are always looked at": Sabotage(
        "worker.py", 'if run.config["test"]:', "if True:",
        CLI + "no_test_leaves_the_test_images_untouched",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def workshop():
    """A process that has torch loaded, and not the library: what it forks takes that from a copy."""
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import test_sabotage; test_sabotage.fork_suites()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


def fork_suites():
    """For every line on stdin, a folder and tests of the copy in it, fork a process that runs them; prints its status."""
    heavy = ["torch", "torch._dynamo", "safetensors.torch", "pydantic", "sklearn.datasets", "PIL.Image"]
    for name in [*heavy, "filelock", "platformdirs", "pytest_timeout"]:
        importlib.import_module(name)
    for line in sys.stdin:
        folder, *tests = json.loads(line)
        child = os.fork()
        if not child:
            suite(Path(folder), tests)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def suite(folder, tests):
    """Run `tests` of the copy in `folder`; ends the process with pytest's status."""
    signal.alarm(100)
    report = os.open(folder / "report", os.O_CREAT | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(report, stream)
    os.chdir(folder)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ours = {ROOT, ROOT / "app", ROOT / "tests"}
    sys.path[:] = [str(folder), *(place for place in sys.path if Path(place).resolve() not in ours)]
    assert "ffcore" not in sys.modules
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # pytest collects garbage in full more than once, and torch's modules are none
    status = pytest.main(["-x", "-p", "pytest_timeout", *tests])
    sys.stdout.flush()
    os._exit(int(status))


def run_copy(workshop, folder, tests, spoil=None):
    """(pytest's status, its report) of some tests on a copy of library and tests."""
    for part in ("ffcore", "tests"):
        shutil.copytree(ROOT / part, folder / part)  # times of change too, so that compiled files stay good
    shutil.copy(ROOT / "pyproject.toml", folder)
    if spoil:
        path = folder / "ffcore" / spoil.file
        text = path.read_text()
        times = text.count(spoil.old)
        assert times == 1, f"'{spoil.old}' stands {times} times in {spoil.file}; mend this table"
        path.write_text(text.replace(spoil.old, spoil.new))
        compile(path.read_text(), spoil.file, "exec")
    print(json.dumps([str(folder), *tests]), file=workshop.stdin, flush=True)
    status = int(workshop.stdout.readline() or -1)
    report = folder / "report"
    return status, report.read_text() if report.exists() else "it did not start"


def test_the_untouched_copy_passes(workshop, tmp_path):
    status, report = run_copy(workshop, tmp_path, sorted({sabotage.test for sabotage in SABOTAGES.values()}))
    assert status == pytest.ExitCode.OK, report


@pytest.mark.parametrize("what", SABOTAGES)
def test_a_spoilt_line_is_noticed(what, workshop, tmp_path):
    status, report = run_copy(workshop, tmp_path, [SABOTAGES[what].test], SABOTAGES[what])
    assert status == pytest.ExitCode.TESTS_FAILED, f"{what}, and no test fails:\n{report}"
    assert "1 failed" in report
