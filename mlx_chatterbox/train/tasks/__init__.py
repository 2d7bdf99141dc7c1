"""Training tasks, a module for each component (two for one in `speaker`): see `base.Task`."""
