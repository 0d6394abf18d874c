"""Inner products of sources' gradients, added up piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor

_KEPT = threading.local()
_SHORT = 256


class Totals:
    """
    Gram matrix of the sources' summed gradients, and the sum of the squared gradients of each source's units.

    A unit is a row, or several rows of one source. Units of a source stand side by side.

    Parameters
    ----------
    units
        [k] units of each source.
    like
        A tensor of the pieces' precision, where they lie.
    """

    def __init__(self, units: Sequence[int], like: Tensor) -> None:
        k, device = len(units), like.device
        self.units, self.k, self.in_turn = units, k, device.type == "cpu"
        wider = torch.float32 if device.type == "mps" else torch.float64
        self.gram = torch.zeros(k, k, dtype=wider, device=device)
        self.squares = torch.zeros(k, dtype=wider, device=device)
        self.ends = [sum(units[: i + 1]) for i in range(k)]
        self._owner = torch.repeat_interleave(torch.arange(k), torch.tensor(units)).to(device)
        self._of_source = torch.nn.functional.one_hot(self._owner, k).T.to(wide(like)).contiguous()

    def add(self, pieces: Tensor) -> Tensor:
        """
        Count one part of the parameters in; return the sources' sums of it.

        Parameters
        ----------
        pieces
            [units, n] the units' gradients.

        Returns
        -------
        [k, n], good until the next call.
        """
        sums, squares = self._in_turn(pieces) if self.in_turn else self._at_once(pieces)
        self.squares += squares
        self.gram += _products(sums)
        return sums

    def _in_turn(self, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Go slice by slice: on a CPU the pieces are still in the cache."""
        squares = []
        for units, end in zip(self.units, self.ends, strict=True):
            flat = pieces[end - units : end].reshape(-1)
            squares.append(float(torch.dot(flat, flat)))
        n = pieces.shape[1]
        sums = scratch("sums", pieces, self.k * n).view(self.k, n)
        if all(map(isfinite, squares)):
            torch.mm(self._of_source, pieces, out=sums)
        else:  # a product would spread what is not finite over the other sources
            sums.zero_().index_add_(0, self._owner, pieces)
        return sums, torch.tensor(squares, dtype=self.squares.dtype)

    def _at_once(self, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Use few launches: on a GPU they count, and nothing is asked back."""
        norms = torch.linalg.vector_norm(pieces, dim=1, dtype=self.squares.dtype).square()
        sums = pieces.new_zeros(self.k, pieces.shape[1]).index_add_(0, self._owner, pieces)
        return sums, torch.zeros_like(self.squares).index_add_(0, self._owner, norms)

    def add_cross(self, cross: Tensor) -> None:
        """Count [k, k] inner products of one half of a tied parameter with the other half in, both ways round."""
        self.gram += cross + cross.T

    def result(self) -> Tensor:
        """Return [k, k + 2]: Gram, squares of the units, and 1 in the corner: how often the layer was used."""
        used = torch.zeros_like(self.squares)
        used[0] = 1
        return torch.cat([self.gram, self.squares[:, None], used[:, None]], 1)


def _products(sums: Tensor) -> Tensor:
    """Return [k, k] inner products; many short ones are faster than few long ones."""
    k, n = sums.shape
    # padding would cost more than it gains
    if n % _SHORT:
        return sums @ sums.T
    parts = sums.view(k, -1, _SHORT)
    return torch.bmm(parts.transpose(0, 1), parts.permute(1, 2, 0)).sum(0)


def scratch(name: str, like: Tensor, size: int) -> Tensor:
    """Return memory for `size` numbers; on a CPU the thread keeps it under a name, since fresh pages cost time."""
    if like.device.type != "cpu":
        return like.new_empty(size)
    kept: Tensor | None = getattr(_KEPT, name, None)
    if kept is None or kept.dtype != like.dtype or len(kept) < size:
        kept = like.new_empty(size)
        setattr(_KEPT, name, kept)
    return kept[:size]


def wide(tensor: Tensor) -> Tensor:
    """Return a tensor of at least single precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
