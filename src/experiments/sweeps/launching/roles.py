"""Let rank 0 of `accelerate launch train.py` run the program, and the other ranks follow it."""

from collections.abc import Callable

from experiments.runtime import distributed


def lead_or_follow(program: Callable[[], object]) -> None:
    """Run the program in rank 0 (or a single process); follow the leader's orders elsewhere."""
    if distributed.here().leads:
        try:
            program()
        except SystemExit as end:  # such as after --help; on errors the launcher ends the others
            if not end.code:
                distributed.release()
            raise
        distributed.release()
        return
    from experiments import runs

    runs.follow()
