"""`data`: show the rows of a data description and the tokens that enter the loss."""

import argparse
import sys
from pathlib import Path

from experiments import config
from experiments.cli import hydra_arguments
from experiments.config import inputs
from experiments.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    hydra_arguments.add(parser, "data=glaive_v2 model=tiny")
    parser.add_argument("--show", type=int, default=3, help="conversations to print (default 3)")
    parser.add_argument("--out", type=Path, help="write the canonical rows to FILE.jsonl")
    parser.add_argument("--rejects", type=Path, help="write the rejected rows to FILE.jsonl")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    with config.one_sentence_errors():
        run = config.load(config.compose(hydra_arguments.overrides_of(arguments)))
        inputs.check_data(run)
    from experiments import data, models
    from experiments.data import benchmark_prompts, inspection, sources

    benchmarks = [benchmark_prompts.read(run, name) for name in run.eval.benchmarks]
    sources_by_name = sources.read_all(run.data.with_train_seed(run.seed))
    for path, rows in (
        (arguments.out, inspection.all_rows(sources_by_name)),
        (
            arguments.rejects,
            [reject for source in sources_by_name.values() for reject in source.rejects],
        ),
    ):
        if path is not None:
            print(f"wrote {inspection.write_rows(rows, path):,} rows to {path}")
    lines = inspection.describe(sources_by_name)
    lines += [line for benchmark in benchmarks for line in inspection.describe_benchmark(benchmark)]
    try:
        vocabulary = models.load_vocabulary(run.model)
    except ConfigError as error:
        inspection.show_messages(inspection.all_rows(sources_by_name), arguments.show)
        for benchmark in benchmarks:
            inspection.show_messages(benchmark.rows, min(arguments.show, 1))
        lines += inspection.describe_unused(sources_by_name)
        print(*lines, f"tokens not counted: {error}", sep="\n")
        return
    sources_by_name.clear()  # keeps large data sets from being in memory twice
    positions = vocabulary.positions or sys.maxsize
    built = data.build(
        run,
        vocabulary.tokenizer,
        end_ids=vocabulary.end_ids,
        positions=positions,
        may_be_empty=True,
    )
    inspection.show_rows(built.train, vocabulary.tokenizer, arguments.show)
    for name in run.eval.benchmarks:
        first, *_ = built.counts["benchmarks"][name]["rows"]
        inspection.show_rows(built.splits[first], vocabulary.tokenizer, min(arguments.show, 1))
    print(*lines, *inspection.describe_tokens(built), sep="\n")
