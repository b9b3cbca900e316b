"""The code behind the Hydra sweeper plugins: jobs, search spaces, tuning of arms."""
