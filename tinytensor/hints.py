"""Which name to write here for a name of PyTorch, NumPy, Keras or micrograd.

A name that does not exist raises AttributeError as everywhere in Python, and the message ends with
the sentence of the table below: `tt.DataLoader` names tt.datasets.batches. An import statement,
`from tinytensor import DataLoader`, raises ImportError with the same sentence. A name that is in no
table gets the public name that is spelled most like it.

A hint is for a name that is missing. Adding the name to the package removes its row here.
"""

import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, ClassVar, NoReturn

LOOP = "a training loop is three calls: optimizer.zero_grad(), loss.backward(), optimizer.step()"
CPU = 'all tensors are on the CPU; x.to("cpu") returns x; tt.set_backend("c") sets what computes'
BATCHES = "tt.datasets.batches(images, labels, size=64) yields batches"
SCHEDULE = (
    "pass a schedule as the learning rate and leave out scheduler.step(): "
    "lr=optim.stepwise(0.001, every=steps, factor=0.7)"
)
BATCH_NORM = "nn.BatchNorm(channels) is for any number of axes; the channels are the last axis"
NO_RECURRENT = "a recurrent cell is an nn.Module with two nn.Linear layers and a Python loop"
IN_PLACE = "tensors of a graph can't be changed in place: write x = x"
NUMPY_FIRST = "compute it with NumPy from x.numpy(), without a gradient"
LINALG = "compute with np.linalg from x.numpy(), without a gradient"
PIECES = "tt.split(x, size) makes pieces of `size` rows"
LARGER = "x.repeat(2, axis=1).repeat(2, axis=2) doubles the rows and columns of images (N, H, W, C)"
NO_SEEDS = "tt.manual_seed(0) sets the seed of all random numbers"

# Names that are functions and methods in PyTorch or NumPy
BOTH = {
    "numel": "write x.size",
    "nelement": "write x.size",
    "dim": "write x.ndim",
    "ndimension": "write x.ndim",
    "is_floating_point": 'write x.dtype.kind == "f"',
    # elements
    "tan": "write tt.sin(x) / tt.cos(x)",
    "sinh": "write (tt.exp(x) - tt.exp(-x)) / 2",
    "cosh": "write (tt.exp(x) + tt.exp(-x)) / 2",
    "asin": NUMPY_FIRST,
    "acos": NUMPY_FIRST,
    "atan": NUMPY_FIRST,
    "atan2": NUMPY_FIRST,
    "log2": "write tt.log(x) / math.log(2)",
    "log10": "write tt.log(x) / math.log(10)",
    "exp2": "write 2.0**x",
    "trunc": NUMPY_FIRST,
    "fmod": f"x % y has the sign of y; for the sign of x, {NUMPY_FIRST}",
    "remainder": "write x % y",
    "negative": "write -x",
    "absolute": "write tt.abs(x)",
    "true_divide": "write x / y",
    "floor_divide": "write x // y",
    "clamp_min": "write x.clamp(min=0)",
    "clamp_max": "write x.clamp(max=1)",
    "lerp": "write x + (y - x) * weight",
    "nan_to_num": "write tt.where(tt.isnan(x), 0.0, x)",
    "diff": "write x[1:] - x[:-1]",
    # reductions and order
    "amax": "write x.max(axis=1)",
    "amin": "write x.min(axis=1)",
    "aminmax": "write x.min(), x.max()",
    "std_mean": "write x.std(axis=0, correction=1), x.mean(axis=0)",
    "var_mean": "write x.var(axis=0, correction=1), x.mean(axis=0)",
    "count_nonzero": "write (x != 0).sum()",
    "nansum": "write tt.where(tt.isnan(x), 0.0, x).sum()",
    "cumprod": "write x.log().cumsum(axis=0).exp() for positive x",
    "cummax": NUMPY_FIRST,
    "median": "write tt.sort(x, axis=0)[(len(x) - 1) // 2]",
    "quantile": "write np.quantile(x.numpy(), 0.5), without a gradient",
    "kthvalue": "write tt.sort(x, axis=0)[k - 1]",
    "trace": 'write tt.einsum("ii->", x)',
    "diagonal": 'write tt.diag(x), or tt.einsum("...ii->...i", x) for more axes',
    "histc": NUMPY_FIRST,
    "bincount": NUMPY_FIRST,
    # shapes and indices
    "t": "write x.T",
    "ravel": "write x.flatten()",
    "expand": "write x.broadcast_to(3, 4)",
    "moveaxis": "x.permute(1, 0, 2) orders all axes",
    "movedim": "x.permute(1, 0, 2) orders all axes",
    "tile": "write tt.concat([x] * 3, axis=0), once for each axis",
    "repeat_interleave": "write x.repeat(3, axis=0)",
    "chunk": PIECES,
    "tensor_split": PIECES,
    "hsplit": PIECES,
    "vsplit": PIECES,
    "unbind": "write list(x)",
    "unflatten": "write x.reshape(3, 4)",
    "narrow": "write x[start : start + length]",
    "select": "write x[index]",
    "index_select": "write x.take(index, axis=0)",
    "take_along_dim": "write tt.gather(x, index, axis=1)",
    "masked_select": "write x[mask]",
    "nonzero": "write np.nonzero(x.numpy())",
    "argwhere": "write np.argwhere(x.numpy())",
    "scatter": "x.scatter_add(index, source, axis=0) adds to a copy of x",
    "fliplr": "write x.flip(1)",
    "flipud": "write x.flip(0)",
    # products
    "dot": "write x @ y or tt.matmul(x, y)",
    "bmm": "write x @ y",
    "mv": "write x @ y",
    "addmm": "write c + x @ y",
    "inverse": LINALG,
    "det": LINALG,
    "svd": LINALG,
    "qr": LINALG,
    "cholesky": LINALG,
    "pinverse": LINALG,
}

TENSORS = {
    **BOTH,
    # PyTorch: data and devices
    "DataLoader": BATCHES,
    "utils": "tt.datasets.batches(*data.train, size=64, epochs=1) replaces utils.data.DataLoader",
    "transforms": "tt.datasets.batches gives floats from 0 to 1, and "
    "tt.datasets.augment.distort() varies training images",
    "mps": CPU,
    "is_tensor": "write isinstance(x, tt.Tensor)",
    "as_tensor": "tt.tensor(data) copies the values, and tt.from_numpy(array) shares the memory",
    "Variable": "every tensor can collect gradients: tt.tensor(data, requires_grad=True)",
    "FloatTensor": "write tt.tensor(data, dtype=tt.float32)",
    "DoubleTensor": "write tt.tensor(data, dtype=tt.float64)",
    "IntTensor": "write tt.tensor(data, dtype=tt.int32)",
    "LongTensor": "write tt.tensor(data, dtype=tt.int64)",
    "ByteTensor": "write tt.tensor(data, dtype=tt.uint8)",
    "BoolTensor": "write tt.tensor(data, dtype=tt.bool)",
    "float": "write tt.float32",
    "double": "write tt.float64",
    "int": "write tt.int32",
    "long": "write tt.int64",
    "half": "tt.float32 and tt.float64 are the float dtypes",
    "bfloat16": "tt.float32 and tt.float64 are the float dtypes; tt.load converts bfloat16",
    "set_default_dtype": "each call takes its dtype: tt.zeros(3, dtype=tt.float64)",
    # PyTorch: gradients and programs
    "set_grad_enabled": "write `with tt.no_grad():` or `with tt.enable_grad():`",
    "inference_mode": "write `with tt.no_grad():`",
    "compile": "tt.capture(step) records a whole training step and replays it",
    "jit": "tt.capture(step) records a whole training step and replays it",
    "vmap": "give all examples at once: ops broadcast, and tt.matmul multiplies batches",
    "func": "tt.grad(loss, parameters) returns gradients",
    # PyTorch: functions
    "Generator": NO_SEEDS,
    "seed": NO_SEEDS,
    "get_rng_state": "training.save(file) of tt.train.Training saves it too",
    "use_deterministic_algorithms": "all results are deterministic; leave the call out",
    "set_printoptions": "np.set_printoptions(precision=4) is for tensors too",
    "version": "write tt.__version__",
    "bucketize": NUMPY_FIRST,
    "kron": NUMPY_FIRST,
    "cross": NUMPY_FIRST,
    "tensordot": 'write tt.einsum("ij,jk->ik", x, y)',
    "cdist": "write ((x[:, None] - y[None]) ** 2).sum(axis=2).sqrt()",
    "cosine_similarity": "write (x * y).sum(axis=1) / (x.norm(axis=1) * y.norm(axis=1))",
    "normalize": "write x / x.norm(axis=1, keepdims=True)",
    "kl_div": "tt.cross_entropy(logits, probabilities) has the same gradient",
    "interpolate": LARGER,
    "upsample": LARGER,
    "conv_transpose2d": f"{LARGER}; then tt.conv2d",
    "hardtanh": "write x.clip(-1, 1)",
    "prelu": "tt.leaky_relu(x, slope) has a fixed slope",
    "logit": "write tt.log(x / (1 - x))",
    "logsigmoid": "write -tt.softplus(-x)",
    "mish": "write x * tt.tanh(tt.softplus(x))",
    "normal": "write tt.randn(3) * std + mean",
    "randperm": "write tt.tensor(np.random.permutation(n))",
    "multinomial": "draw with NumPy: np.random.choice(classes, p=probabilities)",
    "binary_cross_entropy": "tt.binary_cross_entropy_with_logits takes logits, without a sigmoid",
    "huber_loss": "tt.l1_loss and tt.mse_loss are the losses for real numbers",
    "smooth_l1_loss": "tt.l1_loss and tt.mse_loss are the losses for real numbers",
    "conv1d": "tt.conv2d takes (N, 1, W, C) with a window (1, K)",
    "group_norm": "tt.layer_norm normalises each example",
    "adaptive_avg_pool2d": "x.mean(axis=(1, 2)) is the mean of an image (N, H, W, C)",
    "scaled_dot_product_attention": "write tt.softmax(q @ k.T / c) @ v with c = sqrt(q.shape[-1])",
    # NumPy
    "array": "write tt.tensor(data)",
    "asarray": "tt.tensor(data) copies the values, and tt.from_numpy(array) shares the memory",
    "ndarray": "the class is tt.Tensor",
    "concatenate": "write tt.concat([x, y], axis=0)",
    "vstack": "write tt.concat([x, y], axis=0)",
    "hstack": "write tt.concat([x, y], axis=1)",
    "expand_dims": "write tt.unsqueeze(x, 0)",
    "newaxis": "write None: x[:, None] adds an axis",
    "float16": "tt.float32 and tt.float64 are the float dtypes; tt.load converts float16",
    "int8": "tt.int32, tt.int64 and tt.uint8 are the integer dtypes",
    "pi": "write np.pi or math.pi",
    "inf": "write np.inf or math.inf",
    "nan": "write np.nan or math.nan",
    "histogram": NUMPY_FIRST,
    "mode": NUMPY_FIRST,
    "value_and_grad": "loss.backward() stores gradients; tt.grad(loss, parameters) returns them",
    "summary": "print(model) shows its layers, shapes and numbers of parameters",
    "Size": "x.shape is a tuple",
    "linalg": f"tt.norm and tt.matmul are here; for the rest, {LINALG}",
    "fft": "compute with np.fft from x.numpy(), without a gradient",
    "arcsin": NUMPY_FIRST,
    "arccos": NUMPY_FIRST,
    "arctan": NUMPY_FIRST,
    "percentile": "write np.percentile(x.numpy(), 50), without a gradient",
    "rollaxis": BOTH["moveaxis"],
    "take_along_axis": BOTH["take_along_dim"],
    "array_split": PIECES,
    "searchsorted": NUMPY_FIRST,
    "average": "write tt.mean(x, axis=0)",
    # Keras and TensorFlow
    "keras": "tt.nn has the layers and tt.optim the optimisers",
    "layers": "the layers are in tt.nn",
    "losses": "losses are functions: tt.cross_entropy(logits, labels), tt.mse_loss(x, target)",
    "optimizers": "the optimisers are in tt.optim",
    "Dense": "write tt.nn.Linear(inputs, outputs)",
    "Model": "write a subclass of tt.nn.Module with a method forward",
    "Input": "the first layer has the number of inputs: tt.nn.Linear(inputs, outputs)",
    "GradientTape": "ops record the graph; loss.backward() stores gradients in x.grad",
    "constant": "write tt.tensor(data); tt.nn.constant is an initialiser of weights",
    "reduce_sum": "write tt.sum(x, axis=0)",
    "reduce_mean": "write tt.mean(x, axis=0)",
    # micrograd
    "Value": "write tt.tensor(2.0, requires_grad=True)",
    "Neuron": "write tt.nn.Linear(inputs, 1), followed by tt.tanh",
    "Layer": "write tt.nn.Linear(inputs, outputs), followed by tt.tanh",
    "MLP": "write nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))",
}

LAYERS = {
    "BatchNorm1d": BATCH_NORM,
    "BatchNorm2d": BATCH_NORM,
    "BatchNorm3d": BATCH_NORM,
    "BatchNormalization": BATCH_NORM,
    "CrossEntropyLoss": "losses are functions: tt.cross_entropy(logits, labels)",
    "NLLLoss": "losses are functions: tt.cross_entropy(logits, labels), without a log_softmax",
    "MSELoss": "losses are functions: tt.mse_loss(x, target)",
    "L1Loss": "losses are functions: tt.l1_loss(x, target)",
    "BCELoss": "losses are functions: tt.binary_cross_entropy_with_logits(logits, target)",
    "SmoothL1Loss": "losses are functions: tt.l1_loss and tt.mse_loss",
    "HuberLoss": "losses are functions: tt.l1_loss and tt.mse_loss",
    "KLDivLoss": "tt.cross_entropy(logits, probabilities) has the same gradient",
    "BCEWithLogitsLoss": "losses are functions: "
    "tt.binary_cross_entropy_with_logits(logits, target)",
    "Parameter": "a parameter is a tensor: self.w = tt.randn(3, requires_grad=True)",
    "ModuleList": "write a list: self.blocks = [nn.Linear(3, 3), nn.Linear(3, 3)]",
    "ModuleDict": 'write a dict: self.heads = {"left": nn.Linear(3, 1)}',
    "ParameterList": "write a list of tensors: self.w = [tt.randn(3, requires_grad=True)]",
    "Dropout2d": "write nn.Dropout(keep_prob=0.75, channels=True)",
    "Conv1d": "nn.Conv2d(inputs, outputs, size=(1, K)) takes (N, 1, W, C)",
    "Conv3d": "nn.Conv2d is the only convolution",
    "ConvTranspose2d": f"{LARGER}; then nn.Conv2d",
    "AdaptiveAvgPool2d": "write x.mean(axis=(1, 2)) in forward",
    "AdaptiveMaxPool2d": "write x.max(axis=(1, 2)) in forward",
    "MaxPool1d": "nn.MaxPool2d(size=(1, 2)) takes (N, 1, W, C)",
    "Upsample": LARGER,
    "ZeroPad2d": "write tt.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) in forward",
    "Unflatten": "write x.reshape(-1, 7, 7, 64) in forward",
    "GroupNorm": "nn.LayerNorm normalises each example",
    "InstanceNorm2d": "nn.LayerNorm normalises each example",
    "SyncBatchNorm": BATCH_NORM,
    "RMSNorm": "write x / tt.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6) in forward",
    "MultiheadAttention": "three nn.Linear compute q, k, v; a head is tt.softmax(q @ k.T / c) @ v",
    "Transformer": "its parts are nn.Linear, nn.LayerNorm, nn.Embedding and tt.softmax",
    "LazyLinear": "nn.Linear(inputs, outputs) needs the number of inputs",
    "Softplus": "write tt.softplus(x) in forward",
    "LogSoftmax": "write tt.log_softmax(x) in forward; tt.cross_entropy takes logits without it",
    "LogSigmoid": "write -tt.softplus(-x) in forward",
    "ELU": "write tt.elu(x) in forward",
    "PReLU": "nn.LeakyReLU(slope=0.25) has a fixed slope",
    "ReLU6": "write x.clip(0, 6) in forward",
    "Hardtanh": "write x.clip(-1, 1) in forward",
    "Mish": "write x * tt.tanh(tt.softplus(x)) in forward",
    "ParameterDict": 'write a dict of tensors: self.w = {"a": tt.randn(3, requires_grad=True)}',
    "RNN": NO_RECURRENT,
    "LSTM": NO_RECURRENT,
    "GRU": NO_RECURRENT,
    "RNNCell": NO_RECURRENT,
    "LSTMCell": NO_RECURRENT,
    "GRUCell": NO_RECURRENT,
    "init": "a layer takes its initialiser: nn.Linear(3, 2, weight=nn.he)",
    "utils": "gradients are clipped by tt.optim.clip_grad_norm(parameters, 1.0)",
    "DataParallel": "ops use all cores: tt.set_num_threads(4) sets the number",
    "Dense": "write nn.Linear(inputs, outputs)",
    "Conv2D": "write nn.Conv2d(inputs, outputs, size=3)",
    "MaxPooling2D": "write nn.MaxPool2d(2)",
}

OPTIMISERS = {
    "lr_scheduler": SCHEDULE,
    "StepLR": SCHEDULE,
    "ExponentialLR": SCHEDULE,
    "LambdaLR": SCHEDULE,
    "CosineAnnealingLR": "write optim.Adam(parameters, lr=optim.cosine(...))",
    "OneCycleLR": "write optim.Adam(parameters, lr=optim.warm_up(...))",
    "ReduceLROnPlateau": "set the learning rate after a test: optimizer.lr *= 0.1",
    "Adadelta": "write optim.Adam(parameters, lr=0.001), or optim.RMSprop",
    "Adagrad": "write optim.Adam(parameters, lr=0.001), or optim.RMSprop",
    "NAdam": "write optim.Adam(parameters, lr=0.001)",
    "LBFGS": "write optim.SGD(parameters, lr=0.1, momentum=0.9)",
    "clip_grad_norm_": "write optim.clip_grad_norm(parameters, 1.0)",
}

DATA = {
    "MNIST": "tt.datasets.mnist() returns training and test images with their labels",
    "FashionMNIST": 'write tt.datasets.fetch("fashion-mnist")',
    "KMNIST": 'write tt.datasets.fetch("kmnist")',
    "EMNIST": 'write tt.datasets.fetch("emnist-digits")',
    "ImageFolder": "tt.datasets.load(folder) reads a folder",
    "DataLoader": BATCHES,
    "TensorDataset": f"{BATCHES} of any arrays",
    "transforms": TENSORS["transforms"],
}

RANDOM = {
    "seed": "write tt.manual_seed(0)",
    "default_rng": "tt.manual_seed(0) sets the seed of all random numbers",
    "normal": TENSORS["normal"],
    "uniform": "write tt.rand(3) * (high - low) + low",
    "choice": TENSORS["multinomial"],
    "permutation": TENSORS["randperm"],
    "shuffle": "tt.datasets.batches shuffles the rows of arrays",
}

BACKENDS = {"mps": CPU, "cuda": CPU, "cudnn": CPU}

METHODS = {
    **BOTH,
    "device": CPU,
    "cuda": CPU,
    "is_cuda": CPU,
    "pin_memory": CPU,
    "float": 'write x.astype("float32")',
    "double": 'write x.astype("float64")',
    "int": 'write x.astype("int32")',
    "long": 'write x.astype("int64")',
    "byte": 'write x.astype("uint8")',
    "bool": 'write x.astype("bool")',
    "half": 'float32 is the smallest float: x.astype("float32")',
    "type": 'write x.astype("float32")',
    "type_as": "write x.astype(y.dtype)",
    "mT": "write x.permute(0, 2, 1) for three axes",
    "contiguous": "every tensor is contiguous; leave the call out",
    "is_contiguous": "every tensor is contiguous",
    "expand_as": "write x.broadcast_to(y.shape)",
    "reshape_as": "write x.reshape(y.shape)",
    "scatter_": "write x.scatter_add(index, source, axis=0), which returns a new tensor",
    "copy": "write x.clone(), or x.detach().clone() without a graph",
    "is_leaf": "a leaf is a tensor that no op computed; tt.graph(x) prints the ops",
    "grad_fn": "tt.graph(x) prints the ops that computed x",
    "add_": "write x += y",
    "sub_": "write x -= y",
    "mul_": "write x *= y",
    "div_": "write x /= y",
    "copy_": "write x[...] = y under tt.no_grad()",
    "fill": "write x[...] = 0 under tt.no_grad()",
    "values": "x.max(axis=1) returns the values, and x.argmax(axis=1) their indices",
    "indices": "x.argmax(axis=1) and x.argsort(axis=1) return indices",
    "expand_dims": "write x.unsqueeze(0)",
    "fill_": "write x[...] = 0 under tt.no_grad()",
    "zero_": "write x[...] = 0 under tt.no_grad(); x.zero_grad() removes a gradient",
    "normal_": "write x[...] = tt.randn(x.shape) under tt.no_grad()",
    "uniform_": "write x[...] = tt.rand(x.shape) under tt.no_grad()",
    "new_zeros": "write tt.zeros(3, dtype=x.dtype)",
    "new_ones": "write tt.ones(3, dtype=x.dtype)",
    "new_full": "write tt.full(3, 1.0, dtype=x.dtype)",
    "new_tensor": "write tt.tensor(data, dtype=x.dtype)",
}

SHAPE = "the weight has the sizes: model[0].weight.shape"

MODULES = {
    "cuda": CPU,
    "cpu": 'all tensors are on the CPU; model.to("cpu") returns the model',
    "float": "layers are made of float32 tensors; leave the call out",
    "half": "layers are made of float32 tensors; leave the call out",
    "double": "a layer has the dtype of the tensors that its initialisers return",
    "compile": "tt.capture(step) records a whole training step and replays it",
    "fit": "write tt.fit(model, data)",
    "predict": "call the model: model.eval()(x) under tt.no_grad()",
    "summary": "print(model) shows its layers, shapes and numbers of parameters",
    "add": "model.append(layer) adds a layer to nn.Sequential",
    "insert": "write nn.Sequential(*model[:1], layer, *model[1:])",
    "extend": "write nn.Sequential(*model, *layers)",
    "pop": "write model = model[:-1]",
    "add_module": "an attribute is a submodule: self.head = nn.Linear(3, 2)",
    "register_module": "an attribute is a submodule: self.head = nn.Linear(3, 2)",
    "register_parameter": "an attribute is a parameter: self.w = tt.randn(3, requires_grad=True)",
    "register_forward_hook": "write a Module whose forward calls the layer and keeps its result",
    "register_full_backward_hook": "x.register_hook(function) gets the gradient of a tensor",
    "buffers": "model.named_tensors() yields them and the parameters",
    "named_buffers": "model.named_tensors() yields them and the parameters",
    "get_submodule": "write dict(model.named_modules())[path]",
    "get_parameter": "write dict(model.named_parameters())[path]",
    "in_features": SHAPE,
    "out_features": SHAPE,
    "in_channels": SHAPE,
    "out_channels": SHAPE,
    "kernel_size": SHAPE,
    "running_mean": "the moving averages of nn.BatchNorm are layer.mean and layer.var",
    "running_var": "the moving averages of nn.BatchNorm are layer.mean and layer.var",
    "eps": "write layer.epsilon",
    "momentum": "layer.decay of nn.BatchNorm is 1 - momentum",
}

AUTOGRAD = {
    "Function": "an op is a function made of other ops, whose gradients are defined",
    "Variable": TENSORS["Variable"],
    "functional": "tt.grad(loss, parameters, create_graph=True) returns gradients to differentiate",
    "set_detect_anomaly": "write `with tt.detect_anomaly():`",
    "set_grad_enabled": TENSORS["set_grad_enabled"],
    "inference_mode": TENSORS["inference_mode"],
}

OPTIMIZER = {
    "add_param_group": 'all groups are given first: optim.Adam([{"params": [x], "lr": 0.1}, ...])',
    "state": "optimizer.state_dict() has the moving averages",
    "learning_rate": "write optimizer.lr = 0.01",
    "eps": "write optimizer.epsilon",
    "betas": "write optimizer.beta1 and optimizer.beta2",
    "alpha": "the attribute of RMSprop is named decay",
    "minimize": LOOP,
    "apply_gradients": LOOP,
}

HINTS = {
    "tt": TENSORS,
    "tt.autograd": AUTOGRAD,
    "tt.nn": LAYERS,
    "tt.nn.functional": TENSORS,
    "tt.optim": OPTIMISERS,
    "tt.datasets": DATA,
    "tt.random": RANDOM,
    "tt.backends": BACKENDS,
    "Tensor": METHODS,
    "Module": MODULES,
    "Optimizer": OPTIMIZER,
}
PUBLIC: dict[str, Sequence[str]] = {}  # the public names of each module that add_to has changed


def add_to(module: ModuleType, owner: str, public: Sequence[str]) -> None:
    """Make a module give hints for missing names, and make `dir(module)` list its public names.

    Args:
        module: the module.
        owner: the module's key in HINTS, as programs write it.
        public: its public names.
    """

    def find(name: str) -> NoReturn:
        raise missing(owner, name, public)

    PUBLIC[owner] = public
    module.__getattr__ = find  # type: ignore[method-assign]
    module.__dir__ = lambda: sorted(public)  # type: ignore[method-assign]
    if not hasattr(module, "__path__"):  # it makes Python look for submodules, with _Finder
        module.__path__ = []
    _Finder.owners[module.__name__] = owner


def missing(owner: str, name: str, public: Iterable[str]) -> AttributeError:
    """Return the error for a name that does not exist.

    Args:
        owner: a key of HINTS.
        name: the name.
        public: the names that do exist.
    """
    advice = _advice(owner, name, public)
    message = f"{owner} has no {name!r}" + (f": {advice}" if advice else "")
    # Without these two Nones, Python adds a name of a similar spelling to every message.
    return AttributeError(message, name=None, obj=None)


def no_attribute(x: object, owner: str, name: str) -> Any:
    """Raise the AttributeError of `x.name`, for a __getattr__ of a class that users may extend.

    Args:
        x: the object.
        owner: a key of HINTS, the class of tinytensor.
        name: the name of the attribute.
    """
    if hasattr(type(x), name):  # a property has raised AttributeError, and does so again
        return object.__getattribute__(x, name)
    if name in HINTS[owner]:
        raise missing(owner, name, ())
    message = f"{type(x).__name__!r} object has no attribute {name!r}"
    raise AttributeError(message, name=name, obj=x)  # Python adds a similar name


def _advice(owner: str, name: str, public: Iterable[str]) -> str:
    """What to write for a missing name; empty if no name is similar."""
    if advice := HINTS.get(owner, {}).get(name):
        return advice
    if name.startswith("_"):  # Python itself looks up many such names
        return ""
    for place, names in PUBLIC.items():
        if place != owner and name in names:
            return f"it is {place}.{name}"
    if owner == "Tensor" and name[-1] == "_" and name[:-1] in public:
        return f"{IN_PLACE}.{name[:-1]}(...)"
    import difflib  # here, because most programs have no misspelled name

    close = difflib.get_close_matches(name, public, n=1, cutoff=0.75)
    return f"did you mean {close[0]!r}?" if close else ""


class _Finder:
    """Python's import statement calls find_spec() for a submodule that no other finder has found.

    `from tinytensor import DataLoader` looks for a submodule too, if the attribute is missing.
    """

    owners: ClassVar[dict[str, str]] = {}  # the key in HINTS of each module

    @classmethod
    def find_spec(cls, fullname: str, path: object = None, target: object = None) -> None:
        """Raise ImportError with the advice for a missing name of a module that gives hints."""
        parent, _, name = fullname.rpartition(".")
        if (owner := cls.owners.get(parent)) is None:
            return
        if advice := _advice(owner, name, PUBLIC[owner]):
            raise ImportError(f"{owner} has no {name!r}: {advice}", name=fullname)


sys.meta_path.append(_Finder)
