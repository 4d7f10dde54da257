"""What the commands of `tinytensor` do; the package `tinytensor_command` has their options.

course, lessons, lesson, train, race, program, try    the course
predict                                               a trained network
replay, report                                        a run file
ladder, explain                                       versions of a kernel, from naive to fast
bench                                                 benchmarks
info                                                  backends and machine
"""
