"""Whole training steps as CUDA graphs: one launch in place of hundreds, where a step is so short that launching takes longer.

A graph repeats the very kernels of the eager step, on the same memory and with the same random numbers: weights come out
equal, bit by bit. See PyTorch's notes on CUDA graphs, and Gray 2019, "Getting started with CUDA graphs", NVIDIA.
"""

import gc
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

WARM = 3  # eager steps before a recording, so that moments, workspaces and compiled code are there


@contextmanager
def no_collection() -> Iterator[None]:
    """Hold back Python's garbage collection: an older graph that dies while another is recorded spoils the recording."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


class Recorded(NamedTuple):
    """A step that can be launched again; `kept` are its results, written anew by every launch."""

    graph: Any
    kept: Any
    gradients: list[tuple[Tensor, Tensor | None]]


class Graphs:
    """Steps of one kind of batch, recorded once for every set of groups that learn together.

    step: (indices (B,), groups) → anything; what is recorded. All its other inputs keep their place in memory.
    why: in words, why steps are not recorded any more; None while they are.
    """

    why: str | None = None

    def __init__(self, step: Callable, batch: int, generators: Iterable[torch.Generator], parameters: Iterable[Tensor]):
        self.step, self.generators, self.parameters = step, list(generators), list(parameters)
        self.chosen = torch.zeros(batch, dtype=torch.long, device=self.parameters[0].device)
        self.stream = torch.cuda.Stream(self.chosen.device)
        self.seen: Counter[frozenset] = Counter()
        self.recorded: dict[frozenset, Recorded] = {}

    def __call__(self, chosen: Tensor, groups: set[int]) -> Any:
        """What `step` returns, by way of a graph where there is one."""
        key = frozenset(groups)
        if self.why or len(chosen) != len(self.chosen):
            return self.aside(lambda: self.step(chosen, groups))
        if key not in self.recorded:
            self.seen[key] += 1
            if self.seen[key] <= WARM:
                return self.aside(lambda: self.watched(chosen, groups))
            self.record(key, groups)
            if self.why:
                return self.aside(lambda: self.step(chosen, groups))
        graph, kept, gradients = self.recorded[key]
        self.chosen.copy_(chosen)
        graph.replay()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        return kept

    def aside(self, work: Callable) -> Any:
        """Do `work` on the stream that recordings are made on: gradients accumulate on the stream where they began."""
        here = torch.cuda.current_stream(self.chosen.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            done = work()
        here.wait_stream(self.stream)
        return done

    def watched(self, chosen: Tensor, groups: set[int]) -> Any:
        """A step whose waits for the device are noticed: one that reads from the device cannot be recorded."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            # the first step may set things up, and wait
            torch.cuda.set_sync_debug_mode("default" if self.seen[frozenset(groups)] == 1 else "warn")
            try:
                done = self.step(chosen, groups)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        if any("synchronizing CUDA operation" in str(warning.message) for warning in told):
            self.why = "a step reads from the device"
        return done

    def record(self, key: frozenset, groups: set[int]) -> None:
        """Record a step without taking it."""
        graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.chosen.device)
        for generator in self.generators:
            graph.register_generator_state(generator)
        try:
            with no_collection(), torch.cuda.graph(graph, stream=self.stream):
                kept = self.step(self.chosen, groups)
        except RuntimeError as error:
            torch.cuda.set_stream(here)
            for generator in self.generators:  # else they would wait for the end of the spoilt recording for ever
                generator.graphsafe_set_state(generator.clone_state())
            for parameter in self.parameters:
                parameter.grad = None
            while error.__context__ is not None:  # the end of a spoilt recording fails, too
                error = error.__context__
            if isinstance(error, torch.OutOfMemoryError):
                raise error from None
            self.why = f"a step cannot be recorded: {str(error).splitlines()[0]}"
            return
        # a recording begins by setting, on its own stream, where random numbers are drawn from: a replay must come later
        here.wait_stream(self.stream)
        self.recorded[key] = Recorded(graph, kept, [(p, p.grad) for p in self.parameters])
