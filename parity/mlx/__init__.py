"""Our networks, stage by stage and layer by layer."""
