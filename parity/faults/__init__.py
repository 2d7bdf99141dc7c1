"""Porting faults to plant in our networks."""
