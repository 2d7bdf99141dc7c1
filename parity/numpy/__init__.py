"""The small networks and the signal processing in plain NumPy, as a second reference."""
