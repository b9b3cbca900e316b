"""Statistics, tuned arms and verdicts on claims; reads records and runs nothing."""
