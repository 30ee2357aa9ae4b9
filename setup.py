"""Packaging of RefSTAR: the repository's flat folders are mapped under one import root, `refstar`.

Every folder that holds Python files or option files must be listed in FOLDERS (tests/test_package.py compares).
"""

from setuptools import setup

VERSION = '0.2.0'

FOLDERS = {
    'refstar': 'refstar_arch',
    'refstar.curate': 'curate',
    'refstar.data': 'data',
    'refstar.data.collections': 'data/collections',
    'refstar.data.synthetic': 'data/synthetic',
    'refstar.evaluation': 'evaluation',
    'refstar.losses': 'losses',
    'refstar.metrics': 'metrics',
    'refstar.models': 'models',
    'refstar.options': 'options',
    'refstar.restore': 'restore',
    'refstar.tools': 'tools',
    'refstar.tools.comfyui': 'tools/comfyui',
    'refstar.trainer': 'trainer',
    'refstar.utils': 'utils',
}

# Loose for users; the versions that are tested stand in constraints.txt.
REQUIRES = [
    'torch>=2.6',  # from here on its own readers refuse pickles that run code
    'torchvision',
    'basicsr>=1.4.2',
    'gfpgan>=1.3.8',
    'facexlib>=0.3.0',
    'codeformer-pip>=0.0.4',
    'opencv-python',
    'lpips',
    'einops',
    'filelock',
    'jinja2',
    'matplotlib',
    'pillow>=11.3',  # from here on it reads AVIF
    'pooch',
    'pydantic>=2',
    'safetensors',
]

EXTRAS = {
    'app': ['gradio>=6'],
    'evaluate': ['timm'],  # EdgeFace
    'heic': ['pillow-heif'],
    'latent': ['diffusers'],
    'onnx': ['onnx', 'onnxruntime', 'onnxscript'],
    'video': ['av'],
}
EXTRAS['all'] = sorted({name for names in EXTRAS.values() for name in names})
EXTRAS['dev'] = [
    *EXTRAS['all'],
    'playwright',
    'pytest',
    'pytest-timeout',
    'pytest-xdist',
    'ruff',
    'setuptools>=77',
    'wheel',
]

setup(
    name='refstar',
    version=VERSION,
    description='Reference-guided face restoration for BasicSR: references in GFPGAN, CodeFormer or your own network',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',  # basicsr 1.4.2 does not build on 3.13
    packages=list(FOLDERS),
    package_dir=FOLDERS,
    package_data={
        'refstar': ['pretrained/*'],
        'refstar.options': ['**/*.yml'],
        'refstar.tools.comfyui': ['example_workflows/*.json'],
        **{f'refstar.{name}': ['templates/*', '*.yml'] for name in ('evaluation', 'restore', 'tools', 'utils')},
    },
    data_files=[('share/doc/refstar', ['docs/model_card.md'])],
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={
        'console_scripts': [
            'basicsr = refstar.tools.cli:basicsr',
            'refstar = refstar.tools.cli:main',
        ]
    },
)
