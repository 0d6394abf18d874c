"""Rules for the shrinkage, from losses out of fold [grid, rows]: shares of the grid's weights that sum to 1."""

import numpy as np

from mixwright.search.resampling.resample import GRID, effective_rows, improvement_interval, paired_error
from mixwright.search.resampling.resample import choose as chosen_now

RANK = np.arange(len(GRID))


def only(position):
    """Return the shares of a single shrinkage."""
    return (position == RANK).astype(float)


def nats(losses, document):
    """Return what each shrinkage gives away to the best, in nats of all effective rows."""
    weight = np.full(losses.shape[1], 1 / losses.shape[1])
    mean = losses.mean(1)
    best = mean.argmin()
    rows = [effective_rows(x - losses[best], weight, document) for x in losses]
    return np.array(rows) * (mean - mean[best])


def former(losses, document):
    """Take the largest shrinkage within 3 nats of the best, fewer beyond 50 rows: the rule before."""
    lost, n = nats(losses, document), losses.shape[1]
    weight, mean = np.full(n, 1 / n), losses.mean(1)
    best = mean.argmin()
    for position in range(len(GRID) - 1, best, -1):
        m = effective_rows(losses[position] - losses[best], weight, document)
        if lost[position] <= 3 * min(1.0, 50 / m) ** 1.25:
            return only(position)
    return only(best)


def now(losses, document):
    """Take what the library takes."""
    return only(chosen_now(losses, np.full(losses.shape[1], 1 / losses.shape[1]), document))


def average(strength, pull=0.0, last=1.0):
    """Average by exp(-strength * nats + pull * rank), the strongest shrinkage `last` times."""

    def rule(losses, document):
        lost = nats(losses, document)
        a = np.exp(-strength * (lost - lost.min()) + pull * (RANK - RANK[-1])) * np.where(RANK[-1] == RANK, last, 1.0)
        return a / a.sum()

    return rule


def middle(strength, pull, quantile=0.5):
    """Take the median of the shares of `average`."""
    shares = average(strength, pull)
    return lambda losses, document: only(np.searchsorted(np.cumsum(shares(losses, document)), quantile))


def centre(strength, pull):
    """Take the shrinkage of the mean rank under the shares of `average`."""
    shares = average(strength, pull)
    return lambda losses, document: only(round(float(shares(losses, document) @ RANK)))


def fading(strength, pull, fall):
    """Take the shrinkage of the mean rank, with a pull that falls as (50 / effective rows)^fall."""

    def rule(losses, document):
        weight = np.full(losses.shape[1], 1 / losses.shape[1])
        m = effective_rows(losses[-1] - losses[0], weight, document)
        return centre(strength, pull * min(1.0, 50 / m) ** fall)(losses, document)

    return rule


def stacked(pseudo):
    """Mix the grid's weights as a search over them would, with `pseudo` rows at the strongest shrinkage."""

    def rule(losses, document):
        a = np.full(len(GRID), 1 / len(GRID))
        P = np.exp(-(np.minimum(losses, losses.min(0) + 50) - losses.min(0))).T
        for _ in range(300):
            a = a * ((1 / (P @ a)) @ P) + pseudo * only(RANK[-1])
            a /= a.sum()
        return a

    return rule


CANDIDATES = {
    "largest within 3 nats (before)": former,
    "best": lambda losses, document: only(losses.mean(1).argmin()),
    "average 1/4": average(0.25),
    "average 1/2": average(0.5),
    "average 1": average(1.0),
    "average 1/2, prior 3": average(0.5, last=36),
    "average 1, prior 3": average(1.0, last=36),
    "average 1, prior 30": average(1.0, last=360),
    "stacked": stacked(1e-3),
    "stacked, prior 1": stacked(1.0),
    "stacked, prior 3": stacked(3.0),
}
for s, p in ((0.7, 0.5), (1.0, 0.6), (1.0, 0.8), (1.5, 0.8), (1.5, 1.0)):
    CANDIDATES[f"average {s}, pull {p}"] = average(s, p)
for s in (0.35, 0.5, 0.7, 1.0):
    for p in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6):
        CANDIDATES[f"median {s}, pull {p}"] = middle(s, p)
for s, p in ((0.5, 0.3), (0.5, 0.4), (0.7, 0.4), (0.7, 0.5), (1.0, 0.5), (1.0, 0.6)):
    CANDIDATES[f"mean {s}, pull {p}"] = centre(s, p)
for s, p, f in ((0.5, 0.4, 0.3), (0.5, 0.4, 0.6), (0.5, 0.4, 1.25), (0.7, 0.5, 0.6), (0.7, 0.5, 1.0), (1.0, 0.5, 1.0)):
    CANDIDATES[f"mean {s}, pull {p}, falling {f}"] = fading(s, p, f)
SHOWN = (
    "largest within 3 nats (before)",
    "best",
    "average 1/2",
    "average 1/2, prior 3",
    "average 1, prior 30",
    "stacked, prior 1",
    "median 0.5, pull 0.3",
    "mean 0.5, pull 0.4",
    "mean 1.0, pull 0.5",
)


def mixed(losses, shares):
    """Return the losses [rows] of the weights averaged by shares [grid]."""
    used = shares > 0
    return -np.log(np.maximum(np.exp(-losses[used].T) @ shares[used], 1e-300))


def excesses(found, rules):
    """Return {rule: excess loss on the fresh rows}, with uniform, exact, and the best shrinkage of the grid."""
    out = {}
    fresh = found["fresh"].astype(float)
    for name, rule in rules.items():
        out[name] = mixed(fresh, rule(found["out"].astype(float), found["document"])).mean()
    out["uniform"], out["exact"] = found["uniform_fresh"].mean(), fresh[0].mean()
    out["best of the grid"] = fresh.mean(1).min()
    return {name: float(x - found["best"]) for name, x in out.items()}


def interval(found, rule, middle):
    """
    Return (estimate, low, high, truth) of the improvement over uniform.

    As the library has it (`middle`), or with the nested estimate in the centre, as it had it before.
    """
    out, without, fold, document = (found[x] for x in ("out", "without", "fold", "document"))
    n, there = out.shape[1], found["uniform"]
    weight, a = np.full(n, 1 / n), rule(out.astype(float), document)
    own, nested = mixed(out, a), np.empty(n)
    for left, losses in enumerate(without):
        keep = fold != left
        chosen = rule(losses[:, keep].astype(float), document[keep])
        nested[~keep] = mixed(out[:, ~keep], chosen)
    errors = [paired_error(there - x, weight, document) for x in (nested, own)]
    optimism = max(0.0, float(weight @ (there - mixed(found["inside"], a))) - errors[1][0])
    spread = float(np.sqrt(optimism / (2 * effective_rows(there - nested, weight, document))))
    estimate, low, high = improvement_interval(*errors, spread, 0.9)
    if not middle:
        low, high, estimate = (x + errors[0][0] - estimate for x in (low, high, estimate))
    return estimate, low, high, found["uniform_fresh"].mean() - mixed(found["fresh"], a).mean()
