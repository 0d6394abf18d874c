"""The charts, as plotly figures whose colours are names that the page resolves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mixwright.report.looks import Look
from mixwright.report.words import label, percent

_WIDE_LABEL, _NARROW_LABEL = 26, 18
_FONT = {"size": 13, "color": "--ink"}
_SMALL = {"size": 12, "color": "--muted"}
_BASELINE = {"color": "--grey", "width": 1.5, "dash": "dash"}


@dataclass(frozen=True)
class Chart:
    """
    A plotly figure and the words that stand for it.

    Parameters
    ----------
    name : str
        The id of its element.
    words : str
        What a screen reader says instead of the picture.
    data, layout : list, dict
        The figure. Every colour is the name of a custom property, such as "--ink".
    narrow : dict
        What changes in `layout` on a narrow screen, by path: {"yaxis.ticktext": [...]}.
    """

    name: str
    words: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    narrow: dict[str, Any] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """The height in pixels."""
        return int(self.layout["height"])

    def to_json(self) -> dict[str, Any]:
        """Return what the page's script needs to draw it."""
        return {"name": self.name, "data": self.data, "layout": self.layout, "narrow": self.narrow}


def axis(**changes: Any) -> dict[str, Any]:
    """Return an axis that cannot be dragged, with what is changed in it."""
    shown = {"fixedrange": True, "zeroline": False, "gridcolor": "--rule", "linecolor": "--rule", "tickfont": _SMALL}
    return shown | changes


def layout(height: int, x: dict[str, Any], y: dict[str, Any], left: int = 0, top: int = 12) -> dict[str, Any]:
    """Return the layout of a chart of that height in pixels, with its axes and margins."""
    return {
        "height": height,
        "margin": {"l": left, "r": 14, "t": top, "b": 30},
        "xaxis": x,
        "yaxis": y,
        "font": dict(_FONT),
        "showlegend": False,
        "dragmode": False,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "--panel", "bordercolor": "--rule", "font": dict(_FONT), "namelength": -1},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "shapes": [],
        "annotations": [],
    }


def titled_layout(height: int, x: dict[str, Any], y: dict[str, Any], title: str, top: int = 12) -> dict[str, Any]:
    """Return the layout of a chart with numbers on both axes, and words below the horizontal one."""
    x = {"showgrid": False, "showline": True, "nticks": 6, **x}
    x["title"] = {"text": title, "font": dict(_SMALL), "standoff": 6}
    made = layout(height, axis(**x), y, 58, top)
    made["margin"]["b"] = 46
    return made


def name_axis(names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the axis of names (first on top), what changes on a narrow screen, and the left margin."""
    longest = max((min(len(name), _WIDE_LABEL) for name in names), default=8)
    left = min(max(longest * 7.6 + 18, 70), 205)
    shown = axis(
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=[label(name, _WIDE_LABEL) for name in names],
        range=[len(names) - 0.4, -0.6],
        tickfont=dict(_FONT),
        showgrid=True,
        ticks="",
    )
    narrow = [label(name, _NARROW_LABEL) for name in names]
    return shown, {"yaxis.ticktext": narrow, "margin.l": min(left, 126), "yaxis.tickfont.size": 11}, int(left)


def line_at(x: float) -> dict[str, Any]:
    """Return a dashed vertical line."""
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": dict(_BASELINE)}


def level_at(y: float) -> dict[str, Any]:
    """Return a dashed horizontal line."""
    return {"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": dict(_BASELINE)}


def note(x: float, text: str, **changes: Any) -> dict[str, Any]:
    """Return small words above the picture, or where `changes` put them."""
    font = {"size": 11, "color": "--muted"}
    place = {"x": x, "y": 1, "xref": "x", "yref": "paper", "yanchor": "bottom"}
    return {**place, "text": text, "showarrow": False, "font": font} | changes


def sides(higher: bool) -> list[dict[str, Any]]:
    """Return the words that say which side of a chart of differences is better."""
    left, right = ("← worse", "better →") if higher else ("← better", "worse →")
    return [note(0, left, xref="paper", xanchor="left"), note(1, right, xref="paper", xanchor="right")]


def padded(values: Sequence[float], left: float, right: float) -> list[float]:
    """Return the range of values, wider by shares of its width on both sides."""
    low, high = min(values), max(values)
    width = (high - low) or max(abs(high) * 0.02, 1e-3)
    return [low - left * width, high + right * width]


def marker(look: Look, size: int, edge: float = 2) -> dict[str, Any]:
    """Return how points look."""
    return {"symbol": look.symbol, "color": look.token, "size": size, "line": {"width": edge, "color": look.token}}


def points(name: str, x: Sequence[Any], y: Sequence[Any], hover: Sequence[str], **changes: Any) -> dict[str, Any]:
    """Return points with the words that are shown where a mouse rests on them."""
    trace = {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "name": label(name), "cliponaxis": False}
    return {**trace, "hoverinfo": "text", "hovertext": list(hover), **changes}


def bars(values: Sequence[float], intervals: Sequence[Sequence[float]], look: Look, thickness: float) -> dict[str, Any]:
    """Return the error bars of values from their intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(high - value, 0) for value, (_, high) in zip(values, intervals, strict=True)],
        "arrayminus": [max(value - low, 0) for value, (low, _) in zip(values, intervals, strict=True)],
        "color": look.token,
        "thickness": thickness,
        "width": 5,
    }


def weight_chart(
    name: str, sources: Sequence[str], order: Sequence[int], mixtures: Sequence[Mapping[str, Any]], uniform: float
) -> Chart:
    """
    Return the weights of some mixtures, one line per source, with intervals where there are any.

    `mixtures` are entries with name, look, weights and interval; `order` are the sources that are shown, first on top.
    """
    y, narrow, left = name_axis([sources[i] for i in order])
    step = min(0.22, 0.7 / max(len(mixtures), 1))
    data = [
        _weights(mixture, sources, order, (j - (len(mixtures) - 1) / 2) * step) for j, mixture in enumerate(mixtures)
    ]
    ends = [mixture["interval"][i][1] for mixture in mixtures if mixture["interval"] for i in order]
    top = max([uniform, *(mixture["weights"][i] for mixture in mixtures for i in order), *ends])
    x = axis(tickformat=".0%" if top > 0.08 else ".1%", nticks=6, range=[-0.02 * top, top * 1.06])
    made = layout(max(26, 16 + 11 * len(mixtures)) * len(order) + 74, x, y, left, 26)
    made["shapes"], made["annotations"] = [line_at(uniform)], [note(uniform, "uniform")]
    parts = []
    for mixture in mixtures:
        best = sorted(order, key=lambda i: -mixture["weights"][i])[:3]
        parts.append(f"{mixture['name']}: " + ", ".join(f"{sources[i]} {percent(mixture['weights'][i])}" for i in best))
    words = f"Dots with intervals: weights of {len(order)} of {len(sources)} sources. Largest: {'; '.join(parts)}."
    return Chart(name, words, data, made, narrow)


def _weights(mixture: Mapping[str, Any], sources: Sequence[str], order: Sequence[int], offset: float) -> dict[str, Any]:
    look, values, changes = mixture["look"], [mixture["weights"][i] for i in order], {}
    intervals = [mixture["interval"][i] for i in order] if mixture["interval"] else None
    said = [percent(value) for value in values]
    if intervals:
        changes["error_x"] = bars(values, intervals, look, 2)
        said = [f"{text} ({percent(a)} to {percent(b)})" for text, (a, b) in zip(said, intervals, strict=True)]
    hover = [
        f"{label(sources[i], 60)}<br>{label(mixture['name'], 40)}: {text}" for i, text in zip(order, said, strict=True)
    ]
    places = [i + offset for i in range(len(order))]
    return points(mixture["name"], values, places, hover, marker=marker(look, 10, 1.5), **changes)


@dataclass(frozen=True)
class Line:
    """What is known of something at some steps (or tokens): `values` with None where nothing is."""

    name: str
    look: Look
    steps: Sequence[float]
    values: Sequence[float | None]


def lines_chart(
    name: str,
    words: str,
    lines: Sequence[Line],
    say: Callable[[float | None], str],
    *,
    axis_title: str = "step",
    held: bool = False,
    zero: bool = False,
    whole: bool = False,
    log: bool = False,
) -> Chart:
    """
    Return a chart of lines over the steps.

    Parameters
    ----------
    name, words
        The id, and what the chart shows.
    lines
        One per source or mixture.
    say
        How a value is written.
    axis_title
        What the lines are over.
    held
        Whether a value holds until the next step that is given (weights), or is a point of a curve.
    zero
        Whether the axis begins at 0; else it leaves out the steep beginning,
    whole
        unless all values are to be seen.
    log
        Whether the axis of steps is logarithmic; points at 0 are left out.
    """
    if log:
        lines = [_above_0(line) for line in lines]
    data = [_line(line, say, axis_title, held) for line in lines]
    last = max((line.steps[-1] for line in lines if line.steps), default=1)
    late = [
        v for line in lines for at, v in zip(line.steps, line.values, strict=True)
        if v is not None and (zero or whole or at >= 0.3 * line.steps[-1])
    ] or [0.0]  # fmt: skip
    low, high = padded([*late, 0.0] if zero else late, 0.06, 0.08)
    y = axis(nticks=6, range=[0.0 if zero and min(late) >= 0 else low, high])
    if say is percent:
        y["tickformat"] = ".0%"
    x: dict[str, Any] = {"tickformat": "~s", "range": [0, 1.02 * last]}
    if log:
        first = min((line.steps[0] for line in lines if line.steps), default=1)
        x = {"type": "log", "tickformat": "~g", "dtick": "D1" if last < 30 * first else 1}
        x["range"] = [math.log10(first) - 0.05, math.log10(last) + 0.05]
    ends = "; ".join(f"{line.name} {_ends(line, say)}" for line in lines)
    made = titled_layout(340, x, y, axis_title)
    return Chart(name, f"Lines: {words}, by {axis_title}. {ends}.", data, made, {"height": 290})


def _above_0(line: Line) -> Line:
    kept = [i for i, at in enumerate(line.steps) if at > 0]
    return replace(line, steps=[line.steps[i] for i in kept], values=[line.values[i] for i in kept])


def _ends(line: Line, say: Callable[[float | None], str]) -> str:
    known = [v for v in line.values if v is not None]
    return f"from {say(known[0])} to {say(known[-1])}" if known else "unknown"


def _line(line: Line, say: Callable[[float | None], str], axis_title: str, held: bool) -> dict[str, Any]:
    shown = [None if v is None else float(f"{v:.6g}") for v in line.values]
    hover = [
        f"{label(line.name, 60)}: {'unknown' if v is None else say(v)}<br>{axis_title} {_at(at)}"
        for at, v in zip(line.steps, line.values, strict=True)
    ]
    style = {"color": line.look.token, "dash": line.look.dash, "width": 2, "shape": "hv" if held else "linear"}
    dots = {**marker(line.look, 8, 1.5), "maxdisplayed": 10}
    return points(line.name, line.steps, shown, hover, mode="lines+markers", line=style, marker=dots, cliponaxis=True)


def _at(step: float) -> str:
    return f"{step:,.0f}" if step >= 10 or step == round(step) else f"{step:.2g}"
