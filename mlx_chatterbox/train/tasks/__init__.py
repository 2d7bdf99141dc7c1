"""What is learnt, component by component: see `base.Task`."""
