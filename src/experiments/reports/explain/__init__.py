"""Explain how two runs differ: in config, data, environment, training and outcome."""
