"""Benchmarks: times of backends, compared with other libraries and with the machine's limits.

Read contest.py first: each backend or library runs in a process of its own, and the processes take
turns. task.py defines the training steps that are timed, cases.py the kernel calls, and report.py
the results.
"""
