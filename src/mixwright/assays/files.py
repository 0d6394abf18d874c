"""Tables of assays in .parquet and .csv files."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixwright.assays.data import AssayTable, label_column, listed, missing_name, numbers_of, same_rows
from mixwright.assays.fingerprints import Fingerprint, read_smiles
from mixwright.errors import InputError, missing_extra
from mixwright.files.csv_rows import header, open_csv
from mixwright.files.kinds import kind_of
from mixwright.files.listing import the_file
from mixwright.files.opening import open_text
from mixwright.files.parquet import open_parquet, without_views

_BLOCK = 1 << 24  # bytes of a .csv file that are parsed at a time
_LARGEST = (1 << 31) - 1


def read_assays(
    path: Path | str,
    *,
    smiles: str | None = "smiles",
    features: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    molecule: str | None = None,
    time: str | None = None,
    part: str | None = None,
    fingerprint: Fingerprint | None = None,
    invalid_smiles: Literal["error", "skip"] = "error",
) -> AssayTable:
    """
    Read a table of assays: one row per molecule, 0/1/missing label columns.

    Parameters
    ----------
    path
        .parquet or .csv (UTF-8, with a header; an empty cell is missing).
    smiles
        The column of SMILES: fingerprints, canonical SMILES and scaffolds are made of it. None with `features`.
    features
        Columns of numbers to use instead of fingerprints; `bit_*` stands for all that begin like this.
    labels
        The label columns. Default: every column that is nothing else.
    molecule
        A column that says which rows are the same molecule. Default: canonical SMILES, or equal features.
    time, part
        A column of dates or numbers (for the time split); a column of train/test (for a split of your own).
    fingerprint
        Default: 1,024 bits of radius 2 (ECFP4).
    invalid_smiles
        "error", or "skip": their rows are left out, and counted in the table's notes.

    Raises
    ------
    InputError
        File, column, label, feature or SMILES that is not as it should be (named).
    """
    path = Path(path)
    names = column_names(path)
    chosen = _choose(path, names, smiles, features, labels, {"molecule": molecule, "time": time, "part": part})
    wide, wanted, others = chosen
    columns = _read(path, [*([smiles] if smiles and not wide else []), *wide, *wanted, *others.values()])
    n = len(columns[wanted[0]])
    if not n:
        raise InputError(f"{path} should have at least one row, found none; add the rows")
    kept, notes = np.arange(n), []
    scaffolds, texts = None, tuple[str, ...]()
    described: dict[str, Any]
    if wide:
        matrix: Any = np.stack([_numbers(path, name, columns[name]) for name in wide], axis=1)
        described = {"kind": "columns", "names": wide}
        molecules = same_rows(matrix)
    else:
        settings = fingerprint or Fingerprint()
        found = read_smiles(columns[str(smiles)].tolist(), settings, invalid_smiles)
        matrix, kept, described = found.features, found.kept, settings.describe()
        (molecules, texts), (scaffolds, _) = numbers_of(found.canonical), numbers_of(found.scaffolds)
        if found.skipped:
            notes.append(f"{len(found.skipped)} of {n} rows have SMILES that rdkit cannot read and were left out.")
    if molecule:
        molecules, texts = numbers_of(columns[molecule][kept].tolist())
    return AssayTable(
        assays=tuple(wanted),
        labels=np.stack([label_column(columns[name][kept], name, kept) for name in wanted], axis=1),
        features=matrix,
        molecules=molecules,
        rows=kept,
        molecule_names=texts,
        scaffolds=scaffolds,
        times=_times_of(path, time, columns[time][kept]) if time else None,
        parts=_parts_of(path, part, columns[part][kept]) if part else None,
        described=described,
        notes=tuple(notes),
    )


def column_names(path: Path | str) -> list[str]:
    """
    Return the names of the columns of a .parquet or .csv file; its rows are not read.

    Raises
    ------
    InputError
        No such file, another suffix, a damaged file, or a name that is there twice.
    """
    path = the_file(Path(path), (".parquet", ".csv"), "give one file, or join the files first")
    if kind_of(path) == ".parquet":
        with open_parquet(path) as file:
            names = list(file.schema_arrow.names)
    else:
        with open_csv(path) as rows:
            names = header(path, rows)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"{path} should have different column names, found {listed(twice)} twice; rename one")
    return names


def _choose(
    path: Path,
    names: list[str],
    smiles: str | None,
    features: Sequence[str] | None,
    labels: Sequence[str] | None,
    others: dict[str, str | None],
) -> tuple[list[str], list[str], dict[str, str]]:
    """Return the feature columns, the label columns, and the special columns {role: name}."""
    if not features and not smiles:
        raise InputError(f"{path}: give the column of SMILES (smiles) or the columns of features (features)")
    wide = [name for pattern in features or () for name in _matching(path, pattern, names)]
    special = {role: name for role, name in others.items() if name}
    for name in [*special.values(), *(labels or ()), *([smiles] if smiles and not wide else [])]:
        if name not in names:
            raise InputError(f"{path}: {missing_name(name, names, 'column')}; correct the name")
    taken = {*wide, *special.values(), *([smiles] if smiles else [])}
    wanted = list(labels) if labels else [name for name in names if name not in taken]
    if both := sorted({*wanted} & {*wide, *special.values(), *([smiles] if smiles and not wide else [])}):
        raise InputError(f"{path}: a column should be a label or a feature, found {listed(both)} as both; choose one")
    if not wanted:
        raise InputError(f"{path} should have label columns, found none; name them (labels)")
    return wide, wanted, special


def _matching(path: Path, pattern: str, names: list[str]) -> list[str]:
    found = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
    if not found:
        raise InputError(f"{path}: {missing_name(pattern, names, 'feature column')}; correct the name")
    return found


def _read(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Return columns as arrays of python objects or numbers, in which a gap is None or NaN."""
    names = list(dict.fromkeys(names))
    if kind_of(path) == ".parquet":
        with open_parquet(path) as file:
            table = without_views(file.read(columns=names))
    else:
        table = _csv_table(path, names)
    return {name: _array(table[name]) for name in names}


def _csv_table(path: Path, names: list[str]) -> Any:
    """Return columns of a .csv file as an Arrow table; quoted cells may hold line breaks."""
    try:
        import pyarrow
        from pyarrow import csv as arrow_csv
    except ImportError as error:
        raise missing_extra("pyarrow", "tabular") from error
    convert = arrow_csv.ConvertOptions(include_columns=names, strings_can_be_null=True)
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    size = _BLOCK
    while True:
        try:
            read = arrow_csv.ReadOptions(block_size=size)
            with open_text(path, "comma-separated values in UTF-8") as handle:
                return arrow_csv.read_csv(handle, read_options=read, parse_options=parse, convert_options=convert)
        except (OSError, pyarrow.ArrowException) as error:
            if "straddling" in str(error) and size < _LARGEST:  # a row that is longer than a block
                size = min(size * 16, _LARGEST)
                continue
            found = str(error).splitlines()[0]
            raise InputError(f"cannot read {path}: {found}; correct it, or write the file again") from error


def _array(column: Any) -> NDArray[Any]:
    kind = str(column.type)
    if kind.startswith(("int", "uint", "float", "double", "bool")):
        return np.asarray(column.cast("float64").to_numpy(), np.float64)
    if kind.startswith(("date", "timestamp")):
        return np.asarray(column.cast("timestamp[us]").to_numpy())
    return np.array(column.to_pylist(), dtype=object)


def _numbers(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype != np.float64 or not np.isfinite(values).all():
        found = "text" if values.dtype != np.float64 else "a gap or infinity"
        raise InputError(f"{path}: feature column {name!r} should hold finite numbers, found {found}; correct it")
    return values.astype(np.float32)


def _times_of(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    if np.issubdtype(values.dtype, np.datetime64) and not np.isnat(values).any():
        return values.astype(np.int64).astype(np.float64)
    if values.dtype == np.float64 and np.isfinite(values).all():
        return values
    raise InputError(f"{path}: the time column {name!r} should hold dates or numbers without gaps; correct it")


def _parts_of(path: Path, name: str, values: NDArray[Any]) -> NDArray[Any]:
    wrong = [value for value in values.tolist() if value not in ("train", "test")]
    if wrong:
        raise InputError(f"{path}: the column {name!r} should say train or test in each row, found {wrong[0]!r}")
    return values
