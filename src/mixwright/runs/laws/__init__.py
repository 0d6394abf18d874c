"""Laws of mixtures: from weights (or exposures) to a loss, one file each."""

from __future__ import annotations

from importlib import import_module

from mixwright.checks import near
from mixwright.errors import InputError
from mixwright.runs.laws.law import FittedLaw, Law, Runs

LAWS = {  # name: module and class
    "linear": ("linear", "LinearLaw"),
    "log_linear": ("log_linear", "LogLinearLaw"),
    "exposure": ("exposure", "ExposureLaw"),
    "gaussian_process": ("gaussian_process", "GaussianProcessLaw"),
    "trees": ("trees", "TreesLaw"),
    "bimix": ("bimix", "BiMixLaw"),
    "ensemble": ("ensemble", "EnsembleLaw"),
    "log_exposure": ("log_exposure", "LogExposureLaw"),
}

__all__ = ["LAWS", "FittedLaw", "Law", "Runs", "law_named"]


def law_named(name: str) -> Law:
    """Return a law by its name, or the mean of several ("linear + bimix"); InputError for a name that is none."""
    if name not in LAWS and " + " in name:
        from mixwright.runs.laws.ensemble import EnsembleLaw

        return EnsembleLaw(tuple(law_named(one) for one in name.split(" + ")))
    if name not in LAWS:
        raise InputError(f"law should be 'auto', a law or its name{near(name, list(LAWS), 'laws')}")
    module, of = LAWS[name]
    found: Law = getattr(import_module(f"mixwright.runs.laws.{module}"), of)()
    return found
