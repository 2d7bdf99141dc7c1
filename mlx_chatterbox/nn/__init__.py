"""Building blocks shared by the networks; where speed differs by device, it is decided here."""
