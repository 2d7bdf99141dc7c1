"""Networks of ChatTTS, the second family: dialogue speech from text in two passes of one GPT."""
