import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys import SMILES, write_csv

from mixwright.assays import AssayTable, Fingerprint, read_assays, split_target
from mixwright.assays.fingerprints import read_smiles
from mixwright.errors import InputError


def columns(**more):
    n = len(SMILES)
    return {
        "smiles": SMILES,
        "a": [i % 2 for i in range(n)],
        "b": [None if i % 4 == 0 else (i // 2) % 2 for i in range(n)],
    } | more


def test_csv_and_parquet_give_the_same_table(tmp_path) -> None:
    data = columns()
    one = read_assays(write_csv(tmp_path / "t.csv", data))
    typed = {"smiles": pa.array(SMILES), "a": pa.array(data["a"], pa.int8()), "b": pa.array(data["b"], pa.int8())}
    pq.write_table(pa.table(typed), tmp_path / "t.parquet")
    other = read_assays(tmp_path / "t.parquet")
    assert one.assays == other.assays == ("a", "b")
    assert (one.labels == other.labels).all()
    assert one.labels[:6, 1].tolist() == [-1, 0, 1, 1, -1, 0]
    assert (one.features != other.features).nnz == 0
    assert one.features_fingerprint() == other.features_fingerprint()


def test_fingerprints_are_those_of_rdkit() -> None:
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=512)
    found = read_smiles(SMILES, Fingerprint(2, 512))
    for i, text in enumerate(SMILES):
        np.testing.assert_array_equal(
            found.features[i].toarray()[0], generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(text))
        )
    counted = read_smiles(SMILES, Fingerprint(2, 512, counts=True))
    assert counted.features.max() > 1
    assert ((counted.features > 0) != (found.features > 0)).nnz == 0
    assert len(set(found.scaffolds)) == 3  # none, benzene, pyridine


def test_one_molecule_written_in_two_ways_is_one(tmp_path) -> None:
    data = {"smiles": ["OCC", "CCO", "c1ccccc1C"], "a": [0, 1, 1]}
    table = read_assays(write_csv(tmp_path / "t.csv", data))
    assert table.molecules.tolist() == [0, 0, 1]
    assert table.name_of(0) == "CCO"


def test_invalid_smiles_are_counted_and_named_and_skipped_if_asked(tmp_path) -> None:
    data = {"smiles": ["CCO", "C(C", "", "CCN"], "a": [0, 1, 1, 1]}
    path = write_csv(tmp_path / "t.csv", data)
    with pytest.raises(InputError, match=r"found 2 of 4 that are not \('C\(C' in row 1, '' in row 2\).*skip"):
        read_assays(path)
    table = read_assays(path, invalid_smiles="skip")
    assert table.rows.tolist() == [0, 3]
    assert table.labels[:, 0].tolist() == [0, 1]
    assert "2 of 4 rows" in table.notes[0]


def test_feature_columns_and_patterns(tmp_path) -> None:
    data = {"id": [1, 1, 2], "x_1": [0.5, 1, 2], "x_2": [1, 2, 3], "a": [0, 1, None], "day": [3, 1, 2]}
    path = write_csv(tmp_path / "t.csv", data)
    table = read_assays(path, smiles=None, features=["x_*"], molecule="id", time="day")
    assert table.assays == ("a",)
    assert table.features.tolist() == [[0.5, 1], [1, 2], [2, 3]]
    assert table.molecules.tolist() == [0, 0, 1]
    assert table.times.tolist() == [3, 1, 2]
    assert table.labels[:, 0].tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({"a": [2] * 32}, {}, r"labels of assay 'a' should be 0, 1 or missing, found 2 in row 0"),
        ({"a": [0] * 31 + ["high"]}, {}, r"labels of assay 'a'.*found 'high' in row 31|found '0' in row 0"),
        ({"a": [0.5] * 32}, {}, r"found 0.5 in row 0"),
        ({}, {"labels": ["a", "c"]}, "the column for .* should be one of the table's, found 'c'"),
        ({}, {"smiles": "Smiles"}, "column for smiles .* found 'Smiles'; did you mean 'smiles'"),
        ({}, {"smiles": None}, "give the column of SMILES"),
        ({}, {"features": ["x_*"]}, "feature column should be one of"),
        ({}, {"features": ["a"], "labels": ["a"]}, "as both"),
        ({}, {"features": ["b"], "labels": ["a"]}, "feature column 'b' should hold finite numbers, found a gap"),
        ({}, {"time": "b"}, "time column 'b'"),
        ({}, {"part": "a"}, "should say train or test in each row, found 0.0"),
        ({}, {"invalid_smiles": "ignore"}, "'error' or 'skip'"),
    ],
)
def test_bad_tables_are_one_clear_error(tmp_path, change, options, says) -> None:
    path = write_csv(tmp_path / "t.csv", columns(**change))
    with pytest.raises(InputError, match=says):
        read_assays(path, **options)


def test_bad_files(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_assays(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"should end in \.parquet or \.csv"):
        read_assays(tmp_path / "t.xlsx")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="should be a parquet file"):
        read_assays(tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("smiles,a,a\nC,0,1\n")
    with pytest.raises(InputError, match="'a' twice"):
        read_assays(tmp_path / "t.csv")
    (tmp_path / "e.csv").write_text("smiles,a\n")
    with pytest.raises(InputError, match="at least one row"):
        read_assays(tmp_path / "e.csv")


SIGNED = {"active": 1, "inactive": -1, "missing": 0}


def test_minus_one_is_never_read_as_missing_silently(tmp_path) -> None:
    data = columns(a=[(-1, 0, 1)[i % 3] for i in range(32)])
    path = write_csv(tmp_path / "t.csv", data)
    with pytest.raises(InputError, match=r"found -1 in 11 rows of assay 'a', and 0 in assay 'a'.*say which: coding"):
        read_assays(path)
    signed = read_assays(path, labels=["a"], coding=SIGNED)
    assert signed.labels[:6, 0].tolist() == [0, -1, 1, 0, -1, 1]
    gaps = read_assays(path, labels=["a"], coding={"active": 1, "inactive": 0, "missing": -1})
    assert gaps.labels[:6, 0].tolist() == [-1, 0, 1, -1, 0, 1]
    assert not gaps.notes
    with pytest.raises(InputError, match=r"found -1 in 1 rows .* say which"):
        AssayTable.from_arrays([[1.0], [2.0], [3.0]], [[0], [1], [-1]])


def test_minus_one_and_one_without_a_zero_are_recognised(tmp_path) -> None:
    path = write_csv(tmp_path / "t.csv", columns(a=[(-1, None, 1)[i % 3] for i in range(32)], b=[1, -1] * 16))
    table = read_assays(path)
    assert table.labels[:3].tolist() == [[0, 1], [-1, 0], [1, 1]]
    assert "-1 was read as inactive" in table.notes[0]


def test_codings_of_words_and_lists(tmp_path) -> None:
    data = columns(a=[("Active", "Inactive", "Inconclusive", "Unspecified", None)[i % 5] for i in range(32)])
    path = write_csv(tmp_path / "t.csv", data)
    coding = {"active": "Active", "inactive": "Inactive", "missing": ["Inconclusive", "Unspecified"]}
    assert read_assays(path, labels=["a"], coding=coding).labels[:5, 0].tolist() == [1, 0, -1, -1, -1]
    with pytest.raises(InputError, match=r"should be 'Active', 'Inactive' or missing, found 'Inconclusive' in row 2"):
        read_assays(path, labels=["a"], coding={"active": "Active", "inactive": "Inactive"})
    for wrong in (
        {"active": 1},
        {"active": 1, "inactive": 1},
        {"active": 1, "inactive": 0, "gap": 2},
        {"active": None},
    ):
        with pytest.raises(InputError, match="coding"):
            read_assays(path, labels=["a"], coding=wrong)


def test_an_index_is_no_assay(tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"smiles": ["C", "CC", "CCC", "CO"], "a": [0, 1, 0, 1], "b": [1, 0, 1, 0]}).iloc[[1, 3, 2]]
    frame.to_csv(tmp_path / "a.csv")  # its index has no name
    frame.to_parquet(tmp_path / "b.parquet")
    frame.reset_index().to_csv(tmp_path / "c.csv", index=False)
    for name, index in (("a.csv", ""), ("b.parquet", "__index_level_0__"), ("c.csv", "index")):
        table = read_assays(tmp_path / name)
        assert table.assays == ("a", "b")
        assert table.notes == ((f"The column {index!r} was left out: it is an index.",) if index else ())
    assert read_assays(tmp_path / "c.csv", ignore=["index", "b"]).assays == ("a",)
    with pytest.raises(InputError, match="assay 'index' should be 0, 1 or missing, found 3 in row 1"):
        read_assays(tmp_path / "c.csv", labels=["index", "a"])


def test_values_that_may_be_words_for_labels_are_listed(tmp_path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("smiles,a\nC,Active\nCC,Inactive\nCCC,\nCO,Unclear\n")
    says = (
        r"say what 'Active', 'Inactive', 'Unclear' mean: coding: \{active: \.\.\., inactive: \.\.\., missing: \.\.\.\}"
    )
    with pytest.raises(InputError, match=says):
        read_assays(path)
    coding = {"active": "Active", "inactive": "Inactive", "missing": "Unclear"}
    assert read_assays(path, coding=coding).labels[:, 0].tolist() == [1, 0, -1, -1]


def test_columns_can_be_ignored(tmp_path) -> None:
    path = write_csv(tmp_path / "t.csv", columns(mol_id=[f"TOX{i}" for i in range(32)], meta_day=list(range(32))))
    with pytest.raises(
        InputError, match=r"assay 'mol_id' .* found 'TOX0' in row 0; .* leave the column out: ignore: \[mol_id\]"
    ):
        read_assays(path)
    assert read_assays(path, ignore=["mol_id", "meta_*"]).assays == ("a", "b")
    with pytest.raises(
        InputError, match="column to ignore should be one of the table's, found 'mol'; did you mean 'mol_id'"
    ):
        read_assays(path, ignore=["mol"])
    with pytest.raises(InputError, match="should be nothing else, found 'a' as both"):
        read_assays(path, ignore=["a", "mol_id", "meta_*"], labels=["a", "b"])


def test_contradictory_duplicates_are_said(tmp_path) -> None:
    data = {"smiles": ["CCO", "OCC", "CCN", "CCN", "CCC"], "a": [0, 1, 1, 1, 0], "b": [1, 1, 0, None, 1]}
    table = read_assays(write_csv(tmp_path / "t.csv", data))
    assert table.notes == (
        "1 molecule has both a 0 and a 1 in the same assay, such as CCO: in assay 'a'. Both are kept.",
    )
    assert not AssayTable.from_arrays([[1.0], [1.0]], [[0, 1], [np.nan, 1]]).notes


def test_several_files_are_joined_by_molecule(tmp_path) -> None:
    one = write_csv(tmp_path / "one.csv", {"smiles": ["CCO", "CCN"], "a": [0, 1]})
    two = write_csv(tmp_path / "two.csv", {"smiles": ["NCC", "CCC", "OCC"], "b": [1, 0, 1], "a": [None, 1, 1]})
    table = read_assays([one, two])
    assert table.assays == ("a", "b")
    assert table.molecules.tolist() == [0, 1, 1, 2, 0]
    assert table.labels.tolist() == [[0, -1], [1, -1], [-1, 1], [1, 0], [1, 1]]
    assert table.rows.tolist() == [0, 1, 2, 3, 4]
    assert "such as CCO" in table.notes[0]  # a 0 in one file, a 1 in the other
    assert read_assays([one, two, str(one)]).rows.tolist() == table.rows.tolist()  # a file that is named twice


def test_features_come_from_the_file_that_has_them(tmp_path) -> None:
    one = write_csv(tmp_path / "one.csv", {"id": ["m", "n"], "x": [0.5, 2.5], "a": [0, 1]})
    two = write_csv(tmp_path / "two.csv", {"id": ["n", "m", "n"], "b": [1, 0, 0]})
    table = read_assays([one, two], smiles=None, features=["x"], molecule="id")
    assert table.features[:, 0].tolist() == [0.5, 2.5, 2.5, 0.5, 2.5]
    assert table.molecules.tolist() == [0, 1, 1, 0, 1]
    with pytest.raises(InputError, match=r"two\.csv should have the column 'x', or a column that says which molecule"):
        read_assays([one, two], smiles=None, features=["x"], ignore=["id"])
    strange = write_csv(tmp_path / "strange.csv", {"id": ["o"], "b": [1]})
    with pytest.raises(InputError, match="'x' should hold finite numbers, found a gap"):
        read_assays([one, strange], smiles=None, features=["x"], molecule="id")


SALTS = ["CC(=O)[O-].[Na+]", "CC(=O)O", "[CH3:1][CH2:2][OH:3]", "CCO", "C[NH3+].[Cl-]", "CCCC"]


def test_salts_and_atom_maps_are_their_parents_where_asked(tmp_path) -> None:
    path = write_csv(tmp_path / "t.csv", {"smiles": SALTS, "a": [0, 1, 0, 1, 1, 0]})
    apart = read_assays(path)
    assert len(set(apart.molecules)) == 6
    assert apart.parents[0] == apart.parents[1]
    assert apart.parents[2] == apart.parents[3]
    joined = read_assays(path, standardise="parent")
    assert joined.molecule_names == ("CC(=O)O", "CCO", "CN", "CCCC")
    assert joined.molecules.tolist() == [0, 0, 1, 1, 2, 3]
    assert joined.features_fingerprint() != apart.features_fingerprint()
    assert (joined.features[0] != joined.features[1]).nnz == 0
    with pytest.raises(InputError, match="standardise should be"):
        read_assays(path, standardise="salt")


def test_a_salt_on_the_other_side_of_a_split_is_said(tmp_path) -> None:
    chains = ["C" * n + "C(=O)O" for n in range(1, 25)]
    smiles = [*chains, *(text[:-1] + "[O-].[Na+]" for text in chains)]
    path = write_csv(tmp_path / "t.csv", {"smiles": smiles, "a": [n % 2 for n in range(24)] * 2})
    note = split_target(read_assays(path), "a", "random", seed=1).notes[0]
    assert "held-out molecules are trained on in another form" in note
    assert "standardise: parent" in note
    assert not split_target(read_assays(path, standardise="parent"), "a", "random", seed=1).notes


@pytest.mark.parametrize(
    ("features", "labels", "says"),
    [
        ([[1.0], [np.nan]], [[0], [1]], "finite"),
        ([[1.0], ["x"]], [[0], [1]], "numbers"),
        ([[1.0], [2.0]], [0, 1], "shape"),
        ([[1.0], [2.0]], [[0], [3]], "found 3 in row 1"),
        ([], [[0]], "shape"),
    ],
)
def test_bad_arrays(features, labels, says) -> None:
    with pytest.raises(InputError, match=says):
        AssayTable.from_arrays(features, labels)


@pytest.mark.parametrize("settings", [{"radius": 9}, {"bits": 3}])
def test_bad_fingerprints(settings) -> None:
    with pytest.raises(InputError, match="of a fingerprint"):
        Fingerprint(**settings)


def test_a_large_csv_with_line_breaks_in_quotes(tmp_path) -> None:
    rows = "".join(f'"a name\nof two lines {i}",{i}.5,{i % 2}\n' for i in range(60_000))
    (tmp_path / "a.csv").write_text("name,f,active\n" + rows)
    table = read_assays(tmp_path / "a.csv", smiles=None, features=["f"], labels=["active"])
    assert table.n == 60_000
    assert table.labels[:, 0].tolist() == [i % 2 for i in range(60_000)]


def test_a_packed_csv(tmp_path) -> None:
    import gzip

    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"f,active\n1.5,0\n2.5,1\n"))
    table = read_assays(tmp_path / "a.csv.gz", smiles=None, features=["f"])
    assert table.labels[:, 0].tolist() == [0, 1]


LONG = {
    "smiles": ["CCO", "CCO", "CCN", "OCC", "CCN", "CCC", "CCC"],
    "test": ["a", "b", "a", "a", "b", "b", ""],
    "result": [7.0, 4.5, 5.0, 5.5, 6.5, "", 9.0],
}


def test_a_long_table_is_the_wide_one(tmp_path) -> None:
    path = write_csv(tmp_path / "long.csv", LONG)
    table = read_assays(path, assay="test", value="result", threshold={"a": 6, "b": 5})
    assert table.assays == ("a", "b")
    assert [table.name_of(m) for m in table.molecules] == ["CCO", "CCN", "CCO", "CCC"]  # OCC is another text of CCO
    assert table.labels.tolist() == [[1, 0], [0, 1], [0, -1], [-1, -1]]
    assert table.rows.tolist() == [0, 2, 3, 5]
    assert "1 molecule has both a 0 and a 1 in the same assay, such as CCO: in assay 'a'" in table.notes[0]
    below = read_assays(path, assay="test", value="result", threshold=5, active="below", labels=["b"])
    assert below.assays == ("b",)
    assert below.labels[:, 0].tolist() == [1, 0, -1]


def test_repeated_measurements_each_have_a_row(tmp_path) -> None:
    data = {"smiles": ["CCO"] * 3 + ["CCN"], "test": [1, 1, 2, 1], "result": [1, 1, 0, 0]}
    table = read_assays(write_csv(tmp_path / "t.csv", data), assay="test", value="result")
    assert table.assays == ("1", "2")  # numbers of assays are names
    assert table.labels.tolist() == [[1, 0], [1, -1], [0, -1]]


def test_a_long_table_of_words_with_molecules_in_another_file(tmp_path) -> None:
    measured = {"id": ["x", "y", "y"], "test": ["a", "a", "b"], "result": ["yes", "no", "yes"]}
    long = write_csv(tmp_path / "long.csv", measured)
    molecules = write_csv(tmp_path / "molecules.csv", {"id": ["y", "x", "z"], "smiles": ["CCN", "CCO", "CCC"]})
    table = read_assays(
        [long, molecules], assay="test", value="result", molecule="id", coding={"active": "yes", "inactive": "no"}
    )
    assert table.labels.tolist() == [[1, -1], [0, 1]]
    assert table.molecule_names == ("x", "y")
    assert table.features.shape == (2, 1024)


def test_a_threshold_is_for_wide_tables_too(tmp_path) -> None:
    path = write_csv(tmp_path / "t.csv", {"smiles": ["C", "CC", "CCC"], "a": [5, "", 7], "b": [0.1, 0.2, 0.3]})
    table = read_assays(path, threshold={"a": 7, "b": 0.2})
    assert table.labels.tolist() == [[0, 0], [-1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"assay": "test"}, "two columns, assay and value; found one of them: name the column for value"),
        ({"assay": "tset", "value": "result"}, "the column for assay should be .* found 'tset'; did you mean 'test'"),
        ({"assay": "test", "value": "result"}, r"labels of the column of values .* found 7 in row 0; .*\.\.\.[})]+$"),
        ({"threshold": {"a": 6}}, "threshold should name each assay, found none for 'b'; add it"),
        ({"threshold": "high"}, "threshold should be a number"),
        ({"threshold": True}, "threshold should be a number"),
        ({"threshold": 5, "coding": {"active": 1, "inactive": 0}}, "a coding of labels or a threshold"),
        ({"threshold": 5, "active": "more"}, "active should be 'above' or 'below'"),
        ({"threshold": 5, "labels": ["c"]}, "an assay of the column 'test' should be one of the table's, found 'c'"),
        ({"threshold": 5, "ignore": ["test"]}, "remove ignore"),
    ],
)
def test_bad_long_tables_are_one_clear_error(tmp_path, options, says) -> None:
    path = write_csv(tmp_path / "long.csv", LONG)
    settings = options if "assay" in options else {"assay": "test", "value": "result"} | options
    with pytest.raises(InputError, match=says):
        read_assays(path, **settings)


def test_a_text_among_measured_values_is_named(tmp_path) -> None:
    path = write_csv(tmp_path / "t.csv", {"smiles": ["C", "CC"], "test": ["a", "b"], "result": [5, ">10"]})
    with pytest.raises(InputError, match=r"values of assay 'b' should be numbers, .* found '>10' in row 1"):
        read_assays(path, assay="test", value="result", threshold=5)
