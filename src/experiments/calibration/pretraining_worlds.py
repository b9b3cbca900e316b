"""Invent the tools, records and values that the embedded base is pretrained on."""

import random

from experiments.calibration.pretraining_vocabulary import (
    ADJECTIVES,
    CODAS,
    NOUNS,
    ONSETS,
    PARAMETERS,
    SMALL,
    TOPICS,
    VERBS,
    VOWELS,
)
from experiments.data.toolworld_vocabulary import (
    TOOLS,
    UNSEEN_TOOLS,
    JsonRecord,
    Tool,
    ValuePool,
    World,
)

_ENGLISH = list(dict.fromkeys(VERBS + NOUNS + ADJECTIVES + PARAMETERS + SMALL + TOPICS))

_KINDS = (
    ["city", "person", "item", "text", "title", "id", "int", "enum"] * 3
    + ["phone", "float", "bool"] * 2
    + ["date", "time"]
)

_RESERVED_TOOLS = frozenset(tool.name for tool in TOOLS + UNSEEN_TOOLS)


def _word(rng: random.Random) -> str:
    """Invent a word from syllables, or from the start of one English word and the end of another.

    The second kind makes nearly every token of the vocabulary occur in every role; a base that has
    only seen syllables could only copy syllables.
    """
    if rng.random() < 0.5:
        head, tail = rng.choice(_ENGLISH), rng.choice(_ENGLISH)
        return head[: rng.randint(1, 4)] + tail[-rng.randint(2, 5) :]
    return "".join(
        rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
        for _ in range(rng.choice((1, 2, 2, 2, 3)))
    )


def common_or_invented(common: list[str], rng: random.Random, invented: float) -> str:
    """Draw a common word, or invent one with the given probability."""
    source = _ENGLISH if rng.random() < 0.4 else common
    return _word(rng) if rng.random() < invented else rng.choice(source)


def _names(count: int, rng: random.Random) -> list[str]:
    """Return up to `count` different argument names; a set would depend on the hash seed."""
    return list(dict.fromkeys(common_or_invented(PARAMETERS, rng, 0.25) for _ in range(count)))


def random_world(rng: random.Random) -> World:
    """Invent tools, records and a pool of values; toolworld's tools are never among them."""
    tools: dict[str, Tool] = {}
    while len(tools) < 6:
        # A plan passes a result to a parameter that takes text, so two tools must have one.
        tool = _random_tool(rng, first_kind="city" if len(tools) < 2 else None)
        if tool.name not in _RESERVED_TOOLS:
            tools[tool.name] = tool
    records = tuple(_random_record(rng) for _ in range(3))
    capital = [_word(rng).capitalize() for _ in range(24)]
    items = [common_or_invented(NOUNS, rng, 0.5) for _ in range(12)]
    pool = ValuePool(
        cities=tuple(capital[:8]),
        first_names=tuple(capital[8:16]),
        last_names=tuple(capital[16:]),
        items=tuple(items),
        verbs=tuple(common_or_invented(VERBS, rng, 0.3) for _ in range(8)),
        letters="ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        residues=(0, 1, 2, 3),
    )
    harms = ("Hurt {person}", "Rob a shop in {city}", "Lie to {person}", "Cheat {person}")
    questions = (("What is a {item}", ""), ("Sing about {city}", ""), ("Greet {person}", ""))
    return World(tuple(tools.values()), records, pool, harms, questions)


def _random_kind(rng: random.Random) -> str:
    kind = rng.choice(_KINDS)
    if kind == "enum":
        options = {common_or_invented(ADJECTIVES + NOUNS, rng, 0.2) for _ in range(3)}
        return "|".join(sorted(options)) if len(options) > 1 else "low|high"
    return kind


def _random_tool(rng: random.Random, *, first_kind: str | None) -> Tool:
    verb = common_or_invented(VERBS, rng, 0.08)
    noun = common_or_invented(NOUNS, rng, 0.08)
    names = _names(rng.randint(1, 3), rng)
    parameters, clauses = {}, {}
    for position, name in enumerate(names):
        kind = first_kind if first_kind and position == 0 else _random_kind(rng)
        optional = position > 0 and rng.random() < 0.4
        parameters[name] = kind + ("?" if optional else "")
        clauses[name] = _random_clauses(name, kind, rng)
    article, small = rng.choice(("a", "the", "my")), rng.choice(SMALL)
    other_verb, other = rng.choice((verb, rng.choice(_ENGLISH))), rng.choice(_ENGLISH)
    requests = (
        f"{verb.capitalize()} {article} {noun}",
        f"{other_verb.capitalize()} {article} {noun}",
        f"{verb.capitalize()} the {other}",
        f"I {rng.choice(('want', 'need', 'would like'))} to {verb} {article} {noun}",
        f"{rng.choice(('Can you', 'Please', 'We must'))} {other_verb} {rng.choice((noun, other))}",
        f"{rng.choice(('Do', 'Start', 'Where is', 'What about', 'How is'))} the {noun}",
    )
    description = rng.choice(
        (
            f"{other_verb.capitalize()} {article} {noun} {small} the {other}",
            f"{other_verb.capitalize()} {article} {noun} {other}",
            f"The {noun} to {other_verb} {small} {other}",
        )
    )
    middle = rng.choice(("", "", "", f"{small}_", f"{other}_"))
    return Tool(f"{verb}_{middle}{noun}", description, parameters, requests, clauses)


def _random_clauses(name: str, kind: str, rng: random.Random) -> str:
    if kind == "bool":
        word = rng.choice((name, rng.choice(NOUNS)))
        return rng.choice((f" with {word}/ without {word}", f", {word}/, no {word}", " on/ off"))
    small = rng.choice(SMALL)
    quoted = '"{}"' if kind == "text" else "{}"
    return "/".join(
        rng.sample(
            (f" {small} {quoted}", f", {name} {quoted}", f" with {name} {quoted}", f" {quoted}"), 2
        )
    )


def _random_record(rng: random.Random) -> JsonRecord:
    names = _names(rng.randint(2, 4), rng)
    fields = {name: _random_kind(rng) for name in names}
    parts = [
        f"{rng.choice(NOUNS)} {{{name}:yes/no}}" if kind == "bool" else _record_part(name, rng)
        for name, kind in fields.items()
    ]
    return JsonRecord(fields, (f"{', '.join(parts)}.", f"{' and '.join(reversed(parts))}."))


def _record_part(name: str, rng: random.Random) -> str:
    slot = "{" + name + "}"
    forms = (f"the {name} is {slot}", f"{name}: {slot}", f"{rng.choice(SMALL)} {slot}")
    return rng.choice(forms)
