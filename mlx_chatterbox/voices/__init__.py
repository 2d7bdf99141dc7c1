"""What a recording becomes: voices, saved, checked, mended."""
