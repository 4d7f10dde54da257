"""The lessons' training steps in other libraries, each written as experts in the library do.

task.py defines the task of all of them. worker.py is the process in which each of them runs.
"""
