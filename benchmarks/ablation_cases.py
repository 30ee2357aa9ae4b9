"""The variants of benchmarks/ablation.py: their trainings and tests."""

import copy

from ablation_report import BARE
from trainings import STRICT, Case, Networks, slug

from refstar.evaluation.demo_steps import set_option, shipped
from refstar.trainer.option_file import load_options

# Part -> dotted keys of the training's options.
CYCLE = {'train.cycle_opt': {'type': 'CycleConsistencyLoss', 'loss_weight': 0.1}, 'train.cycle_every': 4}
IDENTITY = {'train.identity_opt': {'type': 'HardExampleIdentityLoss', 'loss_weight': 0.05, 'lambda_ref': 0.3}}
CONTEXT = {'network_g.context': {'dim': 64, 'channels': 32, 'identity': {}}}
VARIANTS = {
    'vanilla cross-attention': {'network_g.type': 'RefSTARVanilla'},
    'convex mix, no selection': {'network_g.type': 'RefSTARNoSelection'},
    '+ RefSel': {},
    '+ cycle consistency': CYCLE,
    '+ identity loss': CYCLE | IDENTITY,
    '+ composite context': CYCLE | IDENTITY | CONTEXT,
    '+ person check': CYCLE | IDENTITY | CONTEXT,  # with the RefSel that has one
}
FULL = list(VARIANTS)[-1]
# Row of the full method in use -> val options and number of references; of one, `guidance` is `concat`.
IN_USE = {'the same, strict': ({}, 1)} | {
    f'{n} references, {combine}': ({'combine': combine}, n) for combine in ('concat', 'guidance') for n in (2, 4)
}


class Ablation(Case):
    """All variants on one kind of people with one seed."""

    modules = ('ablation_networks',)

    def refsels(self) -> dict[str, tuple[str, str]]:
        """Trains RefSel with and without the person check: suffix -> (checkpoint, text of its options)."""
        return {'': self.refsel(False), '_person': self.refsel(True)}

    def run(self, refsels: dict[str, tuple[str, str]]) -> None:
        """The bare backbone, every variant, several references; `refsels` as of the method."""
        name, block = self.label, Networks.block(self.kind.networks.train)
        backbone = self.call('train', self.training('backbone', f'{name}_backbone', {}))
        begin = self.checkpoint(f'{name}_backbone')
        longer = {'train.total_iter': self.iterations['refstar'], 'path.pretrain_network_g': begin}
        made = self.call('train', self.training('backbone', f'{name}_bare', longer), backbone)
        path = {'pretrain_network_g': None, 'pretrain_network_backbone': self.checkpoint(f'{name}_bare')}
        network = load_options(shipped('refstar'))['network_g']
        self.call('test', self.test(f'{name}_bare', network, path, 'test', {'arms': ['none']}), made)
        for number, (variant, changes) in enumerate(VARIANTS.items()):
            experiment, suffix = f'{name}_{number}', '_person' if variant == FULL else ''
            refsel, of = refsels[suffix]
            changes = {**changes, 'path.pretrain_network_refsel': refsel, 'path.pretrain_network_backbone': begin}
            if suffix:
                changes['network_g.refsel.person'] = block
            opt = self.training('refstar', experiment, changes)
            made = self.call('train', opt, backbone + of)
            path = {'pretrain_network_g': self.checkpoint(experiment), 'param_key_g': 'params_ema'}
            self.call('test', self.test(experiment, opt['network_g'], path, 'test', {}), made)
        strict = copy.deepcopy(opt['network_g'])
        set_option(strict, 'refsel.person.strictness', STRICT)
        for row, (val, n) in IN_USE.items():
            self.call('test', self.test(experiment, strict, path, slug(row), val, n), made)

    def results(self) -> dict[str, dict[str, dict]]:
        """Row of the table -> test set -> arm -> metric -> value."""
        last = len(VARIANTS) - 1
        rows = {BARE: f'{self.label}_bare_test'} | {v: f'{self.label}_{i}_test' for i, v in enumerate(VARIANTS)}
        rows |= {row: f'{self.label}_{last}_{slug(row)}' for row in IN_USE}
        return {row: self.figures(test) for row, test in rows.items()}
