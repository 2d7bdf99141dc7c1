"""English sentences to evaluate speech on; the pocket voice was trained on none of them.

`HELD_OUT` are sentences of the kinds that pocket was trained on, of common words, all on the
held-out side of `train.pocket.texts.is_held_out`. `OTHERS` are of other origin: ten of the Harvard
sentences (IEEE Recommended Practice for Speech Quality Measurements, 1969), and numbers, questions
and sentences of 25 words composed for this purpose.
"""

from __future__ import annotations

HELD_OUT = (
    "The job of repairing the engine took several hours.",
    "I have never seen such a rough river.",
    "Who saw no work?",
    "He drives me to distraction.",
    "I know why the street's potato caught everything.",
    "He has a house on Cape Cod.",
    "These bonds carry warrants.",
    "Did some horses show this car in the summer?",
    "We provided the room with an electrical heater.",
    "Went direct to the office.",
    "It is short every morning.",
    "Every morning, I brought a town.",
    "It was a closed and wooden shirt.",
    "A crowd of delirious baseball fans.",
    "She said that Kate and Ruth forgot a lot of soup.",
    "Both sides were deeply in earnest, even passionate.",
    "Hello, my name is Kate.",
    "Please make everything two days ago.",
    "Involve as a necessary condition of consequence.",
    "On Friday, Julia and Jane fixed a lot of news.",
    "Are the problems slow or low?",
    "A protective covering that keeps things out or hinders sight.",
    "Nobody said that the people found a gray wheel.",
    "I'm selling at home.",
    "These are wooden answers.",
    "Someone can't need fifteen women.",
    "Why is the fork so poor?",
    "Many plans must bring something soft.",
    "Nothing is as late as the letters.",
    "The red hat loved no rain far away.",
    "How many chairs are at school?",
    "Ride away on a horse, for example.",
    "The faculty of distinguishing sweet, sour, bitter, and salty properties in the mouth.",
    "A rounded projection that is part of a larger structure.",
    "The weather is difficult last year.",
    "The answer is one.",
    "Why is the uncle so big?",
    "The part of grammar that deals with combinations of simple words into compound words.",
    "The mirror is more bad than the school.",
    "Nothing is as hard as fifty four wheels.",
    "Jack closed the children for twenty four years, nothing is as proud as their islands.",
    "The people are warm and useful.",
    "The gymnasts rolled and jumped.",
    "We had to oblige him.",
    "Give Tom her calm key.",
    "It didn't bring a bottle.",
    "Where is the real soldier?",
    "Someone who engages in roller skating.",
    "Owned by a relatively few shareholders.",
    "A cylindrical brush on a thin shaft that is used to clean bottles.",
)

OTHERS = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It's easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The meeting on March 3rd, 1987 was attended by 245 people.",
    "It costs $19.99, which is 30% less than last year.",
    "Call me at 555 0147 before 10:45.",
    "What would you have done differently?",
    "Are you coming with us, or would you rather stay here?",
    "Why?",
    "The old man who lives at the end of our street walks his three dogs every morning before the "
    "sun comes up and the traffic starts.",
    "When the storm had passed, the fishermen went down to the harbor to see which of their boats "
    "were still floating and which had been lost.",
    "She told me that nobody in the office knew where the keys were, so we had to wait outside for "
    "almost an hour until somebody came.",
    "If you want to learn how a clock works, take an old one apart, look at every wheel and "
    "spring, and then try to put it together again.",
)
