"""Words and templates of pocket's training texts, composed for it."""

from __future__ import annotations

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred thousand million"
).split()
NAMES = (
    "Anna Peter Mary John David Sarah Tom Lucy George Helen Paul Emma James Alice Robert Laura "
    "Michael Jane Henry Rose Daniel Kate William Susan Mark Julia Jack Linda Frank Ruth"
).split()
SHORT = (
    "yes|no|hello|goodbye|thank you|thanks|please|good morning|good evening|good night|maybe|"
    "of course|not yet|I see|all right|okay|sure|right now|never mind|excuse me|see you soon|"
    "wait|stop|go on|come in|sit down|be careful|well done|welcome|sorry|one moment|not at all|"
    "why not?|really?|how?|why?|when?|where?|who?|what?|now|later|today|tomorrow|yesterday|"
    "always|never|left|right|up|down|hello there|how are you?|what time is it?|help|listen|look"
).split("|")
JOINTS = [", and ", ", but ", ", so ", " because ", ", or ", ". ", ", ", ", then ", " while "]

SLOTS = {
    "name": NAMES,
    "day": DAYS,
    "month": MONTHS,
    "color": (
        "red blue green yellow black white brown gray orange pink purple silver golden dark bright"
    ).split(),
    "adj": (
        "big small old new young long short high low hot cold warm cool fast slow good bad happy "
        "sad strong weak rich poor clean dirty dry wet heavy light soft hard sharp smooth rough "
        "quiet loud early late easy difficult simple clear strange lovely beautiful ugly famous "
        "empty full open closed broken modern wooden round narrow wide deep gentle clever careful "
        "tired hungry thirsty busy free cheap expensive useful important different same second "
        "whole local public private real true false sweet fresh bitter kind brave proud calm"
    ).split(),
    "noun": (
        "man woman child boy girl dog cat horse bird fish house room door window table chair bed "
        "book letter paper pen picture clock phone computer car bus train ship boat bicycle plane "
        "road street bridge city town village river lake sea mountain hill forest field garden "
        "tree flower leaf grass stone rock wall roof floor kitchen school church shop market "
        "office factory hospital doctor teacher student farmer driver king queen soldier friend "
        "brother sister mother father uncle aunt neighbor cup glass bottle plate knife fork spoon "
        "box bag basket coat hat shoe shirt dress ring key lamp candle mirror machine engine wheel "
        "game song story question answer problem idea plan word sentence language number line "
        "circle square point world country island beach storm cloud star moon sun sky morning "
        "evening night week month year hour minute moment day summer winter spring autumn apple "
        "orange potato tomato sandwich cake egg cheese company police officer museum theater "
        "library station airport hotel restaurant ticket map camera guitar piano voice speech test"
    ).split(),
    "nouns": (
        "people men women children boys girls dogs cats horses birds houses rooms doors windows "
        "tables chairs books letters pictures clocks cars buses trains ships boats roads streets "
        "bridges cities towns rivers lakes mountains trees flowers leaves stones walls schools "
        "shops teachers students farmers friends brothers sisters neighbors cups glasses bottles "
        "plates boxes bags coats shoes keys machines wheels games songs stories questions answers "
        "problems ideas plans words languages numbers lines countries islands clouds stars hours "
        "minutes days weeks months years apples oranges potatoes eggs tickets maps voices"
    ).split(),
    "mass": (
        "water milk bread butter coffee tea sugar salt rice meat fruit soup sand snow rain wind "
        "ice fire smoke dust gold silver iron wood glass oil air light music work time money love "
        "luck weather news information advice food"
    ).split(),
    "place": (
        "home|here|there|the city|the country|the beach|the station|the market|school|work|the "
        "office|the park|the garden|the kitchen|town|the hospital|the airport|the other side|the "
        "end of the road|the top of the hill|the old bridge|the north|the south|the library"
    ).split("|"),
    "where": (
        "in the {noun}|on the {noun}|under the {noun}|behind the {noun}|near the {noun}|in front "
        "of the {noun}|next to the {adj} {noun}|between the {noun} and the {noun}|at home|at "
        "school|at work|in the {adj} {noun}|over the {noun}|by the {noun}|across the street|far "
        "away|outside|upstairs|around the corner|in the middle of the {noun}"
    ).split("|"),
    "when": (
        "today|tomorrow|yesterday|now|soon|later|every day|every morning|last night|next week|last "
        "year|on {day}|in {month}|at {hour} o'clock|in the morning|in the evening|after lunch|"
        "before dinner|at noon|at midnight|two days ago|in a few minutes|for {number} years|all "
        "day long|once a week|on the {ordinal} of {month}|in the summer|in winter|since {day}"
    ).split("|"),
    "hour": NUMBERS[1:13],
    "who": (
        "I|you|we|they|the {noun}|the {adj} {noun}|my {relative}|her {relative}|{name}|{name} and "
        "{name}|the {nouns}|some {nouns}|many {nouns}|our {noun}|those {nouns}|both {nouns}"
    ).split("|"),
    "he": (
        "he|she|it|the {noun}|the {adj} {noun}|my {relative}|his {relative}|{name}|this {noun}|"
        "that {noun}|our {noun}|everybody|nobody|someone|the {color} {noun}|the {noun}'s {noun}"
    ).split("|"),
    "relative": "mother father brother sister son daughter wife husband friend uncle aunt".split(),
    "what": (
        "a {noun}|the {noun}|a {adj} {noun}|the {adj} {noun}|some {mass}|the {nouns}|{number} "
        "{nouns}|my {noun}|your {noun}|a {color} {noun}|her {adj} {noun}|another {noun}|no {mass}|"
        "a cup of {mass}|a lot of {mass}|something {adj}|everything|this {noun}|their {nouns}"
    ).split("|"),
    "past": (
        "saw found lost bought sold took gave made broke opened closed painted cleaned washed "
        "carried pulled pushed lifted dropped caught threw kept liked loved hated wanted needed "
        "used fixed built drew read wrote heard forgot remembered remembered watched left met "
        "followed helped changed moved turned showed brought sent"
    ).split(),
    "verb": (
        "see find lose buy sell take give make break open close paint clean wash carry pull push "
        "lift drop catch throw keep like love want need use fix build draw read write hear forget "
        "remember watch leave meet follow help change move turn show bring send choose visit"
    ).split(),
    "ing": (
        "seeing finding buying selling taking giving making breaking opening closing painting "
        "cleaning washing carrying pulling pushing looking waiting walking running sitting "
        "standing sleeping working playing reading writing singing dancing talking listening "
        "thinking eating drinking cooking driving flying swimming climbing falling growing"
    ).split(),
    "went": (
        "went|came|walked|ran|drove|returned|moved|traveled|hurried|flew|climbed|sailed".split("|")
    ),
    "adverb": (
        "slowly quickly quietly carefully suddenly usually often never always sometimes again "
        "finally really almost already probably perhaps certainly easily together alone twice once"
    ).split(),
    "ask": "what where when why how who".split(),
    "modal": "can could should would will must may might".split(),
    "number2": ["{number}"],
}

TEMPLATES = (
    "{who} {past} {what}|{he} {past} {what} {where}|{when}, {who} {past} {what}|{who} {past} "
    "{what} {when}|the {noun} is {adj}|the {adj} {noun} was {where}|the {nouns} are {adj} and "
    "{adj}|{he} was {ing} {where}|{who} {went} to {place} {when}|{who} {modal} {verb} {what}|"
    "{who} {modal} not {verb} {what} {when}|do you {verb} {what}?|did {who} {verb} {what} {when}?|"
    "is the {noun} {where}?|are the {nouns} {adj} or {adj}?|{ask} did {who} {verb} {what}?|where "
    "is the {adj} {noun}?|what is the {noun} {ing} for?|how many {nouns} are {where}?|how much "
    "{mass} do {who} need?|why is the {noun} so {adj}?|who {past} {what}?|when will {he} {verb} "
    "{what}?|can you {verb} {what}, please?|please {verb} {what} {when}|{verb} {what} and {verb} "
    "{what}|don't {verb} {what}!|let us {verb} {what} {where}|there is {what} {where}|there are "
    "{number} {nouns} {where}|there were many {adj} {nouns} in the {noun}|it is {adj} {when}|it "
    "was a {adj} and {adj} {noun}|this is {what}|that was {what}|these are {adj} {nouns}|my "
    "{relative} is {number} years old|the {noun} costs {number} dollars|the train leaves at {hour} "
    "{number} {when}|{name} was born on the {ordinal} of {month}, {year}|in {year}, {who} {past} "
    "{what}|my number is {digits}|the answer is {number}|{number} and {number} make {number}|"
    "today is {day}, {month} {ordinal}|I think that {he} {past} {what}|I know why {he} {past} "
    "{what}|{he} said that {who} {past} {what}|if you {verb} {what}, {who} will {verb} {what}|when "
    "{he} {past} {what}, {who} {went} to {place}|{he} {adverb} {past} {what}|{who} {adverb} "
    "{went} to {place}|{he} has {what} and {what}|I have never seen such a {adj} {noun}|the {noun} "
    "that {he} {past} is {adj}|{name}, {name} and {name} {went} to {place}|{he} would like {what}|"
    "we are {ing} {where} {when}|they have been {ing} {when}|nothing is as {adj} as {what}|the "
    "{noun} is more {adj} than the {noun}|the {color} {noun} {where} is {adj}|give {name} {what}|"
    "I want to {verb} {what}|{he} wants to {verb} {what} before {day}|you should not {verb} "
    "{what}|it's {hour} o'clock|I'm {ing} {where}|we'll {verb} {what} {when}|{he} didn't {verb} "
    "{what}|that's {what}|isn't {he} {adj}?|{he} can't {verb} {what}|the weather is {adj} {when}|"
    "thank you for {what}|good morning, {name}, how are you?|hello, my name is {name}|"
    "a {noun}, a {noun} and a {noun}|one {noun}, two {nouns}, {number} {nouns}|after {ing}, {who} "
    "{past} {what}|{who} {past} {what} because it was {adj}|although it was {adj}, {who} {past} "
    "{what}|{he} {past} {what}, {past} {what} and {went} to {place}"
).split("|")
SLOTS["digits"] = [" ".join("{digit}" for _ in range(n)) for n in (3, 4, 5, 7)]
SLOTS["digit"] = NUMBERS[:10]


def all_words() -> list[str]:
    """Return every single word of the lists in lower case, sorted."""
    words = {word for options in SLOTS.values() for word in options if word.isalpha()}
    return sorted(word.lower() for word in words)
