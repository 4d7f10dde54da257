"""Compile csrc/ into the extension module `tinytensor.backends._c`, when the package is installed.

Each kernel is written once and compiled several times: for each instruction set, in float and in
double. The source of such a variant is its definitions and all kernel files:

    #define real float
    #pragma GCC target("avx2,fma")
    #define tt_add tt_add_float32_avx2
    #include "elementwise.c"

tt_add_float32 calls the variant of the instruction set in use. cffi reads the prototypes of
kernels.h, ladder/ladder.h and probe.h with such names, so that Python can call a kernel by dtype.

Without a compiler, the package is installed without the C backend, and a file has the reason: a
sentence, then the compiler's output. A module of an earlier build is deleted, because these sources
may differ from it.

With the environment variable TINYTENSOR_KERNELS=none the kernels are left out.

Run as a script, this file is a check: it compiles all variants with the compiler $CC, for the
machine that $CC compiles for, with warnings as errors, and deletes the result.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from cffi import FFI
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

MODULE = "tinytensor.backends._c"
NOTE = "_c_build_error.txt"
CSRC = Path(__file__).resolve().parent
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-g0",
    "-pthread",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",  # floating-point exception flags are not read
    "-falign-loops=32",  # the speed of a short loop should not depend on its address
    "-fopenmp-simd",  # `omp simd` allows reordering one sum; it needs no OpenMP library
]
KERNEL_FILES = [
    "elementwise.c",
    "reduce.c",
    "layout.c",
    "matmul.c",
    "sparse_matmul.c",
    "winograd.c",
    "conv2d.c",
    "pool2d.c",
    "random.c",
    "softmax.c",
    "images.c",
    "warp.c",
    "normalize.c",
    "optimizers.c",
    "ladder/ladder_matmul.c",
    "ladder/ladder_sparse_matmul.c",
    "ladder/ladder_softmax.c",
    "ladder/ladder_conv2d.c",
    "probe.c",
]
HEADERS = ["kernels.h", "ladder/ladder.h", "probe.h"]  # their functions exist in each variant
OTHER_HEADERS = ["machine.h", "program.h"]  # cffi reads them too, up to "Not for cffi"
OTHER_FILES = ["threads.c", "scratch.c", "simd.c", "program.c"]
REALS = {"float32": "float", "float64": "double"}
# Flags that override -O3. cffi's wrapper only converts arguments: at -O3 it takes as
# long to compile as a variant, and a call is 2 % faster.
FILE_FLAGS = {"wrapper.c": ["-O1"], "calls.c": ["-O2"]}
# A prototype of a kernel, as prototypes() writes it: its name and its arguments.
KERNEL = re.compile(r"^void (tt_\w+_float(?:32|64))\((.*)\);", re.MULTILINE)
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")
NO_KERNELS = os.environ.get("TINYTENSOR_KERNELS") == "none"  # see wheels.py


class Variant(NamedTuple):
    dtype: str
    simd: str
    target: str  # instruction sets beyond the platform's baseline
    vector_bytes: int  # the size of a vector register
    row_bytes: int  # the size of a row of matmul's tile, whose sums are all in registers
    tile_rows: int  # the number of rows of the tile

    @property
    def suffix(self) -> str:
        return f"{self.dtype}_{self.simd}"


def variants(machine: str) -> list[Variant]:
    avx512 = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"
    if "x86_64" in machine or "amd64" in machine:
        simds = [("baseline", "", 16, 64, 2), ("avx2", "avx2,fma", 32, 64, 6)]
        simds += [("avx512", avx512, 64, 128, 14)]
    else:
        simds = [("baseline", "", 16, 64, 6)]  # NEON has 32 registers of 16 bytes, SSE has 16
    return [
        Variant(dtype, simd, *properties)
        for dtype in REALS
        for simd, *properties in simds
        if (dtype, simd) != ("float64", "avx512")  # few trainings are in float64: AVX2 is enough
    ]


def declarations() -> str:
    return "\n".join((CSRC / header).read_text() for header in HEADERS)


def kernel_names() -> list[str]:
    return re.findall(r"^void (tt_\w+)\(", declarations(), re.MULTILINE)


def flags(source: Path) -> list[str]:
    """Return the compiler's flags for a file that write_sources has written."""
    return [*FLAGS, *FILE_FLAGS.get(source.name, [])]


def variant_source(variant: Variant) -> str:
    """Return the C source of a variant: definitions, then the kernel files."""
    lines = [
        "/* Written by csrc/build.py. */",
        "#include <stdint.h>",
        "#include <string.h>",
        "#include <tgmath.h>",
        # a * b + c in one instruction: gcc does this by default; warp.c forbids it to both.
        "#ifdef __clang__",
        "#pragma clang fp contract(fast)",
        "#endif",
        f"#define real {REALS[variant.dtype]}",
        f"#define VECTOR_BYTES {variant.vector_bytes}",
        f"#define VECTOR {variant.vector_bytes // (4 if variant.dtype == 'float32' else 8)}",
        f"#define ROW_BYTES {variant.row_bytes}",
        f"#define TILE_ROWS {variant.tile_rows}",
        *(f"#define {name} {name}_{variant.suffix}" for name in kernel_names()),
    ]
    if variant.target:
        clang_target = f'__attribute__((target("{variant.target}"))), apply_to = function'
        lines += [
            "#ifdef __clang__",
            f"#pragma clang attribute push({clang_target})",
            "#else",
            f'#pragma GCC target("{variant.target}")',
            "#endif",
        ]
    lines += [f'#include "{file}"' for file in KERNEL_FILES]
    if variant.target:
        lines += ["#ifdef __clang__", "#pragma clang attribute pop", "#endif"]
    return "\n".join(lines) + "\n"


def prototypes() -> str:
    """Return the prototypes for cffi: all kernels in both dtypes, and parts of OTHER_HEADERS."""
    text = re.sub(r"^#.*$", "", declarations(), flags=re.MULTILINE)
    declared = []
    for dtype, real in REALS.items():
        renamed = re.sub(r"\b(tt_\w+)(?=\()", rf"\1_{dtype}", text)
        declared.append(re.sub(r"\breal\b", real, renamed))
    for header in OTHER_HEADERS:
        public = (CSRC / header).read_text().split("/* Not for cffi")[0]
        declared.append(re.sub(r"^#.*$", "", public, flags=re.MULTILINE))
    return "\n".join(declared)


def calls_source(machine: str) -> str:
    """Return the C source of the calls of kernels.

    For each kernel and dtype it has a function that calls the variant in use, and a runner for
    program.h, which takes the arguments from an array:

    void tt_neg_float64(const double *x, double *out, int64_t n)
    {
        static void (*const variants[])(const double *x, double *out, int64_t n) = {
            tt_neg_float64_baseline, tt_neg_float64_avx2, tt_neg_float64_avx2};
        variants[tt_simd_in_use()](x, out, n);
    }
    static void run_tt_neg_float64(const tt_value *v)
    {
        tt_neg_float64(v[0].p, v[1].p, v[2].i);
    }

    A dtype that isn't compiled for the widest instruction set has its widest variant again.
    """
    simds = list(dict.fromkeys(variant.simd for variant in variants(machine)))
    lines = ['#include "machine.h"', '#include "program.h"', "#include <string.h>"]
    table = []
    for name, arguments in KERNEL.findall(prototypes()):
        dtype = name.rpartition("_")[2]
        compiled = [v.simd for v in variants(machine) if v.dtype == dtype]
        lines += [f"void {name}_{simd}({arguments});" for simd in compiled]
        chosen = [simd if simd in compiled else compiled[-1] for simd in simds]
        of_simds = ", ".join(f"{name}_{simd}" for simd in chosen)
        words = arguments.split(", ")
        names = ", ".join(re.findall(r"\w+$", word)[0] for word in words)
        kinds = ["p" if "*" in a else "d" if "double" in a else "i" for a in words]
        values = ", ".join(f"v[{i}].{kind}" for i, kind in enumerate(kinds))
        lines += [
            f"void {name}({arguments})\n{{",
            f"    static void (*const variants[])({arguments}) = {{{of_simds}}};",
            f"    variants[tt_simd_in_use()]({names});\n}}",
            f"static void run_{name}(const tt_value *v)\n{{\n    {name}({values});\n}}",
        ]
        table.append(f'    {{"{name}", run_{name}}},')
    lines += ["static const tt_named_runner runners[] = {", *table, "    {0, 0},", "};"]
    lines += [
        "tt_runner tt_runner_of(const char *kernel)",
        "{",
        "    for (const tt_named_runner *r = runners; r->kernel; r++)",
        "        if (!strcmp(r->kernel, kernel))",
        "            return r->run;",
        "    return 0;",
        "}",
    ]
    return "\n".join(lines) + "\n"


def write_sources(folder: Path, machine: str) -> list[Path]:
    """Write the variants and cffi's wrapper into a folder; return the files to compile.

    The files that take longest to compile come first, so that all CPUs finish at about the same
    time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for variant in variants(machine):
        path = folder / f"{variant.suffix}.c"
        path.write_text(variant_source(variant))
        written.append(path)
    calls = folder / "calls.c"
    calls.write_text(calls_source(machine))
    ffi = FFI()
    # For Python a kernel returns 1 if it had no memory for its temporary values, otherwise 0.
    declared = prototypes()
    ffi.cdef(KERNEL.sub(r"int \1(\2);", declared))
    checked = [
        f"#define {name}(...) ({name}(__VA_ARGS__), tt_failed())"
        for name, _ in KERNEL.findall(declared)
    ]
    ffi.set_source(MODULE, "\n".join([declared, *checked]))
    wrapper = folder / "wrapper.c"
    ffi.emit_c_code(str(wrapper))
    return [wrapper, *written, calls, *(CSRC / file for file in OTHER_FILES)]


def compiler_problem(command: list[str], folder: Path) -> str:
    """Compile a short program; return "", or why it failed: a sentence, then the output."""
    program = folder / "compiles.c"
    program.write_text("#include <Python.h>\nint main(void) { return 0; }\n")
    include = sysconfig.get_paths()["include"]
    command = [*command, f"-I{include}", "-c", str(program), "-o", str(folder / "compiles.o")]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        return f"the compiler {command[0]} can't be run: {error.strerror}"
    if result.returncode == 0:
        return ""
    output = f"{shlex.join(command)}\n{result.stdout}{result.stderr}"
    if "Python.h" in result.stderr:
        return f"Python's header files are missing: there is no Python.h in {include}\n{output}"
    return f"the compiler {command[0]} can't compile a program of one line\n{output}"


class BuildKernels(build_ext):
    """build_ext that first writes the variants; if they don't compile, a file has the reason."""

    user_options = [  # noqa: RUF012 - as in setuptools
        *build_ext.user_options,
        ("sanitize=", None, "the sanitizers to compile with: address,undefined or thread"),
    ]
    failure = ""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.sanitize = ""

    def finalize_options(self) -> None:
        super().finalize_options()
        for extension in self.extensions:
            extension.py_limited_api = LIMITED_API

    def get_ext_filename(self, fullname: str) -> str:
        name: str = super().get_ext_filename(fullname)
        is_for_windows = sysconfig.get_platform().startswith("win")  # also if Linux compiles it
        return re.sub(r"(\.abi3)?\.so$", ".pyd", name) if is_for_windows else name

    def build_extension(self, ext) -> None:
        if NO_KERNELS:
            self.failure = "this wheel is for all platforms and has no kernels"
            raise CompileError(self.failure)
        folder = Path(self.build_temp) / "variants"
        sources = write_sources(folder, sysconfig.get_platform())
        ext.sources = [os.path.relpath(path) for path in sources]
        ext.include_dirs = [str(CSRC)]
        checks = []
        if self.sanitize:  # -O1, because -O3 takes minutes
            checks = ext.extra_compile_args = [
                f"-fsanitize={self.sanitize}",
                "-fno-sanitize-recover=all",
                "-O1",
                "-g1",
            ]
        ext.extra_link_args = ["-pthread", *checks]
        compile_files = self.compiler.compile

        def compile_one(source, extra_postargs, **options):
            postargs = [*flags(Path(source)), *extra_postargs]
            return compile_files([source], extra_postargs=postargs, **options)

        def compile_all(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_one(source, **options), sources)
                return [path for paths in objects for path in paths]

        self.compiler.compile = compile_all
        self.failure = compiler_problem(self.compiler.compiler_so, folder)
        try:
            if self.failure:
                raise CompileError(self.failure.partition("\n")[0])
            super().build_extension(ext)
        except Exception as error:
            self.failure = self.failure or f"the compiler failed in the kernels\n{error}"
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)  # from an earlier build
            raise  # the extension is optional: setuptools turns this into a warning

    def run(self) -> None:
        super().run()
        if not self.inplace:  # the package contains the sources, for `tinytensor explain`
            folder = Path(self.build_lib) / "tinytensor" / "csrc"
            for source in CSRC.rglob("*.[ch]"):
                copy = folder / source.relative_to(CSRC)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)
        for extension in self.extensions:
            module = Path(self.get_ext_fullpath(extension.name))  # in the source tree for pip -e
            note = module.with_name(NOTE)
            note.unlink(missing_ok=True)
            if self.failure:
                module.unlink(missing_ok=True)
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(self.failure.rstrip() + "\n", encoding="utf-8")


class Wheel(bdist_wheel):
    """One wheel for all versions of Python from 3.11 on, if Python has a stable ABI.

    A wheel without kernels is also for all platforms.
    """

    def finalize_options(self) -> None:
        if LIMITED_API:
            self.py_limited_api = "cp311"
        super().finalize_options()

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", "any") if NO_KERNELS else super().get_tag()


def check(compiler: list[str]) -> int:
    machine = subprocess.run(
        [*compiler, "-dumpmachine"], check=True, capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory() as folder:
        status = 0
        for source in write_sources(Path(folder), machine.stdout):
            if source.name == "wrapper.c":
                continue  # cffi writes this file, so its warnings don't matter
            warnings = ["-Wall", "-Wextra", "-Werror"]
            files = ["-c", str(source), "-o", str(Path(folder) / "check.o")]
            command = [*compiler, *flags(source), *warnings, f"-I{CSRC}", *files]
            status |= subprocess.run(command).returncode
    return status


if __name__ == "__main__":
    sys.exit(check(shlex.split(os.environ.get("CC", "cc"))))
