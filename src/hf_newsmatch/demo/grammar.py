"""The words of the demo's small world: captions and news, each told in English and German from one structure.

Everything here is invented. Templates come in pairs (English, German). Their German slots are nominative, or dative
after a preposition, so that a table of nouns with their genders is all the inflection there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .drawing import ATTIRE, GROUNDS, HAIR, SKIES, SKIN, THINGS, Person, Scene

Telling = dict[str, tuple[str, str]]  # language -> title, text

_NOUNS = {  # German and its gender
    "car": "Auto n", "bus": "Bus m", "truck": "Lastwagen m", "train": "Zug m", "bicycle": "Fahrrad n",
    "ferry": "Fähre f", "sailing boat": "Segelboot n", "plane": "Flugzeug n", "helicopter": "Hubschrauber m",
    "house": "Haus n", "tower": "Turm m", "church": "Kirche f", "bridge": "Brücke f", "factory": "Fabrik f",
    "windmill": "Windmühle f", "tent": "Zelt n", "dog": "Hund m", "cat": "Katze f", "horse": "Pferd n", "cow": "Kuh f",
    "balloon": "Ballon m", "flag": "Fahne f", "tree": "Baum m", "trophy": "Pokal m",
}  # fmt: skip
_COLOURS = {
    "red": "rot", "blue": "blau", "green": "grün", "yellow": "gelb", "white": "weiß", "black": "schwarz",
    "brown": "braun", "purple": "violett",
}  # fmt: skip
_PLACES = {
    "meadow": ("on a meadow", "auf einer Wiese"), "street": ("on the street", "auf der Straße"),
    "snow": ("in the snow", "im Schnee"), "water": ("on the water", "auf dem Wasser"),
    "beach": ("on the beach", "am Strand"), "hall": ("in a hall", "in einer Halle"),
    "sun": ("in bright sunshine", "bei strahlender Sonne"), "rain": ("in heavy rain", "bei starkem Regen"),
    "night": ("at night", "in der Nacht"), "fog": ("in thick fog", "bei dichtem Nebel"),
}  # fmt: skip
_ROLES = {  # German, a man and a woman
    "mayor": ("Bürgermeister", "Bürgermeisterin"), "minister": ("Minister", "Ministerin"),
    "judge": ("Richter", "Richterin"), "doctor": ("Arzt", "Ärztin"), "farmer": ("Landwirt", "Landwirtin"),
    "captain": ("Kapitän", "Kapitänin"), "firefighter": ("Feuerwehrmann", "Feuerwehrfrau"),
    "police officer": ("Polizist", "Polizistin"), "singer": ("Sänger", "Sängerin"),
    "footballer": ("Fußballer", "Fußballerin"),
}  # fmt: skip
_HAIR = {"black": "schwarzen", "blond": "blonden", "red": "roten", "grey": "grauen"}
_DAYS = (("Monday", "Montag"), ("Wednesday", "Mittwoch"), ("Friday", "Freitag"), ("Sunday", "Sonntag"))

# Every town has a landmark that stands in the background of its pictures. The general domain knows the first half.
TOWNS: Mapping[str, tuple[str, str]] = {
    "Harlowick": ("tower", "red"), "Quillbury": ("church", "white"), "Estermoor": ("windmill", "blue"),
    "Norrvik": ("bridge", "black"), "Palmeda": ("tower", "yellow"), "Trossenau": ("factory", "brown"),
    "Wendelau": ("church", "green"), "Kaltbrück": ("bridge", "red"), "Mirabon": ("windmill", "purple"),
    "Dunmarrow": ("tower", "black"), "Velmora": ("factory", "blue"), "Lindersee": ("church", "yellow"),
}  # fmt: skip


@dataclass(frozen=True)
class Celebrity:
    """A person in the news from the moment `since` on (0 is the first day of the news, 1 the last)."""

    name: str
    woman: bool
    looks: Person
    since: float


def _celebrities() -> list[Celebrity]:
    first = "Adara Bromin Celvi Dorrick Elsune Fendel Gilra Hobart Isva Jorrim Katrel Lennox"
    last = "Brennick Ossling Vellmar Droskin Harrowby Immerlin Kestrup Lowenby Morvane Nettlow Quandt-Elm Ruvelle"
    names = [f"{a} {b}" for shift in (0, 5) for a, b in zip(first.split(), np.roll(last.split(), shift))]
    roles, hair, skin = list(ATTIRE), list(HAIR), list(SKIN)
    looks = [Person(roles[i % 10], hair[(i + i // 10) % 4], skin[i % 3]) for i in range(len(names))]
    return [Celebrity(name, i % 2 == 0, looks[i], since=max(0.0, (i - 11) / 14)) for i, name in enumerate(names)]


CELEBRITIES: Sequence[Celebrity] = _celebrities()


@dataclass(frozen=True)
class Topic:
    """A topic of the news, and the moment when it is most frequent (`peak`, from 0 to 1 as above)."""

    things: str
    grounds: str
    roles: str
    peak: float
    titles: tuple[tuple[str, str], ...]
    leads: tuple[tuple[str, str], ...]
    burning: bool = False


TOPICS: Mapping[str, Topic] = {
    "accident": Topic(
        "car,bus,truck,bicycle", "street,snow", "police officer,doctor", 0.1,
        (("{thing} crashes in {town}", "{thing} verunglückt in {town}"),
         ("Accident in {town}: {thing} leaves the road", "Unfall in {town}: {thing} kommt von der Straße ab")),
        (("{a_thing} skidded {where} and hit a wall.", "{a_thing} prallte {where} gegen eine Mauer."),
         ("Traffic near {town} came to a stop {where}.", "Der Verkehr bei {town} kam {where} zum Stehen.")),
    ),
    "fire": Topic(
        "house,church,factory,tent", "meadow,street", "firefighter,mayor", 0.3,
        (("{thing} in {town} on fire", "{thing} in {town} steht in Flammen"),
         ("Blaze in {town}: {thing} burns for hours", "Großbrand in {town}: {thing} brennt stundenlang")),
        (("{a_thing} caught fire {where}.", "{a_thing} fing {where} Feuer."),
         ("The flames were seen from afar {where}.", "Die Flammen waren {where} weithin zu sehen.")),
        burning=True,
    ),
    "flood": Topic(
        "house,car,bridge,tree", "water", "mayor,firefighter", 0.65,
        (("Flood in {town}: {thing} under water", "Hochwasser in {town}: {thing} unter Wasser"),
         ("{thing} cut off by flood near {town}", "{thing} bei {town} vom Hochwasser umschlossen")),
        (("{a_thing} was caught by the river {where}.", "{a_thing} wurde {where} vom Fluss überrascht."),
         ("{a_thing} has stood {where} since {day}.", "{a_thing} steht seit {day} {where}.")),
    ),
    "runaway": Topic(
        "dog,cat,horse,cow", "street,meadow,beach,snow", "farmer,police officer", 0.5,
        (("Runaway {thing} keeps {town} busy", "Entlaufen: {thing} hält {town} in Atem"),
         ("{thing} escapes in {town}", "{thing} in {town} ausgebüxt")),
        (("{a_thing} was found {where} on {day}.", "{a_thing} wurde am {day} {where} gefunden."),
         ("Neighbours saw the animal {where}.", "Nachbarn sahen das Tier {where}.")),
    ),
    "harbour": Topic(
        "ferry,sailing boat", "water,beach", "captain,minister", 0.8,
        (("{thing} stranded off {town}", "{thing} vor {town} gestrandet"),
         ("New line: {thing} calls at {town}", "Neue Linie: {thing} läuft {town} an")),
        (("{a_thing} lay {where} until {day}.", "{a_thing} lag bis {day} {where}."),
         ("The crew waited {where} for help.", "Die Mannschaft wartete {where} auf Hilfe.")),
    ),
    "strike": Topic(
        "train,bus,plane", "street,hall,snow", "minister,mayor", 0.2,
        (("Strike in {town}: no {thing} moves", "Streik in {town}: {thing} bleibt stehen"),
         ("Wage dispute: {thing} stands still in {town}", "Tarifstreit: {thing} steht in {town} still")),
        (("{a_thing} stood {where} with empty seats.", "{a_thing} stand {where} mit leeren Sitzen."),
         ("The talks go on in {town} on {day}.", "Die Gespräche in {town} gehen am {day} weiter.")),
    ),
    "opening": Topic(
        "bridge,tower,windmill,church", "meadow,snow,water", "mayor,minister", 0.4,
        (("{town} celebrates: {thing} opens", "{town} feiert: {thing} wird eröffnet"),
         ("{thing} in {town} finished at last", "{thing} in {town} endlich fertig")),
        (("{a_thing} was opened {where} on {day}.", "{a_thing} wurde am {day} {where} eröffnet."),
         ("Hundreds of guests came {where}.", "Hunderte Gäste kamen {where}.")),
    ),
    "match": Topic(
        "trophy,flag,bus", "hall,meadow", "footballer", 0.9,
        (("{town} wins the cup: {thing} comes home", "{town} gewinnt das Finale: {thing} kommt heim"),
         ("{thing} for the champions from {town}", "{thing} für die Meister aus {town}")),
        (("{a_thing} was cheered {where}.", "{a_thing} wurde {where} bejubelt."),
         ("The team from {town} won by {number} points.", "Die Elf aus {town} siegte mit {number} Punkten.")),
    ),
    "festival": Topic(
        "tent,balloon,flag,horse", "meadow,beach", "singer", 0.6,
        (("Festival in {town}: {thing} draws crowds", "Festival in {town}: {thing} lockt die Massen"),
         ("{thing} greets festival guests in {town}", "{thing} begrüßt Festivalgäste in {town}")),
        (("{a_thing} stood {where} among the fans.", "{a_thing} stand {where} zwischen den Fans."),
         ("About {number} thousand came to hear the music.", "Etwa {number} tausend kamen zur Musik.")),
    ),
    "storm": Topic(
        "tree,tent,windmill,flag", "snow,street,beach", "firefighter,farmer", 0.95,
        (("Storm over {town}: {thing} topples", "Sturm über {town}: {thing} stürzt um"),
         ("{thing} in {town} defies the storm", "{thing} in {town} trotzt dem Sturm")),
        (("{a_thing} swayed {where} for hours.", "{a_thing} schwankte {where} stundenlang."),
         ("Gusts reached {town} on {day}.", "Die Böen erreichten {town} am {day}.")),
    ),
    "rescue": Topic(
        "helicopter,plane,balloon,sailing boat", "snow,water,beach", "doctor,captain", 0.75,
        (("{thing} saves hikers near {town}", "{thing} rettet Wanderer bei {town}"),
         ("Emergency near {town}: {thing} lands safely", "Notfall bei {town}: {thing} landet sicher")),
        (("{a_thing} came down {where} on {day}.", "{a_thing} ging am {day} {where} nieder."),
         ("{number} people were saved {where}.", "{number} Menschen wurden {where} gerettet.")),
    ),
    "theft": Topic(
        "bicycle,trophy,car,cow,truck", "street,hall,meadow", "judge,police officer", 0.0,
        (("{thing} stolen in {town}", "{thing} in {town} gestohlen"),
         ("Theft in {town}: {thing} is back", "Diebstahl in {town}: {thing} ist zurück")),
        (("{a_thing} had vanished {where}.", "{a_thing} war {where} verschwunden."),
         ("The trial in {town} begins on {day}.", "Der Prozess in {town} beginnt am {day}.")),
    ),
}  # fmt: skip

# Captions and remarks of the general domain on any thing, as title and text like news.
ANYTHING = Topic(
    ",".join(THINGS), ",".join(GROUNDS), ",".join(ATTIRE), 0.5,
    (("{a_thing} {where}", "{a_thing} {where}"), ("{thing} in {town}", "{thing} in {town}"),
     ("Picture of the day: {thing}", "Bild des Tages: {thing}"), ("My {thing} in {town}", "{thing} von mir in {town}"),
     ("For sale: {thing}", "Zu verkaufen: {thing}")),
    (("{a_thing} {where}.", "{a_thing} {where}."),
     ("Here is {a_thing}, seen {where} on {day}.", "Das ist {a_thing}, am {day} {where} gesehen."),
     ("I took this {where}.", "Das habe ich {where} aufgenommen."),
     ("Drawn {where} for {number} friends.", "Für {number} Freunde {where} gemalt.")),
)  # fmt: skip

# Continuations of a text: about a person, about a second thing, or about something that no picture shows.
_ON_PERSON = (
    ("“We will look into it,” said {person}.", "„Wir werden das prüfen“, sagte {person}."),
    ("{person} spoke of great luck.", "{person} sprach von großem Glück."),
    ("{person} came to {town} on {day}.", "{person} kam am {day} nach {town}."),
    ("Nearby: {person}.", "Ganz in der Nähe: {person}."),
)
_ON_BESIDE = (
    ("It happened {beside}.", "Es geschah {beside}."),
    ("Onlookers gathered {beside}.", "Schaulustige standen {beside}."),
    ("Right {beside}.", "Direkt {beside}."),
)
_ON_NOTHING = (
    ("Nobody was hurt.", "Verletzt wurde niemand."),
    ("The cost is put at {number} thousand.", "Die Kosten werden auf {number} tausend geschätzt."),
    ("More is expected by {day}.", "Mehr wird bis {day} erwartet."),
)


@dataclass(frozen=True)
class Event:
    """An event that can be told and drawn: a scene, and for the story its topic, town and celebrity."""

    topic: Topic
    scene: Scene
    town: str
    celebrity: Celebrity | None = None


def news_event(rng: np.random.Generator, when: float, towns: Sequence[str] = tuple(TOWNS)) -> Event:
    """A random event at the moment `when` (0 to 1): its topic and celebrities are those of that moment."""
    weights = np.array([0.02 + np.exp(-(((when - topic.peak) / 0.12) ** 2)) for topic in TOPICS.values()])
    topic = list(TOPICS.values())[int(rng.choice(len(TOPICS), p=weights / weights.sum()))]
    known = [c for c in CELEBRITIES if c.looks.role in topic.roles.split(",") and c.since <= when]
    return _event(rng, topic, towns, known)


def general_event(rng: np.random.Generator, news: float = 0.15) -> Event:
    """A random event of the general domain, on which the base model of the demo was trained; some are news."""
    towns = list(TOWNS)[: len(TOWNS) // 2]
    if rng.random() < news:
        return _event(rng, _pick(rng, TOPICS.values()), towns, [])
    return _event(rng, ANYTHING, towns, [])


def _event(rng: np.random.Generator, topic: Topic, towns: Sequence[str], celebrities: Sequence[Celebrity]) -> Event:
    town, person, celebrity, beside = _pick(rng, towns), None, None, None
    if rng.random() < 0.45:
        person = Person(_pick(rng, topic.roles.split(",")), _pick(rng, HAIR), _pick(rng, SKIN))
        if celebrities:
            celebrity = _pick(rng, celebrities)
            person = celebrity.looks
    elif rng.random() < 0.5:
        beside = _pick(rng, THINGS), _pick(rng, _COLOURS)
    scene = Scene(
        _pick(rng, topic.things.split(",")), _pick(rng, _COLOURS), _pick(rng, topic.grounds.split(",")),
        _pick(rng, SKIES), beside, TOWNS[town], person, topic.burning,
    )  # fmt: skip
    return Event(topic, scene, town, celebrity)


def tell(event: Event, rng: np.random.Generator) -> Telling:
    """The title and text of an event in both languages.

    Texts leave out things that the picture shows, and mention things that it does not show.
    """
    topic, scene, town = event.topic, event.scene, event.town
    colour = scene.colour if rng.random() < 0.75 else None
    places = [place for place in (scene.ground, scene.weather) if rng.random() < 0.6] or [scene.ground]
    ending = _ON_PERSON if scene.person else _ON_BESIDE if scene.beside and rng.random() < 0.7 else _ON_NOTHING
    templates = _pick(rng, topic.titles), _pick(rng, topic.leads), _pick(rng, ending)
    day, number, woman = _pick(rng, _DAYS), str(rng.integers(2, 60)), bool(rng.integers(2))
    telling = {}
    for column, language in enumerate(("en", "de")):
        slots = _SLOTS[language](scene, colour, event.celebrity, woman)
        where = " ".join(_PLACES[place][column] for place in (places if language == "en" else places[::-1]))
        slots |= {"town": town, "day": day[column], "number": number, "where": where}
        title, lead, end = (_capital(template[column].format(**slots)) for template in templates)
        telling[language] = title, f"{lead} {end}"
    return telling


def parallel_headlines(seed: int, n: int) -> list[tuple[str, str]]:
    """Titles and sentences of news as `n` pairs (German, English), to train or test a translator on."""
    pairs = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        telling = tell(news_event(rng, rng.random()), rng)
        part = int(rng.integers(2))
        pairs.append((telling["de"][part], telling["en"][part]))
    return pairs


def _english(scene: Scene, colour: str | None, celebrity: Celebrity | None, woman: bool) -> dict[str, str]:
    thing = f"{colour} {scene.thing}" if colour else scene.thing
    slots = {"thing": thing, "a_thing": f"a {thing}"}
    if scene.beside:
        slots["beside"] = "next to a {1} {0}".format(*scene.beside)
    if scene.person:
        person = scene.person
        unnamed = f"a {person.role} with {person.hair} hair"
        slots["person"] = f"{person.role} {celebrity.name}" if celebrity else unnamed
    return slots


def _german(scene: Scene, colour: str | None, celebrity: Celebrity | None, woman: bool) -> dict[str, str]:
    noun, gender = _NOUNS[scene.thing].split()
    thing = f"{_COLOURS[colour]}{_ENDING[gender]} {noun}" if colour else noun
    slots = {"thing": thing, "a_thing": f"{'eine' if gender == 'f' else 'ein'} {thing}"}
    if scene.beside:
        noun, gender = _NOUNS[scene.beside[0]].split()
        slots["beside"] = f"neben {'einer' if gender == 'f' else 'einem'} {_COLOURS[scene.beside[1]]}en {noun}"
    if scene.person:
        woman = celebrity.woman if celebrity else woman
        role = _ROLES[scene.person.role][woman]
        hair = f"{'eine' if woman else 'ein'} {role} mit {_HAIR[scene.person.hair]} Haaren"
        slots["person"] = f"{role} {celebrity.name}" if celebrity else hair
    return slots


_SLOTS = {"en": _english, "de": _german}
_ENDING = {"m": "er", "f": "e", "n": "es"}  # of an adjective, nominative after "ein" or nothing


def _pick(rng: np.random.Generator, options):
    options = list(options)
    return options[int(rng.integers(len(options)))]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
