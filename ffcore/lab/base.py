"""What an analysis is: settings, and a function of runs that returns numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ffcore.registry import Settings

if TYPE_CHECKING:
    from ffcore.rundir import Run
    from ffcore.trained import Trained

Tell = Callable[[float, str], None]  # (share that is done, what is being done)
Found = tuple[dict[str, Any], dict[str, Any]]  # (JSON-ready numbers, arrays)


class Analysis:
    """One question about a run, or about two. Modules in this folder load torch only within `measure`.

    Facts: `title` · `source` · `most` how many runs it takes · `version` rises when the same question gets another answer.
    """

    title: ClassVar[str]
    source: ClassVar[str]
    most: ClassVar[int] = 1
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Settings]] = Settings

    @classmethod
    def resolve(cls, settings: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
        """The settings with what depends on the runs filled in; equal questions end up with equal settings.

        Raises Refused for what does not fit these runs, whatever this machine has. Every run has weights. Loads no torch.
        """
        return settings

    @classmethod
    def check_here(cls, settings: dict[str, Any], runs: Sequence[Run]) -> None:
        """Raises Refused where this machine lacks what the answer needs. Asked only where none is stored; loads no torch."""

    @classmethod
    def measure(cls, runs: Sequence[Trained], settings: Any, tell: Tell, root: str | None) -> Found:
        """The answer: (JSON-ready numbers, {name: array}). Calls `tell` often: it raises when somebody has cancelled."""
        raise NotImplementedError
