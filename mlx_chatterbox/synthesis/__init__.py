"""Synthesis: from a request to samples.

The path of a call, file by file: a public class (`api/tts.py`, `api/text_to_speech.py`) has its
engine make a `Request` (`request.py`, with the texts in pieces by `splitting.py`) and speak it
(`engine.py`). A batch goes through the loop of attempts (`retries.py`): `synthesizer.py` decodes
tokens with T3 and vocodes them with S3Gen, `monitor.py` judges both, `assembling.py` takes the
finished pieces. A stream goes through `streaming.py`, piece by piece and in one attempt each. Both
return a `Result` (`result.py`).
"""
