"""Digital signal processing as pure functions: waveforms in, features out, and back.

files: reading and writing recordings; resample: two resamplers; stft: the short-time Fourier
transform both ways; mel, kaldi: the log-mel features of the networks; silence: trimming.
"""
