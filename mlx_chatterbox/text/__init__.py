"""Text processing: from what a user types to the token ids that T3 reads."""
