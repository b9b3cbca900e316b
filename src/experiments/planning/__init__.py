"""Estimate from a run's config what it will need: parameters, memory, operations and hours.

Modules in the order of use: `model_geometry`, `parameters`, `device`, `workload` (rows and tokens),
`activations` and `memory`, `cost`, `estimate` (all of these for one run), `advice` (changes that
make a run fit), and `plan_table`. These import no heavy library. In addition, `probe` compares a
plan with a few real steps, for which `live_tensors` tracks the memory.
"""
