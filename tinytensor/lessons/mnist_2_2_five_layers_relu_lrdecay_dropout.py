"""Learning with a quarter of the neurons away.

    x        (100, 784)
       |     @ (784, 200) + (200), relu
       |     dropout: each number is kept with probability 0.75
    hidden   (100, 200)
       |     ... 100, 60, 30, each with relu and dropout ...
    hidden   (100, 30)
       |     @ (30, 10) + (10)
    logits   (100, 10)

Formula: dropout(h) = h * mask / 0.75, with a mask of ones and zeros drawn anew at every step

A network that learns by heart does it with neurons that rely on each other. Dropout sends a random
quarter of them away at every step, so that each must be of use by itself; what remains is made
larger, so that sums keep their size. In a test all neurons are there.

Look for: the training curves are noisy, and below those of the test; the test loss, which grew in
lesson 2.1, now stays down. The accuracy is about the same: five dense layers are not the right net
for images.

Try: tinytensor try dropout
Try: tinytensor train dropout --steps 2000    # learns more slowly than
Try: tinytensor train relu --steps 2000       # the same without
"""

import tinytensor as tt
from tinytensor.lessons import Lesson
from tinytensor.lessons.mnist_2_1_five_layers_relu_lrdecay import RATE, five_layers

LESSON = Lesson(
    number="2.2",
    name="dropout",
    title="five layers with dropout",
    chapter=__doc__,
    model=lambda: five_layers(keep_prob=0.75),
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.9795,
)
