"""Voices of ChatTTS: a vector of the speaker, codes of a recording, and the strings of both."""
