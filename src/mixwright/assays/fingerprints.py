"""SMILES to what models read: Morgan fingerprints, canonical SMILES, Bemis-Murcko scaffolds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixwright.assays.data import check_choice
from mixwright.errors import InputError, missing_extra

STANDARDISE = ("parent",)


@dataclass(frozen=True)
class Fingerprint:
    """
    A Morgan fingerprint (ECFP for counts=False and radius 2: ECFP4; Rogers and Hahn 2010).

    Parameters
    ----------
    radius
        Bonds around each atom.
    bits
        Length.
    counts
        How often each substructure occurs, instead of whether it does.
    """

    radius: int = 2
    bits: int = 1024
    counts: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        if not _is_whole(self.radius) or not 0 <= self.radius <= 6:
            raise InputError(f"radius of a fingerprint should be a whole number from 0 to 6, found {self.radius!r}")
        if not _is_whole(self.bits) or not 16 <= self.bits <= 65536:
            raise InputError(f"bits of a fingerprint should be a whole number from 16 to 65,536, found {self.bits!r}")
        if not isinstance(self.counts, bool):
            raise InputError(f"counts of a fingerprint should be True or False, found {self.counts!r}")

    def describe(self) -> dict[str, Any]:
        """Return what names these features, with the version of rdkit that makes them."""
        return {
            "kind": "morgan",
            "radius": self.radius,
            "bits": self.bits,
            "counts": self.counts,
            "rdkit": _rdkit().__version__,
        }


@dataclass(frozen=True)
class Molecules:
    """
    Molecules that could be read: features CSR [m, bits], canonical SMILES, scaffolds; `kept` [m] are their rows.

    `parents` are canonical SMILES without salts and atom maps, where a molecule has any.
    """

    features: Any
    canonical: list[str]
    scaffolds: list[str]
    parents: list[str]
    kept: NDArray[np.int64]
    skipped: list[tuple[int, str]]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _rdkit() -> Any:
    try:
        import rdkit
    except ImportError as error:
        raise missing_extra("rdkit", "chem") from error
    return rdkit


def read_smiles(
    smiles: Sequence[str | None],
    settings: Fingerprint,
    invalid: Literal["error", "skip"] = "error",
    standardise: Literal["parent"] | None = None,
) -> Molecules:
    """
    Return the molecules of a column of SMILES.

    Parameters
    ----------
    smiles
        [n] texts; None is invalid.
    settings
        The fingerprint.
    invalid
        What to do where rdkit cannot read a SMILES (or finds no atom): an error that counts and names them, or skip.
    standardise
        "parent": of each molecule the largest fragment, cleaned and uncharged (rdkit's MolStandardize.ChargeParent),
        without atom maps.

    Raises
    ------
    InputError
        SMILES that cannot be read (with `invalid="error"`), or none that can.
    """
    rdkit = _rdkit()
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator
    from rdkit.Chem.Scaffolds import MurckoScaffold
    from scipy import sparse

    check_choice(invalid, ("error", "skip"), "invalid_smiles")
    if standardise is not None:
        check_choice(standardise, STANDARDISE, "standardise")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=settings.radius, fpSize=settings.bits)
    canonical, scaffolds, parents, kept, skipped = [], [], [], [], []
    indices, values, ends = [], [], [0]
    with rdkit.rdBase.BlockLogs():
        for row, text in enumerate(smiles):
            molecule = Chem.MolFromSmiles(text) if isinstance(text, str) and text.strip() else None
            if molecule is None or not molecule.GetNumAtoms():
                skipped.append((row, "" if text is None else str(text)))
                continue
            if standardise:
                molecule = _parent(molecule)
            bits = dict(sorted(generator.GetCountFingerprint(molecule).GetNonzeroElements().items()))
            indices.append(np.fromiter(bits, np.int32, len(bits)))
            values.append(np.fromiter(bits.values(), np.float32, len(bits)))
            ends.append(ends[-1] + len(bits))
            kept.append(row)
            canonical.append(Chem.MolToSmiles(molecule))
            # Only these can differ in salt or atom maps: standardising every molecule would take ten times as long.
            marked = not standardise and ("." in canonical[-1] or ":" in canonical[-1])
            parents.append(Chem.MolToSmiles(_parent(molecule, clean=False)) if marked else canonical[-1])
            scaffolds.append(MurckoScaffold.MurckoScaffoldSmiles(mol=molecule))
    if skipped and (invalid == "error" or not kept):
        raise InputError(_invalid(skipped, len(smiles)))
    data = np.concatenate(values) if settings.counts else np.ones(ends[-1], np.float32)
    matrix = sparse.csr_matrix((data, np.concatenate(indices), np.array(ends)), shape=(len(kept), settings.bits))
    return Molecules(matrix, canonical, scaffolds, parents, np.array(kept, np.int64), skipped)


def _parent(molecule: Any, clean: bool = True) -> Any:
    """Return the largest fragment of a molecule, uncharged and without atom maps."""
    from rdkit import Chem
    from rdkit.Chem.MolStandardize import rdMolStandardize

    plain = Chem.Mol(molecule)
    for atom in plain.GetAtoms():
        atom.SetAtomMapNum(0)
    return rdMolStandardize.ChargeParent(plain, skipStandardize=not clean)


def _invalid(skipped: list[tuple[int, str]], n: int) -> str:
    shown = ", ".join(f"{text[:60]!r} in row {row}" for row, text in skipped[:5])
    more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    return (
        f"SMILES should be readable by rdkit, found {len(skipped)} of {n} that are not ({shown}{more}); "
        "correct them, or leave their rows out with invalid_smiles: skip"
    )
