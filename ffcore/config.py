"""From what a user asks for to a complete, checked description of a run: everything in config.json that repeats it."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ffcore import __version__
from ffcore.data import DATASETS, DataSettings, ensure
from ffcore.data import data_root as absolute_root
from ffcore.errors import Refused
from ffcore.models import MODELS
from ffcore.negatives import STRATEGIES
from ffcore.presets import PRESETS
from ffcore.registry import Settings, build, suggest

SECTIONS = ("model", "negatives", "data", "train")
MAX_SEED = 2**31 - 1


class TrainSettings(Settings):
    """How a run is trained."""

    epochs: int | None = Field(
        None,
        ge=0,
        le=100_000,
        description="passes over the training images (greedy: per layer); null: 7, more on small sets",
    )
    batch_size: int | None = Field(None, ge=1, le=1_000_000, description="images per step; null: 512, less on small sets")
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", description="one optimiser per local loss")
    lr: float = Field(0.01, gt=0, le=10, description="learning rate (the peak of the schedule)")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum (sgd only)")
    beta2: float = Field(
        0.999, ge=0, lt=1, description="β₂, what the mean square of a gradient keeps per step (not sgd); 0.95 suits short runs"
    )
    weight_decay: float = Field(0.1, ge=0, le=10, description="weight decay (adamw: decoupled, times the learning rate)")
    lr_schedule: Literal["one_cycle", "linear", "constant"] = Field(
        "one_cycle", description="one_cycle: up, then down to 0; linear: constant for one half, then down to 0"
    )
    schedule: Literal["together", "greedy", "alternate", "staggered"] = Field(
        "together",
        description="layers learn on every batch; one after the other; in turn, one per batch; or from the start, but layer i "
        "of L for the first i/L of the steps only",
    )
    drop_pixels: float = Field(
        0.2, ge=0, le=0.9, description="share of the pixels blanked at random in every training image (input dropout)"
    )
    shift: int = Field(
        0, ge=0, le=64, description="pixels by which every training image is moved at random, at most, in each direction"
    )
    flip: bool = Field(False, description="mirror every other training image by chance; not for what has a left and a right")
    head_every: int = Field(
        4,
        ge=1,
        le=1_000,
        description="steps between updates of the softmax head, which reads the layers without moving them",
    )
    homeostasis: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of images for which biases are moved to keep every unit on (homeostatic bias); 0: off",
    )
    recycle: int = Field(
        0, ge=0, le=1_000_000, description="steps between two looks for dormant units, which then begin anew (ReDo); 0: off"
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="bf16: matrix products in bfloat16; auto: where the processor or GPU is good at it"
    )
    compile: Literal["auto", "off", "fuse"] = Field(
        "auto",
        description="auto: on a GPU, every step is one CUDA graph; fuse: also torch.compile what a layer computes, which takes "
        "a minute at the start; off: operation by operation",
    )

    pipeline: Literal["auto", "off"] = Field(
        "auto",
        description="auto: on a processor, lower layers take the next batch while upper ones learn from the last, where that "
        "should be quicker; every layer sees the same. off: one batch after the other",
    )

    @field_validator("compile", mode="before")
    @classmethod
    def _once_yes_or_no(cls, value: Any) -> Any:
        """Older runs say true or false."""
        return {True: "fuse", False: "off"}[value] if isinstance(value, bool) else value

    init_from: str | None = Field(
        None,
        max_length=300,
        description="begin with the weights of a run with the same layers: RUN@EPOCH for an epoch that it kept, or RUN "
        "if it is done; null: at random",
    )
    keep_weights: bool = Field(
        True, description="keep the weights after epochs 0, 1, 2, 4, 8 … in half precision, for looking back"
    )
    telemetry: bool = Field(True, description="live goodness and a snapshot per epoch, for the dashboard")


def resolve(train: TrainSettings, images: int) -> TrainSettings:
    """Fill in what depends on the number of training images: small sets get small batches and enough steps to learn."""
    batch = train.batch_size or (512 if images >= 20_000 else 128 if images >= 1_000 else 32)
    epochs = max(7, min(200, math.ceil(750 * batch / images))) if train.epochs is None else train.epochs
    return train.model_copy(update={"batch_size": batch, "epochs": epochs})


def configure(
    *,
    model: str | None = None,
    negatives: str | None = None,
    data: str | None = None,
    preset: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    test: bool = True,
    tag: str | None = None,
    data_root: str | None = None,
    set: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A run's configuration, JSON-ready. Precedence: a model's own defaults < preset < `set` < the named arguments.

    Raises Refused: unknown name, setting or value; a strategy for a model that uses none.
    """
    chosen = PRESETS[preset] if preset else None
    if not (isinstance(seed, int) and 0 <= seed <= MAX_SEED):
        raise Refused(f"seed={seed}: no such random seed; take a whole number from 0 to {MAX_SEED}")
    flags = {"model.name": model, "negatives.name": negatives, "data.name": data, "train.epochs": epochs}
    flags = {key: value for key, value in flags.items() if value is not None}
    given = {**(set or {}), **flags}
    wanted = {**(chosen.settings if chosen else {}), **given}
    for key in wanted:
        if key.partition(".")[0] not in SECTIONS or "." not in key:
            raise Refused(f"no setting '{key}'; a setting begins with {', '.join(s + '.' for s in SECTIONS)}")
    if chosen and (negatives or wanted.get("negatives.name")) != chosen.settings.get("negatives.name"):
        # the preset's settings of another strategy mean nothing to this one
        wanted = {k: v for k, v in wanted.items() if k in given or not k.startswith("negatives.")}
    name = wanted.pop("model.name", "ff")
    cls = MODELS[name]
    if not cls.faithful and not (chosen and chosen.settings.get("model.name") == name):
        honest = [model for model in MODELS if MODELS[model].faithful]
        raise Refused(f"model '{name}' is flawed on purpose and only a preset may use it; {suggest(name, honest)}")
    if chosen and name != chosen.settings.get("model.name", "ff"):
        raise Refused(
            f"preset '{preset}' is made for model '{chosen.settings.get('model.name', 'ff')}', not '{name}'; "
            f"leave out the preset or the model"
        )
    wanted = {**cls.recommended, **wanted}
    parts: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value in wanted.items():
        section, _, field = key.partition(".")
        parts[section][field] = value

    strategy = parts["negatives"].pop("name", "wrong_label")
    if cls.uses_negatives:
        kind = STRATEGIES[strategy]
        if not kind.faithful and not (chosen and chosen.settings.get("negatives.name") == strategy):
            honest = [s for s in STRATEGIES if STRATEGIES[s].faithful]
            raise Refused(
                f"negatives '{strategy}' are flawed on purpose and only a preset may use them; {suggest(strategy, honest)}"
            )
        negatives_out = {"name": strategy, **build(kind, parts["negatives"], "negatives").model_dump(mode="json")}
    else:
        asked = [key for key in given if key.startswith("negatives.")]
        if asked:
            raise Refused(f"{asked[0]}={given[asked[0]]}: model '{name}' uses no negatives; leave it out")
        negatives_out = None
    settings = build(cls.Settings, parts["model"], "model")
    depth = len(getattr(settings, "widths", None) or getattr(settings, "channels", ()))
    too_deep = [v for v in getattr(settings, "votes", ()) if v > depth]
    if too_deep:
        raise Refused(f"model.votes={list(settings.votes)}: there is no layer {too_deep[0]}; it has {depth}")
    data_settings = build(DataSettings, parts["data"], "data")
    data_root = data_root and str(absolute_root(data_root))
    if data_settings.name not in DATASETS:  # auto, a path, or a slip; a public set is fetched only when a run begins
        data_settings = data_settings.model_copy(update={"name": ensure(data_settings.name, data_root)})
    train = build(TrainSettings, parts["train"], "train")
    own = Path(data_settings.name)
    chosen_names = ((MODELS, name), (STRATEGIES, strategy if negatives_out else "wrong_label"))
    plugins = {n: digest for registry, n in chosen_names if (digest := registry.fingerprint(n))}
    repeats = {
        "version": __version__,
        "content": [own.stat().st_mtime_ns, own.stat().st_size] if data_settings.name not in DATASETS else None,
        "seed": seed,
        "device": pick_device(device),
        "preset": preset,
        "data_root": data_root,
        "model": {"name": name, **settings.model_dump(mode="json")},
        "negatives": negatives_out,
        "data": data_settings.model_dump(mode="json"),
        "train": train.model_dump(mode="json"),
        **({"plugins": plugins} if plugins else {}),
    }
    digest = hashlib.blake2b(json.dumps(repeats, sort_keys=True).encode(), digest_size=8).hexdigest()
    return {
        **{key: value for key, value in repeats.items() if key not in ("version", "content")},
        "tag": tag,
        "labelled": bool(negatives_out) and STRATEGIES[strategy].embeds_label,
        "test": test,
        "recipe": digest,
        "given": json.loads(json.dumps(dict(set or {}) | ({"train.epochs": epochs} if epochs is not None else {}))),
        "facts": {},
    }


def pick_device(name: str) -> str:
    """`auto` → the best device here; raises Refused for one that this machine lacks."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    kind, _, index = name.partition(":")
    if kind not in there:
        raise Refused(f"no device named '{name}'; known: auto, {', '.join(there)}")
    if not there[kind] or (index and (kind != "cuda" or not index.isdigit() or int(index) >= torch.cuda.device_count())):
        raise Refused(
            f"device '{name}' is not on this machine; leave --device out, or take "
            f"{', '.join(k for k, ok in there.items() if ok)}"
        )
    return name


def pick_precision(wanted: str, device: str) -> str:
    """`auto` → bf16 where matrix products in bfloat16 are done by the hardware, else float32."""
    import torch

    if wanted != "auto":
        return wanted
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    fast = any(getattr(torch.cpu, check, bool)() for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if device == "cpu" and fast else "float32"


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` strings → a dict; a value is JSON, or else a word."""
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Refused(f"--set {pair}: not of the form KEY=VALUE; for example --set train.batch_size=256")
        out[key] = parse_value(value)
    return out


def parse_grid(pairs: list[str] | tuple[str, ...]) -> dict[str, list[Any]]:
    """`KEY=a,b,c` strings → {KEY: [a, b, c]}; commas inside brackets belong to a value."""
    out = {}
    for pair in pairs:
        key, equals, values = pair.partition("=")
        if not equals or not key or not values:
            raise Refused(f"--vary {pair}: not of the form KEY=a,b,c; for example --vary model.alpha=2,4,8")
        out[key] = [parse_value(value) for value in re.split(r",(?![^\[]*\])", values)]
    return out


def parse_value(text: str) -> Any:
    """JSON if it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def known_sizes(data: Mapping[str, Any]) -> int | None:
    """Training images of a registered set under these data settings; None for own data."""
    if data["name"] not in DATASETS:
        return None
    sizes = DATASETS[data["name"]].sizes
    total = sizes["train"] + sizes["validation"] - (sizes["validation"] if data["validation"] is None else data["validation"])
    return min(total, data["train"] or total)
