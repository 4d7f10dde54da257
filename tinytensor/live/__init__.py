"""The course's picture, live: six panels in which one sees a network learn.

    snapshot.py  what the panels show at one moment, as small arrays

Training knows nothing of who watches, and never waits for it.
"""
