"""Statistics, tuned arms and the verdicts on claims; reads records, runs nothing."""
