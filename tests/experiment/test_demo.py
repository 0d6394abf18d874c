from mixwright.experiment.demo.demo import expectation


def test_the_expected_answer_is_checked() -> None:
    summary = {
        "sources": [{"name": "python_code"}, {"name": "docstrings"}, {"name": "licences"}],
        "searches": [{"mixture": "search"}],
        "mixtures": [{"name": "search", "weights": [0.6, 0.3, 0.1]}],
    }
    assert expectation(summary, {"code_share": 0.7}).endswith("python_code 0.60, docstrings 0.30: as expected")
    summary["mixtures"][0]["weights"] = [0.2, 0.3, 0.5]
    assert expectation(summary, {"code_share": 0.7}).endswith("NOT as expected")
