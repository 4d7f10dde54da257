"""The course's training steps in several libraries, each as an expert in that library writes them.

task.py is what all of them are given, worker.py the process that one of them runs in.
"""
