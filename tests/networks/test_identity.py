"""Identity networks: files, crops, known cosines."""

import cv2
import numpy as np
import pytest
import torch

from refstar.identity_arch import ARCFACE_112, FFHQ_512, IdentityEncoder, arcface_crop
from refstar.mobilefacenet_arch import MobileFaceNet
from refstar.utils.checkpoint import sha256
from refstar.utils.errors import RefStarError


def blobs(size: int) -> torch.Tensor:
    """Five channels, each with a smooth spot on one point of the FFHQ template."""
    y, x = np.mgrid[:size, :size]
    points = np.array(FFHQ_512) * size / 512
    spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (0.02 * size) ** 2) for px, py in points]
    return torch.tensor(np.stack(spots), dtype=torch.float32)[None]


@pytest.mark.parametrize('size', [128, 256, 512])
def test_crop_puts_the_points_on_the_template(size):
    crop = arcface_crop(blobs(size))[0].double()
    grid = torch.arange(112, dtype=torch.float64)
    mass = crop.sum((1, 2))
    found = torch.stack([(crop.sum(1) * grid).sum(1), (crop.sum(2) * grid).sum(1)], 1) / mass[:, None]
    # The two templates differ in shape: no similarity (x, y) -> (p x - q y + s, q x + p y + t) maps all points exactly.
    ffhq, arcface = np.array(FFHQ_512), np.array(ARCFACE_112)
    one, zero = np.ones(5), np.zeros(5)
    rows = [np.stack([ffhq[:, 0], -ffhq[:, 1], one, zero], 1), np.stack([ffhq[:, 1], ffhq[:, 0], zero, one], 1)]
    best = np.linalg.lstsq(np.concatenate(rows), arcface.T.ravel(), rcond=None)[0]
    want = np.stack([r @ best for r in rows], 1)
    assert np.abs(want - arcface).max() < 3
    np.testing.assert_allclose(found, want, atol=0.1)


def test_crop_does_not_alias():
    stripes = torch.arange(512).remainder(2).float().expand(1, 3, 512, 512)  # one pixel on, one off
    assert arcface_crop(stripes).std() < 0.1


def test_encoder_is_frozen_and_differentiable(identity_weights):
    rng = torch.get_rng_state()
    encoder = IdentityEncoder('mobilefacenet', identity_weights)
    assert torch.equal(rng, torch.get_rng_state())
    encoder.train()
    before = {k: v.clone() for k, v in encoder.net.state_dict().items()}
    x = torch.rand(2, 3, 64, 64, requires_grad=True)
    embedding = encoder(x)
    embedding[:, 0].sum().backward()
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    assert x.grad.abs().sum() > 0
    assert all(torch.equal(v, before[k]) for k, v in encoder.net.state_dict().items())
    assert all(not p.requires_grad for p in encoder.net.parameters())
    assert not encoder.state_dict() and not list(encoder.parameters())  # its weights are its own file's
    assert encoder.double().net.conv3.weight.dtype == torch.float64  # but it goes where its owner goes
    assert encoder.sha256 == sha256(identity_weights)


def test_any_network_by_its_file(tmp_path, identity_weights):
    net = MobileFaceNet().eval()
    net.load_state_dict(torch.load(identity_weights, weights_only=True))
    torch.jit.trace(net, torch.rand(1, 3, 112, 112)).save(tmp_path / 'net.pt')
    encoder = IdentityEncoder('torchscript', str(tmp_path / 'net.pt'), prepare='imagenet_112')
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(encoder(x), IdentityEncoder('mobilefacenet', identity_weights)(x), rtol=1e-4, atol=1e-5)
    assert encoder.to('cpu') is encoder
    with pytest.raises(RefStarError, match='unknown prepare'):
        IdentityEncoder('torchscript', str(tmp_path / 'net.pt'), prepare='crop')
    (tmp_path / 'broken.pt').write_bytes(b'\0x\xff')
    for network in ('torchscript', 'onnx'):
        with pytest.raises(RefStarError, match=r'broken\.pt cannot be read|needs onnxruntime'):
            IdentityEncoder(network, str(tmp_path / 'broken.pt'))


def test_files_of_old_batch_norm_are_taken(tmp_path):
    """facexlib's IR-SE50, as it was released before batch norm counted its batches."""
    from facexlib.recognition.arcface_arch import Backbone

    state = Backbone(num_layers=50, drop_ratio=0.6, mode='ir_se').state_dict()
    state = {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}
    torch.save(state, tmp_path / 'irse50.pth')
    encoder = IdentityEncoder('irse50', str(tmp_path / 'irse50.pth'))
    assert encoder(torch.rand(1, 3, 64, 64)).shape == (1, 512)


def test_errors_name_the_file_and_the_reason(tmp_path, identity_weights):
    with pytest.raises(RefStarError, match=r'nosuch.*mobilefacenet'):
        IdentityEncoder('nosuch', identity_weights)
    with pytest.raises(RefStarError, match='no weights file is configured'):
        IdentityEncoder('mobilefacenet', '')
    with pytest.raises(RefStarError, match=r'gone\.pth: no such file'):
        IdentityEncoder('mobilefacenet', str(tmp_path / 'gone.pth'))
    (tmp_path / 'torn.pth').write_bytes(b'PK\x03\x04 torn')
    with pytest.raises(RefStarError, match=r'mobilefacenet.*torn\.pth'):
        IdentityEncoder('mobilefacenet', str(tmp_path / 'torn.pth'))
    torch.save({'conv1.0.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    with pytest.raises(RefStarError, match=r'other\.pth is a checkpoint of another network'):
        IdentityEncoder('mobilefacenet', str(tmp_path / 'other.pth'))
    with pytest.raises(RefStarError, match='square'):
        IdentityEncoder('mobilefacenet', identity_weights)(torch.zeros(1, 3, 64, 48))


KNOWN = [  # network, file, mean cosine of the same person and of others over 40 people (WEIGHTS.md's check)
    ('mobilefacenet', 'mobilefacenet_ms1m_128.pt', 0.680, 0.018),
    ('edgeface_xxs', 'edgeface_xxs_q.pt', 0.658, 0.019),
    ('dlib', None, 0.740, 0.056),  # the network that ships
]


@pytest.mark.parametrize(('network', 'file', 'same', 'others'), KNOWN)
def test_known_cosines(faces_root, network, file, same, others):
    if network == 'edgeface_xxs':
        pytest.importorskip('timm')
    people = sorted((faces_root / 'identities').glob('lfw_*'))[:40]
    encoder = IdentityEncoder(network, file and str(faces_root / 'weights' / file))

    def embed(name):
        photos = np.stack([cv2.imread(str(person / name))[..., ::-1] for person in people])
        with torch.no_grad():
            return encoder(torch.from_numpy(photos).permute(0, 3, 1, 2) / 127.5 - 1)

    cosines = embed('01.jpg') @ embed('02.jpg').T
    assert cosines.diagonal().mean() == pytest.approx(same, abs=0.003)
    assert cosines[~torch.eye(40, dtype=torch.bool)].mean() == pytest.approx(others, abs=0.003)
