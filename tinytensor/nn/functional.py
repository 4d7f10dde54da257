"""The ops, under PyTorch's name for them: `import tinytensor.nn.functional as F`."""

from tinytensor.ops import *
from tinytensor.ops import __all__ as __all__
