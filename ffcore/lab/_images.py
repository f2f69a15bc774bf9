"""The images that a run is asked about."""

from typing import Any

from ffcore import data, heldout
from ffcore.errors import Refused
from ffcore.rundir import Run

FEWEST = 20


def settle_held_out(settings: dict[str, Any], run: Run) -> dict[str, Any]:
    """The settings with n no more than the run's validation images. Raises Refused where there are fewer than 20."""
    held = run.config["facts"]["sizes"].get("validation", 0)
    if held < FEWEST:
        raise Refused(
            f"run {run.id} kept {held} validation images, this takes {FEWEST}; train one with a larger data.validation"
        )
    return {**settings, "n": min(settings["n"], held)}


def check_images(run: Run, name: str | None = None, n: int | None = None) -> None:
    """Raises Refused where a run's images, or those of the data set `name`, are not on this machine.

    n: its first so many validation images will do.
    """
    if name is None and n is not None and heldout.held_out_here(run) >= n:
        return
    name = name or run.config["data"]["name"]
    if not data.present(name, run.config.get("data_root")):
        put = "set FFCORE_DATA to where they lie" if name in data.DATASETS else "put them back there"
        raise Refused(f"the images of {name} are not here; {put}")
