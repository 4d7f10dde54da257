"""Benchmarks: backends against each other, against other libraries, against the machine.

Read contest.py first: who is timed sits in a process of its own, and all take turns. What they are
given is in task.py (training steps) and cases.py (calls of kernels); what comes out, in report.py.
"""
