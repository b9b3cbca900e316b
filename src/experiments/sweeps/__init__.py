"""Run sweeps and manage their folders: plans, progress, snapshots, cleaning.

`plan` (the folder of each run, and the plan written when a sweep starts), `snapshot` (the configs
and code at its start), `kind` (what a sweeper runs), `sweep_files` (refused uses of `sweeps=NAME`),
`checked_run` (passes a checked run to its job), `status` (counts and time left), `live_progress`,
`rollback` (removes the folder of a refused sweep), `cleaning` (files that a finished sweep no
longer needs), `claims_runner` (the sweeps that claims need), `study` (searches), `launching` (one
module per launcher), `hydra` (the code behind the Hydra plugins).
"""
