"""Two runs in, what differs between them out: config, data, environment, training and outcome."""
