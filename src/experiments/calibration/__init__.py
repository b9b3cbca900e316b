"""Programs that produce shipped artefacts: base models, measured constants, numerical checks."""
