"""`tinytensor predict`: classify images with a trained network."""

from pathlib import Path

import click


@click.command("predict")
@click.option(
    "--model", required=True, metavar="FILE", help="Checkpoint that train --save has written."
)
@click.argument("files", metavar="IMAGE...", nargs=-1, required=True)
def predict_command(model: str, files: tuple[str, ...]) -> None:
    """Print the digit in each IMAGE, with the probabilities of all ten.

    An IMAGE is a .png, .npy or idx file; .npy and idx files may have several images. Images are
    28 x 28 pixels, light digits on a dark background, as in MNIST.
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
