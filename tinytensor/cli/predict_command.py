"""`tinytensor predict`: what a trained network makes of images."""

from pathlib import Path

import click


@click.command("predict")
@click.option("--model", required=True, metavar="FILE", help="What tinytensor train --save wrote.")
@click.argument("files", metavar="IMAGE...", nargs=-1, required=True)
def predict_command(model: str, files: tuple[str, ...]) -> None:
    """Tell the digit in each IMAGE, and how likely each of the ten is.

    An IMAGE is an idx, .npy or .png file; the first two may hold several. They are 28 x 28, and as
    in MNIST: light on a dark ground.
    """
    from tinytensor.datasets.images import read_images
    from tinytensor.train import load_model, probabilities

    lesson, network = load_model(model)
    read = [(file, read_images(Path(file))) for file in files]
    click.echo(f"lesson {lesson.number} {lesson.name}", err=True)
    for file, images in read:
        for i, probs in enumerate(probabilities(network, images)):
            where = file if len(images) == 1 else f"{file}[{i}]"
            each = "  ".join(f"{digit}: {p:.3f}" for digit, p in enumerate(probs))
            click.echo(f"{where}: {int(probs.argmax())}   {each}")
