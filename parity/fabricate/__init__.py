"""Made-up weights and tokenizers in upstream's files, and small models."""
