"""The test images of MNIST whose label is wrong.

C. Northcutt, A. Athalye and J. Mueller, Pervasive Label Errors in Test Sets Destabilize Machine
Learning Benchmarks, 2021. They showed doubtful images to five people. For these images at most two
of the five saw the digit of the label.
"""

WRONG_TEST_LABELS = (
    947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729,
)  # fmt: skip
