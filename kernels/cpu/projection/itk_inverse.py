"""The inverse of a small matrix by LINPACK's singular values, to the last bit.

ITK inverts rotations this way. The result differs from other ways by 1e-16, which nothing would
notice but `drr.kernels.reference.siddon_jacobs`: there the last bits can pick the voxel that a ray
enters.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["inverse"]

Columns = list[list[float]]


def inverse(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """V diag(1 / s) U^T of a regular `(n, n)` matrix, in float64 and LINPACK's order.

    J. J. Dongarra, J. R. Bunch, C. B. Moler and G. W. Stewart, "LINPACK Users' Guide" (1979),
    chapter 11 (DSVDC): Householder reduction to a bidiagonal, then implicitly shifted QR steps.
    Plain Python arithmetic: NumPy's products may fuse or reorder their sums.

    Raises
    ------
    ValueError
        For entries that are not finite. A singular matrix divides by zero.
    """
    if not np.isfinite(matrix).all():
        raise ValueError(f"a matrix of finite numbers is needed, got {matrix.tolist()}")
    left, values, right = _singular_values(matrix)
    n = len(values)
    scaled = [[right[j][i] * (1.0 / values[j]) for j in range(n)] for i in range(n)]
    out = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            out[i, j] = _dot(scaled[i], [column[j] for column in left])
    return out


def _singular_values(matrix: NDArray[np.floating]) -> tuple[Columns, list[float], Columns]:
    """Columns of U, singular values and columns of V."""
    n = len(matrix)
    x: Columns = [[float(value) for value in column] for column in matrix.T]
    s, e = [0.0] * n, [0.0] * n
    u: Columns = [[float(i == j) for i in range(n)] for j in range(n)]
    v: Columns = [[float(i == j) for i in range(n)] for j in range(n)]
    for k in range(n - 1):
        s[k] = _householder(x[k], k)
        for j in range(k + 1, n):
            if s[k] != 0.0:
                _reflect(x[k], x[j], k)
            e[j] = x[j][k]
        u[k][k:] = x[k][k:]
        if k < n - 2:
            e[k] = _householder(e, k + 1)
            if e[k] != 0.0:
                work = [0.0] * n
                for j in range(k + 1, n):
                    _add(e[j], x[j], work, k + 1)
                for j in range(k + 1, n):
                    _add(-e[j] / e[k + 1], work, x[j], k + 1)
            v[k][k + 1 :] = e[k + 1 :]
    s[n - 1] = x[n - 1][n - 1]
    e[n - 2], e[n - 1] = x[n - 1][n - 2], 0.0
    for k in reversed(range(n - 1)):
        if s[k] != 0.0:
            for j in range(k + 1, n):
                _reflect(u[k], u[j], k)
            u[k] = [0.0] * k + [-value for value in u[k][k:]]
            u[k][k] += 1.0
        else:
            u[k] = [float(i == k) for i in range(n)]
    for k in reversed(range(n)):
        if k < n - 2 and e[k] != 0.0:
            for j in range(k + 1, n):
                _reflect(v[k], v[j], k + 1)
        v[k] = [float(i == k) for i in range(n)]
    _diagonalise(s, e, u, v)
    return u, s, v


def _diagonalise(s: list[float], e: list[float], u: Columns, v: Columns) -> None:
    """QR steps on the bidiagonal with diagonal s and super-diagonal e, until e is negligible."""
    m = len(s) - 1
    while m >= 0:
        first = m
        while first > 0:
            both = abs(s[first - 1]) + abs(s[first])
            if both + abs(e[first - 1]) == both:
                e[first - 1] = 0.0
                break
            first -= 1
        if first < m:
            _qr_step(s, e, u, v, first, m)
            continue
        if s[m] < 0.0:
            s[m] = -s[m]
            v[m] = [-value for value in v[m]]
        k = m
        while k < len(s) - 1 and s[k] < s[k + 1]:
            s[k], s[k + 1] = s[k + 1], s[k]
            u[k], u[k + 1] = u[k + 1], u[k]
            v[k], v[k + 1] = v[k + 1], v[k]
            k += 1
        m -= 1


def _qr_step(s: list[float], e: list[float], u: Columns, v: Columns, first: int, last: int) -> None:
    parts = (s[last], s[last - 1], e[last - 1], s[first], e[first])
    scale = max(map(abs, parts))
    sm, sm1, em1, sl, el = (part / scale for part in parts)
    b = ((sm1 + sm) * (sm1 - sm) + em1 * em1) / 2.0
    c = (sm * em1) * (sm * em1)
    shift = 0.0
    if b != 0.0 or c != 0.0:
        shift = math.copysign(math.sqrt(b * b + c), b)
        shift = c / (b + shift)
    f, g = (sl + sm) * (sl - sm) + shift, sl * el
    for k in range(first, last):
        f, cosine, sine = _givens(f, g)
        if k != first:
            e[k - 1] = f
        f, e[k] = cosine * s[k] + sine * e[k], cosine * e[k] - sine * s[k]
        g, s[k + 1] = sine * s[k + 1], cosine * s[k + 1]
        _rotate(v[k], v[k + 1], cosine, sine)
        s[k], cosine, sine = _givens(f, g)
        f, s[k + 1] = cosine * e[k] + sine * s[k + 1], -sine * e[k] + cosine * s[k + 1]
        g, e[k + 1] = sine * e[k + 1], cosine * e[k + 1]
        _rotate(u[k], u[k + 1], cosine, sine)
    e[last - 1] = f


def _householder(x: list[float], start: int) -> float:
    """Replace x[start:] by its Householder vector; return the new leading entry."""
    length = _norm(x[start:])
    if length == 0.0:
        return -0.0
    if x[start] != 0.0:
        length = math.copysign(length, x[start])
    for i in range(start, len(x)):
        x[i] *= 1.0 / length
    x[start] += 1.0
    return -length


def _reflect(vector: list[float], column: list[float], start: int) -> None:
    _add(-_dot(vector[start:], column[start:]) / vector[start], vector, column, start)


def _add(factor: float, x: list[float], y: list[float], start: int) -> None:
    for i in range(start, len(y)):
        y[i] += factor * x[i]


def _dot(x: list[float], y: list[float]) -> float:
    total = 0.0
    for a, b in zip(x, y, strict=True):
        total += a * b
    return total


def _norm(x: list[float]) -> float:
    if len(x) == 1:
        return abs(x[0])
    scale, squares = 0.0, 1.0
    for value in map(abs, x):
        if value == 0.0:
            continue
        if scale < value:
            squares = squares * ((scale / value) * (scale / value)) + 1.0
            scale = value
        else:
            squares += (value / scale) * (value / scale)
    return scale * math.sqrt(squares)


def _givens(a: float, b: float) -> tuple[float, float, float]:
    """Length, cosine and sine of the rotation that turns (a, b) onto the first axis."""
    scale = abs(a) + abs(b)
    if scale == 0.0:
        return 0.0, 1.0, 0.0
    x, y = a / scale, b / scale
    length = math.copysign(scale * math.sqrt(x * x + y * y), a if abs(a) > abs(b) else b)
    return length, a / length, b / length


def _rotate(x: list[float], y: list[float], cosine: float, sine: float) -> None:
    for i in range(len(x)):
        x[i], y[i] = cosine * x[i] + sine * y[i], cosine * y[i] - sine * x[i]
