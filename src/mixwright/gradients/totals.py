"""Inner products of sources' gradients, added up piece by piece."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Totals:
    """
    Gram matrix of the sources' summed gradients, and the sum of the squared gradients of each source's units.

    A unit is a row, or several rows of one source. Units of a source stand side by side.

    Parameters
    ----------
    units
        [k] units of each source.
    device
        Where the pieces lie.
    """

    def __init__(self, units: Sequence[int], device: torch.device) -> None:
        k = len(units)
        self.units, self.k, self.in_turn = units, k, device.type == "cpu"
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.gram = torch.zeros(k, k, dtype=wide, device=device)
        self.squares = torch.zeros(k, dtype=wide, device=device)
        self.ends = [sum(units[: i + 1]) for i in range(k)]
        owner = torch.repeat_interleave(torch.arange(k), torch.tensor(units))
        self._buffer: Tensor | None = None
        self._of_source = None if self.in_turn else torch.nn.functional.one_hot(owner, k).T.to(device)

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
        if self.in_turn:
            sums, squares = self._in_turn(pieces)
        else:
            sums, squares = self._at_once(pieces)
        self.squares += squares
        self.gram += sums @ sums.T
        return sums

    def add_cross(self, cross: Tensor) -> None:
        """Count [k, k] inner products of one half of a tied parameter with the other half in, both ways round."""
        self.gram += cross + cross.T

    def result(self) -> Tensor:
        """Return [k, k + 2]: Gram, squares of the units, and 1 in the corner: how often the layer was used."""
        used = torch.zeros_like(self.squares)
        used[0] = 1
        return torch.cat([self.gram, self.squares[:, None], used[:, None]], 1)

    def _in_turn(self, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Sum slice by slice: on a CPU each piece is read from the cache."""
        sums, squares = self._sums_like(pieces), [0.0] * self.k
        for source, (units, end) in enumerate(zip(self.units, self.ends, strict=True)):
            if units:
                own = pieces[end - units : end]
                torch.sum(own, 0, out=sums[source])
                flat = own.reshape(-1)
                squares[source] = float(torch.dot(flat, flat))
            else:
                sums[source].zero_()
        return sums, torch.tensor(squares, dtype=self.squares.dtype)

    def _sums_like(self, pieces: Tensor) -> Tensor:
        """Return memory for the sums of pieces; the next call may give the same."""
        if self._buffer is None or self._buffer.shape[1] != pieces.shape[1]:
            self._buffer = pieces.new_empty(self.k, pieces.shape[1])
        return self._buffer

    def _at_once(self, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Sum with products: on a GPU few launches count."""
        assert self._of_source is not None
        norms = torch.linalg.vector_norm(pieces, dim=1, dtype=self.squares.dtype).square()
        return self._of_source.to(pieces.dtype) @ pieces, self._of_source.to(norms.dtype) @ norms


def wide(tensor: Tensor) -> Tensor:
    """Return a tensor of at least single precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
