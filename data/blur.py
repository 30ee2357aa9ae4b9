"""Gaussian blur and down-sampling in one: only what is left is computed.

`cv2.filter2D` with the published kernels of 41 pixels takes half the time of a degraded sample, and of its result,
down-sampling by 4 reads a quarter. `blur_and_shrink` gives what `filter2D` with mirrored borders and
`resize(INTER_LINEAR)` give, kernels cut off at the same square, to within a step of 8 bits in photos (on average 0.03
of a step; 1.5 steps at most in white noise: tests/data/test_blur.py):

* lines that down-sampling does not read are not computed, and its two weights are part of the filter;
* a kernel without a narrow side (`WIDE`) acts on the image at half its size; what the halving has already blurred is
  taken off the kernel;
* a kernel is the sum of few products of a column and a row, or it has few taps that are not nearly zero: whichever is
  less work (or else `filter2D` it is). Up to `LOST` of a kernel is left out.
"""

import math

import cv2
import numpy as np

WIDE = 3  # pixels of the smaller standard deviation from which on an image is halved
WHOLE = 4  # standard deviations that the kernel must then be wide: halving blurs where it is cut off
LOST = 1 / 255  # sum of the absolute weights that may be left out; the others are scaled to sum to 1
MOST_WORK = 200_000  # weights times lines of the result, from where on filter2D's Fourier transform is quicker


def anisotropic_kernel(size: int, sigma_x: float, sigma_y: float, theta: float) -> np.ndarray:
    """A turned elliptic Gaussian that sums to 1, shape (size, size), float32; sigmas in pixels, theta in radians."""
    return _normalised(_gaussian(size, sigma_x, sigma_y, theta))


def blur_and_shrink(
    img: np.ndarray, sigma_x: float, sigma_y: float, theta: float, size: int, height: int, width: int
) -> np.ndarray:
    """Blurs an image with a Gaussian and brings it to another size.

    Args:
        img: (H, W, 3) float32.
        sigma_x: standard deviations of the blur in pixels; equal for a round one.
        sigma_y: see sigma_x.
        theta: angle of the kernel in radians.
        size: side of the kernel in pixels, odd.
        height: of the result.
        width: of the result.

    Returns:
        (height, width, 3) float32.
    """
    full, cell = img.shape[:2], 1
    if min(sigma_x, sigma_y) >= WIDE and size >= WHOLE * max(sigma_x, sigma_y):
        img, cell = cv2.pyrDown(img), 2
    kernel = _kernel_of_cells(size, sigma_x, sigma_y, theta, cell)
    columns, rows = _factors(kernel, sigma_x == sigma_y)
    first, shares = _between(full[0], height, cell)
    taps = _without_least(kernel) if cell == 1 and len(columns) > 1 else kernel
    work = min(np.count_nonzero(taps), 2 * columns.size)
    if cell == 1 and work * height > MOST_WORK:
        lines = cv2.filter2D(img, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    elif cell == 1 and work < 2 * columns.size:
        lines = _with_taps(img, taps, first, shares)
    else:
        lines = _with_products(img, full, cell, columns, rows, first, shares)
    return cv2.resize(lines.reshape(-1, full[1], 3), (width, height), interpolation=cv2.INTER_LINEAR)


def _with_products(
    img: np.ndarray,
    full: tuple[int, int],
    cell: int,
    columns: np.ndarray,
    rows: np.ndarray,
    first: np.ndarray,
    shares: np.ndarray,
) -> np.ndarray:
    """Lines (h, 3 W) of an image, perhaps of half the size, filtered with products of columns and rows (r, k)."""
    from .blur_loops import products

    (count, size), (height, taps) = columns.shape, shares.shape
    weights = np.zeros((count, height, _fours(size + taps - 1)), np.float32)
    for t in range(taps):
        weights[..., t : t + size] += columns[:, None] * shares[:, t, None]
    spare = 0 if cell == 1 else 2  # an image blurred with a turned kernel does not continue as its mirror image
    outwards = 1 + np.arange(size // 2 + spare)
    edge = np.stack([-outwards, img.shape[1] - 1 + outwards])
    return products(
        img.reshape(len(img), -1),
        _mirrored(first[:, None] - size // 2 + np.arange(weights.shape[2]), full[0], cell),
        weights,
        np.pad(rows, ((0, 0), (0, _fours(size) - size))),
        _mirrored(edge, full[1], cell),
        spare,
        full[1],
    )


def _with_taps(img: np.ndarray, kernel: np.ndarray, first: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Lines (h, 3 W) of an image, filtered with the taps of a kernel that are not 0."""
    from .blur_loops import single_taps

    size = len(kernel)
    upper, lower = np.pad(kernel, ((0, 1), (0, 0))), np.pad(kernel, ((1, 0), (0, 0)))
    line, place = np.nonzero(upper + lower)
    weights = np.stack([upper[line, place], lower[line, place]])
    fill = (0, -len(line) % 4)
    img = cv2.copyMakeBorder(img, 0, 0, size // 2, size // 2, cv2.BORDER_REFLECT_101)
    return single_taps(
        img.reshape(len(img), -1),
        _mirrored(first[:, None] - size // 2 + np.arange(size + 1), len(img), 1),
        shares,
        np.pad(line, fill),
        3 * np.pad(place, fill),
        *np.pad(weights, ((0, 0), fill)),
    )


def _between(side: int, small: int, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Linear down-sampling of one axis, of an image that may have been halved before.

    Args:
        side: of the image before it was halved.
        small: side of the result.
        cell: 1, or 2 for a halved image.

    Returns:
        For each pixel of the result, the first pixel that it is made of (small,), and the shares of that one and the
        next ones (small, 2 or 5).
    """
    position = ((np.arange(small) + 0.5) * (side / small) - 0.5).clip(0, side - 1)
    upper = np.minimum(position.astype(np.int64), max(side - 2, 0))
    share = (position - upper).astype(np.float32)[:, None]
    if cell == 1:
        return upper, np.concatenate([1 - share, share], 1)
    even, odd = np.float32([0, 1, 0, 0, 0]), np.float32([-1, 9, 9, -1, 0]) / 16  # cubic, as Catmull and Rom
    is_odd = upper[:, None] % 2 == 1
    shares = np.where(is_odd, (1 - share) * odd + share * np.roll(even, 1), (1 - share) * even + share * odd)
    return upper // 2 - 1, shares


def _mirrored(index: np.ndarray, side: int, cell: int) -> np.ndarray:
    """Pixels of an image, perhaps halved from `side`, that stand for those beyond its borders (BORDER_REFLECT_101)."""
    period = max(2 * (side - 1), 1)
    place = np.abs(index * cell) % period
    return np.where(place >= side, period - place, place) // cell


def _gaussian(size: int, sigma_x: float, sigma_y: float, theta: float) -> np.ndarray:
    axis = np.arange(size, dtype=np.float32) - size // 2
    x, y = axis[None, :], axis[:, None]
    cos, sin = math.cos(theta), math.sin(theta)
    along, across = cos * x + sin * y, cos * y - sin * x
    tiny = 1e-3  # a vanishing sigma is a line, not a division by zero
    return np.exp(-0.5 * ((along / max(sigma_x, tiny)) ** 2 + (across / max(sigma_y, tiny)) ** 2))


def _kernel_of_cells(size: int, sigma_x: float, sigma_y: float, theta: float, cell: int) -> np.ndarray:
    """The kernel; for cells of 2 pixels what is left of it after `cv2.pyrDown`, which has a variance of 1."""
    if cell == 1:
        return anisotropic_kernel(size, sigma_x, sigma_y, theta)
    sigmas = (math.sqrt(sigma**2 - 1) / cell for sigma in (sigma_x, sigma_y))
    half = math.ceil((size - cell) / (2 * cell))
    kernel = _gaussian(2 * half + 1, *sigmas, theta)
    inside = (size / cell - (2 * half - 1)) / 2  # share of the outermost cells that the kernel reaches
    kernel[[0, -1]] *= inside
    kernel[:, [0, -1]] *= inside
    return _normalised(kernel)


def _factors(kernel: np.ndarray, is_round: bool) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows (r, k) of which products a kernel is the sum, to `LOST`."""
    if is_round:
        row = kernel.sum(0, keepdims=True)
        return row, row
    left, values, rows = np.linalg.svd(kernel)
    columns = (left * values).T
    rest, count = kernel.copy(), 0
    while np.abs(rest).sum() > LOST:
        rest -= np.outer(columns[count], rows[count])
        count += 1
    return columns[:count] / (1 - rest.sum()), rows[:count]


def _without_least(kernel: np.ndarray) -> np.ndarray:
    """A kernel with the smallest weights, `LOST` together, set to 0."""
    weights = np.sort(kernel, None)
    least = weights[np.searchsorted(np.cumsum(weights), LOST)]
    return _normalised(np.where(kernel >= least, kernel, 0))


def _normalised(kernel: np.ndarray) -> np.ndarray:
    return kernel / kernel.sum()


def _fours(count: int) -> int:
    """The next multiple of 4."""
    return -(-count // 4) * 4
