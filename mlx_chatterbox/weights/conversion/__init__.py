"""Any Chatterbox weights to a checkpoint of ours."""
