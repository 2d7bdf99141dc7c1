"""What the command lines do and share."""
