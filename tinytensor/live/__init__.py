"""The course's picture, live: six panels in which one sees a network learn.

    run.py       trains in a thread of its own, and takes orders: pause, step, stop, another backend
    snapshot.py  what the panels show at one moment, as small arrays
    history.py   the curves so far
    inside.py    looks into the network between two steps: a digit's way through it, its weights
    picture.py   arrays to mosaics of digits
    panels.py    the six figures
    beside.py    beside them: the lesson's text, a digit's way, the weights, the confusions
    page.py      the page: all that, and the controls
    style.py     its colours, light and dark
    server.py    serves it, on this machine only

Training knows nothing of who watches, and never waits for it.
"""
