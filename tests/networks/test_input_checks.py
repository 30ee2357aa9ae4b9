"""What RefSTAR refuses before it computes anything."""

import re

import pytest
import torch
from helpers.networks import BACKBONES, SIZE, images, make

from refstar import RefSTAR, RefStarError


@pytest.fixture(scope='module')
def net() -> RefSTAR:
    return make('RRDBNet')


REFERENCES = {  # of two people, three each
    'one axis too few': ({'refs': images(2)}, 'references of shape (2, 3, 32, 32); expected (b, n, 3, 32, 32)'),
    'none': ({'refs': images(2, 1)[:, :0]}, 'references: n is 0'),
    'of another size': ({'refs': images(2, 3, size=64)}, 'references of 64x64 pixels; this network takes 32x32'),
    'mask of one': ({'mask': torch.ones(2, 1, 1, SIZE, SIZE)}, 'mask of shape (2, 1, 1, 32, 32)'),
    'validity of people': ({'ref_valid': torch.ones(2, dtype=torch.bool)}, 'ref_valid of shape (2,); expected (2, 3)'),
    'validity as numbers': ({'ref_valid': torch.ones(2, 3)}, 'ref_valid of type torch.float32; expected torch.bool'),
}
SETTINGS = {
    'strength above 1': ({'strength': 1.5}, 'strength is 1.5; it is a number from 0'),
    'strength as text': ({'strength': 'full'}, "strength is 'full'"),
    'strength of other photos': (
        {'strength': torch.ones(3)},
        'strength of shape (3,); expected a number or shape (2,)',
    ),
    'chunk 0': ({'chunk': 0}, 'chunk is 0; it is how many references are encoded at a time: 1 or more'),
    'infinite guidance': ({'guidance_scale': float('inf')}, 'guidance_scale is inf'),
    'photo of another size': ({'lq': images(2, size=64)}, 'photo of 64x64 pixels; this network takes 32x32'),
    'references of other people': ({'lq': images(3)}, 'references of 2 people for 3 photos'),
    'unknown way to combine': ({'combine': 'sum'}, "combine is 'sum'"),
    'one photo without a batch': ({'lq': images(1)[0]}, 'photos of shape (3, 32, 32)'),
}


@pytest.mark.parametrize('case', [*REFERENCES, *SETTINGS])
def test_a_wrong_call_is_refused(net, case):
    given, message = {**REFERENCES, **SETTINGS}[case]
    with pytest.raises(RefStarError, match=re.escape(message)):
        net(**{'lq': images(2), 'refs': images(2, 3), **given})
    if case in REFERENCES:
        with pytest.raises(RefStarError, match=re.escape(message)):
            net.encode(**{'refs': images(2, 3), **given})


def test_options_without_a_meaning_are_refused():
    with pytest.raises(RefStarError, match=r'value_range is \[0, 0\]'):
        RefSTAR(BACKBONES['RRDBNet'], SIZE, value_range=[0, 0])
    for context, taps in ((None, ['conv_first']), ({}, [])):
        with pytest.raises(RefStarError, match='context_taps and context have no effect without each other'):
            RefSTAR(BACKBONES['RRDBNet'], SIZE, context=context, context_taps=taps)
