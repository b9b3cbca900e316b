"""One process of `accelerate launch train.py` runs the program; the others follow it."""

from collections.abc import Callable

from experiments.runtime import distributed


def lead_or_follow(program: Callable[[], object]) -> None:
    """Run the program in the process that leads, alone or not; take part in its runs elsewhere."""
    if distributed.here().leads:
        try:
            program()
        except SystemExit as end:  # --help ends like that; with an error the launcher ends the rest
            if not end.code:
                distributed.release()
            raise
        distributed.release()
        return
    from experiments import runs

    runs.follow()
