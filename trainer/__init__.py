"""What completes and patches BasicSR's trainer.

Options: `option_file` reads them, `run_options`, `stock_keys` and `signatures` are their schema, `option_check` checks
them. Training: `loop`, `training_step`, `network_setup`, `resume`, `validation`, `interruption`. BasicSR:
`import_hook` and `patches` make it work on current libraries, `base_model` replaces methods of its models.
"""
