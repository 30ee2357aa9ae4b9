"""Checks of the samples of datasets."""

import torch


def check_sample(sample, refs, size):
    """Assert the keys, shapes, types and ranges of a training sample with `refs` places for references."""
    shapes = {'lq': (3, size, size), 'gt': (3, size, size), 'refs': (refs, 3, size, size), 'ref_valid': (refs,)}
    shapes |= dict.fromkeys(('ref_mask', 'gt_mask', 'flow_valid'), (refs, 1, size, size))
    shapes |= {'mask_known': (refs,), 'flow': (refs, 2, size, size)}
    for key, shape in shapes.items():
        assert sample[key].shape == shape, key
        assert sample[key].dtype == (torch.bool if key in ('ref_valid', 'mask_known') else torch.float32), key
    assert all(sample[key].abs().max() <= 1 for key in ('lq', 'gt', 'refs'))
    for key in ('ref_mask', 'gt_mask', 'flow_valid'):
        assert set(sample[key].unique().tolist()) <= {0, 1}, key
    for key in ('refs', 'ref_mask', 'gt_mask', 'flow', 'flow_valid', 'mask_known'):
        assert not sample[key][~sample['ref_valid']].any(), key
    assert all(isinstance(sample[key], str) for key in ('lq_path', 'gt_path', 'identity'))


def same_sample(a, b):
    """Return whether two samples are equal bit by bit."""
    return a.keys() == b.keys() and all(
        torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key] for key in a
    )
