"""The coach: it watches a training and names mistakes that raise no error; coaching.py starts it."""
