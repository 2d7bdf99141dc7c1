"""Hebrew: vowel points by dicta-onnx. Source: upstream `add_hebrew_diacritics`.

Upstream calls dicta-onnx without the model that it asks for and goes on without points. Here the
model is an argument, or the environment variable `MLX_CHATTERBOX_HEBREW_MODEL`: the path of the
ONNX file of dicta-onnx's releases. Its tokenizer (`tokenizer.json` of the hub's
dicta-il/dictabert-large-char-menaked) is read from the same folder or from the hub's cache; nothing
is downloaded.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from ...errors import TextError
from .notice import say_once

MODEL_VARIABLE = "MLX_CHATTERBOX_HEBREW_MODEL"
MODEL_URL = "https://github.com/thewh1teagle/dicta-onnx/releases/tag/model-files-v1.0"
TOKENIZER_REPO, TOKENIZER_FILE = "dicta-il/dictabert-large-char-menaked", "tokenizer.json"


def add_points(text: str, model: str | Path | None = None) -> str:
    """Add vowel points to a text; without a model return it unchanged, and warn once.

    Args:
        model: the ONNX file; by default what `MLX_CHATTERBOX_HEBREW_MODEL` names.

    Raises:
        TextError: a model is named but cannot be used.
    """
    model = model or os.environ.get(MODEL_VARIABLE)
    if not model:
        say_once(
            "he",
            "points",
            "Hebrew is read without vowel points, and will hardly be understood. To add them: "
            f"pip install 'mlx-chatterbox[he]', get a model from {MODEL_URL} and name it by "
            f"{MODEL_VARIABLE}.",
        )
        return text
    dicta = _dicta(str(model))
    try:
        return dicta.predict([text])[0]
    except Exception as error:  # whatever the runtime raises
        raise TextError(f"{model} could not add Hebrew points: {error}.") from error


@cache
def _dicta(model: str):
    """Load dicta-onnx's model, its tokenizer from a file instead of the internet."""
    try:
        import onnxruntime
        from dicta_onnx.model import OnnxDiacritizationModel
    except ImportError:
        raise TextError(
            "Hebrew points need dicta-onnx: pip install 'mlx-chatterbox[he]'."
        ) from None
    from tokenizers import Tokenizer

    class LocalModel(OnnxDiacritizationModel):
        def __init__(self, path: str, tokenizer: Tokenizer):
            self.tokenizer = tokenizer
            self.session = onnxruntime.InferenceSession(path)
            self.input_names = [entry.name for entry in self.session.get_inputs()]
            self.output_names = [entry.name for entry in self.session.get_outputs()]

    if not Path(model).is_file():
        raise TextError(f"{model}, named as the model for Hebrew points, is not a file.")
    try:
        return LocalModel(model, Tokenizer.from_file(_tokenizer_file(model)))
    except TextError:
        raise
    except Exception as error:  # whatever the runtime raises
        raise TextError(f"{model} is not a model for Hebrew points: {error}.") from error


def _tokenizer_file(model: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    beside = Path(model).with_name(TOKENIZER_FILE)
    if beside.is_file():
        return str(beside)
    cached = try_to_load_from_cache(TOKENIZER_REPO, TOKENIZER_FILE)
    if isinstance(cached, str):
        return cached
    raise TextError(
        f"the model for Hebrew points needs {TOKENIZER_FILE} of {TOKENIZER_REPO} beside it: "
        f"hf download {TOKENIZER_REPO} {TOKENIZER_FILE}"
    )
