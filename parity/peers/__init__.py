"""Other ports of Chatterbox: their environments, their files, their errors."""
