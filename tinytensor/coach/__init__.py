"""The coach watches a training and names mistakes that raise no error; see coaching.py."""
