"""A training step as a program: recorded, checked, printed, replayed; captured.py is the door."""
