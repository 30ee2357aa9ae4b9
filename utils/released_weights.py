"""Released weights that people bring: where they come from, under which licence, and what their bytes must be.

A sha256 stands here only if at least two independent public records of the official file agree on it (looked up in
November 2026: package recipes, model managers, installers; of the publishers only OpenCV states one, by Git LFS). For a
file without one see :mod:`~refstar.utils.weight_store`.
"""

from dataclasses import dataclass

GFPGAN = 'https://github.com/TencentARC/GFPGAN/releases/download'
CODEFORMER = 'https://github.com/sczhou/CodeFormer/releases/download/v0.1.0'
OPENCV_ZOO = 'https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98/models'
FACEXLIB = 'https://github.com/xinntao/facexlib/releases/download'
S_LAB = 'S-Lab License 1.0: NON-COMMERCIAL use only, https://github.com/sczhou/CodeFormer/blob/master/LICENSE'
FFHQ = 'trained on FFHQ, whose photos are CC BY-NC-SA 4.0'


@dataclass(frozen=True)
class Released:
    """One file.

    Attributes:
        url: where its publisher has it.
        sha256: hexadecimal; '' where no record could be found.
        licence: in a line.
        free: may be used commercially as far as its own licence goes; otherwise the user has to accept it first.
        use: what it is for, and the key or flag it goes to.
    """

    url: str
    sha256: str
    licence: str
    free: bool
    use: str

    @property
    def file(self) -> str:
        """File name."""
        return self.url.rpartition('/')[2]


_BACKBONE = 'backbone at 512 px (path: pretrain_network_backbone)'
_STAGES = "training CodeFormer's stages"


def _identity(network: str) -> str:
    return f'identity network {network} (refstar restore --identity_network {network} --identity_weights)'


RELEASED = {
    'GFPGANv1.3': Released(
        f'{GFPGAN}/v1.3.0/GFPGANv1.3.pth',
        'c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70',
        f'Apache-2.0 (TencentARC); {FFHQ}',
        True,
        f'{_BACKBONE}, GFPGANv1Clean',
    ),
    'GFPGANv1.4': Released(
        f'{GFPGAN}/v1.3.0/GFPGANv1.4.pth',
        'e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad',
        f'Apache-2.0 (TencentARC); {FFHQ}',
        True,
        f'{_BACKBONE}, GFPGANv1Clean',
    ),
    'RestoreFormer': Released(
        f'{GFPGAN}/v1.3.4/RestoreFormer.pth',
        '07404d446d62ca3d5ed38b1de09a947a1e77d46dbccec961a74d713a8f24ace0',
        f'Apache-2.0 (wzhouxiff, TencentARC); {FFHQ}',
        True,
        f'{_BACKBONE}, RestoreFormer',
    ),
    'CodeFormer': Released(
        f'{CODEFORMER}/codeformer.pth',
        '1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7',
        S_LAB,
        False,
        f'{_BACKBONE}, CodeFormer',
    ),
    'CodeFormer_vqgan': Released(
        f'{CODEFORMER}/vqgan_code1024.pth', '', S_LAB, False, f'{_STAGES} 2 and 3 (path: pretrain_network_vqgan)'
    ),
    'CodeFormer_discriminator': Released(
        f'{CODEFORMER}/vqgan_discriminator.pth', '', S_LAB, False, f'{_STAGES} 3 (path: pretrain_network_d)'
    ),
    'yunet': Released(
        f'{OPENCV_ZOO}/face_detection_yunet/face_detection_yunet_2023mar.onnx',
        '8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4',
        'MIT (Shiqi Yu, OpenCV Zoo); trained on WIDER FACE',
        True,
        'face detector, smallest (refstar restore --detector)',
    ),
    'retinaface_resnet50': Released(
        f'{FACEXLIB}/v0.1.0/detection_Resnet50_Final.pth',
        '6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d',
        'MIT (facexlib; biubug6); trained on WIDER FACE',
        True,
        'face detector (refstar restore --detector)',
    ),
    'retinaface_mobilenet': Released(
        f'{FACEXLIB}/v0.1.0/detection_mobilenet0.25_Final.pth',
        '2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220',
        'MIT (facexlib; biubug6); trained on WIDER FACE',
        True,
        'face detector, small (refstar restore --detector)',
    ),
    'parsenet': Released(
        f'{FACEXLIB}/v0.2.2/parsing_parsenet.pth',
        '3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2',
        'MIT (facexlib)',
        True,
        'face parsing (refstar evaluate --parsing_weights)',
    ),
    'bisenet': Released(
        f'{FACEXLIB}/v0.2.0/parsing_bisenet.pth',
        '468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567',
        'MIT (zllrunning, facexlib); trained on CelebAMask-HQ (non-commercial research)',
        True,
        'face parsing (refstar evaluate --parsing_weights)',
    ),
    'landmarks_wflw': Released(
        f'{FACEXLIB}/v0.1.0/alignment_WFLW_4HG.pth',
        'bbfd137307a4c7debd5c283b9b0ce539466cee417ac0a155e184d857f9f2899c',
        'MIT (facexlib); trained on WFLW',
        True,
        'landmarks (refstar evaluate --landmark_weights)',
    ),
    'mobilefacenet': Released(
        'https://github.com/foamliu/MobileFaceNet/releases/download/v1.0/mobilefacenet.pt',
        '90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4',
        'Apache-2.0 (foamliu); trained on MS-Celeb-1M, which was withdrawn',
        True,
        _identity('mobilefacenet'),
    ),
    'arcface_irse50': Released(
        f'{FACEXLIB}/v0.1.0/recognition_arcface_ir_se50.pth',
        'a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28',
        'MIT (TreB1eN, facexlib); trained on MS-Celeb-1M, which was withdrawn',
        True,
        _identity('irse50'),
    ),
    'arcface_resnet18': Released(
        f'{GFPGAN}/v0.1.0/arcface_resnet18.pth',
        '',
        'Apache-2.0 (TencentARC)',
        True,
        _identity('arcface_resnet18'),
    ),
}
