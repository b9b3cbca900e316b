"""Run train.py in the main process of a launch, and its runs in the other processes as well."""

from collections.abc import Callable

from experiments.runtime import distributed


def run(program: Callable[[], object]) -> None:
    """Run the program in a single process or in rank 0; take part in its runs elsewhere.

    The program composes the configs, so only one process may run it; the others receive each run.
    """
    if not distributed.is_main_process():
        from experiments import runs

        runs.run_as_other_process()
        return
    try:
        program()
    except SystemExit as end:  # such as after --help; on errors the launcher ends the others
        if not end.code:
            distributed.release()
        raise
    distributed.release()
