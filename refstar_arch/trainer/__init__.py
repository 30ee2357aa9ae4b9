"""BasicSR's trainer, mended and completed.

`basicsr_fixes`, `base_model`: what is wrong in BasicSR; `option_file`, `option_schema`, `basicsr_keys`, `switches`,
`option_page`: options; `step`, `speed`: a training step; `seeding`, `resume`, `retention`, `guard`: nothing is lost.
"""
