"""What the commands of `tinytensor` do; the package `tinytensor_command` has their options.

course, lessons, lesson, train, sweep, race, program,
microscope, try                                       the course
predict                                               a trained network
replay, report                                        a run file
ladder, explain                                       versions of a kernel, from naive to fast
learn                                                 exercises: write the kernels yourself
bench                                                 benchmarks
info                                                  backends and machine
"""
