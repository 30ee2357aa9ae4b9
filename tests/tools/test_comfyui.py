"""The ComfyUI nodes by ComfyUI's contract, without ComfyUI; the workflow that ships restores the example photo."""

import importlib.util
import inspect
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.restoring import Detector, face_at, hue_checker, network, network_file, picture

from refstar.restore.restorer import Restorer
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import read_picture

ROOT = Path(__file__).parents[2]
FOLDER, EXAMPLE = ROOT / 'tools/comfyui', ROOT / 'docs/example'
WIDGETS = {'STRING', 'INT', 'FLOAT', 'BOOLEAN'}
TYPES = WIDGETS | {'IMAGE', 'MASK', 'REFSTAR_NETWORK', 'REFSTAR_BANK', 'REFSTAR_FACES'}
NAMES = ['RefSTARLoadNetwork', 'RefSTARReferences', 'RefSTARRestore', 'RefSTARFaceCrop', 'RefSTARFacePaste']


@pytest.fixture(scope='module')
def nodes(tmp_path_factory) -> dict[str, type]:
    """The classes as ComfyUI loads them: from a copy of the folder, under the name of its path."""
    folder = tmp_path_factory.mktemp('custom_nodes') / 'refstar'
    shutil.copytree(FOLDER, folder)
    name = str(folder).replace('.', '_x_')
    spec = importlib.util.spec_from_file_location(name, folder / '__init__.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    assert module.NODE_DISPLAY_NAME_MAPPINGS.keys() == module.NODE_CLASS_MAPPINGS.keys()
    return module.NODE_CLASS_MAPPINGS


def inputs(node: type) -> dict[str, tuple]:
    """Name -> (type, options) of all inputs."""
    return {name: (*spec, {})[:2] for group in node.INPUT_TYPES().values() for name, spec in group.items()}


def image(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).float() / 255


@pytest.fixture
def restorer() -> Restorer:
    """A tiny network that finds one face of 32 px on pictures 64 wide, two on those 96 wide, none on others."""
    one, two = face_at(16, 4, 32), face_at(50, 10, 40)
    return Restorer(network(), identity_checker=hue_checker(), detector=Detector({64: [one], 96: [one, two]}))


# ----------------------------------------------------------------- contract
def test_nodes_are_these(nodes):
    assert list(nodes) == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_types_exist(nodes, name):
    node = nodes[name]
    given = [kind for kind, _ in inputs(node).values() if not isinstance(kind, list)]
    assert {*given, *node.RETURN_TYPES} <= TYPES
    assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES) and node.CATEGORY and node.DESCRIPTION


@pytest.mark.parametrize('name', NAMES)
def test_function_takes_the_inputs_with_their_defaults(nodes, name):
    node, groups = nodes[name], nodes[name].INPUT_TYPES()
    parameters = dict(inspect.signature(getattr(node, node.FUNCTION)).parameters)
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, (kind, options) in inputs(node).items():
        if key in parameters:
            required, default = key in groups['required'], parameters[key].default
            assert required == (default is inspect.Parameter.empty)
            if not required and (isinstance(kind, list) or kind in WIDGETS) and not getattr(node, 'INPUT_IS_LIST', 0):
                assert default == options['default']
        else:
            assert any_name and key not in groups['required']
    named = {key for key, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD} - {'self'}
    assert named <= inputs(node).keys()


@pytest.mark.parametrize('name', NAMES)
def test_default_of_a_choice_is_one_of_them(nodes, name):
    choices = [(kind, options) for kind, options in inputs(nodes[name]).values() if isinstance(kind, list)]
    assert all(options.get('default', kind[0]) in kind for kind, options in choices)


# ----------------------------------------------------------------- what they do
def test_references_of_unequal_sizes_make_a_bank(nodes, restorer):
    photos = {'images': [image(picture(1, 64, 64, 0)), image(picture(2, 90, 96, 0))], 'images_2': [image(picture(3))]}
    people, record = nodes['RefSTARReferences']().read([restorer], **photos)
    assert sorted(one.name for one in people) == [one['person'] for one in json.loads(record)]
    assert sum(len(one.references) for one in people) == 3
    assert json.loads(record)[0]['dropped'] == {'references 3': 'no face found'}


def test_references_without_any_are_refused(nodes, restorer):
    with pytest.raises(RefStarError, match='connect images, or give a path'):
        nodes['RefSTARReferences']().read([restorer], path=[' '])


def test_a_changed_file_of_the_path_is_seen(nodes, tmp_path):
    seen = nodes['RefSTARReferences'].IS_CHANGED
    before = seen(path=[str(tmp_path)])
    (tmp_path / 'a.png').write_bytes(b'')
    assert seen(path=[str(tmp_path)]) != before
    assert seen(path=[str(tmp_path / 'nowhere')]) == seen() == []


@pytest.mark.parametrize('upscale', [1.0, 1.5])
def test_restore_gives_image_masks_and_record(nodes, restorer, upscale):
    batch = image(picture(4, 60, 64, 0), picture(5, 60, 64, 0))
    with torch.inference_mode():  # as ComfyUI runs nodes
        bank, _ = nodes['RefSTARReferences']().read([restorer], images=[image(picture(1, 64, 64, 0))])
        restored, changed, shares, record = nodes['RefSTARRestore']().restore(
            restorer, batch, 1.0, bank, upscale=upscale
        )
    height, width = round(60 * upscale), round(64 * upscale)
    assert restored.shape == (2, height, width, 3) and changed.shape == shares.shape == (2, height, width)
    for x in (restored, changed, shares):
        assert x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
    assert shares.max() > 0 and (shares[changed == 0] == 0).all()
    assert [one['faces'][0]['references'][0]['name'] for one in json.loads(record)] == ['references 1'] * 2


def test_outside_the_face_not_even_a_rounding_changes(nodes, restorer):
    batch = torch.rand(1, 60, 64, 3)
    restored, changed, *_ = nodes['RefSTARRestore']().restore(restorer, batch, 1.0)
    assert (changed == 0).any() and (changed > 0).any()
    assert torch.equal(restored[changed == 0], batch[changed == 0])


def test_a_photo_without_a_face_comes_back_as_it_was(nodes, restorer):
    batch = torch.rand(1, 60, 70, 4)
    restored, changed, shares, record = nodes['RefSTARRestore']().restore(restorer, batch, 1.0)
    assert torch.equal(restored, batch[..., :3]) and not changed.any() and not shares.any()
    assert json.loads(record)[0]['faces'] == []


def test_a_wrong_part_of_the_face_is_named(nodes, restorer):
    with pytest.raises(RefStarError, match="keep: no part 'mouht'"):
        nodes['RefSTARRestore']().restore(restorer, torch.rand(1, 60, 64, 3), 1.0, keep='eyes, mouht')


@pytest.mark.parametrize(('photo', 'face'), [(1, 1), (2, 1), (2, 4)])
def test_crop_and_paste_change_the_face_alone(nodes, restorer, photo, face):
    """A white face lands where it was, also when photo and crop were enlarged in between."""
    rgb = np.full((60, 96, 3), 40, np.uint8)
    crops, faces = nodes['RefSTARFaceCrop']().crop(restorer, image(picture(1, 60, 64), picture(2, 60, 64)))
    assert crops.shape == (2, 32, 32, 3) and [number for number, *_ in faces] == [0, 1]
    crops, faces = nodes['RefSTARFaceCrop']().crop(restorer, image(rgb))
    large = image(np.kron(rgb, np.ones((photo, photo, 1), np.uint8)))
    white = torch.ones(2, 32 * face, 32 * face, 3)
    pasted, changed = nodes['RefSTARFacePaste']().paste(large, white, faces)
    assert pasted.shape == large.shape and torch.equal(pasted[changed == 0], large[changed == 0])
    ys, xs = (torch.where(pasted[0, ..., 0] > 0.9)[i].float() / photo for i in (0, 1))
    left = xs < 40
    assert abs(xs[left].mean() - 32) < 2 and abs(xs[~left].mean() - 70) < 2 and 10 < ys.mean() < 40


@pytest.mark.parametrize(
    ('photos', 'crops', 'message'),
    [
        ((1, 60, 64, 3), (2, 32, 32, 3), 'but 1 squares were cut out'),
        ((1, 60, 64, 3), (1, 32, 30, 3), '1 crops of 30x32'),
        ((0, 60, 64, 3), (1, 32, 32, 3), '0 images'),
    ],
)
def test_paste_of_other_numbers_is_one_line(nodes, restorer, photos, crops, message):
    _, faces = nodes['RefSTARFaceCrop']().crop(restorer, torch.rand(1, 60, 64, 3))
    with pytest.raises(RefStarError, match=message):
        nodes['RefSTARFacePaste']().paste(torch.rand(photos), torch.rand(crops), faces)


def test_crop_without_a_face_is_one_line(nodes, restorer):
    with pytest.raises(RefStarError, match='no face found'):
        nodes['RefSTARFaceCrop']().crop(restorer, torch.rand(1, 60, 70, 3))


def test_loads_a_file_and_names_a_missing_one(nodes, tmp_path):
    (restorer,) = nodes['RefSTARLoadNetwork']().load(f' {network_file(tmp_path)} ', 'cpu', 'fp32')
    assert restorer.size == 32
    with pytest.raises(RefStarError, match=r'nowhere\.pth'):
        nodes['RefSTARLoadNetwork']().load('nowhere.pth', 'cpu', 'fp32')


# ----------------------------------------------------------------- workflow
class LoadImage:
    """ComfyUI's own node, for the example's files."""

    FUNCTION, RETURN_TYPES, RETURN_NAMES = 'load_image', ('IMAGE', 'MASK'), ('IMAGE', 'MASK')

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {'required': {'image': (['photo.jpg', '1.jpg'],), 'upload': (['image'],)}}

    def load_image(self, image: str, upload: str) -> tuple:
        return torch.from_numpy(read_picture(next(EXAMPLE.rglob(image))).rgb).float()[None] / 255, None


@pytest.fixture(scope='module')
def workflow() -> dict:
    return json.loads((FOLDER / 'example_workflows/restore_faces.json').read_text())


def test_workflow_fits_the_classes(nodes, workflow):
    links = {number: link for number, *link in workflow['links']}
    by_id = {node['id']: node for node in workflow['nodes']}
    for source, slot, target, place, kind in links.values():
        assert by_id[source]['outputs'][slot]['type'] == by_id[target]['inputs'][place]['type'] == kind
    for node in workflow['nodes']:
        if node['type'] not in nodes:
            continue
        wanted = inputs(cls := nodes[node['type']])
        widgets = [(kind, opt) for kind, opt in wanted.values() if isinstance(kind, list) or kind in WIDGETS]
        sockets = {name: kind for name, (kind, _) in wanted.items() if (kind, _) not in widgets}
        assert {slot['name']: slot['type'] for slot in node['inputs']} == sockets
        assert [out['type'] for out in node['outputs']] == list(cls.RETURN_TYPES)
        assert [out['name'] for out in node['outputs']] == list(cls.RETURN_NAMES)
        assert len(node['widgets_values']) == len(widgets)
        for value, (kind, options) in zip(node['widgets_values'], widgets, strict=True):
            assert value == options.get('default', kind[0])


def run(workflow: dict, classes: dict[str, type], node_id: int, done: dict[int, tuple]) -> tuple:
    """Compute a node's outputs, those that it rests on first."""
    if node_id not in done:
        node = next(node for node in workflow['nodes'] if node['id'] == node_id)
        cls, links = classes[node['type']], {number: link for number, *link in workflow['links']}
        sockets = {slot['name']: slot['link'] for slot in node['inputs']}
        widgets = (name for name in inputs(cls) if name not in sockets)
        given = dict(zip(widgets, node['widgets_values'], strict=True))
        for name, number in sockets.items():
            if number is not None:
                source, slot, *_ = links[number]
                given[name] = run(workflow, classes, source, done)[slot]
        if getattr(cls, 'INPUT_IS_LIST', False):
            given = {name: [value] for name, value in given.items()}
        done[node_id] = getattr(cls(), cls.FUNCTION)(**given)
    return done[node_id]


def test_workflow_restores_the_example_as_the_command_does(nodes, workflow):
    classes, done = nodes | {'LoadImage': LoadImage}, {}
    number = next(node['id'] for node in workflow['nodes'] if node['type'] == 'RefSTARRestore')
    with torch.inference_mode():
        restored, _, shares, record = run(workflow, classes, number, done)
        without, *_ = nodes['RefSTARRestore']().restore(done[1][0], done[4][0], 0.0, done[3][0])
        alone, *_ = nodes['RefSTARRestore']().restore(done[1][0], done[4][0], 1.0)
    (face,) = json.loads(record)[0]['faces']
    assert face['references'] and shares.max() > 0.5
    assert torch.equal(without, alone) and not torch.equal(without, restored)
    whole = Restorer.from_pretrained().restore_photo(EXAMPLE / 'photo.jpg', str(EXAMPLE / 'references'))
    assert np.array_equal((restored[0] * 255).round().byte().numpy(), whole.picture.rgb)
