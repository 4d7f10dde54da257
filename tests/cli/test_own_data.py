"""Commands with data of another shape than MNIST's: train, predict, export and report."""

import numpy as np
import pytest
from PIL import Image

import tinytensor as tt


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of pictures in colour, 12 x 10 pixels, of two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(("red", "blue")):
        (folder / name).mkdir()
        for j in range(12):
            pixels = np.random.default_rng(j).integers(0, 60, (10, 12, 3)).astype(np.uint8)
            pixels[..., 2 * i] += 150
            Image.fromarray(pixels).save(folder / name / f"{j}.png")
    return folder


@pytest.fixture
def trained(folder, tmp_path, run):
    """The weights and the run file of a short training on the pictures."""
    weights, recorded = tmp_path / "red.safetensors", tmp_path / "red.tt"
    code, out, err = run(
        "train", "conv", "--data", folder, "--steps", 12, "--batch", 10, "--eval-every", 4,
        "--save-weights", weights, "--record", recorded,
    )  # fmt: skip
    assert code == 0
    words = "20 training images and 4 test images of 10 x 12 x 3, 2 classes: blue, red"
    assert f"data {folder}: {words}\n" in err
    assert "test accuracy  1.0000" in out
    return weights, recorded


def test_predict(trained, folder, run, tmp_path):
    weights, _ = trained
    large = tmp_path / "large.png"
    Image.open(folder / "red/3.png").resize((60, 80)).save(large)
    code, out, err = run("predict", "--weights", weights, folder / "blue/3.png", large, "--show")
    assert code == 0
    assert f"{folder}/blue/3.png: blue" in out
    assert f"{large}: red" in out
    steps = "80 x 60 (height x width), cropped to 50 x 60, resized to 10 x 12"
    assert err == f"lesson 3.0 conv\n{large}: {steps}\n"
    images = tt.datasets.load(folder).test_images
    np.save(tmp_path / "images.npy", images)
    code, out, _ = run("predict", "--weights", weights, tmp_path / "images.npy")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["blue", "blue", "red", "red"]


def test_predict_refuses_other_images(trained, folder, run, tmp_path):
    weights, _ = trained
    np.save(tmp_path / "grey.npy", np.zeros((3, 10, 12), np.uint8))
    Image.new("RGB", (9, 9)).save(tmp_path / "small.png")
    for arguments, words in (
        ((folder / "red/1.png", "--many"), "--many: finds digits of 28 x 28, and this network"),
        ((tmp_path / "grey.npy",), "images of 10 x 12 x 3 are needed: (10, 12, 3) for one, (N, "),
        ((tmp_path / "small.png", "--as-is"), "got a picture of 9 x 9 pixels (height x width); 10"),
    ):
        code, _, err = run("predict", "--weights", weights, *arguments)
        assert (code, err.count("\n")) == (2, 1) or err.startswith("lesson")
        assert words in err


@pytest.mark.full
def test_report(trained, run, tmp_path):
    pytest.importorskip("matplotlib")
    _, recorded = trained
    image = tmp_path / "red.png"
    code, _, _ = run("report", recorded, "--png", image)
    assert code == 0
    with Image.open(image) as drawn:
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    right = pixels[:, 850:]  # the two panels of images
    assert ((right[..., 0] - right[..., 2]) > 100).sum() > 500
    assert ((right[..., 2] - right[..., 0]) > 100).sum() > 500


def test_export(trained, run, tmp_path):
    onnx = pytest.importorskip("onnx")
    weights, _ = trained
    code, out, _ = run("export", tmp_path / "red.onnx", "--weights", weights)
    assert code == 0
    assert "images (batch, 10, 12, 3) to logits (batch, 2)" in out
    (given,) = onnx.load(tmp_path / "red.onnx").graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim][1:] == [10, 12, 3]


@pytest.mark.parametrize("light", [False, True], ids=["light on dark", "dark on light"])
def test_predict_reads_pictures_of_28_x_28_in_the_same_way_as_train(run, tmp_path, light):
    rng = np.random.default_rng(0)
    for name in ("standing", "lying"):
        (tmp_path / "bars" / name).mkdir(parents=True)
        for i in range(40):
            image = np.zeros((28, 28), np.uint8)
            start = rng.integers(4, 20)
            image[:, start : start + 4] = 230
            image = image if name == "standing" else image.T
            picture = Image.fromarray(255 - image if light else image)
            picture.save(tmp_path / "bars" / name / f"{i}.png")
    weights = tmp_path / "weights.safetensors"
    options = ("--steps", 60, "--batch", 20, "--save-weights", weights)
    code, out, _ = run("train", "relu", "--data", tmp_path / "bars", *options)
    assert code == 0
    assert "test accuracy  1.0000" in out
    files = [tmp_path / "bars" / name / "0.png" for name in ("standing", "lying")]
    code, out, _ = run("predict", "--weights", weights, *files)
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["standing", "lying"]


def test_pictures_of_different_sizes(run, tmp_path):
    folder = tmp_path / "things"
    for i, name in enumerate(("red", "blue")):
        (folder / name).mkdir(parents=True)
        for j in range(12):
            pixels = np.random.default_rng(j).integers(0, 60, (30 + j, 40, 3)).astype(np.uint8)
            pixels[..., 2 * i] += 150
            Image.fromarray(pixels).save(folder / name / f"{j}.png")
    weights = tmp_path / "weights.safetensors"
    command = "train", "softmax", "--data", folder, "--steps", 20, "--batch", 10
    code, _, err = run(*command)
    assert (code, err.count("\n")) == (2, 1)
    assert "blue/1.png: has 31 x 40 pixels (height x width), and " in err
    code, out, err = run(*command, "--size", "8x12", "--save", weights)
    assert code == 0, err
    assert "of 8 x 12 x 3, 2 classes: blue, red" in err
    assert "--size 8x12" in err, "the command that continues"
    code, out, _ = run("predict", "--weights", weights, folder / "red/3.png")
    assert code == 0
    assert f"{folder}/red/3.png: red" in out
    for name in ("train", "race", "sweep", "microscope"):
        options = ("--weight", "0,0") if name == "microscope" else ()
        code, _, err = run(name, "softmax", *options, "--size", "8x12")
        assert (code, err.count("\n")) == (2, 1), err
        assert "--size: is of the pictures of a folder" in err
    options = "--data", folder, "--size", "8x12", "--weight", "0,0"
    code, _, err = run("microscope", "softmax", *options)
    assert (code, "batch: got 100; from 1 to " in err) == (2, True), "the pictures were read"
    code, _, err = run(*command, "--size", "8,12")
    assert code == 2
    assert "got '8,12'; HEIGHTxWIDTH is needed" in err


def photo_of_a_bar(length):
    """A dark bar on light paper, smaller than the picture."""
    pixels = np.full((120, 100), 220, np.uint8)
    pixels[50:58, 50 - length // 2 : 50 + length // 2] = 30
    return Image.fromarray(pixels)


def test_photos_of_letters_are_read_by_predict_as_by_train(run, tmp_path):
    folder, weights = tmp_path / "letters", tmp_path / "weights.safetensors"
    for name, turn in (("I", True), ("-", False)):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            picture = photo_of_a_bar(30 + 2 * i)
            picture = picture.transpose(Image.Transpose.ROTATE_90) if turn else picture
            picture.save(folder / name / f"{i}.png")
    options = "--data", folder, "--steps", 60, "--batch", 10, "--save-weights", weights
    code, out, err = run("train", "softmax", *options)
    assert code == 0, err
    assert "of 28 x 28, 2 classes: -, I" in err
    code, out, err = run("predict", "--weights", weights, folder / "I/0.png", folder / "-/0.png")
    assert code == 0, err
    assert [line.split()[1] for line in out.splitlines()] == ["I", "-"]
    assert "dark on light, inverted, cropped to" in err


def test_hints_after_a_training_name_files_that_exist(folder, tmp_path):
    from tinytensor.cli.train_summary import what_next
    from tinytensor.datasets.folders import first_picture

    picture = first_picture(folder)
    assert picture in (folder / "blue").iterdir()
    (tmp_path / "a.npz").touch()
    assert first_picture(tmp_path / "a.npz") is first_picture(tmp_path) is None
    relu = tt.lessons.find("relu")
    hints = what_next(relu, ["--data", "my things"], ["--weights", "w", str(picture)])
    assert "tinytensor train relu --data 'my things' --live\n" in hints
    assert hints.endswith(f"tinytensor predict --weights w {picture}")
    assert "predict" not in what_next(relu, ["--data", "x.npz"], [])
    assert what_next(relu, [], []).endswith("tinytensor predict photo.png")
