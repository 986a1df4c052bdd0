"""The statistics of a verdict, as pure functions on plain numbers.

One test for every track and budget: a one-sided paired t-test whose variance estimate mixes the spread of the pairs at
hand with that of earlier evaluations (the noise bank), which counts as `d0` further degrees of freedom. Smyth 2004,
"Linear models and empirical Bayes methods", Statistical Applications in Genetics and Molecular Biology 3(1):3,
section 4. It is looked at after every pair, so its bar is a Pocock-like constant that pays for all the looks.

scipy is imported inside the functions, so that reading this module costs nothing; `scipy.special` holds the very
functions that `scipy.stats.t` and `norm` call, at a fiftieth of their price per call.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Number = TypeVar("Number", float, NDArray[np.float64])

ALPHA = 0.02  # chance of accepting a patch that changes nothing, over all looks and cells
PRIOR_DF = 4.0  # d0: the pairs that a filled noise bank counts for
FILLED_DF = 6.0  # below this the bank has no say
FUTILITY = 0.10  # stop when the chance of ever crossing the bar is below this


@dataclass(frozen=True)
class ModeratedT:
    """A one-sided moderated t-test of H0: E[X] <= margin."""

    n: int
    mean: float  # of X, before the margin is taken off
    s: float  # moderated standard deviation of one difference
    se: float  # of the mean
    df: float  # d0 + n - 1
    t: float
    p: float  # P(t_df >= t)

    @property
    def p_below(self) -> float:
        """p of the opposite claim, E[X] < margin: the mirror image has the same noise and the opposite t."""
        return self.p if self.df == 0 else upper_tail(-self.t, self.df)


@dataclass(frozen=True)
class Spread:
    """Mean and spread of repeated runs."""

    mean: float
    sd: float  # with n - 1
    sd_population: float  # with n


@dataclass(frozen=True)
class TimeRatio:
    """How long the submission trains, as a multiple of the baseline's time."""

    R: tuple[float, ...]  # ln(submission / baseline), one per pair
    ratio: float  # exp(mean R): below 1 is faster
    t: float
    df: float
    p: float  # of "faster by more than the margin"
    ratio_interval: tuple[float, float]  # repeated interval


def finite(values: Iterable[float]) -> list[float]:
    """The values as floats; raises ValueError on none at all and on NaN or infinity."""
    listed = [float(value) for value in values]
    if not listed:
        raise ValueError("no values to test")
    if not all(math.isfinite(value) for value in listed):
        raise ValueError(f"a value is not a finite number: {listed}")
    return listed


def centre(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and sum of squares around it.

    Equal values have no spread at all: rounding in their mean must not invent one, because with it a deterministic
    patch would look like an infinitely sure one.
    """
    if min(values) == max(values):
        return values[0], 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values)


def spread(values: Iterable[float]) -> Spread:
    """Mean, sample and population standard deviation; raises ValueError on fewer than two values."""
    listed = finite(values)
    if len(listed) < 2:
        raise ValueError("a spread needs two values")
    mean, ss = centre(listed)
    return Spread(mean, math.sqrt(ss / (len(listed) - 1)), math.sqrt(ss / len(listed)))


def moderated_variance(ss: Number, n: int, s0: float, d0: float) -> Number:
    """Smyth 2004, equation for s-tilde squared: the pairs' sum of squares `ss`, with `s0` as if seen `d0` times."""
    if math.isinf(d0):
        return ss * 0 + s0**2
    return (d0 * s0**2 + ss) / (d0 + n - 1)


def upper_tail(t: float, df: float) -> float:
    """P(t_df >= t)."""
    from scipy import special

    return float(special.stdtr(df, -t))


def moderated_t(x: Iterable[float], s0: float, margin: float = 0.0, d0: float = PRIOR_DF) -> ModeratedT:
    """One-sided moderated t-test of H0: E[X] <= margin.

    `d0 = 0` is the ordinary paired t-test, `d0 = inf` a z-test with known `s0`. Without any spread, t is 0 where the
    mean equals the margin and infinite elsewhere. One value and no bank say nothing: t = 0, p = 1.
    Raises ValueError on empty or non-finite input.
    """
    values = finite(x)
    if d0 > 0 and not (math.isfinite(s0) and s0 >= 0):
        raise ValueError(f"the bank's standard deviation must be a finite number >= 0, not {s0}")
    n = len(values)
    mean, ss = centre(values)
    df = d0 + n - 1
    if df == 0:
        return ModeratedT(n, mean, math.inf, math.inf, df, t=0.0, p=1.0)
    s = math.sqrt(moderated_variance(ss, n, s0 if d0 else 0.0, d0))
    se = s / math.sqrt(n)
    gap = mean - margin
    if se == 0 and gap == 0:
        return ModeratedT(n, mean, s, se, df, t=0.0, p=0.5)
    t = gap / se if se > 0 else math.copysign(math.inf, gap)
    return ModeratedT(n, mean, s, se, df, t, upper_tail(t, df))


def scatter_p(groups: Iterable[Sequence[float]], s0: float, s0_df: float) -> float:
    """p that values scatter so much around the mean of their own group, where s0 estimates the sd of one (F-test)."""
    from scipy import special

    listed = [values for values in groups if len(values) > 1]
    df = sum(len(values) - 1 for values in listed)
    ss = math.fsum(centre(values)[1] for values in listed)
    return float(special.fdtrc(df, s0_df, ss / df / s0**2)) if df and s0 > 0 else 1.0


def bar(N: int, k: int = 1, alpha: float = ALPHA) -> float:
    """The p that has to be reached at any of the looks at 2..N pairs, for one of k claimed cells.

    A closed form slightly below the Pocock constants of this statistic, checked by simulation.
    """
    return 2 * alpha / (k * (N + 1))


def predictive_power(p: float, n: int, N: int, c: float) -> float:
    """Chance that p crosses `c` at pair N, given p after n pairs and a flat prior on the effect.

    At n >= N it is 1 if p <= c, else 0. Spiegelhalter, Freedman and Blackburn 1986, Controlled Clinical Trials 7(1).
    """
    from scipy import special

    if n >= N:
        return 1.0 if p <= c else 0.0
    z_n, z_c = -special.ndtri(p), -special.ndtri(c)
    return float(special.ndtr((z_n / math.sqrt(n) - z_c / math.sqrt(N)) / math.sqrt(1 / n - 1 / N)))


def accept_boundary(c: float, df: float) -> float:
    """The t at which p equals the bar `c`."""
    from scipy import special

    return float(-special.stdtrit(df, c))


def futility_boundary(n: int, N: int, c: float, df: float, least: float = FUTILITY) -> float | None:
    """The t at which the predictive power equals `least`; None at the last look, where nothing is left to predict."""
    from scipy import special

    if n >= N:
        return None
    z_c, z_least = -special.ndtri(c), special.ndtri(least)
    z_n = math.sqrt(n) * (z_c / math.sqrt(N) + z_least * math.sqrt(1 / n - 1 / N))
    return float(-special.stdtrit(df, special.ndtr(-z_n)))


def sequential_p(ps: Iterable[float], N: int, k: int = 1) -> float:
    """One p for all looks at which a decision was possible; at most alpha exactly when the bar was crossed."""
    return min(1.0, k * (N + 1) / 2 * min(ps, default=math.inf))


def repeated_interval(test: ModeratedT, c: float) -> tuple[float, float]:
    """Interval for E[X] that holds at all looks together, whenever one stops.

    Jennison and Turnbull 1989, Journal of the Royal Statistical Society B 51(3).
    """
    if test.df == 0:
        return -math.inf, math.inf
    half = accept_boundary(c, test.df) * test.se
    return test.mean - half, test.mean + half


def log_ratios(base_s: Sequence[float], sub_s: Sequence[float]) -> tuple[float, ...]:
    """R_i = ln(T_sub / T_base) of paired training times in seconds."""
    return tuple(math.log(sub / base) for base, sub in zip(base_s, sub_s, strict=True))


def time_ratio(
    base_s: Sequence[float], sub_s: Sequence[float], s0: float, margin: float, N: int, d0: float = PRIOR_DF
) -> TimeRatio:
    """Paired training times in seconds as a ratio; `margin` is the log-ratio that a claim of speed has to exceed."""
    R = log_ratios(base_s, sub_s)
    test = moderated_t([-r for r in R], s0, margin, d0)
    low, high = repeated_interval(test, bar(N))
    return TimeRatio(R, exp(-test.mean), test.t, test.df, test.p, (exp(-high), exp(-low)))


def exp(x: float) -> float:
    """e to the x; infinity where that does not fit into a float."""
    return math.exp(x) if x < 709 else math.inf


def net_gain(D: Sequence[float], R: Sequence[float], kappa: float | None) -> list[float] | None:
    """How much sooner the core's loss is reached, on a log scale, one value per pair.

    `D` in nats, `R` in log seconds, `kappa = -dL / d ln T` of the core; None without a positive `kappa`.
    """
    if kappa is None or not kappa > 0:
        return None
    return [d / kappa - r for d, r in zip(D, R, strict=True)]
