"""ChatTTS: texts refined, written as codes, and made into sound."""
