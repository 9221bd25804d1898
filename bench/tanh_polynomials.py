"""Find the table of ``kernels/tanh_table.py``: ``python -m bench.tanh_polynomials`` prints its lines and their errors.

For each interval: a number c near the middle whose hyperbolic tangent is nearly one of single precision, and the
polynomial in r = x - c of least relative error. That is approached by least squares at Chebyshev points, with more and
more weight where the error is largest. The coefficients are rounded to single precision one after the other, from
the constant on, and those that are left are fitted again each time.
"""

import numpy as np
import numpy.typing as npt

from fastmlp.kernels.tanh_table import LARGEST, SMALLEST

DEGREE, PARTS_OF_A_POWER_OF_TWO, INTERVALS = 5, 4, 32
POINTS, ROUNDS, CANDIDATES = 600, 40, 200_000
Array = npt.NDArray[np.float64]


def intervals() -> list[tuple[float, float]]:
    """Return where the intervals begin and end; the first one begins at 0."""
    edges = [
        SMALLEST * 2.0**power * (1 + part / PARTS_OF_A_POWER_OF_TWO)
        for power in range(INTERVALS // PARTS_OF_A_POWER_OF_TWO)
        for part in range(PARTS_OF_A_POWER_OF_TWO)
    ]
    return list(zip([0.0, *edges[1:]], [*edges[1:], 16.0], strict=True))


def centre(low: float, high: float) -> np.float32:
    """Return the number within a thirty-second of the interval around its middle whose tanh is the nearest to one."""
    reach = (high - low) / 64
    ends = np.array([(low + high) / 2 - reach, (low + high) / 2 + reach], np.float32).view(np.int32)
    candidates = np.arange(*ends, dtype=np.int32).view(np.float32)
    candidates = candidates[:: max(1, len(candidates) // CANDIDATES)]
    exact = np.tanh(candidates.astype(np.longdouble))
    rounded = exact.astype(np.float32)
    return candidates[(np.abs(rounded - exact) / np.spacing(rounded)).argmin()]


def best_fit(powers: Array, wanted: Array, exact: Array) -> Array:
    """Return the factors of the columns of `powers` that come nearest to `wanted`, relative to `exact`."""
    weights, least, best = np.ones(len(wanted)), np.inf, np.zeros(powers.shape[1])
    scale = np.abs(powers).max(axis=0)
    for _ in range(ROUNDS):
        rows = np.sqrt(weights) / exact
        factors = np.linalg.lstsq(powers * rows[:, np.newaxis] / scale, wanted * rows, rcond=None)[0] / scale
        errors = np.abs(powers @ factors - wanted) / exact
        if errors.max() < least:
            least, best = errors.max(), factors
        weights *= errors / errors.max() + 1e-3
        weights /= weights.sum()
    return best


def polynomial(low: float, high: float, c: np.float32) -> tuple[list[np.float32], float]:
    """Return the factors of the powers of r, and the largest relative error in units of 2^-24."""
    angles = (np.arange(POINTS) + 0.5) * np.pi / POINTS
    x = (low + high) / 2 + (high - low) / 2 * np.cos(angles)
    exact, powers = np.tanh(x), np.power.outer(x - float(c), np.arange(DEGREE + 1))
    factors = [np.float32(np.tanh(np.longdouble(c)))]
    while len(factors) <= DEGREE:
        fixed = powers[:, : len(factors)] @ np.array(factors, np.float64)
        factors.append(np.float32(best_fit(powers[:, len(factors) :], exact - fixed, exact)[0]))
    errors = np.abs(powers @ np.array(factors, np.float64) - exact) / exact
    return factors, float(2**24 * errors.max())


def main() -> None:
    """Print the lines of the table, each with its interval and its error."""
    for low, high in intervals():
        if low >= LARGEST:
            numbers, error = [np.float32((low + high) / 2), np.float32(1), *[np.float32(0)] * DEGREE], 0.0
        else:
            c = np.float32(0) if low == 0 else centre(low, high)
            factors, error = polynomial(low, high, c)
            numbers = [c, *factors]
        line = ", ".join(str(number) for number in numbers)
        print(f"({line}),  # {low} to {high}: {error:.3f}")


if __name__ == "__main__":
    main()
