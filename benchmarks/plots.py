"""Plots of saved figures, as PNG and SVG; needs matplotlib (`pip install -e .[bench]`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).with_name("figures")
PANELS = {  # of the series: what is on the x axis, its scale, and the figure on the y axis with its name
    "events": ("events", "log", "net_micros_per_event", "CPU µs / event"),
    "slices": ("slices", "log", "net_micros_per_event", "CPU µs / event"),
    "size": ("bytes of an event", "log", "net_micros_per_kilobyte", "CPU µs / KB"),
    "filters": ("filters more", "linear", "net_micros_per_event", "CPU µs / event"),
    "files": ("logs followed", "log", "net_micros_per_event", "CPU µs / event"),
    "workers": ("workers", "linear", "events_per_second", "events / s"),
}


def draw(results: Mapping[str, Mapping[str, Any]], directory: Path = FIGURES) -> list[Path]:
    """Draw what there are figures for; gives the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams |= {"svg.hashsalt": "tailrace", "svg.fonttype": "none"}
    mpl.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    directory.mkdir(exist_ok=True)
    made = []
    if "scaling" in results:
        made += _scaling(results["scaling"]["series"], directory)
    if "compare" in results:
        made += _compare([row for row in results["compare"]["rows"] if not row["failed"]], directory)
    return made


def _scaling(series: Mapping[str, list[dict[str, Any]]], directory: Path) -> list[Path]:
    """One panel for each series; where the line is level, an event costs the same however much there is."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 3, figsize=(10, 5.5), layout="constrained")
    for panel, (name, (x_name, scale, y_key, y_name)) in zip(panels.flat, PANELS.items(), strict=True):
        rows = series.get(name, [])
        places, values = [row["x"] for row in rows], [row[y_key] for row in rows]
        panel.plot(places, values, marker="o", color="tab:blue")
        panel.set_xscale(scale)
        panel.set_xticks(places, [_short(place) for place in places])
        panel.set_xticks([], minor=True)
        panel.set_xlabel(x_name)
        panel.set_ylabel(y_name)
        panel.set_ylim(0, 1.15 * max(values, default=1))
    return _save(figure, directory, "scaling")


def _compare(rows: list[dict[str, Any]], directory: Path) -> list[Path]:
    """A bar for each contender."""
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(8, 0.4 * len(rows) + 1), layout="constrained")
    names = [f"{row['name']} ({'plain' if row['packs'] == 'no' else row['packs']})" for row in rows]
    values = [row["cpu_seconds_per_million_events"] for row in rows]
    colours = ["tab:blue" if row["name"].startswith("tailrace") else "tab:gray" for row in rows]
    bars = panel.barh(names, values, color=colours)
    panel.bar_label(bars, fmt="%.1f", padding=3)
    panel.invert_yaxis()
    panel.set_xlabel("CPU seconds per million events, all processes")
    return _save(figure, directory, "compare")


def _short(number: int) -> str:
    """Write 20000 as 20k."""
    for unit, sign in ((1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:g}{sign}"
    return str(number)


def _save(figure: Any, directory: Path, name: str) -> list[Path]:
    """Write a figure in both formats, without the date, so that the same figures give the same file."""
    from matplotlib import pyplot

    paths = [directory / f"{name}.png", directory / f"{name}.svg"]
    figure.savefig(paths[0], dpi=120)
    figure.savefig(paths[1], metadata={"Date": None})
    pyplot.close(figure)
    return paths
