"""benchmarks/train_speed.py: its arms do the same, and what it counts is right."""

import json
from pathlib import Path

import pytest
import torch
import train_speed

CPU = torch.device('cpu')


def test_every_arm_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / 'speed.json'
    train_speed.main(['--small', '--rounds', '2', '--warm-up', '1', '--out', str(out)])
    found = json.loads(out.read_text())
    assert (found['size'], found['batch'], found['rounds']) == (32, 1, 2)
    assert list(found['arms']) == ['stock', 'off', 'refstar']
    assert found['arms']['stock']['losses'] == found['arms']['off']['losses']
    assert found['arms']['stock']['work'] == found['arms']['off']['work']
    for row in found['arms'].values():
        assert len(row['seconds']) == 2 and min(row['seconds']) > 0
        low, high = row['speedup']['range']
        assert low <= row['speedup']['median'] <= high
        assert 0 < row['share_of_roofline'] < 1 and row['memory_bytes'] > row['work']['held']
    assert found['arms']['stock']['speedup']['range'] == [1, 1]
    text = capsys.readouterr().out
    assert text.count('x stock') == 3 and 'processor time' in text


def test_stock_step_and_ours_train_alike() -> None:
    """The same network, batch and losses: so the weights after some steps are the same, to rounding."""
    nets, data, weights = train_speed.networks(32, small=True), train_speed.batch(32, 2), []
    for arm in ('stock', 'off'):
        model = train_speed.build(arm, train_speed.options(arm, nets, ['pixel', 'pyramid'], CPU, []))
        before = model.net_g.state_dict()['final_linear.weight'].clone()
        step = train_speed.stepper(model, data)
        for number in range(3):
            torch.manual_seed(number)
            step()
        assert not torch.equal(model.net_g.state_dict()['final_linear.weight'], before)
        nets_of = {'net_g': model.net_g, 'EMA': model.net_g_ema, 'net_d': model.net_d}
        weights.append({f'{net}.{key}': p for net in nets_of for key, p in nets_of[net].named_parameters()})
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-3, atol=1e-4, msg=key)
