"""Run the jobs of a sweep; one module for each launcher of `conf/hydra/launcher/`.

`one_process` (this process), `joblib` (several local processes), `submitit` (Slurm) and `ray` each
define an executor. `sweep_job` defines a job and runs it, `dispatch` decides when each job runs,
`launcher_settings` holds the keys of `hydra.launcher`. `experiments.runtime.placement` assigns
threads and GPUs.
"""
