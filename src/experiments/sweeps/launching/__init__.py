"""A sweep's jobs -> their results, in this process, several, on Slurm or on Ray.

`jobs` is what a job is and how it is run, `dispatch` decides which runs when, `placement` which
threads and GPU it gets, and `processes`, `slurm` and `cluster` are the places where it can run.
"""
