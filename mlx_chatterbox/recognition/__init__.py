"""Word error rates of speech: a recogniser, the count of errors, and the sentences to speak."""
