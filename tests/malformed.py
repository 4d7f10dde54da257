"""Reads malformed files of every format that the package reads: the child's side.

    python tests/malformed.py FOLDER FIRST LAST

makes the files of these seeds in the folder, which has a recorded run, and reads each, in a process
that may take 256 MiB more than it has after reading the valid files. It prints a line for each: the
seed, the format, the seconds, and "read" or "DataError"; or what was wrong.
"""

import faulthandler
import gzip
import io
import json
import pickle
import random
import resource
import struct
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import tinytensor as tt
from tinytensor import nn
from tinytensor.datasets.images import read_images
from tinytensor.datasets.photo import read_photo
from tinytensor.live import run_file

try:
    import onnx
except ImportError:
    onnx = None

MEMORY = 256 * 2**20  # bytes
SECONDS = 60
SIZES = [0, 1, 5, 28, 255, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
LARGE = [*SIZES, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -1]
Choice = random.Random


def idx(choice: Choice, shape: tuple[int, ...], magic: bytes) -> bytes:
    """An idx file of images or labels."""
    data = np.random.default_rng(0).integers(0, 10, shape).astype(np.uint8).tobytes()
    return magic + b"".join(struct.pack(">I", size) for size in shape) + data


def valid_idx(choice: Choice) -> bytes:
    """Five images of 28 x 28."""
    return idx(choice, (5, 28, 28), b"\0\0\x08\x03")


def absurd_idx(choice: Choice) -> bytes:
    """A header with absurd sizes or another dtype, and ten elements."""
    magic = bytes(
        [choice.choice([0, 1]), 0, choice.choice([8, 9, 0xD]), choice.choice([1, 3, 255])]
    )
    sizes = b"".join(struct.pack(">I", choice.choice(SIZES)) for _ in range(choice.randint(0, 4)))
    return magic + sizes + bytes(choice.choice([0, 10, 4000]))


def valid_gz(choice: Choice) -> bytes:
    """A compressed idx file."""
    return gzip.compress(valid_idx(choice))


def absurd_gz(choice: Choice) -> bytes:
    """A compressed idx file that is absurd, or has a gigabyte of zeros after its images."""
    if choice.random() < 0.5:
        return gzip.compress(absurd_idx(choice))
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(valid_idx(choice))]
    parts += [packer.compress(bytes(2**20)) for _ in range(choice.choice([1, 100]))]
    return b"".join([*parts, packer.flush()])


def valid_safetensors(choice: Choice) -> bytes:
    """Two tensors."""
    header = {
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "I64", "shape": [2], "data_offsets": [24, 40]},
        "__metadata__": {"lesson": "1.0"},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(40)


def absurd_safetensors(choice: Choice) -> bytes:
    """Headers that lie, overlap, leave gaps, repeat keys, nest deeply, or contain NaN."""
    begin, end = choice.choice([0, 4, *LARGE]), choice.choice([24, 40, *LARGE])
    shape = [choice.choice(LARGE) for _ in range(choice.randint(0, 4))]
    dtype = choice.choice(["F32", "F64", "BF16", "U8", "BOOL", "F8_E4M3", "X", ""])
    name = choice.choice(["a", "../../x", "/etc/passwd", "a\0b", "__metadata__", "\ud800", ""])
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    other = {"dtype": "F32", "shape": [4], "data_offsets": choice.choice([[0, 16], [16, 32]])}
    text = json.dumps({name: entry, "other": other})
    kind = choice.randrange(8)
    if kind == 0:
        text = text[:-1] + ", " + json.dumps({name: other})[1:]  # the same key twice
    elif kind == 1:
        text = "[" * 100_000
    elif kind == 2:
        text = text.replace(str(begin), choice.choice(["NaN", "1e400", "-Infinity", '"0"', "null"]))
    elif kind == 3:
        text = '{"a":' * 50_000 + "1" + "}" * 50_000
    elif kind == 4:
        text = json.dumps({"__metadata__": {"x": [1, 2]}})
    content = text.encode()
    length = len(content) if choice.random() < 0.8 else choice.choice(LARGE[:-1])
    return struct.pack("<Q", length) + content + bytes(choice.choice([0, 16, 32, 40, 1000]))


def valid_npy(choice: Choice) -> bytes:
    """Two images in NumPy's format."""
    file = io.BytesIO()
    np.save(file, np.zeros((2, 28, 28), np.uint8))
    return file.getvalue()


def absurd_npy(choice: Choice) -> bytes:
    """A header with absurd shapes and dtypes, or a pickled object."""
    if choice.random() < 0.2:
        file = io.BytesIO()
        np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
        return file.getvalue()
    shape = tuple(choice.choice(LARGE) for _ in range(choice.randint(0, 5)))
    dtype = choice.choice(["|u1", "<f4", "|O", ">f8", "<U99999999", "|V2147483647", "M8[s]"])
    text = f"{{'descr': '{dtype}', 'fortran_order': {choice.random() < 0.5}, 'shape': {shape}, }}"
    if choice.random() < 0.1:
        text = "(" * 20_000
    header = text.encode() + b"\n"
    version, length = choice.choice([(1, "<H"), (2, "<I"), (3, "<I"), (9, "<H")])
    return (
        b"\x93NUMPY" + bytes([version, 0]) + struct.pack(length, len(header)) + header + bytes(99)
    )


def valid_npz(choice: Choice) -> bytes:
    """A data set of four images, named as Keras's."""
    file = io.BytesIO()
    images, labels = np.ones((4, 28, 28), np.uint8), np.array([0, 1, 2, 3])
    np.savez_compressed(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return file.getvalue()


def absurd_npz(choice: Choice) -> bytes:
    """A zip file with absurd arrays, names that lead elsewhere, or far more than its size."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore", UserWarning)  # of names that come twice
        for name in ("x_train", "y_train", "x_test", "y_test"):
            choices = [name, f"../{name}", f"/{name}", name]
            content = absurd_npy(choice) if choice.random() < 0.7 else valid_npy(choice)
            if choice.random() < 0.1:
                content += bytes(2**26)
            archive.writestr(f"{choice.choice(choices)}.npy", content)
    return file.getvalue()


def picture(kind: str) -> Callable[[Choice], bytes]:
    """A maker of pictures of this format."""

    def make(choice: Choice) -> bytes:
        file = io.BytesIO()
        levels = np.zeros((40, 40), np.uint8)
        levels[8:32, 18:22] = 255
        Image.fromarray(levels).save(file, kind)
        return file.getvalue()

    return make


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def absurd_png(choice: Choice) -> bytes:
    """A header with absurd sizes and modes, or compressed text of a gigabyte."""
    sides = [struct.pack(">I", choice.choice(SIZES)) for _ in range(2)]
    mode = bytes([choice.choice([1, 8, 16, 99]), choice.choice([0, 2, 3, 6, 9]), 0, 0, 0])
    parts = [chunk(b"IHDR", b"".join(sides) + mode)]
    if choice.random() < 0.3:
        parts.append(chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**28))))
    parts.append(chunk(b"IDAT", zlib.compress(bytes(choice.choice([0, 100, 2**20])))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def absurd_jpeg(choice: Choice) -> bytes:
    """A JPEG with other sizes in its header."""
    content = bytearray(picture("JPEG")(choice))
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(
        ">HH", *(choice.choice([0, 1, 9, 65535]) for _ in "12")
    )
    return bytes(content)


def valid_run(choice: Choice) -> bytes:
    """A recorded run; the file is made once."""
    return RUN.read_bytes()


def absurd_run(choice: Choice) -> bytes:
    """A run file with blocks that lie about their length, or hold something else."""
    inner = choice.choice([absurd_safetensors, valid_safetensors])(choice)
    if choice.random() < 0.2:
        inner = bytes(2**28)
    packed = zlib.compress(inner)
    length = len(packed) if choice.random() < 0.7 else choice.choice(SIZES)
    block = struct.pack("<I", length) + packed
    content = valid_run(choice)
    return (content if choice.random() < 0.5 else content[: len(run_file.FIRST_LINE)]) + block


def valid_onnx(choice: Choice) -> bytes:
    """A small network; the file is made once."""
    return NETWORK.read_bytes()


def absurd_onnx(choice: Choice) -> bytes:
    """A network with absurd sizes, dtypes, attributes, operators and names."""
    model = onnx.load_model_from_string(valid_onnx(choice))
    for _ in range(choice.randint(1, 3)):
        node, constant = choice.choice(model.graph.node), choice.choice(model.graph.initializer)
        kind = choice.randrange(6)
        if kind == 0:
            constant.dims[:] = [min(choice.choice(LARGE), 2**63 - 1) for _ in range(3)]
        elif kind == 1:
            constant.data_type = choice.randrange(30)
        elif kind == 2:
            for attribute in node.attribute:
                attribute.ints[:] = [min(choice.choice(LARGE), 2**63 - 1) for _ in "1234"]
        elif kind == 3:
            node.op_type = choice.choice(["Loop", "Expand", "ConstantOfShape", "MatMul", "Relu"])
        elif kind == 4:
            node.input[0] = choice.choice(["", "none", model.graph.node[-1].output[0]])
        else:
            constant.data_location = onnx.TensorProto.EXTERNAL
            place = choice.choice(["/dev/zero", "../../etc/passwd", ""])
            constant.external_data.add(key="location", value=place)
    return model.SerializeToString()


def in_folder(path: Path) -> object:
    """Read an idx file as one of the four files of a data set."""
    folder = path.with_suffix(".d")
    folder.mkdir(exist_ok=True)
    ending = "".join(path.suffixes)
    for name in ("train", "t10k"):
        (folder / f"{name}-images-idx3-ubyte{ending}").write_bytes(path.read_bytes())
        labels = idx(random.Random(0), (5,), b"\0\0\x08\x01")
        content = gzip.compress(labels) if ending else labels
        (folder / f"{name}-labels-idx1-ubyte{ending}").write_bytes(content)
    return tt.datasets.load(folder)


FORMATS: list[tuple[str, Callable, Callable, list[Callable[[Path], object]]]] = [
    ("", valid_idx, absurd_idx, [read_images, in_folder]),
    (".gz", valid_gz, absurd_gz, [read_images, in_folder]),
    (".safetensors", valid_safetensors, absurd_safetensors, [tt.load]),
    (".npy", valid_npy, absurd_npy, [read_images]),
    (".npz", valid_npz, absurd_npz, [tt.datasets.load]),
    (".png", picture("PNG"), absurd_png, [read_photo, read_images]),
    (".jpg", picture("JPEG"), absurd_jpeg, [read_photo, read_images]),
    (".tt", valid_run, absurd_run, [run_file.load]),
]
if onnx is not None:
    FORMATS.append((".onnx", valid_onnx, absurd_onnx, [tt.onnx.load]))
RUN, NETWORK = Path("run.tt"), Path("network.onnx")


def damaged(choice: Choice, content: bytes) -> bytes:
    """The content cut off, longer, with changed bytes, or with a part that comes twice."""
    data = bytearray(content)
    for _ in range(choice.randint(1, 3)):
        kind, place = choice.randrange(5), choice.randrange(len(data) + 1)
        if kind == 0:
            del data[place:]
        elif kind == 1:
            data += choice.randbytes(choice.choice([1, 100, 2**16]))
        elif kind == 2 and place < len(data):
            data[place] ^= 1 << choice.randrange(8)
        elif kind == 3:
            place = min(place, 64)  # in the header
            data[place : place + 8] = choice.choice([bytes(8), b"\xff" * 8, choice.randbytes(8)])
        else:
            data[place:place] = data[: choice.randrange(200)]
    return bytes(data)


def read_all(path: Path, readers: list[Callable[[Path], object]]) -> str:
    """Read a file by each reader: "read", or the error's class."""
    outcome = "read"
    for read in readers:
        try:
            read(path)
        except Exception as error:
            outcome = type(error).__name__
            if not isinstance(error, tt.DataError) or path.stem not in str(error):
                return f"{outcome} {' '.join(str(error).split())}"
    return outcome


def main(folder: Path, first: int, last: int) -> None:
    """Make and read the files of the seeds first to last - 1."""
    global RUN, NETWORK
    RUN, NETWORK = folder / "run.tt", folder / "network.onnx"
    if onnx is not None:
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))
        tt.onnx.export(model, NETWORK, tt.zeros(1, 4, 4, 1))
    for ending, valid, _, readers in FORMATS:
        path = folder / f"valid{ending}"
        path.write_bytes(valid(random.Random(0)))
        read_all(path, readers)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    for seed in range(first, last):
        choice = random.Random(seed)
        ending, valid, absurd, readers = FORMATS[seed % len(FORMATS)]
        content = absurd(choice) if choice.random() < 0.5 else damaged(choice, valid(choice))
        path = folder / f"file{seed}{ending}"
        path.write_bytes(content)
        del content
        print(seed, ending or "idx", end=" ", flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        start = time.perf_counter()
        outcome = read_all(path, readers)
        seconds = time.perf_counter() - start
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(f"{seconds:.2f}", outcome, flush=True)
        path.unlink()
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    pickle.loads = None  # type: ignore[assignment] # nothing is unpickled
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
