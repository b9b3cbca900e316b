"""A run's config in, what it will take out: parameters, memory, operations and hours.

In the order of the flow: `geometry` (a model's shape), `parameters`, `device`, `workload` (rows
and tokens), `activations` and `memory`, `cost`, `estimate` (all of it for one run), `advice` (what
makes a run fit), `tables`. All of these are light. Beside them stand `probe`, which runs a few
steps, and `live_tensors` with `measure`, which hold the predictions against real training.
"""
