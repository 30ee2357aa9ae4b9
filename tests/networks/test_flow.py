"""The generative backbone: identities of path, solver and mean; what references change in its velocity."""

import re
import sys
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from helpers.networks import AUTOENCODER, BACKBONES, LATENT, SIZE, bare, images, make, run
from helpers.recipes import OPTIONS

from refstar import DiffusersAutoencoder, FlowRestorer, RefSTAR, RefStarError
from refstar.diffusion_path import DiffusionPath
from refstar.euler import euler
from refstar.flow_path import StraightPath, stratified
from refstar.refstar_arch import __file__ as package
from refstar.trainer.option_file import load_options
from refstar.velocity import VelocityNet

MEAN = BACKBONES['RRDBNet']


@pytest.fixture
def net() -> RefSTAR:
    return make('FlowRestorer', context=True)


def flow(**options) -> FlowRestorer:
    torch.manual_seed(0)
    return FlowRestorer(**{'mean': MEAN, 'channels': [8, 16], 'blocks': 1, **options}).eval()


# ------------------------------------------------------------------ path and solver
@pytest.mark.parametrize('steps', [1, 2, 5])
def test_true_noise_lands_on_the_photo(steps):
    path, photo, noise = DiffusionPath(), images(2, seed=1), torch.randn(2, 3, SIZE, SIZE)
    t = path.levels[-1:].expand(2)
    state, target = path.sample(photo, photo, noise, t)
    assert torch.equal(target, noise)
    torch.testing.assert_close(euler(lambda state, t: noise, state, path.times(steps)), photo, atol=1e-4, rtol=0)


def test_euler_along_diffusion_is_ddim():
    """One step against the equations of DDIM with the schedule in its usual form."""
    betas = torch.linspace(0.0015**0.5, 0.0155**0.5, 1000) ** 2
    kept = (1 - betas).cumprod(0)
    path, state, noise = DiffusionPath(), torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    first, then = kept[999], kept[499]
    start, after = path.times(2)[:2]
    photo = (state - (1 - first).sqrt() * noise) / first.sqrt()
    wanted = then.sqrt() * photo + (1 - then).sqrt() * noise
    seen = []

    def predict(x, t):
        seen.append(path.seen(x, t))
        return noise

    out = euler(predict, path.source(state, state), [start, after])
    torch.testing.assert_close(seen[0][0], state, atol=1e-4, rtol=1e-4)  # the network sees the usual state
    assert seen[0][1].item() == 1
    torch.testing.assert_close(path.seen(out, torch.tensor([after]))[0], wanted, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(path.share(path.levels), kept.sqrt(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        path.end(path.source(state, state), noise, path.levels[-1:]), photo, atol=1e-3, rtol=1e-3
    )


def test_diffusion_in_the_same_classes():
    net, lq = flow(path='diffusion', condition=['lq']), images(2, seed=1)
    torch.nn.init.normal_(net.velocity.out[-1].weight, std=0.1)
    with torch.no_grad():
        assert torch.equal(net(lq, steps=0), net.mean(lq))
        assert torch.equal(net(lq, seed=1), net(lq, seed=1)) and not torch.equal(net(lq), net(lq, seed=1))
        sample = net(lq, photo=images(2, seed=3))
    assert sample.share.min() >= 0 and sample.share.max() < 1
    assert 'levels' not in ''.join(net.state_dict())


@pytest.mark.parametrize('steps', [1, 2, 5])
def test_true_velocity_lands_on_the_photo(steps):
    path, photo, mean, noise = StraightPath(0.2), images(2, seed=1), images(2, seed=2), torch.randn(2, 3, SIZE, SIZE)
    source = path.source(mean, noise)
    out = euler(lambda state, t: photo - source, source, path.times(steps))
    torch.testing.assert_close(out, photo, atol=1e-5, rtol=0)


def test_sample_target_and_end_point_agree():
    path, photo, mean, noise = StraightPath(0.2), images(3, seed=1), images(3, seed=2), torch.randn(3, 3, SIZE, SIZE)
    t = torch.tensor([0.0, 0.3, 1.0])
    state, target = path.sample(photo, mean, noise, t)
    torch.testing.assert_close(path.end(state, target, t), photo, atol=1e-5, rtol=0)
    torch.testing.assert_close(state[0], path.source(mean, noise)[0])
    torch.testing.assert_close(state[2], photo[2])


def test_times_of_a_batch_cover_the_whole_range():
    drawn = stratified(64, torch.device('cpu'))
    assert (drawn.sort().values * 64).long().tolist() == list(range(64))
    assert drawn.tolist() != drawn.sort().values.tolist()


def test_path_solver_and_network_know_nothing_of_each_other():
    files = [Path(package).with_name(f'{name}.py') for name in ('flow_path', 'euler', 'velocity')]
    texts = [file.read_text() for file in files]
    assert sum(len(text.splitlines()) for text in texts) < 400
    for text in texts:
        imported = set(re.findall(r'^from \.(\w+)', text, re.M))
        assert imported.isdisjoint({'flow_path', 'euler', 'velocity', 'flow_arch'})


# ------------------------------------------------------------------ the restorer
def test_no_steps_and_one_untrained_step_are_the_mean():
    net, lq = flow(steps=1), images(2, seed=1)
    with torch.no_grad():
        mean = net.mean(lq)
        assert torch.equal(net(lq, steps=0), mean)
        torch.testing.assert_close(net(lq), mean, atol=1e-5, rtol=0)
        assert (net(lq, steps=2) - mean).abs().mean() > 1e-3  # some noise is left


def test_seed_says_everything():
    net, lq = make('FlowRestorer').backbone, images(2, seed=1)
    with torch.no_grad():
        first, other = net(lq), net(lq, seed=1)
        torch.manual_seed(99)
        assert torch.equal(net(lq, seed=0), first) and not torch.equal(other, first)
        torch.testing.assert_close(net(lq[1:]), first[1:], atol=1e-5, rtol=0)  # in a batch as alone


def test_gradients_never_reach_the_mean(net):
    net.train()
    out = net(images(2, seed=1), images(2, 1, seed=2), photo=images(2, seed=3))
    (out.prediction - out.target).square().mean().backward()
    assert all(p.grad is None for p in net.backbone.mean.parameters()) and not net.backbone.mean.training
    assert all(p.grad is not None and p.grad.any() for p in net.backbone.velocity.out.parameters())


def test_the_velocity_learns():
    """Untrained blocks let the first convolution learn at once: a field that depends on the photo."""
    torch.manual_seed(0)
    net, x, t = VelocityNet(3, [8, 16], 1), images(4, seed=1), torch.rand(4)
    optimizer, target = torch.optim.Adam(net.parameters(), 3e-3), (1 - t)[:, None, None, None] * x.flip(-1)
    losses = []
    for _ in range(60):
        loss = (net(x, t) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'steps': -1}, 'steps is -1'),
        ({'steps': True}, 'steps is True'),
        ({'condition': ['lq', 'lqs']}, 'known are lq, mean'),
        ({'path': 'flows'}, 'known are flow, diffusion'),
        ({'sigma': -0.1}, 'sigma is at least 0'),
        ({'channels': []}, 'whole numbers from 1'),
    ],
)
def test_options_without_a_meaning_are_named(options, message):
    with pytest.raises(RefStarError, match=message):
        flow(**options)


def test_a_mean_that_enlarges_is_named():
    with pytest.raises(RefStarError, match='mean makes 128x128 pixels of 32x32; it must keep the size'):
        flow(mean=BACKBONES['RRDBNet x4'])(images(1))


def test_without_a_mean_it_starts_at_the_photo():
    net, lq = flow(mean=None, steps=1), images(2, seed=1)
    with torch.no_grad():
        assert torch.equal(net(lq, steps=0), lq)
        torch.testing.assert_close(net(lq), lq, atol=1e-5, rtol=0)


# ------------------------------------------------------------------ in a latent space
@pytest.mark.parametrize('path', ['flow', 'diffusion'])
def test_path_noise_and_network_live_in_the_latents(path):
    net, lq, photo = flow(latent=LATENT, path=path, steps=1), images(2, seed=1), images(2, seed=3)
    torch.nn.init.normal_(net.velocity.out[-1].weight, std=0.1)
    assert net.noise_shape(SIZE, SIZE) == (4, SIZE // 2, SIZE // 2)
    out = net.train()(lq, photo=photo)
    assert out.prediction.shape == out.target.shape == out.end.shape == (2, 4, SIZE // 2, SIZE // 2)
    net.latent.decode(out.end).square().mean().backward()
    assert all(p.grad is None for part in (net.mean, net.latent) for p in part.parameters())
    assert not net.latent.training and net.velocity.stem.weight.grad.any()
    with torch.no_grad():
        assert torch.equal(net(lq, steps=0), net.mean(lq))
        assert net(lq).shape == lq.shape and torch.equal(net(lq, seed=1), net(lq, seed=1))
        assert not torch.equal(net(lq), net(lq, seed=1))


def test_an_untrained_step_in_the_latents_decodes_the_mean():
    net, lq = flow(latent=LATENT, steps=1), images(2, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(net(lq), net.latent(net.mean(lq)), atol=1e-4, rtol=0)


@pytest.mark.parametrize('name', ['VQModel', 'AutoencoderKL', 'AutoencoderTiny'])
def test_latents_are_scaled_and_back(name):
    config = {'scaling_factor': 0.5, **({} if name == 'VQModel' else {'shift_factor': 0.1})}
    if name == 'AutoencoderTiny':
        config |= {f'{part}_block_out_channels': [8, 8] for part in ('encoder', 'decoder')}
        config |= {f'num_{part}_blocks': [1, 1] for part in ('encoder', 'decoder')}
    else:
        blocks = ('block_out_channels', 'down_block_types', 'up_block_types', 'norm_num_groups', 'latent_channels')
        config |= {key: AUTOENCODER[key] for key in blocks}
    net, photo = DiffusersAutoencoder(name, {'_class_name': name, **config}).eval(), images(1)
    assert (net.channels, net.factor) == (4, 2)
    with torch.no_grad():
        found = net.net.encode(photo)
        raw = found.latent_dist.mode() if name == 'AutoencoderKL' else found.latents
        latents = net.encode(photo)
        torch.testing.assert_close(latents, (raw - config.get('shift_factor', 0)) * 0.5)
        torch.testing.assert_close(net.decode(latents), net.net.decode(raw).sample, atol=1e-5, rtol=1e-5)


def test_an_autoencoder_without_a_meaning_is_named(monkeypatch):
    with pytest.raises(RefStarError, match="name is 'VAE'; known are VQModel"):
        DiffusersAutoencoder('VAE', {})
    with pytest.raises(RefStarError, match=r'config of VQModel: .*channels_of_blocks'):
        DiffusersAutoencoder('VQModel', {'channels_of_blocks': [8]})
    monkeypatch.setitem(sys.modules, 'diffusers', None)
    with pytest.raises(RefStarError, match=re.escape("pip install 'refstar[latent]'")):
        DiffusersAutoencoder('VQModel', AUTOENCODER)


# ------------------------------------------------------------------ references
def test_untrained_references_change_nothing():
    torch.manual_seed(0)
    net = RefSTAR(BACKBONES['FlowRestorer'], SIZE, refsel={'size': 32, 'channels': 8}, pixels=4, context={'dim': 16})
    torch.nn.init.normal_(net.backbone.velocity.out[-1].weight)
    lq, refs = images(1, seed=1), images(1, 2, seed=2)
    assert torch.equal(run(net.eval(), lq, refs), bare(net, lq))


def test_references_are_encoded_once_a_photo(net):
    counts = []
    for module in (net.ref_encoder, net.refsel.ref_encoder, net.context, net.backbone.mean, net.backbone.velocity):
        counts.append([])
        module.register_forward_hook(lambda *_, seen=counts[-1]: seen.append(1))
    run(net, images(1, seed=1), images(1, 2, seed=2), steps=5)
    assert [len(seen) for seen in counts] == [1, 1, 1, 1, 5]


def test_guidance_is_the_mean_velocity(net):
    """One step: the velocity is linear in the output, and with factor 1 no plain call is made."""
    lq, refs, valid = images(1, seed=1), images(1, 3, seed=2), torch.tensor([[False, True, True]])
    plain = run(net, lq, steps=1)
    each = [run(net, lq, refs[:, i : i + 1], steps=1) for i in (1, 2)]
    for scale, calls in ((1.0, 3), (0.7, 4)):
        seen = []
        handle = net.backbone.velocity.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        out = run(net, lq, refs, valid, combine='guidance', guidance_scale=scale, steps=1)
        handle.remove()
        torch.testing.assert_close(out, torch.lerp(plain, sum(each) / 2, scale), atol=1e-5, rtol=0)
        assert len(seen) == calls


def test_guidance_without_valid_references_is_the_bare_flow(net):
    lq, refs, none = images(1, seed=1), images(1, 2, seed=2), torch.zeros(1, 2, dtype=torch.bool)
    for scale in (1.0, 3.0):
        assert torch.equal(run(net, lq, refs, none, combine='guidance', guidance_scale=scale), bare(net, lq))


def test_guidance_with_one_reference_is_classifier_free(net):
    lq, refs = images(1, seed=1), images(1, 1, seed=2)
    plain, right = run(net, lq, steps=1), run(net, lq, refs, steps=1)
    out = run(net, lq, refs, combine='guidance', guidance_scale=1.5, steps=1)
    torch.testing.assert_close(out, plain + 1.5 * (right - plain), atol=1e-5, rtol=0)


def test_each_way_of_references_alone():
    options = {'refsel': {'size': 32, 'channels': 8}, 'pixels': 4}
    texture = RefSTAR(BACKBONES['FlowRestorer'], SIZE, **options)
    assert list(texture.taps) == ['velocity.stem'] and texture.context is None
    tokens = RefSTAR(BACKBONES['FlowRestorer'], SIZE, **options, inputs=[], context={'dim': 16}).eval()
    assert not tokens.taps and tokens.context_taps == ['velocity.encode.1', 'velocity.decode.0']
    for p in tokens.parameters():
        torch.nn.init.normal_(p, std=0.1)
    lq, refs = images(1, seed=1), images(1, 2, seed=2)
    assert (run(tokens, lq, refs) - bare(tokens, lq)).abs().max() > 1e-4
    transfer = RefSTAR(BACKBONES['FlowRestorer'], SIZE, **options, inputs=[], taps=['velocity.merge.0'])
    assert list(transfer.taps) == ['velocity.merge.0']


def test_nothing_for_references_to_change_is_refused():
    with pytest.raises(RefStarError, match='no reference has an effect'):
        RefSTAR(BACKBONES['FlowRestorer'], SIZE, inputs=[])
    with pytest.raises(RefStarError, match='write pixels: 4, say'):
        RefSTAR(BACKBONES['FlowRestorer'], SIZE)


def test_shipped_512_network_builds_on_the_meta_device():
    network = load_options(OPTIONS / 'train/refstar_flow_512.yml')['network_g']
    network['refsel'].pop('person'), network['context'].pop('identity')  # weights that do not ship
    with torch.device('meta'):
        net = build_network(network)
    assert net.taps == {'velocity.stem': 512} and net.scale == 1
    assert net.context_taps == ['velocity.encode.3', 'velocity.decode.2']
    assert sum(p.numel() for p in net.backbone.velocity.parameters()) > 10e6


def test_shipped_diffusion_has_the_published_shapes():
    """Latents of ReF-LDM: 8 planes of 64 x 64, beside those of the photo; grids of 64 to 8 cells."""
    network = load_options(OPTIONS / 'train/refstar_diffusion_512.yml')['network_g']
    network['refsel'].pop('person'), network['context'].pop('identity')  # weights that do not ship
    with torch.device('meta'):
        net = build_network(network)
        flow = net.backbone
        latents = flow.latent.encode(torch.empty(1, 3, 512, 512))
        grids = []
        for level in flow.velocity.encode:
            level.register_forward_hook(lambda *args: grids.append(args[2].shape[1:]))
        out = flow.velocity(torch.cat([latents, latents], 1), torch.empty(1))
    assert latents.shape == out.shape == (1, 8, 64, 64) and flow.noise_shape(512, 512) == (8, 64, 64)
    assert grids == [(160, 64, 64), (320, 32, 32), (320, 16, 16), (640, 8, 8)]
    assert not net.taps and net.context_taps == ['velocity.encode.3', 'velocity.decode.2'] and flow.mean is None
