"""`make bench`: ten viewers of one live run, as raw WebSockets without a browser. What the server spends on them, how late
they see what happens, whether its memory grows. `VIEWERS=10 VIEWER_MINUTES=10` is the default.
"""

import asyncio
import base64
import itertools
import json
import os
import statistics
import time

import numpy as np
import psutil
import pytest
from browser import Server, wait

import ffcore

websockets = pytest.importorskip("websockets")
VIEWERS, MINUTES = int(os.environ.get("VIEWERS", 10)), float(os.environ.get("VIEWER_MINUTES", 10))


def newest(message) -> float | None:
    """The last epoch that the charts of a message show, None where it brings none."""
    if message.WhichOneof("type") != "delta" or message.delta.WhichOneof("type") != "new_element":
        return None
    element = message.delta.new_element
    told = element.bidi_component.json or element.bidi_component.mixed.json
    if element.WhichOneof("type") != "bidi_component" or '"charts"' not in told:
        return None
    ends = []
    for chart in json.loads(told).get("charts", []):
        for trace in chart["figure"]["data"]:
            x = trace.get("x")
            if trace.get("mode") == "lines" and isinstance(x, dict) and trace.get("line", {}).get("shape") != "hv":
                values = np.frombuffer(base64.b64decode(x["bdata"]), "<f4")
                ends += [float(values[-1])] if len(values) else []
    return max(ends, default=None)


class Viewer:
    """What the browser's side of Streamlit does: asks for the page, and for a fragment again as often as it is told to."""

    def __init__(self, url: str, query: str):
        self.url, self.query, self.page = url, query, ""
        self.seen: list[tuple[float, float]] = []  # (when it came, the last epoch on it)
        self.bytes = 0
        self.timers: dict[str, asyncio.Task] = {}

    async def watch(self, seconds: float) -> None:
        async with websockets.connect(self.url, subprotocols=["streamlit"], max_size=None) as socket:
            await self.ask(socket, page_name="live")
            end = time.time() + seconds
            while (left := end - time.time()) > 0:
                try:
                    content = await asyncio.wait_for(socket.recv(), left)
                except TimeoutError:
                    break
                await self.take(socket, content)
            for timer in self.timers.values():
                timer.cancel()

    async def ask(self, socket, **what) -> None:
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ClientState_pb2 import ClientState

        state = ClientState(query_string=self.query, page_script_hash=self.page, **what)
        await socket.send(BackMsg(rerun_script=state).SerializeToString())

    async def take(self, socket, content: bytes) -> None:
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        message = ForwardMsg.FromString(content)
        self.bytes += len(content)
        kind = message.WhichOneof("type")
        if kind == "navigation":  # the page as a whole, which says anew what is to be asked again
            self.page = message.navigation.page_script_hash
            for timer in self.timers.values():
                timer.cancel()
            self.timers = {}
        elif kind == "auto_rerun":
            rerun = message.auto_rerun
            if old := self.timers.pop(rerun.fragment_id, None):
                old.cancel()
            self.timers[rerun.fragment_id] = asyncio.create_task(self.again(socket, rerun.fragment_id, rerun.interval))
        elif kind == "delta" and (epoch := newest(message)) is not None:
            now = time.time()
            if not self.seen or epoch > self.seen[-1][1]:
                self.seen.append((now, epoch))

    async def again(self, socket, fragment: str, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            await self.ask(socket, fragment_id=fragment, is_auto_rerun=True)


def family(process) -> list[psutil.Process]:
    """The server and what it has started."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def spent(processes) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in processes)


def megabytes(processes) -> float:
    return sum(p.memory_info().rss for p in processes) / 2**20


@pytest.mark.timeout(0)
def test_ten_viewers_of_one_run(benchmark, tell, tmp_path, monkeypatch):
    server = Server(tmp_path)
    monkeypatch.setenv("FFCORE_RUNS", str(server.root))
    run = ffcore.submit(data="mnist-5k", epochs=100_000, device="cpu")
    try:
        wait(lambda: run.state == "running" and run.status()["step"] > 50, 90, "the run did not start")
        figures = benchmark.pedantic(lambda: asyncio.run(sitting(server, run)), rounds=1)
    finally:
        ffcore.stop(run)
        server.kill()
    late, apart, cpu, memory, weight = figures
    tell("an update is late by, median", statistics.median(late), "s", late)
    tell("an update is late by, 99th of 100", statistics.quantiles(late, n=100)[98], "s", late)
    tell("between two updates of a viewer, 99th of 100", statistics.quantiles(apart, n=100)[98], "s", apart)
    tell("processor time of the server per viewer and minute", cpu, "s", [cpu])
    tell("memory of the server, end − after a quarter", memory[-1] - memory[len(memory) // 4], "MiB", memory)
    tell("sent to a viewer per minute", statistics.mean(weight), "kB", weight)


async def sitting(server: Server, run: ffcore.Run) -> tuple:
    """(seconds late, seconds between updates, processor seconds per viewer-minute, MiB over time, kB per minute)"""
    address = f"ws://127.0.0.1:{server.port}/_stcore/stream"
    viewers = [Viewer(address, f"run={run.id}") for _ in range(VIEWERS)]
    seconds, warm = 60 * MINUTES, min(30, 15 * MINUTES)
    tasks = [asyncio.create_task(viewer.watch(seconds + warm)) for viewer in viewers]
    await asyncio.sleep(warm)  # the first run of the page in each session, and imports
    processes = family(server.process)
    begun, clock, memory = spent(processes), time.time(), []
    for viewer in viewers:
        viewer.bytes = 0
    while time.time() - clock < seconds - 1:
        memory.append(megabytes(processes))
        await asyncio.sleep(min(5, seconds / 20))
    cpu = (spent(processes) - begun) / (VIEWERS * (time.time() - clock) / 60)
    weight = [viewer.bytes / 1000 / ((time.time() - clock) / 60) for viewer in viewers]
    await asyncio.gather(*tasks)
    ticks = [(e["epoch"], e["time"]) for e in run.events()[0] if e["event"] == "tick" and "time" in e]
    epochs, times = (np.array(part) for part in zip(*ticks, strict=True))
    late, apart = [], []
    for viewer in viewers:
        seen = [(when, epoch) for when, epoch in viewer.seen if when > clock]
        assert len(seen) > 1, "a viewer saw nothing move"
        late += [when - float(times[np.abs(epochs - epoch).argmin()]) for when, epoch in seen]
        apart += [b[0] - a[0] for a, b in itertools.pairwise(seen)]
    return late, apart, cpu, memory, weight
