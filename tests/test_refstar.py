"""RefSTAR as one composition over backbones: the promises to its users, on networks with random weights."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from basicsr.archs import build_network

from refstar import RefSTAR, RefStarError
from refstar.reference_bank import ReferenceBank

SIZE = 32
BACKBONES = {
    'RRDBNet': {
        'type': 'RRDBNet',
        'num_in_ch': 3,
        'num_out_ch': 3,
        'scale': 1,
        'num_feat': 16,
        'num_block': 1,
        'num_grow_ch': 8,
    },
    'GFPGANv1Clean': {
        'type': 'GFPGANv1Clean',
        'out_size': SIZE,
        'num_style_feat': 32,
        'channel_multiplier': 1,
        'narrow': 0.0625,
        'fix_decoder': False,
        'num_mlp': 2,
        'input_is_latent': True,
        'different_w': True,
        'sft_half': True,
    },
}
# The network of the released GFPGANv1.3 and v1.4 weights.
FULL = {
    **BACKBONES['GFPGANv1Clean'],
    'out_size': 512,
    'num_style_feat': 512,
    'channel_multiplier': 2,
    'narrow': 1,
    'num_mlp': 8,
}


def images(*shape: int, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Smooth random images in [-1, 1], shape (*shape, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(*shape, 3, 8, 8, generator=generator) * 2 - 1
    large = torch.nn.functional.interpolate(small.flatten(0, -4), (size, size), mode='bilinear')
    return large.view(*shape, 3, size, size)


@cache
def make(name: str) -> RefSTAR:
    """A small RefSTAR in evaluation mode whose every parameter is random, zero-initialised ones too."""
    torch.manual_seed(1)
    net = RefSTAR(BACKBONES[name], SIZE, refsel={'size': SIZE, 'channels': 8}, ref_channels=8, structure_size=8)
    for p in net.parameters():
        if p.ndim != 1 and not p.any():
            torch.nn.init.normal_(p, std=0.05)
    return net.eval()


@pytest.fixture(params=list(BACKBONES))
def net(request) -> RefSTAR:
    return copy.deepcopy(make(request.param))


def image(out: torch.Tensor | tuple) -> torch.Tensor:
    """The restored image: GFPGAN also returns its pyramid."""
    return out if isinstance(out, torch.Tensor) else out[0]


def run(net: RefSTAR, *args, **kwargs) -> torch.Tensor:
    """The image of one forward pass, with the same noise (GFPGAN draws some) in every call."""
    torch.manual_seed(0)
    with torch.no_grad():
        return image(net(*args, **kwargs))


def bare(net: RefSTAR, lq: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return image(net.backbone(lq))


# ------------------------------------------------------------------ promise 1: nothing to use, nothing changes
def unused_references(b: int, n: int, size: int = SIZE) -> dict[str, dict]:
    """Arguments by name that leave nothing of the references."""
    return {
        'no references': {'refs': None},
        'none valid': {'ref_valid': torch.zeros(b, n, dtype=torch.bool)},
        'strength 0': {'strength': 0.0},
        'strength 0 as a tensor': {'strength': torch.zeros(b)},
        'zero mask': {'mask': torch.zeros(b, n, 1, size, size)},
    }


@pytest.mark.parametrize('case', list(unused_references(1, 1)))
def test_backbone_bit_for_bit(net, case):
    lq, refs = images(2, seed=1), images(2, 3, seed=2)
    assert torch.equal(run(net, lq, **{'refs': refs, **unused_references(2, 3)[case]}), bare(net, lq))


def test_strength_of_each_photo_of_a_batch(net):
    lq, refs = images(2, seed=1), images(2, 1, seed=2)
    out, plain, full = run(net, lq, refs, strength=torch.tensor([0.0, 1.0])), bare(net, lq), run(net, lq, refs)
    assert torch.equal(out[0], plain[0])
    torch.testing.assert_close(out[1], full[1])
    assert (full - plain).abs().mean() > 1e-3


@pytest.mark.slow
def test_full_size_gfpgan_bit_for_bit():
    torch.manual_seed(0)
    backbone = build_network(FULL)
    state = backbone.state_dict()
    net = RefSTAR(FULL, 512).eval()
    assert net.backbone.load_state_dict(state, strict=True)
    assert {k.removeprefix('backbone.') for k in net.state_dict() if k.startswith('backbone.')} == set(state)
    lq, refs = images(1, size=512, seed=1), images(1, 1, size=512, seed=2)
    torch.manual_seed(0)
    with torch.no_grad():
        plain = backbone.eval()(lq)[0]
    cases = unused_references(1, 1, 512)
    for case in ('none valid', 'strength 0', 'zero mask'):
        assert torch.equal(run(net, lq, **{'refs': refs, **cases[case]}), plain), case


# ------------------------------------------------------------------ promise 2: references are a set
def test_order_of_references_does_not_matter(net):
    lq, refs = images(2, seed=1), images(2, 3, seed=2)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(run(net, lq, refs), run(net, lq, refs[:, order]), atol=2e-5, rtol=0)


def test_padding_has_no_influence(net):
    lq, refs = images(2, seed=1), images(2, 3, seed=2)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    out = run(net, lq, refs, valid)
    junk = refs.clone()
    junk[~valid] = 1e4
    assert torch.equal(run(net, lq, junk, valid), out)
    with torch.no_grad():
        aux = net(lq, refs, valid, return_aux=True)[1]
    assert not aux['weight'][~valid].any()
    assert not aux['mask'][~valid].any()
    torch.testing.assert_close(run(net, lq[:1], refs[:1, :2]), out[:1], atol=2e-5, rtol=0)
    torch.testing.assert_close(run(net, lq[1:], refs[1:, :1]), out[1:], atol=2e-5, rtol=0)


def test_every_valid_reference_has_influence(net):
    lq, refs = images(1, seed=1), images(1, 2, seed=2)
    out = run(net, lq, refs)
    for i in range(2):
        changed = refs.clone()
        changed[:, i] = images(1, seed=5 + i)
        assert (run(net, lq, changed) - out).abs().max() > 1e-3


# ------------------------------------------------------------------ promise 3: nothing outside a given mask
def test_outside_of_a_given_mask_has_no_influence(net):
    lq, refs = images(1, seed=1), images(1, 2, seed=2)
    mask = torch.zeros(1, 2, 1, SIZE, SIZE)
    mask[..., 6:20, 9:25] = 0.7
    out = run(net, lq, refs, mask=mask)
    outside = torch.where(mask > 0, refs, images(1, 2, seed=3))
    assert torch.equal(run(net, lq, outside, mask=mask), out)
    inside = torch.where(mask > 0, images(1, 2, seed=3), refs)
    assert (run(net, lq, inside, mask=mask) - out).abs().max() > 1e-4


def test_backbone_is_as_before_after_a_pass(net):
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    plain = bare(net, lq)
    run(net, lq, refs)
    assert torch.equal(bare(net, lq), plain)


# ------------------------------------------------------------------ reference bank
def test_bank_gives_what_references_give(net, tmp_path):
    lq, refs = images(2, seed=1), images(1, 3, seed=2)
    valid = torch.tensor([[True, True, False]])
    out = run(net, lq, refs.expand(2, -1, -1, -1, -1), valid.expand(2, -1))
    with torch.no_grad():
        bank = net.encode(refs, valid)
    torch.testing.assert_close(run(net, lq, bank=bank), out, atol=1e-6, rtol=0)
    bank.save(tmp_path / 'person.bank')
    assert torch.equal(run(net, lq, bank=ReferenceBank.load(tmp_path / 'person.bank')), run(net, lq, bank=bank))


def test_bank_keeps_the_mask(net, tmp_path):
    lq, refs, mask = images(1, seed=1), images(1, 1, seed=2), torch.zeros(1, 1, 1, SIZE, SIZE)
    mask[..., :16] = 1
    with torch.no_grad():
        net.encode(refs, mask=mask).save(tmp_path / 'person.bank')
    assert torch.equal(run(net, lq, bank=ReferenceBank.load(tmp_path / 'person.bank')), run(net, lq, refs, mask=mask))


def test_broken_bank_is_refused(net, tmp_path):
    path = tmp_path / 'person.bank'
    with pytest.raises(RefStarError, match='no such'):
        ReferenceBank.load(path)
    net.encode(images(1, 1)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(RefStarError, match=r'person\.bank'):
        ReferenceBank.load(path)
    torch.save({'params': {}}, path)
    with pytest.raises(RefStarError, match='not a reference bank'):
        ReferenceBank.load(path)


def test_bank_of_another_network_is_refused(net):
    lq, bank = images(1), net.encode(images(1, 1))
    run(net, lq, bank=bank)
    with torch.no_grad():
        next(net.ref_encoder.parameters()).add_(0.01)
    with pytest.raises(RefStarError, match='another network'):
        net(lq, bank=bank)
    run(net, lq, bank=net.encode(images(1, 1)))
    run(net, lq, bank=replace(bank, network=''))  # unstamped: made for use at once


def test_bank_of_two_people_for_three_photos_is_refused(net):
    with pytest.raises(RefStarError, match='2 people'):
        net(images(3), bank=net.encode(images(2, 1)))


# ------------------------------------------------------------------ training
def test_gradients_reach_every_new_module(net):
    net.train()
    lq, refs, gt = images(2, seed=1), images(2, 2, seed=2), images(2, seed=3)
    out, aux = net(lq, refs, return_aux=True)
    loss = (image(out) - gt).abs().mean() + aux['mask'].mean() + aux['carried'].mean()
    loss.backward()
    for name, p in net.named_parameters():
        if name.startswith('backbone.'):
            continue
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
    for part in (net.refsel.head, net.refsel.matcher, net.refsel.lq_encoder, net.refsel.ref_encoder, net.ref_encoder):
        assert any(p.grad.abs().max() > 0 for p in part.parameters())
    assert all(t.project.weight.grad.abs().max() > 0 for t in net.transfer)


def test_restoration_cannot_close_the_gate(net):
    out, aux = net(images(1, seed=1), images(1, 1, seed=2), return_aux=True)
    aux['alpha'].retain_grad()
    image(out).sum().backward()
    assert aux['alpha'].grad is None
    head = [p.grad for p in net.refsel.head.parameters()]
    assert all(g is None or not g.any() for g in head)


def test_deepcopy_and_state_dict(net):
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    out, twin = run(net, lq, refs), copy.deepcopy(net)
    assert torch.equal(run(twin, lq, refs), out)
    with torch.no_grad():
        for p in twin.parameters():
            p.mul_(0.5)
    assert torch.equal(run(net, lq, refs), out)
    twin.load_state_dict(net.state_dict())
    assert torch.equal(run(twin, lq, refs), out)


def test_auxiliary_shapes(net):
    out, aux = net(images(2), images(2, 3), return_aux=True)
    assert image(out).shape == (2, 3, SIZE, SIZE)
    assert aux['mask'].shape == aux['carried'].shape == (2, 3, 1, SIZE, SIZE)
    assert aux['alpha'].shape == (2, 1, SIZE, SIZE)
    assert aux['flow'].shape[:3] == (2, 3, 2)
    assert 0 <= aux['alpha'].min() <= aux['alpha'].max() <= 1
    assert net(images(1), return_aux=True)[1] is None


# ------------------------------------------------------------------ wrong input
def test_sizes_are_checked(net):
    with pytest.raises(RefStarError, match='references of 64x64 pixels; this network takes 32x32'):
        net(images(1), images(1, 1, size=64))
    with pytest.raises(RefStarError, match='photo of 64x64'):
        net(images(1, size=64), images(1, 1))
    with pytest.raises(RefStarError, match='mask of shape'):
        net(images(1), images(1, 2), mask=torch.ones(1, 1, 1, SIZE, SIZE))


def test_taps_are_checked():
    with pytest.raises(RefStarError, match="no module 'conv_boddy'"):
        RefSTAR(BACKBONES['RRDBNet'], SIZE, taps=['conv_boddy'])
    with pytest.raises(RefStarError, match='not a square feature map'):
        RefSTAR(BACKBONES['GFPGANv1Clean'], SIZE, taps=['final_linear'])
    with pytest.raises(RefStarError, match='no default taps'):
        RefSTAR({'type': 'SRVGGNetCompact'}, SIZE)


def test_taps_of_any_other_arch():
    torch.manual_seed(0)
    block = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 1}
    net = RefSTAR(block, SIZE, taps=['body.2'], refsel={'size': SIZE, 'channels': 8}, ref_channels=8).eval()
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    assert torch.equal(run(net, lq), bare(net, lq))
    assert (run(net, lq, refs) - bare(net, lq)).abs().max() > 1e-3
