"""Exercises: a student writes the kernels of the course, and `tinytensor learn` checks them.

pages/          a page for each exercise: its text, and its solution between two marks
page.py         the parts of a page: the stub that the student gets, and the solution
exercises.py    the list of exercises, with the arrays of each function
rules.py        what an answer may import and call
references.py   what each function must compute, in NumPy and float64
draw.py         the calls that a function is checked with: drawn shapes, zeros, NaN, infinities
answer.py       the student's file: loaded as Python or Numba, or compiled as C
guard.py        memory that ends at pages without access
thread_work.py  the case of the exercise with threads; counted_threads.h measures it in C
judge.py        the check itself, which runs in a separate process
sandbox.py      starts this process, with limits of time and memory
pace.py         the speed of the answer: its rung of the ladder, its share of the roofline
own_matmul.py   trains lesson 1.0 with the student's matmul
gradebook.py    the student's results in a file, the report, and the table of a class
"""
