"""Tokens of ChatTTS in brackets: sounds and manners of speech, and the marks of prompts."""

from __future__ import annotations

import re

BEGIN_REFINING, END_OF_RAW, END_OF_REFINED = "[Sbreak]", "[Pbreak]", "[Ebreak]"
BEGIN_SPEECH, BEGIN_CODES = "[Stts]", "[Ptts]"
SPEAKER, NO_SPEAKER = "[spk_emb]", "[empty_spk]"
# The ids from its own on are those of manners, which a refined text does not keep.
FIRST_MANNER = "[break_0]"
# Sounds and pauses, which may stand in a text.
SOUNDS = (
    *("[uv_break]", "[v_break]", "[lbreak]", "[llbreak]", "[undefine]", "[laugh]"),
    *("[music]", "[pure]"),
)
# Manners, which a prompt asks for: name, and the number of degrees from 0.
DEGREES = {"break": 8, "laugh": 3, "oral": 10, "speed": 10}
MANNERS = tuple(f"[{name}_{i}]" for name, count in DEGREES.items() for i in range(count))
# Marks of prompts: in a text they would end it or begin another.
MARKS = (
    *("[Sasr]", "[Pasr]", "[Easr]", BEGIN_SPEECH, BEGIN_CODES, "[Etts]"),
    *(BEGIN_REFINING, END_OF_RAW, END_OF_REFINED, SPEAKER, NO_SPEAKER),
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
)
IN_TEXT = frozenset((*SOUNDS, *MANNERS))
# A token, or what looks like one.
TOKEN = re.compile(r"\[\w+\]")
