"""Tables of assays in .parquet and .csv files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixwright.assays.data import AssayTable, contradictions, listed, missing_name, numbers_of, same_rows
from mixwright.assays.fingerprints import Fingerprint, read_smiles
from mixwright.assays.labels import Coding, LabelRule, Threshold
from mixwright.assays.long import check_long, gather, names_of
from mixwright.checks import is_index
from mixwright.errors import InputError, missing_extra
from mixwright.files.csv_rows import header, open_csv
from mixwright.files.kinds import kind_of
from mixwright.files.listing import the_file
from mixwright.files.opening import open_text
from mixwright.files.parquet import open_parquet, without_views
from mixwright.files.stores import local

_BLOCK = 1 << 24  # bytes of a .csv file that are parsed at a time
_LARGEST = (1 << 31) - 1


def read_assays(
    path: Path | str | Sequence[Path | str],
    *,
    smiles: str | None = "smiles",
    features: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
    coding: Coding | None = None,
    assay: str | None = None,
    value: str | None = None,
    threshold: Threshold | None = None,
    active: Literal["above", "below"] = "above",
    molecule: str | None = None,
    time: str | None = None,
    part: str | None = None,
    fingerprint: Fingerprint | None = None,
    standardise: Literal["parent"] | None = None,
    invalid_smiles: Literal["error", "skip"] = "error",
) -> AssayTable:
    """
    Read a table of assays: a row per molecule with a column per assay, or a row per measurement (a long table).

    Parameters
    ----------
    path
        .parquet or .csv (UTF-8, with a header; an empty cell is missing); or several, which are joined by molecule.
        Their rows are numbered one file after the other. A file without SMILES, features, time or part takes those of
        its molecules from the other files, by the column `molecule`.
    smiles
        The column of SMILES: fingerprints, canonical SMILES and scaffolds are made of it. None with `features`.
    features
        Columns of numbers to use instead of fingerprints; `bit_*` stands for all that begin like this.
    labels
        The label columns (in a long table: the names of assays). Default: every column that is nothing else.
    ignore
        Columns that are nothing of all this, such as numbers of rows; patterns as in `features`.
    coding
        What the values of labels mean, such as {"active": 1, "inactive": -1, "missing": 0}. Default: 0, 1, and gaps.
    assay, value
        Of a long table: the column of assays' names, and the column of labels or measured values. A row per molecule
        is made of it; `rows` of the table are then the first of each molecule's rows in the file.
    threshold, active
        Values are measurements: a 1 is one of at least the threshold ("above"), or of at most it ("below"). A number,
        or {assay: number}.
    molecule
        A column that says which rows are the same molecule. Default: canonical SMILES, or equal features.
    time, part
        A column of dates or numbers (for the time split); a column of train/test (for a split of your own).
    fingerprint
        Default: 1,024 bits of radius 2 (ECFP4).
    standardise
        "parent": of each molecule the largest fragment, uncharged (rdkit's MolStandardize), without atom maps: a salt
        and its parent are one molecule.
    invalid_smiles
        "error", or "skip": their rows are left out, and counted in the table's notes.

    Raises
    ------
    InputError
        File, column, label, feature or SMILES that is not as it should be (named).
    """
    paths = list(dict.fromkeys([Path(path)] if isinstance(path, str | Path) else map(Path, path)))
    paths = local(paths)
    check_long(assay, value, ignore)
    rule = LabelRule(coding, threshold, active)
    names = _names_of(paths)
    roles = {"molecule": molecule, "time": time, "part": part, "assay": assay}
    named = {smiles, value, *(labels or ()), *roles.values()}
    indices = [name for name in names if is_index(name, 0) and name not in named]
    ignore = [*(ignore or ()), *(name for name in indices if name not in (ignore or ()))]
    wide, wanted, others = _choose(paths, list(names), smiles, features, [value] if value else labels, ignore, roles)
    columns = _columns(paths, names, [*([smiles] if smiles and not wide else []), *wide, *others.values()], wanted)
    _fill(columns, paths, names, molecule, [name for name in columns if name not in (*wanted, assay)])
    if not len(columns[wanted[0]]):
        raise InputError(f"{paths[0]} should have at least one row, found none; add the rows")
    if wide and standardise:
        raise InputError("standardise is for SMILES; with columns of features give the standardised ones")
    notes = [f"The column {name!r} was left out: it is an index." for name in indices if name]
    try:
        if assay and value:
            gathered = gather(columns, assay, value, labels, rule)
            wanted, read, columns, first = list(gathered.assays), gathered.labels, gathered.columns, gathered.rows
        else:
            read, said = rule.of_columns({name: columns[name] for name in wanted})
            notes += said
            first = np.arange(len(read))
    except InputError as error:
        raise InputError(f"{', '.join(map(str, paths[:3]))}: {error}") from None
    settings = fingerprint or Fingerprint()
    found = (
        _of_columns(paths, wide, columns)
        if wide
        else _of_smiles(columns[str(smiles)].tolist(), settings, invalid_smiles, standardise)
    )
    kept = found.rows
    if molecule:
        molecules, texts = numbers_of(columns[molecule][kept].tolist())
        found = replace(found, molecules=molecules, molecule_names=texts)
    read = read[kept]
    return AssayTable(
        assays=tuple(wanted),
        labels=read,
        rows=first[kept],
        times=_times_of(paths, time, columns[time][kept]) if time else None,
        parts=_parts_of(paths, part, columns[part][kept]) if part else None,
        notes=(*notes, *found.notes, *contradictions(wanted, read, found.molecules, found.molecule_names)),
        **{name: value for name, value in vars(found).items() if name not in ("notes", "rows")},
    )


@dataclass(frozen=True, eq=False)
class _Molecules:
    """The molecules of a table, in the words of AssayTable."""

    features: Any
    rows: NDArray[np.int64]
    molecules: NDArray[np.int64]
    described: dict[str, Any]
    molecule_names: tuple[str, ...] = ()
    scaffolds: NDArray[np.int64] | None = None
    parents: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()


def _of_columns(paths: Sequence[Path], wide: list[str], columns: Mapping[str, NDArray[Any]]) -> _Molecules:
    """Return molecules whose features are columns of the table."""
    matrix = np.stack([_numbers(paths, name, columns[name]) for name in wide], axis=1)
    return _Molecules(matrix, np.arange(len(matrix)), same_rows(matrix), {"kind": "columns", "names": wide})


def _of_smiles(
    smiles: list[Any], settings: Fingerprint, invalid: Literal["error", "skip"], standardise: Literal["parent"] | None
) -> _Molecules:
    """Return molecules whose features are fingerprints."""
    found = read_smiles(smiles, settings, invalid, standardise)
    (molecules, texts), (scaffolds, _) = numbers_of(found.canonical), numbers_of(found.scaffolds)
    described = settings.describe() | ({"standardise": standardise} if standardise else {})
    left_out = f"{len(found.skipped)} of {len(smiles)} rows have SMILES that rdkit cannot read and were left out."
    notes = (left_out,) if found.skipped else ()
    parents = numbers_of(found.parents)[0]
    return _Molecules(found.features, found.kept, molecules, described, texts, scaffolds, parents, notes)


def assay_names(paths: Sequence[Path | str], assay: str | None = None) -> list[str]:
    """Return what may name an assay, each once: the columns of all files, or what the column `assay` says."""
    names = _names_of(local([Path(path) for path in paths]))
    if assay is None:
        return list(names)
    if assay not in names:
        raise InputError(
            f"{_shown(names[next(iter(names))])}: {missing_name(assay, list(names), 'the column for assay')}"
        )
    said = [name for path in names[assay] for name in names_of(_read(path, [assay])[assay]).tolist()]
    return list(dict.fromkeys(name for name in said if name is not None))


def _names_of(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Return {column: the files that have it}."""
    if not paths:
        raise InputError("a table should be at least one file, found none; name one")
    found: dict[str, list[Path]] = {}
    for path in paths:
        for name in column_names(path):
            found.setdefault(name, []).append(path)
    return found


def column_names(path: Path | str) -> list[str]:
    """
    Return the names of the columns of a .parquet or .csv file; its rows are not read.

    Raises
    ------
    InputError
        No such file, another suffix, a damaged file, or a name that is there twice.
    """
    path = the_file(Path(path), (".parquet", ".csv"), "give one file, or a list of files")
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
    paths: Sequence[Path],
    names: list[str],
    smiles: str | None,
    features: Sequence[str] | None,
    labels: Sequence[str] | None,
    ignore: Sequence[str],
    others: dict[str, str | None],
) -> tuple[list[str], list[str], dict[str, str]]:
    """Return the feature columns, the label columns, and the special columns {role: name}."""
    path = _shown(paths)
    if not features and not smiles:
        raise InputError(f"{path}: give the column of SMILES (smiles) or the columns of features (features)")
    wide = [name for pattern in features or () for name in _matching(path, pattern, names, "feature column")]
    special = {role: name for role, name in others.items() if name}
    ignored = {name for pattern in ignore for name in _matching(path, pattern, names, "column to ignore")}
    asked = [*special.items(), *(("labels", name) for name in labels or ())]
    for key, name in [*asked, *([("smiles", smiles)] if smiles and not wide else [])]:
        if name not in names:
            raise InputError(f"{path}: {missing_name(name, names, f'the column for {key}')}")
    taken = {*wide, *special.values(), *([smiles] if smiles else [])}
    wanted = list(labels) if labels else [name for name in names if name not in taken | ignored]
    used = {*wide, *special.values(), *([smiles] if smiles and not wide else [])}
    if both := sorted({*wanted} & used):
        raise InputError(f"{path}: a column should be a label or a feature, found {listed(both)} as both; choose one")
    if both := sorted({*wanted, *used} & ignored):
        raise InputError(f"{path}: a column to ignore should be nothing else, found {listed(both)} as both; choose one")
    if not wanted:
        raise InputError(f"{path} should have label columns, found none; name them (labels)")
    return wide, wanted, special


def _shown(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _matching(path: str, pattern: str, names: list[str], what: str) -> list[str]:
    found = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
    if not found:
        raise InputError(f"{path}: {missing_name(pattern, names, what)}")
    return found


def _columns(
    paths: Sequence[Path], names: Mapping[str, Sequence[Path]], used: Sequence[str], labels: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return the columns of all files, one file after the other; a file without a column has gaps there."""
    wanted = list(dict.fromkeys([*used, *labels]))
    parts: dict[str, list[NDArray[Any] | int]] = {name: [] for name in wanted}
    for path in paths:
        own = [name for name in wanted if path in names[name]]
        if not own:
            raise InputError(f"{path} should have columns of this table, found none; remove it from the list")
        read = _read(path, own)
        for name in wanted:
            parts[name].append(read[name] if name in own else len(read[own[0]]))
    return {name: _stacked(part) for name, part in parts.items()}


def _stacked(parts: Sequence[NDArray[Any] | int]) -> NDArray[Any]:
    """Return the parts of a column one after the other; a number stands for as many gaps."""
    kinds = {part.dtype for part in parts if not isinstance(part, int)}
    kind = kinds.pop() if len(kinds) == 1 else np.dtype(object)
    values = [[None] * part if isinstance(part, int) else part.tolist() for part in parts]
    if len(parts) == 1 and not isinstance(parts[0], int):
        return parts[0]
    return np.array([value for part in values for value in part], kind)


def _fill(
    columns: dict[str, NDArray[Any]],
    paths: Sequence[Path],
    names: Mapping[str, Sequence[Path]],
    molecule: str | None,
    filled: Sequence[str],
) -> None:
    """Fill columns of files that lack them from the other files, by molecule."""
    lacking = {name: path for name in filled for path in paths if path not in names[name]}
    if not lacking:
        return
    name, path = next(iter(lacking.items()))
    if molecule is None or molecule in lacking:
        by = repr(molecule) if molecule else "that says which molecule a row is, and name it (molecule)"
        raise InputError(f"{path} should have the column {name!r}, or a column {by}, as the other files; add it")
    keys = columns[molecule].tolist()
    for name in lacking:
        values = columns[name].tolist()
        known = {key: value for key, value in zip(keys, values, strict=True) if not _is_gap(value)}
        columns[name] = np.array([known.get(key) for key in keys], columns[name].dtype)


def _is_gap(value: Any) -> bool:
    return value is None or value != value  # NaN


def _read(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Return columns as arrays of python objects or numbers, in which a gap is None or NaN."""
    if kind_of(path) == ".parquet":
        with open_parquet(path) as file:
            table = without_views(file.read(columns=names))
    else:
        table = _csv_table(path, names)
    try:
        return {name: _array(table[name]) for name in names}
    except ValueError as error:  # a text that is not UTF-8, or a whole number that no float is
        raise InputError(f"{path} should hold numbers and texts in UTF-8, found others ({error}); correct it") from None


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


def _numbers(paths: Sequence[Path], name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype != np.float64 or not np.isfinite(values).all():
        found = "text" if values.dtype != np.float64 else "a gap or infinity"
        raise InputError(
            f"{_shown(paths)}: feature column {name!r} should hold finite numbers, found {found}; correct it"
        )
    return values.astype(np.float32)


def _times_of(paths: Sequence[Path], name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    if np.issubdtype(values.dtype, np.datetime64) and not np.isnat(values).any():
        return values.astype(np.int64).astype(np.float64)
    if values.dtype == np.float64 and np.isfinite(values).all():
        return values
    raise InputError(f"{_shown(paths)}: the time column {name!r} should hold dates or numbers without gaps; correct it")


def _parts_of(paths: Sequence[Path], name: str, values: NDArray[Any]) -> NDArray[Any]:
    wrong = [value for value in values.tolist() if value not in ("train", "test")]
    if wrong:
        raise InputError(
            f"{_shown(paths)}: the column {name!r} should say train or test in each row, found {wrong[0]!r}"
        )
    return values
