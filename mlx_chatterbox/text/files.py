"""Names of the files that tokenizers are read from: upstream's, and our lexicon."""

ENGLISH_FILE = "tokenizer.json"
MULTILINGUAL_FILE = "grapheme_mtl_merged_expanded_v1.json"
CANGJIE_FILE = "Cangjie5_TC.json"
LEXICON_FILE = "lexicon.txt.gz"
# GPT-2's: all in one, or words and merges; added tokens described in the settings, or listed.
WHOLE, VOCABULARY, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
SETTINGS, ADDED, SPECIAL = "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"

TOKENIZER_FILES = (
    *(ENGLISH_FILE, MULTILINGUAL_FILE, CANGJIE_FILE, LEXICON_FILE),
    *(VOCABULARY, MERGES, SETTINGS, ADDED, SPECIAL),
)
