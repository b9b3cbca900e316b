"""Run sweeps and manage their folders: plans, progress, snapshots, cleaning.

`plan` (the folder of each run, and the plan written when a sweep starts), `snapshot` (the configs
and code at its start), `status` (counts and time left), `watching` (live progress), `cleaning`
(files that a finished sweep no longer needs), `claims_runner` (the sweeps that claims need),
`study` (searches), `launching` (where jobs run), `hydra` (the code behind the Hydra plugins).
"""
