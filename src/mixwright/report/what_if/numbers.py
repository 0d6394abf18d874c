"""The numbers of the what-if part of a page: a sample of the evidence, marks, limits and curves, as one JSON object."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.polytope import Polytope
from mixwright.errors import InputError
from mixwright.report.words import finite
from mixwright.version import __version__

Array = NDArray[np.float64]
SCHEMA = 1
MOST_ROWS = 2_000  # of a target
MOST_BYTES = 2_400_000  # of log-likelihoods in float32, all targets together: 2,000 rows x 300 sources
LEAST_ROWS = 50  # of a target, where it has that many
_GROUPED = 8  # fewer sources than this need no groups
_ENDS = "/_:"  # what ends the prefix that names a group


@dataclass(frozen=True, eq=False)
class Mark:
    """
    Weights [k] to compare with; interval [k, 2] at `level`.

    kind: search, measured (the best run of a table), uniform, natural, best_single or given.
    """

    name: str
    kind: str
    weights: Array
    interval: Array | None = None
    level: float | None = None


@dataclass(frozen=True, eq=False)
class PageRows:
    """
    Rows of a target's table: f(w) = -sum_i c_i log sum_k w_k p_k(i) / sum_i c_i, nats per row.

    - log_likelihood: [n, k], natural logs, -inf allowed but not for all sources of a row; weights: c [n], positive.
    - of: how many rows with weight the table has; n of them, drawn at random without replacement, are here.
    - losses: of each mark, on all rows of the table; None where a row is impossible.
    - optimum: the position of the mark that a search found for this target; None where there is none.
    """

    target: str
    unit: str
    log_likelihood: Array
    weights: Array
    of: int
    losses: Sequence[float | None]
    optimum: int | None = None


@dataclass(frozen=True, eq=False)
class PageMoments:
    """A target under squared error: f(w) = w' M w, exact; `matrix` is M [k, k], the rest as in PageRows."""

    target: str
    unit: str
    matrix: Array
    of: int
    losses: Sequence[float | None]
    optimum: int | None = None


@dataclass(frozen=True, eq=False)
class PageLaw:
    """
    A target whose loss a law predicts.

    of: how many mixtures were fitted. losses, intervals: of each mark, at one level. optimum: the proposal's mark.
    """

    target: str
    of: int
    losses: Sequence[float]
    intervals: Sequence[tuple[float, float]]
    unit: str = ""
    optimum: int | None = 0


@dataclass(frozen=True, eq=False)
class Curve:
    """The Pareto curve of two targets (positions in the list of targets): losses [p, 2], weights [p, k]."""

    pair: tuple[int, int]
    losses: Array
    weights: Array


def draw_rows(weights: Array, most: int, seed: int) -> NDArray[np.int64]:
    """Return the positions, rising, of at most `most` rows with a positive weight, drawn without replacement."""
    counted = np.flatnonzero(np.asarray(weights) > 0)
    if counted.size <= most:
        return counted
    return np.sort(np.random.default_rng([seed, 5]).choice(counted, most, replace=False))


def rows_each(counts: Sequence[int], k: int, most_rows: int = MOST_ROWS, most_bytes: int = MOST_BYTES) -> list[int]:
    """
    Return how many rows of each target fit the bounds.

    What a small target leaves goes to the others. Targets for which fewer than `LEAST_ROWS` would be left get none.
    """
    left = max(most_bytes // (4 * k), min(LEAST_ROWS, max(counts)))
    fit = min(len(counts), max(1, left // LEAST_ROWS))
    shares = [0] * len(counts)
    for done, i in enumerate(sorted(range(fit), key=lambda i: counts[i])):
        shares[i] = min(counts[i], most_rows, left // (fit - done))
        left -= shares[i]
    return shares


def make_what_if(
    sources: Sequence[str],
    targets: Sequence[PageRows | PageMoments | PageLaw],
    marks: Sequence[Mark],
    *,
    space: Polytope | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    curves: Sequence[Curve] = (),
    seed: int = 0,
    left_out: Sequence[str] = (),
    **laws: Any,
) -> dict[str, Any]:
    """
    Return what the page needs to predict the loss of any weights, JSON-able.

    Parameters
    ----------
    sources
        k names.
    targets
        The evidence about each target; log-likelihoods are kept as float32 of what is left of a row's maximum, the
        maximum in float64.
    marks
        Weights that are marked on the sliders and can be set.
    space
        The weights that are allowed; everything where it is None.
    groups
        {group: names}; where there are none, sources are grouped by the beginning of their names.
    curves
        Pareto curves, of pairs of `targets`.
    seed
        That the rows were drawn with.
    left_out
        Names of targets for which there was no room.
    **laws
        Of targets that laws predict: `data` (packed), the `level` of intervals, and the `unit` of the weights.
    """
    by = "constraints" if groups else "prefix"
    grouped = groups or groups_by_prefix(sources)
    index = {name: i for i, name in enumerate(sources)}
    return {
        "schema": SCHEMA,
        "version": __version__,
        "sources": list(sources),
        "grouped": by if grouped else None,
        "groups": [{"name": name, "sources": [index[s] for s in members]} for name, members in grouped.items()],
        **_limits(space, len(sources)),
        "marks": [_mark(mark) for mark in marks],
        "targets": [_target(target, marks) for target in targets],
        "curves": [_curve(curve) for curve in curves],
        "seed": seed,
        "left_out": list(left_out),
        **(laws or {"data": _packed([t for t in targets if isinstance(t, PageRows | PageMoments)])}),
    }


def groups_by_prefix(sources: Sequence[str]) -> dict[str, list[str]]:
    """Return {prefix: names}: up to the first / _ or :; none where that makes no groups of any use."""
    found: dict[str, list[str]] = {}
    for name in sources:
        end = min((at for mark in _ENDS if (at := name.find(mark)) > 0), default=len(name))
        found.setdefault(name[:end], []).append(name)
    useful = len(sources) >= _GROUPED and len(found) <= len(sources) / 2
    return found if useful and sum(len(names) > 1 for names in found.values()) > 1 else {}


def _mark(mark: Mark) -> dict[str, Any]:
    interval = None if mark.interval is None else np.round(mark.interval, 6).tolist()
    weights = np.asarray(mark.weights, np.float64).tolist()
    return {"name": mark.name, "kind": mark.kind, "weights": weights, "interval": interval, "level": mark.level}


def _limits(space: Polytope | None, k: int) -> dict[str, Any]:
    """Return bounds [k], and what else limits the weights: sum of value * weight <= limit, and the distance."""
    if space is None:
        return {"lower": [0.0] * k, "upper": [1.0] * k, "limits": [], "distance": None}
    limits = []
    for j, (row, limit) in enumerate(zip(space.rows, space.limits, strict=True)):
        label = space.labels[j] if space.labels else f"limit {j + 1}"
        used = np.flatnonzero(row)
        limits.append(
            {"label": label, "index": used.tolist(), "value": row[used].tolist(), "limit": float(limit)},
        )
    distance = None
    if space.centre is not None:
        distance = {"centre": space.centre.tolist(), "radius": float(space.radius)}
    return {
        "lower": np.maximum(space.lower, 0.0).tolist(),
        "upper": np.minimum(space.upper, 1.0).tolist(),
        "limits": limits,
        "distance": distance,
    }


def _target(target: PageRows | PageMoments | PageLaw, marks: Sequence[Mark]) -> dict[str, Any]:
    n, more, losses = target.of, {}, [None if loss is None else float(loss) for loss in target.losses]
    if isinstance(target, PageRows | PageMoments):
        kind = "rows" if isinstance(target, PageRows) else "squared"
        n = len(target.weights) if isinstance(target, PageRows) else target.of
        shown = [_on_sample(target, mark.weights) for mark in marks]
    else:
        kind, more = "law", {"intervals": [list(pair) for pair in target.intervals]}
        shown = [(loss, 0.0) for loss in target.losses]
    return {
        "name": target.target,
        "unit": target.unit,
        "kind": kind,
        "rows": n,
        "of": target.of,
        "optimum": target.optimum,
        "losses": losses,
        "shown": [None if loss is None or not np.isfinite(loss) else loss for loss, _ in shown],
        "errors": [None if not np.isfinite(error) else error for _, error in shown],
        **more,
    }


def _on_sample(target: PageRows | PageMoments, w: Array) -> tuple[float, float]:
    """Return the loss of weights on the rows of the page, and its standard error as an estimate of that of all."""
    if isinstance(target, PageMoments):
        return float(w @ target.matrix @ w), 0.0
    offset, logs = split_rows(target.log_likelihood)
    return rows_loss(offset + logs.astype(np.float64), target.weights, w, target.of)


def rows_loss(log_likelihood: Array, weights: Array, w: Array, of: int) -> tuple[float, float]:
    """
    Return f(w) on n rows and its standard error as an estimate of f(w) on the `of` rows that they were drawn from.

    The error belongs to a ratio of means under drawing without replacement: 0 where all rows are here.
    """
    used = np.flatnonzero(w)
    rows = -np.logaddexp.reduce(log_likelihood[:, used] + np.log(w[used]), axis=1)
    n, total = len(rows), weights.sum()
    loss = float(weights @ rows / total)
    if n >= of or not np.isfinite(loss):
        return loss, 0.0 if n >= of else np.inf
    residual = weights * (rows - loss) * n / total
    return loss, float(np.sqrt((1 - n / of) * (residual @ residual) / (n * max(n - 1, 1))))


def split_rows(log_likelihood: Array) -> tuple[Array, NDArray[np.float32]]:
    """Return the maximum of each row [n, 1] in float64, and what is left of it [n, k] in float32."""
    top = log_likelihood.max(1, keepdims=True)
    return top, (log_likelihood - top).astype(np.float32)


def _curve(curve: Curve) -> dict[str, Any]:
    points = []
    for losses, weights in zip(curve.losses, curve.weights, strict=True):
        used = np.flatnonzero(weights > 5e-7)
        pairs = [[int(i), round(float(weights[i]), 6)] for i in used]
        points.append({"losses": np.asarray(losses, np.float64).tolist(), "weights": pairs})
    return {"pair": list(curve.pair), "points": points}


def _packed(targets: Sequence[PageRows | PageMoments]) -> str:
    """
    Return the arrays, compressed, in base64.

    First float64, little-endian: for each target its row weights [n] and row maxima [n], or the matrix [k, k]. Then for
    each target with rows the float32 [k, n], all first bytes before all second ones and so on: it compresses better.
    """
    doubles, floats = [], []
    for target in targets:
        if isinstance(target, PageMoments):
            doubles.append(np.ascontiguousarray(target.matrix, "<f8").tobytes())
            continue
        top, logs = split_rows(np.asarray(target.log_likelihood, np.float64))
        doubles += [np.asarray(target.weights, "<f8").tobytes(), top.ravel().astype("<f8").tobytes()]
        columns = np.ascontiguousarray(logs.T.astype("<f4"))
        floats.append(np.ascontiguousarray(columns.view(np.uint8).reshape(-1, 4).T).tobytes())
    return _zipped(b"".join(doubles + floats))


def packed_json(value: Any) -> str:
    """Return JSON, compressed, in base64: numbers come back as they are."""
    return _zipped(json.dumps(value, allow_nan=False, separators=(",", ":")).encode())


def _zipped(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def unpack(what_if: Mapping[str, Any]) -> list[tuple[Array, Array] | Array]:
    """
    Return the arrays of a what-if object, one entry per target.

    For rows: (log-likelihoods [n, k], row weights [n]), as the page computes with them; for moments: the matrix [k, k].
    """
    data = gzip.decompress(base64.b64decode(what_if["data"]))
    k, at, out = len(what_if["sources"]), 0, []
    doubles: list[Any] = []
    for target in what_if["targets"]:
        n = target["rows"]
        shape = (2, n) if target["kind"] == "rows" else (k, k)
        doubles.append(np.frombuffer(data, "<f8", shape[0] * shape[1], at).reshape(shape))
        at += doubles[-1].nbytes
    for target, values in zip(what_if["targets"], doubles, strict=True):
        if target["kind"] != "rows":
            out.append(values)
            continue
        n = target["rows"]
        planes = np.frombuffer(data, np.uint8, 4 * k * n, at).reshape(4, -1)
        logs = np.ascontiguousarray(planes.T).view("<f4").reshape(k, n).T
        out.append((logs.astype(np.float64) + values[1][:, None], values[0]))
        at += 4 * k * n
    return out


def check_what_if(what_if: Any) -> None:
    """Raise InputError where a what-if object, read from a file, cannot be shown."""
    if not isinstance(what_if, Mapping) or not isinstance(what_if.get("schema"), int):
        raise InputError("what-if: there should be an object with a schema; run the search again to rewrite it")
    if what_if["schema"] > SCHEMA:
        raise InputError(
            f"what-if: schema should be at most {SCHEMA}, found {what_if['schema']}: a newer mixwright wrote it; "
            "install that version (pip install --upgrade mixwright) to make its page"
        )
    kinds: dict[str, type] = dict.fromkeys(("sources", "groups", "lower", "upper", "limits"), list)
    kinds |= {
        "version": str,
        "marks": list,
        "targets": list,
        "curves": list,
        "seed": int,
        "left_out": list,
        "data": str,
    }
    for name, kind in kinds.items():
        if not isinstance(what_if.get(name), kind):
            raise InputError(
                f"what-if: {name} should be a {kind.__name__}, found {what_if.get(name)!r:.60}; run the search again"
            )
    k = len(what_if["sources"])
    vectors = [("lower", what_if["lower"]), ("upper", what_if["upper"])]
    vectors += [(f"marks[{j}].weights", mark["weights"]) for j, mark in enumerate(what_if["marks"])]
    for name, values in vectors:
        if not isinstance(values, list) or len(values) != k or not all(map(finite, values)):
            raise InputError(f"what-if: {name} should be {k} numbers, one per source; run the search again")
    for j, target in enumerate(what_if["targets"]):
        if len(target["losses"]) != len(what_if["marks"]):
            raise InputError(f"what-if: targets[{j}].losses should be one per mark; run the search again")
