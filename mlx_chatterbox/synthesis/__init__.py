"""Synthesis: from a request to samples.

The road of a call, file by file: a public class (`api/tts.py`) lets its engine make a `Request`
(`request.py`, with the texts in pieces by `splitting.py`) and speak it (`engine.py`). A batch goes
through the loop of attempts (`retries.py`): `synthesizer.py` decodes tokens with T3 and vocodes
them with S3Gen, `monitor.py` judges both, `assembling.py` takes what is finished. A stream goes
through `streaming.py`, piece by piece and in one attempt each. What comes of it is a `Result`
(`result.py`).
"""
