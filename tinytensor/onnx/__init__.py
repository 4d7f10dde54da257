"""ONNX files: networks that other programs run, such as onnxruntime in an app or a browser.

    exporting.py    export: the kernel calls of a forward pass become the nodes of a graph
    importing.py    load: the nodes of a graph become calls of ops

Both need the package onnx, which builds and checks the files. It is imported when a function is
called, because `import tinytensor` must not load it. Images are (N, H, W, C) in the files too, so
other programs pass the same arrays. A convolution in ONNX reads (N, C, H, W), and nodes before and
after it move the axis of the channels.
"""

from tinytensor.onnx.exporting import export
from tinytensor.onnx.importing import load

__all__ = ["export", "load"]
