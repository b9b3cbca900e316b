"""Programs that make what ships: bases, measured constants, numerical checks."""
