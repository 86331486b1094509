"""A small world in two languages, for a Marian to learn."""

import itertools
import random

_NOUNS = {
    "Der Zug": "The train", "Der Bus": "The bus", "Die Brücke": "The bridge", "Die Kirche": "The church",
    "Das Haus": "The house", "Das Schiff": "The ship", "Der Bürgermeister": "The mayor", "Die Ärztin": "The doctor",
}  # fmt: skip
_VERBS = {
    "steht": "stands", "brennt": "burns", "wartet": "waits", "verschwindet": "vanishes", "glänzt": "shines",
}  # fmt: skip
_PLACES = {
    "in Köln": "in Cologne", "am Hafen": "at the harbour", "im Schnee": "in the snow",
    "auf der Straße": "on the street",
}  # fmt: skip


def make_parallel(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Invented sentences and headlines with their translations."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        noun, verb, place = (rng.choice(list(table.items())) for table in (_NOUNS, _VERBS, _PLACES))
        number = str(rng.randint(2, 99))
        pairs.append(
            rng.choice(
                [
                    (f"{noun[0]} {verb[0]} {place[0]}.", f"{noun[1]} {verb[1]} {place[1]}."),
                    (f"{noun[0]} {place[0]}", f"{noun[1]} {place[1]}"),
                    (f"Seit {number} Tagen: {noun[0]} {verb[0]}", f"For {number} days: {noun[1]} {verb[1]}"),
                    (
                        f"{noun[0]} {verb[0]}, {place[0]} und überall.",
                        f"{noun[1]} {verb[1]}, {place[1]} and everywhere.",
                    ),
                ]
            )
        )
    return pairs


def all_sentences() -> list[tuple[str, str]]:
    """Every plain sentence of the world."""
    return [
        (f"{noun[0]} {verb[0]} {place[0]}.", f"{noun[1]} {verb[1]} {place[1]}.")
        for noun, verb, place in itertools.product(_NOUNS.items(), _VERBS.items(), _PLACES.items())
    ]
