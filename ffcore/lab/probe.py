"""Transfer: what a linear classifier reads from a run's frozen layers on another dataset, beside its baselines."""

from __future__ import annotations

import hashlib
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ffcore import files, jobs
from ffcore.data import DataSettings, load
from ffcore.lab import ANALYSES
from ffcore.lab._target import settle_target
from ffcore.lab.base import Analysis, Found, Tell
from ffcore.registry import Settings
from ffcore.rundir import fingerprint
from ffcore.runs import runs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from ffcore.data import Data, Split
    from ffcore.models.base import Model
    from ffcore.probes import Probe
    from ffcore.rundir import Run
    from ffcore.trained import Trained

DRAWS = 5  # of few-shot training images, averaged
WIDTHS = [500, 500]  # of the backprop nets beside a net that has no widths of its own
BASELINE, BASELINES = "baseline of probes", "baselines"  # their tag, and the folder of the runs folder where they lie


@ANALYSES.register("probe")
class Transfer(Analysis):
    """Rows: every layer as it is and normalised, all layers together, raw pixels, the same net untrained, and backprop trained
    on the source and on the target."""

    title = "Linear probe on another dataset"
    source = "Alain & Bengio 2016, arXiv 1610.01644; Kornblith, Shlens & Le, CVPR 2019, arXiv 1805.08974"

    class Settings(Settings):
        target: str | None = Field(
            None, description="dataset whose classes are read; null: Fashion-MNIST where it lies in the data root, else glyphs"
        )
        protocol: Literal["converged", "reference"] = Field(
            "converged",
            description="converged: standardised, penalty chosen, trained to the end; reference: the study's 100 steps of Adam",
        )
        shots: int | None = Field(None, ge=1, le=5_000, description="images per class to learn from; null: all")
        train: int | None = Field(None, ge=100, description="learn from N images only; null: as many as fit into memory")
        layers: Literal["all", "few"] = Field(
            "all", description="few: only the last layer and all together, without normalised ones: half the time"
        )
        seed: int = Field(0, ge=0, lt=2**31, description="of few-shot draws and of the backprop nets")
        epoch: int | None = Field(None, ge=0, description="the net as it was after that epoch; null: as it is")

    @classmethod
    def resolve(cls, settings: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
        return settle_target(settings, runs[0], "probe")

    @classmethod
    def measure(cls, runs: Sequence[Trained], settings: Any, tell: Tell, root: str | None) -> Found:
        return _Probing(runs[0], settings, tell, root).result(), {}


_WHOLE = {"features", "net", "layer", "normalised", "accuracy", "seconds", "per_class", "confusion"}  # of a row on disk


class _Probing:
    """One probe at work: the rows that are done, and how far that is."""

    def __init__(self, run: Trained, settings: Any, tell: Tell, root: str | None):
        import torch

        self.run, self.settings, self.tell, self.root = run, settings, tell, root
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.data: Data = load(DataSettings(name=settings.target), run.config["data_root"], self.device)
        self.classes = len(self.data.classes)
        self.rows: list[dict[str, Any]] = []
        self.done = 0

    def result(self) -> dict[str, Any]:
        """What `ffcore probe --json` prints, but for what every finding has."""
        run, data, own = self.run, self.data, self.run.config
        self._net("run", "", run.model, own["train"]["precision"])
        self._kept("pixels", [], self._pixels)
        twin = {key: own[key] for key in ("model", "seed")} | {"standardised": own["data"]["standardise"]}
        twin |= {"of": own["facts"]["data_hash"] if own["data"]["standardise"] else len(own["facts"]["classes"])}
        twin |= {"negatives": bool(own["negatives"]) and own.get("labelled", True)}
        self._kept("untrained", twin, lambda: self._net("untrained", "untrained, ", self._twin(), own["train"]["precision"]))
        for net, where, images in (
            ("backprop_source", "source", own["data"]),
            ("backprop_target", "target", {"name": self.settings.target}),
        ):
            other = self._backprop(images, where)
            name, precision = f"backprop on the {where}, ", other.config["train"]["precision"]
            with_these = partial(self._net, net, name, other.model, precision, brief=True)
            self._kept(net, fingerprint(other), with_these)
        told = {key: getattr(self.settings, key) for key in ("target", "protocol", "shots", "seed")}
        return told | {
            "model": own["model"]["name"],
            "target_title": data.title,
            "source_title": own["facts"]["data_title"],
            "images": self.rows[0]["images"],
            "test_images": len(data.test.y),
            "classes": list(data.classes),
            "rows": self.rows,
        }

    def _say(self, doing: str) -> None:
        self.done += 1
        self.tell(min(self.done / 20, 0.99), doing)

    def _kept(self, net: str, identity: Any, compute: Callable[[], None]) -> None:
        """The rows of a baseline, which many runs share: kept in the runs folder, under what they depend on."""
        asked = self.settings.model_dump(mode="json") | {"epoch": None}
        question = {"net": net, "identity": identity, "settings": asked, "data": self.data.hash, "version": Transfer.version}
        folder = runs_root(self.root) / "analyses"
        name = f"rows-{hashlib.blake2b(files.to_json(question), digest_size=8).hexdigest()}.json"
        kept = files.read_json(folder / name)[0].get("rows")
        if isinstance(kept, list) and kept and all(isinstance(row, dict) and row.keys() >= _WHOLE for row in kept):
            self.rows += kept
            return
        before = len(self.rows)
        compute()
        with files.writing("analyses", folder):
            folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder, name, files.to_json({"question": question, "rows": self.rows[before:]}), durable=False)

    def _twin(self) -> Model:
        """The same architecture with the weights that it began with."""
        from ffcore.training import build_model

        return build_model({**self.run.config, "device": "cpu"}, facts=self.run.config["facts"]).eval()

    def _backprop(self, images: dict[str, Any], where: str) -> Trained:
        """Backprop on a dataset, of the run's widths: trained once, later found."""
        config = self.run.config
        self._say(f"backprop on the {where}: trained once, later found")
        widths = config["model"].get("widths") or WIDTHS
        settings = {"model.widths": widths} | {f"data.{k}": v for k, v in images.items() if k != "name" and v is not None}
        wanted = {
            "model": "backprop", "data": images["name"], "seed": self.settings.seed, "device": "cpu", "test": False,
            "tag": BASELINE, "data_root": config["data_root"], "set": settings,
        }  # fmt: skip
        return jobs.trained_once(wanted, None, str(runs_root(self.root) / BASELINES))  # no runs of the user's

    def _parts(self, width: int) -> list[Split]:
        """Training images, those of validation last since they choose the penalty, and test images: as many as fit."""
        import torch

        from ffcore import probes
        from ffcore.data import Split

        most = max(1_000, probes.NUMBERS // width)
        x, y = (torch.cat(pair) for pair in zip(self.data.train, self.data.validation, strict=True))
        few = min(len(y), self.settings.train or len(y), most)
        keep = torch.linspace(0, len(y) - 1, few).long() if few < len(y) else slice(None)
        return [Split(x[keep], y[keep]), Split(self.data.test.x[:most], self.data.test.y[:most])]

    def _pixels(self) -> None:
        self._say("raw pixels")
        parts = self._parts(self.data.test.x[0].numel())
        self._row("raw pixels", ("pixels", None, None), [part.x.flatten(1).float() / 255 for part in parts], parts)

    def _net(self, net: str, name: str, model: Model, precision: str, brief: bool = False) -> None:
        """Rows of one net: every layer as it is and normalised, and all together; `brief`: the last layer and all."""
        import torch

        from ffcore import probes

        model = model.to(self.device)
        self._say(f"{name}features")
        with torch.no_grad():
            sizes = [h.flatten(1).shape[1] for h in model.features(model.shown(self.data.test.x[:1].float() / 255))]
        parts = self._parts(sum(sizes))
        told = [probes.activities(model, part.x, precision) for part in parts]
        brief = brief or self.settings.layers == "few"
        for i in range(len(sizes) - 1 if brief else 0, len(sizes)):
            layer = [h[i] for h in told]
            self._row(f"{name}layer {i + 1}", (net, i + 1, False), layer, parts)
            if net == "run" and not brief:
                self._row(f"layer {i + 1}, normalised", (net, i + 1, True), [probes.normalised(h) for h in layer], parts)
        joined = [torch.cat([probes.normalised(h) for h in part], 1) for part in told]
        self._row(f"{name}all layers", (net, "all", True), joined, parts)

    def _row(self, name: str, of: tuple[str, int | str | None, bool | None], seen: list[Tensor], parts: list[Split]) -> None:
        """One row: `of` is the net, the layer, and whether it is normalised; `seen` the features of the two `parts`."""
        from ffcore import probes

        self._say(name)
        begun = time.perf_counter()
        labels, held_out = parts[0].y, (seen[1], parts[1].y)
        told = [self._probe(train, held_out) for train in self._trainings(seen[0], labels)]
        right = [probe.accuracy for probe in told]
        confusion = [
            [sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*(p.confusion for p in told), strict=True)
        ]
        plain = self.settings == self.settings.model_copy(update={"protocol": "converged", "shots": None, "layers": "all"})
        last = told[-1]
        self.rows.append({
            "features": name, "net": of[0], "layer": of[1], "normalised": of[2], "accuracy": statistics.mean(right),
            "sd": statistics.stdev(right) if len(right) > 1 else None, "validation": last.validation, "l2": last.l2,
            "width": last.features, "images": last.images, "converged": all(probe.converged for probe in told),
            "knn": probes.neighbours((seen[0], labels), held_out, self.classes) if plain else None,
            "seconds": time.perf_counter() - begun,
            "per_class": [row[i] / max(1, sum(row)) for i, row in enumerate(confusion)], "confusion": confusion,
        })  # fmt: skip

    def _probe(self, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> Probe:
        from ffcore import probes

        if self.settings.protocol == "reference":
            return probes.unconverged(train, held_out, self.classes, self.settings.seed)
        return probes.linear(train, held_out, self.classes)

    def _trainings(self, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """All training images, or a few of every class, drawn several times."""
        import torch

        from ffcore import probes

        if not self.settings.shots:
            return [(x, y)]
        draws = [torch.Generator().manual_seed(1_000 * self.settings.seed + i) for i in range(DRAWS)]
        chosen = [probes.few(y, self.settings.shots, self.classes, rng) for rng in draws]
        return [(x[some], y[some]) for some in chosen]
