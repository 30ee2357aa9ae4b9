"""The page of all option keys."""

from basicsr.utils.registry import MODEL_REGISTRY
from helpers.recipes import OPTIONS

from refstar.tools.options import of_model, page
from refstar.trainer.run_options import Train


def test_the_page_in_docs_is_up_to_date() -> None:
    """If not: `refstar options --write docs/options.md`."""
    assert (OPTIONS.parent / 'docs/options.md').read_text() == page()


def test_every_key_of_the_page_has_a_text() -> None:
    text = page()
    assert not [line for line in text.splitlines() if line.startswith('- `') and line.endswith('`: ')]
    for name in Train.model_fields:
        assert f'- `train.{name}`: ' in text, name


def test_keys_of_a_model_are_those_that_not_every_model_has() -> None:
    keys = {row.split('`')[1]: row for row in of_model(MODEL_REGISTRY.get('RefSTARModel'))}
    assert {'network_g', 'network_vqgan', 'train.optim_g', 'train.cycle_every', 'val.strength'} <= set(keys)
    assert 'train.total_iter' not in keys and '(default 16)' in keys['train.net_d_reg_every']
