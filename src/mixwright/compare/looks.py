"""
Looks at a comparison while seeds are added, with the chance of a false verdict kept over all of them.

After n of at most N seeds, error * (n / N)^2 of the chance of a false "better" may be spent. This lies between the rule
of Pocock, which stops earliest and leaves little for the end, and that of O'Brien and Fleming, which hardly stops
before half of the seeds (Lan and DeMets, 1983; the power family of Kim and DeMets, 1987). Each level follows from
the joint normal distribution of means over growing numbers of seeds (Armitage, McPherson and Rowe, 1969). Judged by
Student's distributions at that level, few seeds reject a little too often: SLACK of the chance stays unspent, and
simulations (benchmarks/power.py) find at most 5 %.

Each look has its own interval, and all of them hold together (repeated confidence intervals, Jennison and Turnbull,
1989). So the verdict and the interval of the last look are right whatever made it the last one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mixwright.compare.spread import Array, special
from mixwright.errors import InputError

SLACK = 0.1
MOST_LOOKS = 50  # each takes time to compute, and more tell hardly more
_GRID = 601  # points of the density between looks
_FAR = 8.0  # standard deviations to which it is followed


@dataclass(frozen=True)
class Looks:
    """
    When a comparison is looked at: after `at_least` seeds, after each further `step`, and after `at_most`.

    Parameters
    ----------
    at_least, at_most
        Seeds of the first look and of the last one; at least 2.
    step
        Seeds between two looks.
    margin
        A share of the baseline's value: an arm whose difference is shown to be smaller needs no further look.
    """

    at_least: int
    at_most: int
    step: int = 1
    margin: float | None = None

    def __post_init__(self) -> None:
        """Check that there is a first look, a last one and a way between them."""
        if not 2 <= self.at_least <= self.at_most:
            raise InputError(
                f"at_least should be at least 2 and at most at_most ({self.at_most}), found {self.at_least}"
            )
        if self.step < 1:
            raise InputError(f"step should be at least 1, found {self.step}")
        check_number(self.at_least, self.at_most, self.step)
        if self.margin is not None and not self.margin > 0:
            raise InputError(f"margin should be above 0, found {self.margin}")

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return how many seeds each look has."""
        return (*range(self.at_least, self.at_most, self.step), self.at_most)

    def tail(self, seeds: int, error: float) -> float:
        """
        Return the level at which the look at `seeds` seeds judges.

        Parameters
        ----------
        seeds
            One of `numbers`.
        error
            The chance over all looks.

        Raises
        ------
        InputError
            If there is no such look.
        """
        if seeds not in self.numbers:
            raise InputError(f"a look should have one of {', '.join(map(str, self.numbers))} seeds, found {seeds}")
        return _levels(self.numbers, error)[self.numbers.index(seeds)]


def check_number(at_least: int, at_most: int, step: int) -> None:
    """Raise InputError if there are more than 50 looks."""
    if (number := len(range(at_least, at_most, step)) + 1) > MOST_LOOKS:
        least = -(-(at_most - at_least) // (MOST_LOOKS - 1))
        raise InputError(
            f"there should be at most {MOST_LOOKS} looks, found {number} ({at_least} to {at_most} seeds, step {step}); "
            f"raise step to {least}, or lower at_most"
        )


@lru_cache(maxsize=64)
def _levels(numbers: tuple[int, ...], error: float) -> tuple[float, ...]:
    """Return the level of each look, after which that share of `error` is spent which its seeds have of all."""
    if len(numbers) == 1:
        return (error,)
    times = [n / numbers[-1] for n in numbers]
    spent = [(1 - SLACK) * error * t**2 for t in times]
    x = np.zeros(1)  # the sum of the differences so far, as a motion with variance t, where no look has stopped it
    mass, before, levels = np.ones(1), 0.0, []
    for number, time in enumerate(times):
        gap = math.sqrt(time - before)
        bound = _crossing(x, mass, gap, spent[number] - (spent[number - 1] if number else 0.0))
        levels.append(float(special().ndtr(-bound / math.sqrt(time))))
        grid = np.linspace(-_FAR * math.sqrt(time), bound, _GRID)
        density = np.exp(-(((grid[:, None] - x) / gap) ** 2) / 2) @ mass / (gap * math.sqrt(2 * math.pi))
        weights = np.full(_GRID, grid[1] - grid[0])
        weights[[0, -1]] /= 2
        x, mass, before = grid, density * weights, time
    return tuple(levels)


def _crossing(x: Array, mass: Array, gap: float, chance: float) -> float:
    """Return the bound that a motion from points `x` with `mass` passes with this chance, `gap` its deviation."""
    low, high = -_FAR, _FAR
    for _ in range(60):
        middle = (low + high) / 2
        beyond = float(mass @ special().ndtr((x - middle) / gap))
        low, high = (middle, high) if beyond > chance else (low, middle)
    return (low + high) / 2
