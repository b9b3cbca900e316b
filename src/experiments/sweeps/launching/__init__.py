"""Run the jobs of a sweep: in this process, in several processes, on Slurm or on Ray.

`jobs` defines a job and runs it, `dispatch` decides when each job runs, and `here`, `processes`,
`slurm` and `cluster` are the places where jobs can run. Threads and GPUs are assigned by
`experiments.runtime.placement`.
"""
