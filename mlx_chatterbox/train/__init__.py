"""Training: fine-tuning of every network, from one YAML file (`python -m mlx_chatterbox.train`)."""
