"""The microscope: one weight of a training step, forward and backward, in numbers."""
