"""Checks before a long training."""

import pytest
from checks import check_needs


def test_missing_file_ends_the_program_by_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r'error: .*gone\.txt: not there'):
        check_needs([{'datasets': {'train': {'split_file': str(tmp_path / 'gone.txt')}}}])


def test_network_that_cannot_be_built_ends_the_program(tmp_path):
    (tmp_path / 'x.pt').write_bytes(b'no weights')
    with pytest.raises(SystemExit, match=r'error: .*x\.pt'):
        check_needs([{'metrics': {'id_gt': {'network': 'mobilefacenet', 'weights': str(tmp_path / 'x.pt')}}}])


def test_complete_options_pass(identity_weights):
    check_needs([{'metrics': {'id_gt': {'network': 'mobilefacenet', 'weights': str(identity_weights)}}}])
