"""What remains of the gap of the bottom cohort when other differences are held fixed.

A negative-binomial regression of each speaker's errors, with words as exposure, is fitted with the
bottom cohort alone and again with covariates. Its coefficient is the log of a ratio of error rates.

Shapes: S speakers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm

from asrlib.json_record import JsonRecord


@dataclass(frozen=True)
class RateRatio(JsonRecord):
    """Error rate of the bottom cohort divided by that of the others, with its 95 % interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Adjustment(JsonRecord):
    """The regression, or why there is none.

    Attributes:
        speakers: number of speakers that have all covariates.
        model: `negative binomial`; or `quasi-Poisson`, which scales the variance of Poisson counts
            up to that seen, where the other does not converge, as when errors vary too little.
        covariates: what was held fixed.
        left_out: why a covariate is not among them, by covariate.
        raw: the ratio on these speakers with nothing held fixed.
        adjusted: the ratio with the covariates held fixed.
        remaining: log(adjusted) / log(raw): the share of the difference that the covariates do not
            account for; None if the bottom cohort is not worse here.
        note: why there is no regression; "" if there is one.
    """

    speakers: int = 0
    model: str = ""
    covariates: tuple[str, ...] = ()
    left_out: dict[str, str] | None = None
    raw: RateRatio | None = None
    adjusted: RateRatio | None = None
    remaining: float | None = None
    note: str = ""


def adjust(
    errors_S: np.ndarray,
    words_S: np.ndarray,
    bottom_S: np.ndarray,
    covariates: Mapping[str, np.ndarray],
) -> Adjustment:
    """Fit both regressions.

    Args:
        errors_S, words_S: sums of speakers with words.
        bottom_S: whether a speaker is in the bottom cohort.
        covariates: numbers by name (S,), NaN where unknown. One that half of the speakers lack, or
            that does not vary, is left out; of the others, speakers without a number are.
    """
    left_out = {name: reason for name, x_S in covariates.items() if (reason := _unusable(x_S))}
    used = {name: x_S for name, x_S in covariates.items() if name not in left_out}
    keep_S = (words_S > 0) & np.isfinite(np.array([*used.values(), words_S])).all(axis=0)
    errors_S, words_S, bottom_S = errors_S[keep_S], words_S[keep_S], bottom_S[keep_S]
    columns = {name: _standard(x_S[keep_S]) for name, x_S in used.items()}
    note = _impossible(errors_S, bottom_S, len(columns))
    if note:
        return Adjustment(len(errors_S), left_out=left_out, note=note)
    one_S = np.ones(len(errors_S))
    raw, _ = _fit(errors_S, words_S, np.column_stack([one_S, bottom_S]))
    design = np.column_stack([one_S, bottom_S, *columns.values()])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return Adjustment(
            len(errors_S), left_out=left_out, raw=raw, note="the covariates determine one another"
        )
    adjusted, model = _fit(errors_S, words_S, design)
    worse = raw.ratio > 1
    return Adjustment(
        speakers=len(errors_S),
        model=model,
        covariates=tuple(columns),
        left_out=left_out,
        raw=raw,
        adjusted=adjusted,
        remaining=math.log(adjusted.ratio) / math.log(raw.ratio) if worse else None,
    )


def _unusable(x_S: np.ndarray) -> str:
    known_S = np.isfinite(x_S)
    if known_S.mean() < 0.5:
        return "known of fewer than half of the speakers"
    return "" if np.ptp(x_S[known_S]) > 0 else "the same for all speakers"


def _standard(x_S: np.ndarray) -> np.ndarray:
    return (x_S - x_S.mean()) / max(float(x_S.std()), 1e-12)


def _impossible(errors_S: np.ndarray, bottom_S: np.ndarray, covariates: int) -> str:
    if min(bottom_S.sum(), (~bottom_S).sum()) < 2:
        return "a side of the comparison has fewer than two speakers with all covariates"
    if len(errors_S) < 5 * (covariates + 2):
        return f"{len(errors_S)} speakers are too few for {covariates} covariates"
    if not errors_S[bottom_S].any() or not errors_S[~bottom_S].any():
        return "a side of the comparison makes no error"
    return ""


def _fit(errors_S: np.ndarray, words_S: np.ndarray, design: np.ndarray) -> tuple[RateRatio, str]:
    """Fit the counts; the ratio is that of the second column, which is 0 or 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is checked below
        model = sm.NegativeBinomial(errors_S, design, exposure=words_S)
        poisson = sm.GLM(errors_S, design, family=sm.families.Poisson(), exposure=words_S)
        quasi = poisson.fit()
        start = np.append(quasi.params, 0.1)
        fit = model.fit(start_params=start, method="bfgs", maxiter=1000, disp=0)
        error = float(fit.bse[1])
    if fit.mle_retvals["converged"] and np.isfinite(error) and fit.params[-1] > 1e-6:
        return _ratio(float(fit.params[1]), error), "negative binomial"
    dispersion = max(1.0, quasi.pearson_chi2 / quasi.df_resid)
    return _ratio(float(quasi.params[1]), quasi.bse[1] * dispersion**0.5), "quasi-Poisson"


def _ratio(log_ratio: float, error: float) -> RateRatio:
    return RateRatio(*(math.exp(log_ratio + z * error) for z in (0.0, -1.96, 1.96)))
