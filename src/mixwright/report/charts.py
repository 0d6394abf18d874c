"""The charts, as plotly figures whose colours are names that the page resolves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixwright.report.looks import Look
from mixwright.report.search.measure import LOSS, Measure
from mixwright.report.words import label, number, percent, signed, span

_WIDE_LABEL, _NARROW_LABEL = 26, 18
_FONT = {"size": 13, "color": "--ink"}


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


@dataclass(frozen=True)
class Row:
    """One line of a chart of dots: a mixture with a value and, where there is one, its interval."""

    name: str
    look: Look
    value: float
    low: float | None = None
    high: float | None = None


def _axis(**changes: Any) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "fixedrange": True,
        "zeroline": False,
        "gridcolor": "--rule",
        "linecolor": "--rule",
        "tickfont": {"size": 12, "color": "--muted"},
    }
    return axis | changes


def _layout(height: int, x: dict[str, Any], y: dict[str, Any], left: int = 0, top: int = 12) -> dict[str, Any]:
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


def _name_axis(names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the axis of names (first on top), what changes on a narrow screen, and the left margin."""
    wide = [label(name, _WIDE_LABEL) for name in names]
    narrow = [label(name, _NARROW_LABEL) for name in names]
    longest = max((min(len(name), _WIDE_LABEL) for name in names), default=8)
    left = min(max(longest * 7.6 + 18, 70), 205)
    axis = _axis(
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=wide,
        range=[len(names) - 0.4, -0.6],
        tickfont={"size": 13, "color": "--ink"},
        showgrid=True,
        ticks="",
    )
    changes = {"yaxis.ticktext": narrow, "margin.l": min(left, 126), "yaxis.tickfont.size": 11}
    return axis, changes, int(left)


def _line_at(x: float) -> dict[str, Any]:
    line = {"color": "--grey", "width": 1.5, "dash": "dash"}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def _note(x: float, text: str, **changes: Any) -> dict[str, Any]:
    note = {
        "x": x,
        "y": 1,
        "xref": "x",
        "yref": "paper",
        "yanchor": "bottom",
        "text": text,
        "showarrow": False,
        "font": {"size": 11, "color": "--muted"},
    }
    return note | changes


def _padded(values: Sequence[float], left: float, right: float) -> list[float]:
    low, high = min(values), max(values)
    width = (high - low) or max(abs(high) * 0.02, 1e-3)
    return [low - left * width, high + right * width]


def _dot(row: Row, y: float, text: str, hover: str, place: str) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [row.value],
        "y": [y],
        "text": [text],
        "textposition": place,
        "textfont": {"size": 12, "color": "--ink"},
        "hoverinfo": "text",
        "hovertext": [hover],
        "cliponaxis": False,
        "name": label(row.name),
        "marker": {"symbol": row.look.symbol, "color": row.look.token, "size": 12, "line": {"width": 2}},
    }
    trace["marker"]["line"]["color"] = row.look.token
    if row.low is not None and row.high is not None:
        trace["error_x"] = _bars([row.value], [(row.low, row.high)], row.look, 2.5)
    return trace


def _bars(
    values: Sequence[float], intervals: Sequence[Sequence[float]], look: Look, thickness: float
) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(high - value, 0) for value, (_, high) in zip(values, intervals, strict=True)],
        "arrayminus": [max(value - low, 0) for value, (low, _) in zip(values, intervals, strict=True)],
        "color": look.token,
        "thickness": thickness,
        "width": 5,
    }


def loss_chart(name: str, target: str, rows: Sequence[Row], baseline: Row | None, measure: Measure = LOSS) -> Chart:
    """Return the held-out loss (or another measure) of each mixture on one target as dots with their numbers."""
    y, narrow, left = _name_axis([row.name for row in rows])
    x = _axis(nticks=5, tickangle=0)
    x["range"] = _padded([row.value for row in rows], 0.12, 0.42)
    layout = _layout(46 * len(rows) + 70, x, y, left, 26)
    if baseline is not None:
        layout["shapes"], layout["annotations"] = [_line_at(baseline.value)], [_note(baseline.value, "uniform")]
    data = [
        _dot(row, i, number(row.value), f"{label(row.name, 60)}: {number(row.value)} {measure.unit}", "middle right")
        for i, row in enumerate(rows)
    ]
    for trace in data:
        trace["text"] = [f"  {trace['text'][0]}"]
    heard = "; ".join(f"{row.name} {number(row.value)}" for row in rows)
    unit, side = f" in {measure.unit}" if measure.unit else "", "higher" if measure.higher else "lower"
    words = f"Dots: {measure.name} on {target}{unit}, {side} is better. {heard}."
    return Chart(name, words, data, layout, narrow)


def difference_chart(
    name: str, target: str, over: str, rows: Sequence[Row], level: float, measure: Measure = LOSS
) -> Chart:
    """Return each mixture's difference from the baseline on one target, with its interval."""
    y, narrow, left = _name_axis([row.name for row in rows])
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None] + [0.0]
    x = _axis(nticks=5, tickangle=0)
    x["range"] = _padded(ends, 0.14, 0.14)
    layout = _layout(46 * len(rows) + 70, x, y, left, 26)
    layout["shapes"] = [_line_at(0.0)]
    layout["annotations"] = [
        _note(0, "← worse" if measure.higher else "← better", xref="paper", xanchor="left"),
        _note(1, "better →" if measure.higher else "worse →", xref="paper", xanchor="right"),
    ]
    data = []
    for i, row in enumerate(rows):
        hover = f"{label(row.name, 60)}: {signed(row.value)}<br>{percent(level, 0)} interval {span(row.low, row.high)}"
        shown = "" if row.name == over else signed(row.value)
        data.append(_dot(row, i, shown, hover, "top center"))
    others = [row for row in rows if row.name != over]
    heard = "; ".join(f"{row.name} {signed(row.value)} ({span(row.low, row.high)})" for row in others)
    words = (
        f"Dots with {percent(level, 0)} intervals: {measure.name} on {target} minus that of {over}"
        f"{measure.in_unit}; {'above' if measure.higher else 'below'} zero is better. {heard}."
    )
    return Chart(name, words, data, layout, narrow)


def weight_chart(
    name: str, sources: Sequence[str], order: Sequence[int], mixtures: Sequence[Mapping[str, Any]], uniform: float
) -> Chart:
    """
    Return the weights of some mixtures, one line per source, with bootstrap intervals where there are any.

    `mixtures` are entries with name, look, weights and interval; `order` are the sources that are shown, first on top.
    """
    shown = [sources[i] for i in order]
    y, narrow, left = _name_axis(shown)
    step = min(0.22, 0.7 / max(len(mixtures), 1))
    data, top = [], uniform
    for j, mixture in enumerate(mixtures):
        values = [mixture["weights"][i] for i in order]
        trace = _weight_trace(mixture, values, order, shown, (j - (len(mixtures) - 1) / 2) * step)
        highs = [pair[1] for pair in mixture["interval"]] if mixture["interval"] else []
        top = max(top, *values, *([highs[i] for i in order] if highs else []))
        data.append(trace)
    x = _axis(tickformat=".0%" if top > 0.08 else ".1%", nticks=6)
    x["range"] = [-0.02 * top, top * 1.06]
    layout = _layout(max(26, 16 + 11 * len(mixtures)) * len(order) + 74, x, y, left, 26)
    layout["shapes"], layout["annotations"] = [_line_at(uniform)], [_note(uniform, "uniform")]
    parts = []
    for mixture in mixtures:
        best = sorted(order, key=lambda i: -mixture["weights"][i])[:3]
        parts.append(f"{mixture['name']}: " + ", ".join(f"{sources[i]} {percent(mixture['weights'][i])}" for i in best))
    words = f"Dots with intervals: weights of {len(order)} of {len(sources)} sources. Largest: {'; '.join(parts)}."
    return Chart(name, words, data, layout, narrow)


def _weight_trace(
    mixture: Mapping[str, Any], values: list[float], order: Sequence[int], shown: Sequence[str], offset: float
) -> dict[str, Any]:
    look: Look = mixture["look"]
    hover = [
        f"{label(source, 60)}<br>{label(mixture['name'], 40)}: {percent(v)}"
        for source, v in zip(shown, values, strict=True)
    ]
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": [i + offset for i in range(len(order))],
        "hoverinfo": "text",
        "cliponaxis": False,
        "name": label(mixture["name"]),
        "marker": {
            "symbol": look.symbol,
            "color": look.token,
            "size": 10,
            "line": {"width": 1.5, "color": look.token},
        },
    }
    if mixture["interval"]:
        intervals = [mixture["interval"][i] for i in order]
        trace["error_x"] = _bars(values, intervals, look, 2)
        hover = [
            f"{text} ({percent(low)} to {percent(high)})" for text, (low, high) in zip(hover, intervals, strict=True)
        ]
    trace["hovertext"] = hover
    return trace


def curve_chart(name: str, target: str, lines: Sequence[tuple[str, Look, list[float], list[float]]]) -> Chart:
    """Return the held-out loss on one target during training; a line is (mixture, look, tokens, losses)."""
    data = []
    for mixture, look, tokens, losses in lines:
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": tokens,
                "y": losses,
                "name": label(mixture),
                "hoverinfo": "text",
                "hovertext": [f"{label(mixture, 60)}: {number(loss)}" for loss in losses],
                "line": {"color": look.token, "dash": look.dash, "width": 2},
                "marker": {
                    "symbol": look.symbol,
                    "color": look.token,
                    "size": 8,
                    "maxdisplayed": 10,
                    "line": {"width": 1.5, "color": look.token},
                },
            }
        )
    late = [v for _, _, at, losses in lines for t, v in zip(at, losses, strict=True) if t >= 0.3 * max(at)]
    bottom, top = _padded(late, 0.06, 0.06)
    y = _axis(nticks=6, range=[bottom, top])
    x = _axis(tickformat="~s", nticks=6, showgrid=False, showline=True)
    ends = "; ".join(f"{m} from {number(losses[0])} to {number(losses[-1])}" for m, _, _, losses in lines)
    words = f"Lines: held-out loss on {target} while training, nats per token, lower is better. {ends}."
    return Chart(name, words, data, _layout(340, x, y, 52), {"height": 280})
