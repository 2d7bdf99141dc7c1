"""Draw the mel spectrogram of a recording: `python draw.py RECORDING PICTURE.png`."""

import sys

import numpy as np
from matplotlib.image import imsave

from mlx_chatterbox.audio.files import load_audio
from mlx_chatterbox.audio.mel import s3gen_mel

RATE = 24000
SIZE = 2  # pixels for a band, and for two frames

recording, picture = sys.argv[1:]
mel = np.array(s3gen_mel(load_audio(recording, RATE)))  # (frames, 80)
mel = mel.T[::-1, ::2].repeat(SIZE, 0).repeat(SIZE, 1)  # low bands at the bottom
imsave(picture, mel, cmap="magma", vmin=mel.max() - 9)
