"""The networks, one folder each; configurations inside them import no MLX."""
