"""What benches share: figures are printed and kept in pytest-benchmark's JSON, and not asserted but for one: Draw answers a
stroke within 400 ms."""

import pytest


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    """Runs made in a bench stay in its own folder."""
    monkeypatch.setenv("FFCORE_RUNS", str(tmp_path))


@pytest.fixture
def tell(benchmark, capsys):
    """Print a figure and keep it."""

    def say(name: str, value: float, unit: str, of: list[float]) -> None:
        spread = f"{min(of):.3g}–{max(of):.3g}, n={len(of)}"
        benchmark.extra_info[name] = {"value": value, "unit": unit, "all": of}
        with capsys.disabled():
            print(f"\n  {name}: {value:.3g} {unit} ({spread})", flush=True)

    return say
