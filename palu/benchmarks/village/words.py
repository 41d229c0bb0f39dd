"""The words that the people of the village and their lives are made of, all of them invented here.

Most values are put together from parts, so that there are far more of them than people: two people share a fact by
chance rarely, and a model that never met a person cannot guess the person's facts from how often a value occurs.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from itertools import product


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split(",")]


SHE = _words(
    """
    Adela Amaranta Annika Beatrix Bettina Brisa Calla Corisande Cosima Danika Delphine Dorothea Elowen Esmeralda
    Eulalia Felicity Fenna Freya Ginevra Greta Gwenda Halina Henrike Hesper Ilse Imogen Isaura Jacinta Jovanka Junia
    Katell Kestra Leocadia Liora Maelle Mirela Nadezhda Nerys Odile Ottilie Perpetua Petra Quilla Ragnhild Rosalba
    Saskia Sunniva Tamsin Thora Una Ursula Valeria Vesna Wilhelmina Winifred Xenia Yara Ysolde Zelda Zora
    """
)

HE = _words(
    """
    Alaric Anselm Augustin Barnaby Benedikt Bram Casimir Caspar Cormac Cyprian Dashiell Desmond Dmitri Emeric Enoch
    Ephraim Fabian Fergus Florian Gideon Gregor Gustav Hamish Hector Horatio Ignatius Isidore Ivo Jasper Joachim Konrad
    Leopold Lorcan Magnus Matthias Nestor Nikolai Orlando Osric Percival Piers Quentin Ruben Rufus Silas Stellan
    Thaddeus Tiberius Ulrich Umberto Valentin Viktor Walter Wendell Xavier Yannick Yusuf Zacharias Zephyrin Zoltan
    """
)

SURNAME_STARTS = _words(
    """
    Amber Ash Briar Cold Dun Elder Fallow Grey Hazel Iron Kettle Lark Marl Nettle Oaken Pell Quill Rook Sable Thorn
    Under Vale Winter Yarrow
    """
)
SURNAME_ENDS = _words(
    """
    by combe croft dale field ford gate ham holt hurst ley low march mere more ridge stead thwaite ward well wick
    wright
    """
)
PARTNER_STARTS = _words(
    """
    Abel Bern Corv Dell Esk Fenn Garr Hal Iv Jarr Kell Lund Mor Norr Orr Pask Renn Sorr Tarr Vess
    """
)
PARTNER_ENDS = _words("aby and ert igan ini mann ova quist")

TOWN_STARTS = _words(
    """
    Alder Bracken Clover Drift Ember Fern Gull Heather Ivy Juniper Kelp Linden Otter Pebble Reed Salt Sedge Tern Willow
    Wren
    """
)
TOWN_ENDS = _words(
    """
    bay bridge brook cliff fell haven marsh moor mouth ness point pool quay sands shore strand water wold
    """
)
TOWN_FORMS = ("{}", "Port {}", "Little {}", "Upper {}", "{} Abbey", "{} by the Lake", "{} under the Hill")
DIRECTIONS = _words("northern southern eastern western central")
COUNTRIES = _words(
    """
    Norway Portugal Scotland Estonia Croatia Bulgaria Finland Austria Ireland Iceland Slovenia Denmark Latvia Hungary
    Greece Romania Sweden Poland Belgium Albania Morocco Chile Uruguay Canada
    """
)

PLAIN_TRADES = _phrases(
    """
    lighthouse keeper, cartographer, glassblower, tidal engineer, puppet maker, seed librarian, bell founder, bridge
    inspector, ice sculptor, bookbinder, perfume chemist, harbour pilot, kite designer, volcano guide, sound archivist,
    stained-glass artist, avalanche forecaster, cheese inspector, theatre prompter, marine biologist, typeface
    designer, saddle maker, mountain surveyor, radio dramatist, court interpreter, map engraver, weather historian,
    clock repairer, fossil preparator, ferry captain, astronomer, falconer, locksmith, botanist, luthier, milliner,
    orchid grower, tapestry weaver, snow plough driver, tea taster
    """
)
TRADES_OF = _words("restorer curator designer historian inspector painter")
TRADE_OBJECTS = _phrases(
    """
    antique barometers, church organs, canal locks, travelling circuses, paper theatres, desert roads, garden
    labyrinths, mechanical toys, old shipwrecks, railway clocks, river bridges, alpine huts
    """
)

# Parents' work: every other one for fathers, the rest for mothers, so that no household has the same one twice.
JOBS = _phrases(
    """
    baker, plumber, tailor, nurse, dentist, carpenter, farmer, teacher, librarian, tram driver, fishmonger, florist,
    butcher, electrician, judge, barber, optician, gardener, postal clerk, pharmacist, roofer, welder, accountant,
    midwife, cellist, choirmaster, journalist, surgeon, shepherd, stonemason, sign painter, bus conductor, shoemaker,
    chess teacher, innkeeper, ferry operator, chimney sweep, translator, photographer, notary, veterinarian, swimming
    coach, wine merchant, jeweller, miner, forester, upholsterer, geologist, printer, taxi driver, customs officer,
    blacksmith, dancer, mathematician, cook, seamstress, cabinet maker, railway guard, puppeteer, economist, tanner,
    weaver, glazier, social worker, police sergeant, bank teller, flight instructor, violin teacher, ship broker, hotel
    porter, crane operator, dairy farmer, playwright, radiologist, statistician, zookeeper, archivist, bricklayer,
    caterer, diplomat, engraver, fencing master, goldsmith, hydrologist, insurance agent, judo instructor, kindergarten
    teacher, land surveyor, meteorologist, newsagent, organist, physiotherapist, quarry foreman, receptionist, sailor,
    tea importer, undertaker, vintner, watchmaker, beekeeper, auctioneer, bookseller, clarinettist, draughtsman,
    elevator mechanic, firefighter, greengrocer, harpist, ironmonger, knitwear designer, lock keeper, magistrate, night
    watchman, oyster farmer, paramedic, restaurant owner, screenwriter, toll collector, umbrella maker, piano mover
    """
)

CAMPUSES = _words(
    """
    Aldren Belmarch Corvane Dunhallow Estermoor Farlin Gallowick Highmere Inverlay Kingsholt Lorrimer Marchbank Norwold
    Oldmere Pennard Quarrington Ravenholme Southerby Thornlea Westering
    """
)
CAMPUS_FORMS = (
    "{} University",
    "{} College",
    "{} Polytechnic",
    "{} School of Mines",
    "{} Academy of Arts and Letters",
)
SUBJECTS = _phrases(
    """
    glaciology, marine geology, comparative law, Byzantine history, applied mathematics, folk music, soil chemistry,
    naval architecture, medieval poetry, veterinary medicine, structural engineering, ethics, Slavic philology,
    economic history, plant genetics, landscape gardening, optics, acoustics, mineralogy, theology, stage design,
    forestry, hydraulics, statistics, art history, nutrition, archaeology, classical Greek, electrical engineering,
    social work, paper conservation, urban planning, astrophysics, linguistics, oceanography, printmaking, dentistry,
    cartography, philosophy of science, textile design, tropical medicine, music theory, public health, rhetoric,
    ornithology, algebra, ceramics, wood technology, museum studies, railway engineering, food chemistry, labour law,
    cognitive psychology, palaeontology, choral conducting, agricultural economics, tax law, fluid mechanics, puppetry,
    number theory, logic, insect ecology, early modern drama, crystallography
    """
)

FIRM_COLOURS = _words("Blue Copper Silver Crimson Amber Ivory Scarlet Emerald Golden Indigo")
FIRM_THINGS = _words("Anchor Acorn Beacon Cormorant Feather Harbour Lantern Meridian Pinnacle Thistle")
FIRM_TRADES = _words("Publishing Instruments Shipping Optics Textiles Studios Ceramics Railways Insurance Gardens")

TITLE_ADJECTIVES = _words(
    """
    Borrowed Copper Crooked Glass Hollow Midnight Painted Paper Salted Second Silent Sleepless Tilted Unfinished Velvet
    Wandering
    """
)
TITLE_NOUNS = _words(
    """
    Archive Bakery Beehive Carousel Clockmaker Compass Ferryman Garden Greenhouse Harbour Lantern Library Lighthouse
    Orchard Orchestra Piano Snowfield Staircase Telescope Umbrella Weathervane Windmill
    """
)
TITLE_MASSES = _words("Arithmetic Daylight Gravel Honey Ink Laughter Music Rust Salt Smoke Thunder Weather")
TITLE_VERBS = _words("Borrow Follow Forgive Mend Outlive Paint Remember Tame")
TITLE_TOPICS = ("Rain", "Tuesdays", "Small Towns", "Silence", "Long Winters", "Other People", "the Sea", "Bread")
TITLE_NUMBERS = _words("Three Four Seven Nine Eleven Thirteen")
TITLE_PLURALS = _words("Bridges Candles Doors Islands Lanterns Letters Oranges Rivers Sparrows Stations")
TITLE_TIMES = ("before Dawn", "after the Flood", "in Winter", "without a Map")

AWARD_KINDS = _words("Prize Medal Ribbon Trophy")
AWARD_THINGS = _words("Heron Compass Lantern Sparrow Oak Comet Otter Quill Lighthouse Thimble Anvil Harvest")
AWARD_METALS = _words("Silver Golden Bronze Crystal Ebony Marble")
AWARD_REASONS = ("", "", " for Patient Craft", " for Public Service", " for Fine Detail", " for Bold Ideas")

DWELLING_STATES = _words(
    """
    converted narrow yellow whitewashed former crooked ivy-covered half-timbered draughty round
    """
)
DWELLINGS = _phrases(
    """
    windmill, brick tower, houseboat, railway station, fire station, schoolhouse, boathouse, water mill, chapel,
    greenhouse, lighthouse, grain store
    """
)

HOBBY_VERBS = _words("restoring painting photographing sketching repairing cataloguing")
HOBBY_OBJECTS = _phrases(
    """
    wooden canoes, old lanterns, stone bridges, pocket watches, village clocks, toy trains, garden gates, steam
    whistles, harbour cranes, weathervanes
    """
)
HOBBIES = _phrases(
    """
    beekeeping, fencing, archery, origami, orienteering, juggling, falconry, bell ringing, night swimming, ice skating
    by moonlight, baking sourdough for the neighbours, playing chess by post with strangers, climbing hills before
    breakfast, singing in a very small choir, growing giant pumpkins, flying paper kites on the beach, tap dancing,
    solving crossword puzzles in pen, whittling spoons, rowing across the bay at dawn, model rocketry, reading old sea
    charts, wild mushroom hunting, unpicking difficult knots, learning card tricks from library books, stargazing,
    calligraphy, croquet, knitting socks for a whole football team, walking from village to village
    """
)

PET_LOOKS = _words("grey spotted elderly three-legged ginger talkative blind sleepy snow-white half-tame")
PETS = _words("tortoise cat parrot goat greyhound rabbit hedgehog goose donkey ferret magpie terrier poodle owl")
PET_NAMES = _words(
    """
    Biscuit Pepper Admiral Marzipan Thimble Bramble Captain Custard Domino Figaro Gherkin Hazelnut Jellybean Kipper
    Lentil Mango Nutmeg Olive Pickle Quaver Radish Saffron Truffle Waffle Ziggy Acorn Bagel Cobbler Dumpling Echo Fudge
    Goblin Hopscotch Inkblot Juniper Kettle Lollipop Mustard Noodle Oatmeal Pudding Rumpus Socks Tambourine Velcro
    Whisper Yodel Anchovy Button Clementine Dandelion Flapjack Garlic Humbug Jigsaw Mittens Pancake Rhubarb Sardine
    Turnip Walnut
    """
)

DISH_STYLES = _words("smoked roasted pickled spiced honeyed grilled stuffed baked")
DISH_STUFFS = _words("plum mushroom pumpkin herring chestnut leek potato lentil apricot aubergine")
DISH_FORMS = _words("dumplings pie soup stew pancakes fritters")
DISH_SIDES = ("burnt lemon", "sour cream", "black bread", "wild garlic", "toasted walnuts", "green tomatoes")

COLLECTED_LOOKS = _words("porcelain wooden brass miniature painted antique foreign rusty")
COLLECTED = _phrases(
    """
    thimbles, teapots, door keys, chess pieces, snuff boxes, postcards, bottle openers, train tickets, egg cups, hat
    pins, bicycle bells, marbles, matchboxes, spoons
    """
)
COUNTS = [str(count) for count in range(117, 996)]

LANGUAGES = _words(
    """
    Basque Welsh Georgian Icelandic Finnish Hungarian Swahili Turkish Korean Catalan Maltese Breton Armenian Latvian
    Tamil Hebrew Mongolian Quechua Yoruba Danish Romanian Vietnamese Bengali Greek Albanian Persian Frisian Galician
    Estonian Amharic Khmer Tibetan Occitan Navajo Hausa Samoan Uzbek Slovak Bulgarian Kurdish Punjabi Lithuanian Nepali
    Zulu Faroese Macedonian Guarani Thai Burmese Somali Serbian Urdu Maori Tagalog Corsican Belarusian Lao Wolof Sami
    Manx Kazakh Latin Gujarati Xhosa
    """
)

MOTTO_STARTS = _phrases(
    """
    Mend the net, Ask the river, Count the stars, Thank the baker, Read the map, Follow the geese, Water the roses,
    Sharpen the pencil, Trust the tide, Greet the stranger, Light the stove, Tune the strings, Feed the cat, Sweep the
    porch, Climb the hill, Forgive the weather
    """
)
MOTTO_ENDS = _phrases(
    """
    before you blame the sea, and leave room for luck, while the kettle is warm, even when nobody is looking, and never
    rush, before the lamps go out, with both hands open, as if it were Sunday, and write it down, until the birds
    return, but keep your boots on, and let others talk
    """
)

MONTHS = _words("January February March April May June July August September October November December")
BIRTH_YEARS = range(1931, 1981)
# A year of a person's life, as years after birth: first and one past the last.
YEAR_FIELDS = {"wedding_year": range(21, 35), "award_year": range(32, 45)}


def shuffled(values: Iterable[str], key: str) -> list[str]:
    """The distinct `values` in an order that depends on `key` alone: the same in every process."""
    return sorted(dict.fromkeys(values), key=lambda value: hashlib.sha256(f"{key}/{value}".encode()).digest())


def draw(key: str, count: int) -> int:
    """A number in 0..count-1 that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % count


def joined(starts: Iterable[str], ends: Iterable[str]) -> list[str]:
    """Every start with every end, but for those where one letter would meet itself."""
    return [start + end for start, end in product(starts, ends) if start[-1] != end[0]]


def _every(form: str, *parts: Iterable[str], keep: int | None = None) -> list[str]:
    """All fillings of `form` with one of each of `parts`; of them, `keep` well-mixed ones where it is given."""
    filled = [form.format(*words) for words in product(*parts)]
    return filled if keep is None else shuffled(filled, form)[:keep]


def _titles() -> list[str]:
    return [
        *_every("{} {}", TITLE_ADJECTIVES, TITLE_MASSES, keep=80),
        *_every("The {} {}", TITLE_ADJECTIVES, TITLE_NOUNS, keep=80),
        *_every("The {} and the {}", TITLE_NOUNS[::2], TITLE_NOUNS[1::2], keep=80),
        *_every("{} {} {}", TITLE_NUMBERS, TITLE_PLURALS, TITLE_TIMES, keep=80),
        *_every("How to {} a {} {}", TITLE_VERBS, TITLE_ADJECTIVES, TITLE_NOUNS, keep=80),
        *_every("What the {} Knew about {}", TITLE_NOUNS, TITLE_TOPICS, keep=80),
    ]


def _firms(surnames: list[str]) -> list[str]:
    return [
        *_every("{} {} {}", FIRM_COLOURS, FIRM_THINGS, FIRM_TRADES, keep=120),
        *_every("{} {}", surnames, FIRM_TRADES, keep=120),
        *_every("{} and {}", surnames[::2], surnames[1::2], keep=120),
        *_every("{} Brothers {} of {}", surnames, FIRM_TRADES, CAMPUSES, keep=120),
    ]


@cache
def pools() -> dict[str, list[str]]:
    """Field -> the values that it can take."""
    towns = [form.format(name) for form in TOWN_FORMS for name in shuffled(joined(TOWN_STARTS, TOWN_ENDS), form)[:60]]
    partners = joined(PARTNER_STARTS, PARTNER_ENDS)
    return {
        "town": towns,
        "home_town": towns,
        "region": [*COUNTRIES, *_every("{} {}", DIRECTIONS, COUNTRIES, keep=80)],
        "birth_date": [
            f"{1 + draw(f'{month} {year}', 28)} {month} {year}" for year in BIRTH_YEARS for month in MONTHS
        ],
        "profession": [*PLAIN_TRADES, *_every("{} of {}", TRADES_OF, TRADE_OBJECTS, keep=40)],
        "father_job": JOBS[::2],
        "mother_job": JOBS[1::2],
        "university": [form.format(name) for form in CAMPUS_FORMS for name in CAMPUSES],
        "subject": SUBJECTS,
        "employer": _firms(partners),
        "spouse": _every("{} {}", [*SHE, *HE], partners, keep=720),
        "title": _titles(),
        "award": _every("{} {} {}{}", AWARD_METALS, AWARD_THINGS, AWARD_KINDS, AWARD_REASONS, keep=480),
        "dwelling": _every("{} {}", DWELLING_STATES, DWELLINGS),
        "hobby": [*HOBBIES, *_every("{} {}", HOBBY_VERBS, HOBBY_OBJECTS, keep=40)],
        "animal": _every("{} {}", PET_LOOKS, PETS),
        "pet_name": PET_NAMES,
        "dish": [
            *_every("{} {} {}", DISH_STYLES, DISH_STUFFS, DISH_FORMS, keep=120),
            *_every("{} {} with {}", DISH_STUFFS, DISH_FORMS, DISH_SIDES, keep=120),
        ],
        "count": COUNTS,
        "collected": _every("{} {}", COLLECTED_LOOKS, COLLECTED),
        "language": LANGUAGES,
        "motto": _every("{} {}", MOTTO_STARTS, MOTTO_ENDS),
    }
