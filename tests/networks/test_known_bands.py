import torch

from refstar.known_bands import GRIDS, keep_known, keep_photo, octave_strengths, split_octaves

LIMITS = (0.75, 0.95)
SIDE = 128


def stripes(period: int, phase: float) -> torch.Tensor:
    """A grey image (1, 3, SIDE, SIDE) of stripes."""
    x = torch.arange(SIDE) * 2 * torch.pi / period + phase
    return (0.3 * x.sin()).expand(1, 3, SIDE, SIDE).clone()


def everywhere() -> torch.Tensor:
    return torch.ones(1, 1, SIDE, SIDE)


def test_octaves_sum_to_the_image():
    image = torch.rand(2, 3, SIDE, SIDE)
    octaves = split_octaves(image)
    assert len(octaves) == len(GRIDS)  # the finest grid is the image itself; one more is the rest
    torch.testing.assert_close(sum(octaves), image)


def test_strength_is_found_in_the_octave_of_the_stripes():
    strengths = octave_strengths(stripes(12, 0.0), everywhere())[:, 0]
    assert strengths.argmax() == 2  # the grid of 32 cells, of 4 pixels, still shows them, that of 16 does not


def test_what_the_photo_shows_is_kept():
    plain, restored = torch.rand(2, 1, 3, SIDE, SIDE)
    change = split_octaves(keep_known(restored, plain, everywhere(), LIMITS) - plain)
    before = split_octaves(restored - plain)
    assert sum(change[:2]).abs().mean() < 0.05 * sum(before[:2]).abs().mean()


def test_detail_that_the_photo_lacks_is_taken():
    plain = torch.zeros(1, 3, SIDE, SIDE)
    restored = stripes(12, 0.5)
    torch.testing.assert_close(keep_known(restored, plain, everywhere(), LIMITS), restored)


def test_photos_of_a_batch_are_judged_alone():
    known, unknown = stripes(12, 0.0), 0.1 * stripes(12, 0.0)
    restored = stripes(12, 1.5)
    both = keep_known(restored.repeat(2, 1, 1, 1), torch.cat([known, unknown]), everywhere().repeat(2, 1, 1, 1), LIMITS)
    alone = keep_known(restored, unknown, everywhere(), LIMITS)
    torch.testing.assert_close(both[1:], alone)
    assert (both[0] - both[1]).abs().mean() > 0.1


def test_without_a_change_the_plain_photo_comes_back():
    plain = torch.rand(1, 3, SIDE, SIDE)
    assert torch.equal(keep_known(plain.clone(), plain, torch.zeros(1, 1, SIDE, SIDE), LIMITS), plain)


def test_small_corrections_are_left_away_and_large_ones_made():
    photo = stripes(12, 0.0)
    small, large = photo + 0.002 * torch.randn_like(photo), photo + 0.3 * torch.randn_like(photo)
    kept, made = (keep_photo(restored, photo, (0.5, 0.006, 1)) for restored in (small, large))
    assert (kept - photo).abs().mean() < 0.1 * (small - photo).abs().mean()
    torch.testing.assert_close(made, large, atol=0.05, rtol=0)


def test_a_weak_octave_is_judged_by_its_own_strength():
    """A correction that would be small for a strong octave is made where the photo has nothing."""
    restored = stripes(12, 0.0) * 0.02
    empty, full = torch.zeros_like(restored), stripes(12, 1.0)
    made, kept = (keep_photo(photo + restored, photo, (0.5, 0.006, 2)) - photo for photo in (empty, full))
    torch.testing.assert_close(made, restored, atol=1e-4, rtol=0)
    assert kept.abs().mean() < 0.7 * restored.abs().mean()


def test_without_a_correction_the_photo_comes_back():
    photo = torch.rand(2, 3, 24, 40)
    assert torch.equal(keep_photo(photo.clone(), photo, (0.5, 0.006, 2)), photo)


def test_the_octave_between_64_and_32_cells_is_kept_more():
    """The same octave of the face in every size of photo."""
    for size in (64, 128, 256):
        where = torch.linspace(0, 2 * torch.pi, size + 1)[:-1].expand(1, 3, size, size)
        photo = 0.2 * (where * 20).sin() + 0.2 * (where * 8).sin()
        shares = {}
        for waves in (20, 8):
            correction = 0.02 * (where * waves).cos()
            once, twice = ((keep_photo(photo + correction, photo, (0.5, 0.006, k)) - photo).std() for k in (1, 2))
            shares[waves] = (twice / once).item()
        assert shares[20] < 0.6 and shares[8] > 0.9, (size, shares)
