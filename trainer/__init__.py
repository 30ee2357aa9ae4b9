"""BasicSR's trainer, mended and completed.

`basicsr_fixes`, `base_model`: what is wrong in BasicSR; `option_file`, `option_schema`, `known_keys`,
`basicsr_keys`, `switches`, `option_page`: options; `step`, `speed`: a training step; `progress`, `clock`: what it
shows; `processes`, `validation`: several processes; `seeding`, `resume`, `retention`, `guard`: nothing is lost;
`trust`: foreign files.
"""
