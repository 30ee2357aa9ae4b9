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


def test_draws_people_with_all_their_photos(rng):
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


def test_photos_of_a_person_are_not_independent(rng):
    """With six like photos each, drawing photos pretends to know more than there is; drawing people does not."""
    held = {'photos': 0, 'people': 0}
    people = np.repeat(np.arange(30).astype(str), 6)
    for trial in range(150):
        values = np.repeat(rng.normal(0, 1, 30), 6) + rng.normal(0, 0.2, 180)
        for unit, groups in (('photos', None), ('people', people)):
            (found,) = bootstrap(values[:, None], groups, resamples=500, seed=trial)
            held[unit] += found.low <= 0 <= found.high
    assert held['people'] / 150 > 0.87
    assert held['photos'] / 150 < 0.70


def test_pairing_is_what_makes_it_narrow(rng):
    photo = rng.normal(25, 4, 100)
    a, b = photo + rng.normal(0.3, 0.2, 100), photo + rng.normal(0, 0.2, 100)
    mean_a, mean_b, gap = bootstrap(np.stack([a, b, a - b], 1))
    assert gap.mean == pytest.approx(mean_a.mean - mean_b.mean)
    assert gap.excludes_zero and mean_a.low < mean_b.high  # the means alone would not tell
    assert not bootstrap((a - a)[:, None])[0].excludes_zero


def test_what_was_not_measured_is_left_out(rng):
    values = rng.normal(0, 1, (20, 3))
    values[5:, 1] = np.nan
    values[:, 2] = np.nan
    whole, part, nothing = bootstrap(values)
    assert (whole.n, part.n, nothing.n) == (20, 5, 0)
    assert part.mean == pytest.approx(values[:5, 1].mean()) and part.low < part.mean < part.high
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all() and not nothing.excludes_zero
    (single,) = bootstrap(values[:, :1], ['one'] * 20)
    assert single.groups == 1 and np.isnan(single.low) and single.mean == pytest.approx(values[:, 0].mean())


def test_the_seed_decides_and_columns_do_not_matter(rng):
    values = rng.normal(0, 1, (40, 2))
    assert bootstrap(values) == bootstrap(values) != bootstrap(values, seed=1)
    assert bootstrap(values)[1] == bootstrap(values[:, 1:])[0]
