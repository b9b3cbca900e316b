"""What the sweeper plugins call: jobs, search spaces, tuning."""
