"""Check a GPU in minutes with a base of random weights: memory, speed, recovery; no hub needed.

Modules: `check_setting` (sizes, folders and configs), `check_base`, `check_training`,
`check_answers` and `check_recovery` (the steps), `check_steps` (their order and time limits),
`check_runner` (one step after the other, each recorded), `check_page` (the report).
"""
