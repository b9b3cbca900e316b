"""Names, numbers and wordings of the built-in tasks; those of the test split occur in no other."""

import random
from collections.abc import Sequence

_ITEMS = (
    ("tea", "rice", "salt", "oats", "honey", "flour", "beans", "pepper", "sugar", "cocoa"),
    ("saffron", "lentils", "barley", "vinegar", "walnuts", "ginger", "millet", "olives"),
)
_PEOPLE = (
    ("Anna", "Boris", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas"),
    ("Katja", "Leon", "Mirja", "Nils", "Olga", "Pavel", "Rosa", "Stefan"),
)
_WORDS = (
    ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbour", "indigo", "jasper"),
    ("kestrel", "lagoon", "meadow", "nectar", "orchid", "pebble", "quartz", "raven"),
)
_TABLES = (("stock", "orders", "parts", "sales", "goods"), ("depot", "cargo", "supplies", "wares"))
_FOLDERS = (("notes", "plans", "drafts", "letters", "lists"), ("minutes", "memos", "briefs"))
_ZONES = (  # none of them changes its clock in summer; hours from UTC
    (("Asia/Tokyo", 9), ("Asia/Dubai", 4), ("Africa/Lagos", 1), ("America/Lima", -5)),
    (("Asia/Manila", 8), ("Asia/Dhaka", 6), ("Africa/Nairobi", 3), ("America/Bogota", -5)),
)


class Words:
    """Seeded choices for one task."""

    def __init__(self, seed: str, split: str) -> None:
        """Choose from the values of the test split, or from the others."""
        self.random = random.Random(seed)
        self.split = split
        self._column = int(split == "test")
        self._used: set[str] = set()

    def say(self, usual: Sequence[str] | str, test: str) -> str:
        """Return a wording: one of the usual ones, or that of the test split."""
        if self._column:
            return test
        return usual if isinstance(usual, str) else self.random.choice(usual)

    def item(self) -> str:
        """Return a good that this task has not used."""
        return self._unused(_ITEMS[self._column])

    def person(self) -> str:
        """Return a name that this task has not used."""
        return self._unused(_PEOPLE[self._column])

    def word(self) -> str:
        """Return a word that this task has not used."""
        return self._unused(_WORDS[self._column])

    def table(self) -> str:
        """Return the name of a table that this task has not used."""
        return self._unused(_TABLES[self._column])

    def folder(self) -> str:
        """Return the name of a folder that this task has not used."""
        return self._unused(_FOLDERS[self._column])

    def zones(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Return two time zones with their hours from UTC."""
        first, second = self.random.sample(_ZONES[self._column], 2)
        return first, second

    def number(self, low: int = 2, high: int = 99) -> int:
        """Return an even number in the test split, and an odd one in the others."""
        return self.random.randrange(low // 2, high // 2) * 2 + 1 - self._column

    def numbers(self, count: int = 4) -> list[int]:
        """Return different numbers."""
        found: list[int] = []
        while len(found) < count:
            number = self.number()
            found += [number] if number not in found else []
        return found

    def _unused(self, pool: Sequence[str]) -> str:
        chosen = self.random.choice([word for word in pool if word not in self._used])
        self._used.add(chosen)
        return chosen
