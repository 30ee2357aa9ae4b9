"""Bootstrap intervals: against scipy, against a plain loop, and by how often they hold the truth."""

import numpy as np
import pytest
import scipy.stats

from refstar.evaluation.bootstrap import bootstrap


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_agrees_with_scipy_where_photos_are_independent(rng):
    a, b = rng.gamma(2, 1, 80), rng.gamma(2, 1.1, 80)
    (found,) = bootstrap((a - b)[:, None])
    want = scipy.stats.bootstrap(
        (a, b), lambda x, y: (x - y).mean(), paired=True, vectorized=False, method='percentile', random_state=0
    ).confidence_interval
    width = want.high - want.low
    assert found.mean == pytest.approx((a - b).mean(), abs=1e-12)
    assert (found.n, found.groups) == (80, 80)
    assert abs(found.low - want.low) < 0.05 * width and abs(found.high - want.high) < 0.05 * width


def test_people_are_drawn_with_all_their_photos(rng):
    people = np.repeat([f'p{i}' for i in range(12)], [1, 5, 3, 2, 8, 1, 1, 4, 2, 6, 3, 2])
    values = rng.normal(0, 1, len(people)) + rng.normal(0, 2, 12)[np.unique(people, return_inverse=True)[1]]
    (found,) = bootstrap(values[:, None], people)
    names = np.unique(people)
    means = []
    for _ in range(4000):  # a plain loop
        photos = np.concatenate([values[people == name] for name in rng.choice(names, len(names))])
        means.append(photos.mean())
    low, high = np.quantile(means, [0.025, 0.975])
    assert abs(found.low - low) < 0.08 * (high - low) and abs(found.high - high) < 0.08 * (high - low)
    assert found.groups == 12 and found.n == len(people)


def test_paired_difference_is_narrower_than_means(rng):
    photo = rng.normal(25, 4, 100)
    a, b = photo + rng.normal(0.3, 0.2, 100), photo + rng.normal(0, 0.2, 100)
    mean_a, mean_b, gap = bootstrap(np.stack([a, b, a - b], 1))
    assert gap.mean == pytest.approx(mean_a.mean - mean_b.mean)
    assert gap.low > 0 and mean_a.low < mean_b.high  # the means alone would not tell


def test_missing_values_are_left_out(rng):
    values = rng.normal(0, 1, (20, 3))
    values[5:, 1] = np.nan
    values[:, 2] = np.nan
    whole, part, nothing = bootstrap(values)
    assert (whole.n, part.n, nothing.n) == (20, 5, 0)
    assert part.mean == pytest.approx(values[:5, 1].mean()) and part.low < part.mean < part.high
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()
    (single,) = bootstrap(values[:, :1], ['one'] * 20)
    assert single.groups == 1 and np.isnan(single.low) and single.mean == pytest.approx(values[:, 0].mean())


def test_same_seed_gives_same_intervals(rng):
    values = rng.normal(0, 1, (40, 2))
    assert bootstrap(values) == bootstrap(values) != bootstrap(values, seed=1)
    assert bootstrap(values)[1] == bootstrap(values[:, 1:])[0]
