"""The exact interval of a share. scipy.special alone: all of scipy.stats would cost every command a second."""

from scipy import special


def clopper_pearson(hits: int, n: int, *, error: float = 0.05) -> tuple[float, float]:
    """Return the limits of a share of which `hits` of `n` were seen; each errs with half of the error at most.

    Source: Clopper and Pearson 1934, "The use of confidence or fiducial limits".
    """
    low = float(special.betaincinv(hits, n - hits + 1, error / 2)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, n - hits, 1 - error / 2)) if hits < n else 1.0
    return low, high
