"""`mlx_chatterbox.chattts`: upstream's class, and what scripts use of it."""
