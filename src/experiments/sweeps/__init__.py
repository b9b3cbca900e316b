"""A sweep on disk: which folder each run lives in, how far the sweep is, what it can let go of.

`plan` (runs to folders, written down when a sweep starts), `status` (counts and time left),
`watching` (the same while it runs), `cleaning` (what a finished sweep no longer needs).
"""
