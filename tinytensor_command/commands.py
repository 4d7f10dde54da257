"""The commands: their arguments, options and help. `tinytensor.cli` has what they do."""

import os
from typing import Any

import click

from tinytensor_command.options import (
    CLAIM,
    EXERCISE_OR_FILE,
    FILE,
    KERNEL,
    KERNELS,
    LESSON,
    LESSON_OR_FILE,
    OPTIMIZERS,
    RATE_RULES,
    RUNG,
    ChoiceOrNothing,
    Count,
    Index,
    LessonNumber,
    NumberRange,
    Several,
    allow_origin_option,
    backend_option,
    backends_option,
    data_option,
    eval_every_option,
    json_option,
    lesson_of_weights_option,
    no_browser_option,
    page_options,
    port_option,
    seed_option,
    size_option,
    threads_option,
)

LANGUAGES = ("python", "numba", "c")  # of the exercises
WITH_A_LADDER = f"KERNEL is {', '.join(KERNELS[:-1])} or {KERNELS[-1]}."
ON_RANKS = ("train", "sweep")  # their processes share the work, if mpiexec starts several


def _print_version(context: click.Context, _: click.Parameter, given: bool) -> None:
    if given and not context.resilient_parsing:
        from tinytensor import __version__

        click.echo(f"tinytensor {__version__}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def program(context: click.Context) -> None:
    """A small, readable tensor engine that learns to read digits, on C, Numba or NumPy."""
    if context.invoked_subcommand not in ON_RANKS:
        _refuse_ranks(str(context.invoked_subcommand))


def _refuse_ranks(command: str) -> None:
    """Raise UsageError if mpiexec has started several processes of this command.

    Only rank 0 prints it; all of them end with status 2.
    """
    if not any(name.startswith(("PMI", "OMPI_")) for name in os.environ):
        return  # without NumPy, which the next line imports
    from tinytensor.ranks import launched_rank, launched_size, world

    rank = launched_rank()
    size = 1 if rank is None else launched_size() or world().size
    if size == 1:
        return
    if rank:
        raise click.exceptions.Exit(2)
    raise click.UsageError(
        f"{command}: mpiexec started {size} processes of it, which would all do the same; only "
        f"{' and '.join(ON_RANKS)} share their work, so start it without mpiexec"
    )


@program.command("course")
@click.argument("lesson", type=LESSON, required=False)
@backend_option
@click.option(
    "--steps", type=Count(1, 10**9), help="Training steps of each lesson [the lesson's own]."
)
@seed_option
@threads_option
@page_options
def course_command(**given: Any) -> None:
    """Show the lessons on one live page, from LESSON [1.0] to 4.2.

    The page has the chapter of a lesson next to the panels, and buttons that begin the next lesson
    or the one before. Sliders change the learning rate, the batch and dropout of the next run. What
    the viewers draw is collected on a wall. Ctrl-C ends the page.
    """
    from tinytensor.cli.course_commands import show_course

    show_course(**given)


@program.command("lessons")
def lessons_command() -> None:
    """List the lessons with their accuracy, steps and time here.

    The time is estimated from ten training steps of each lesson. If other programs used the CPU, a
    line says NOISY.
    """
    from tinytensor.cli.course_commands import list_lessons

    list_lessons()


@program.command("lesson")
@click.argument("name", type=LESSON)
@click.option("--answers", is_flag=True, help="Print the answers to the chapter's questions.")
@click.option("--code", is_flag=True, help="Print the lesson's file: the network and its settings.")
def lesson_command(**given: Any) -> None:
    """Print the chapter of lesson NAME.

    A chapter explains the network, what to look at while it trains and what to try. It ends with
    three questions, and --answers prints their answers. On a terminal the text is shown page by
    page.
    """
    from tinytensor.cli.course_commands import show_lesson

    show_lesson(**given)


@program.command("train")
@click.argument("lesson", type=LESSON_OR_FILE)
@backend_option
@click.option("--steps", type=Count(0, 10**9), help="Training steps [the lesson's own].")
@click.option("--batch", type=Count(min=1), help="Images per step [the lesson's own].")
@click.option(
    "--lr", type=click.FloatRange(min=0), help="Constant learning rate [the lesson's own]."
)
@click.option(
    "--scale-rate",
    type=ChoiceOrNothing(RATE_RULES),
    is_flag=False,
    flag_value="linear",
    help="Multiply the learning rate by --batch / the lesson's batch, or by the square root of it.",
)
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="Optimiser [the lesson's own].")
@click.option(
    "--keep-prob",
    type=click.FloatRange(0, 1, min_open=True),
    help="Probability of dropout to keep an element [the lesson's own].",
)
@seed_option
@threads_option
@data_option
@size_option
@eval_every_option
@click.option("--eager", is_flag=True, help="Run each step op by op, not as a captured program.")
@click.option(
    "--save-weights",
    "weights_file",
    metavar="FILE",
    type=FILE,
    help="Write only the weights at the end, as float16, for predict.",
)
@click.option(
    "--save",
    "save_file",
    metavar="FILE",
    type=FILE,
    help="Write a checkpoint at the end, and after Ctrl-C or SIGTERM.",
)
@click.option(
    "--save-every", metavar="N", type=Count(1, 10**9), help="Save after every N steps, too."
)
@click.option(
    "--save-best",
    is_flag=True,
    help="Also write best.safetensors next to the checkpoint: the network with the best accuracy "
    "on a twelfth of the training images, which are not trained on.",
)
@click.option(
    "--resume",
    "resume_file",
    metavar="FILE",
    type=FILE,
    help="Continue from a checkpoint, with the same bits as without a break.",
)
@click.option(
    "--record",
    "record_file",
    metavar="FILE",
    type=FILE,
    help="Write a run file, for replay and report.",
)
@click.option(
    "--log",
    "log_name",
    metavar="NAME",
    help="Write each test to a file, such as run.csv or run.jsonl, or to a folder for TensorBoard.",
)
@click.option(
    "--chunks",
    metavar="N",
    type=Count(1, 10**6),
    help="Divide each batch into N chunks and add their gradients [1; on several ranks 4].",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["synchronized", "local"]),
    default="synchronized",
    show_default=True,
    help="Moments of batch norm: those of the whole batch, or of each chunk.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    help="Time after which a rank that waits for another one ends the run [4 s to 10 min].",
)
@click.option("--coach", is_flag=True, help="Name mistakes that raise no error, with the cure.")
@json_option
@click.option(
    "--live",
    type=ChoiceOrNothing(["browser", "terminal"]),
    is_flag=False,
    flag_value="browser",
    help="Show the training in the browser, until Ctrl-C, or in the terminal.",
)
@page_options
def train_command(**given: Any) -> None:
    """Train the network of LESSON.

    LESSON is a name or a number, such as softmax or 1.0, or a Python file with a lesson of your
    own: a changed copy of a file of tinytensor/lessons. At the end, print the accuracy on the test
    images and the time spent.
    """
    from tinytensor.cli.train_command import train_lesson

    train_lesson(**given)


@program.command("launch", context_settings={"ignore_unknown_options": True})
@click.option("-n", "--ranks", type=Count(1, 10**4), required=True, help="Number of processes.")
@click.option(
    "--hosts",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Names of machines, one on each line, as mpiexec reads them [this machine].",
)
@click.argument("arguments", metavar="train LESSON ...", nargs=-1, type=click.UNPROCESSED)
def launch_command(ranks: int, hosts: str | None, arguments: tuple[str, ...]) -> None:
    """Train on several processes, which MPI connects.

    The arguments after the options are those of tinytensor train. Each process, called a rank,
    trains on its share of each batch, so --batch is the batch of all ranks together. Needs the
    extra mpi: pip install 'tinytensor-engine[mpi]'.
    """
    from tinytensor.cli.launch_command import launch

    if arguments[:1] != ("train",):
        raise click.UsageError(f"got {' '.join(arguments) or 'no command'}; train LESSON is needed")
    # Checks the arguments here, so that an error is printed once and not by each rank.
    train_command.make_context("tinytensor train", list(arguments[1:]))
    launch(ranks, hosts, arguments)


@program.command("sweep")
@click.argument("lesson", type=LESSON_OR_FILE)
@click.option(
    "--rate",
    metavar="LOW..HIGH",
    type=NumberRange(),
    help="Range of constant learning rates, such as 1e-4..1e-2; drawn on a logarithmic scale.",
)
@click.option(
    "--keep",
    metavar="LOW..HIGH",
    type=NumberRange(most=1),
    help="Range of the probability of dropout to keep an element, such as 0.5..0.9.",
)
@click.option(
    "--batch",
    metavar="COUNTS",
    type=Several(Count(min=1)),
    help="Images per step to choose from, such as 50,100,200.",
)
@click.option(
    "--optimizer",
    metavar="NAMES",
    type=Several(click.Choice(OPTIMIZERS)),
    help="Optimisers to choose from, such as sgd,adam.",
)
@click.option(
    "--trials",
    type=Count(1, 10**6),
    default=20,
    show_default=True,
    help="Trials of all processes together.",
)
@click.option(
    "--storage",
    metavar="FILE",
    type=FILE,
    help="Journal of the trials. Several processes may share it, and the same command continues.",
)
@click.option(
    "--steps", type=Count(1, 10**9), help="Training steps of each trial [the lesson's own]."
)
@seed_option
@backend_option
@threads_option
@data_option
@size_option
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    type=FILE,
    help="Write a page with plots; - for standard output.",
)
@click.option("--png", "png_file", metavar="FILE", type=FILE, help="Write the plots as an image.")
@json_option
def sweep_command(**given: Any) -> None:
    """Try settings of LESSON, and list them, the best first.

    Optuna chooses the settings of a trial by the results of the trials before. A setting without an
    option keeps the lesson's value. The accuracy is measured on a twelfth of the training images,
    which are not trained on; the test images are not used. Needs the extra sweep: pip install
    'tinytensor-engine[sweep]'.
    """
    from tinytensor.cli.sweep_command import sweep_lesson

    sweep_lesson(**given)


@program.command("race")
@click.argument("lesson", type=LESSON_OR_FILE)
@backends_option
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 1e6),
    help="Time limit of each backend [30; none with --steps].",
)
@click.option(
    "--steps", type=Count(1, 10**9), help="Step limit of each backend [the lesson's own]."
)
@seed_option
@threads_option
@data_option
@size_option
@eval_every_option
@json_option
@click.option("--live", is_flag=True, help="Show the race in the browser, until Ctrl-C.")
@port_option
@no_browser_option
@allow_origin_option
def race_command(**given: Any) -> None:
    """Train LESSON on several backends in turns.

    Each backend gets the same number of seconds. They include loading the backend, compiling, and
    training, but not evaluation on the test images. A table shows the standings, and at the end the
    time at which each backend reached 92 %, 97 % and 99 % accuracy.
    """
    from tinytensor.cli.race_command import race_backends

    race_backends(**given)


@program.command("program")
@click.argument("lesson", type=LESSON_OR_FILE)
@backend_option
@click.option("--batch", type=Count(min=1), help="Images in a batch [the lesson's own].")
@click.option(
    "--profile",
    is_flag=True,
    help="Time each call of the rewritten program, and compare it with this machine's limits.",
)
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    type=FILE,
    help="Write the list as a page; - for standard output.",
)
@click.option(
    "--rewritten", is_flag=True, help="Show it as it runs, after the rewrites that make it faster."
)
def program_command(**given: Any) -> None:
    """Show LESSON's training step as a list of kernel calls.

    The forward pass comes first, then the backward pass, then the update.
    """
    from tinytensor.cli.course_commands import show_program

    show_program(**given)


@program.command("microscope")
@click.argument("lesson", type=LESSON_OR_FILE)
@click.option(
    "--weight",
    metavar="I,J",
    type=Index(),
    required=True,
    help="Index of the weight: input,neuron; or row,column,input,output of a convolution.",
)
@click.option("--layer", metavar="PATH", help="Layer, such as layers.4 [the first that fits].")
@click.option("--step", type=Count(1, 10**6), default=1, show_default=True, help="Step to show.")
@click.option("--image", type=Count(min=0), help="Image of the batch [the largest product].")
@seed_option
@data_option
@size_option
@backend_option
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    type=FILE,
    help="Write a page with pictures; - for standard output.",
)
def microscope_command(**given: Any) -> None:
    """Follow one weight through a training step of LESSON.

    Forward: what it multiplies, and the result. Backward: the factors of the chain rule. Then the
    sum over the batch, which is its gradient, and the update. The gradient is checked by nudging
    the weight. In lesson 1.0, --weight 406,3 connects pixel 406 with the neuron of digit 3.
    """
    from tinytensor.cli.microscope_command import show_weight

    show_weight(**given)


@program.command("try")
@click.argument("name", type=CLAIM, required=False)
@click.argument("mistake", required=False)
@click.option(
    "--seeds", type=Count(min=1), default=3, show_default=True, help="Runs of each variant."
)
@backend_option
def try_command(**given: Any) -> None:
    """Measure a claim of the course, or run programs with mistakes.

    Without NAME, list the claims. A time in the list is for 3 seeds on 2 CPU cores; claims without
    a time take less than half a minute. With the name mistakes, run short programs with one mistake
    each, and print what the coach finds; MISTAKE chooses one of them, and prints its code too.
    """
    from tinytensor.cli.course_commands import try_claim

    try_claim(**given)


@program.command("predict")
@click.argument("files", metavar="IMAGE...", nargs=-1, required=True)
@lesson_of_weights_option
@click.option(
    "--weights", "--model", "weights", metavar="FILE", help="Weights or checkpoint of train."
)
@click.option("--many", is_flag=True, help="Read every digit of a picture, row by row.")
@click.option("--as-is", is_flag=True, help="Take pictures of the network's size unchanged.")
@click.option("--show", is_flag=True, help="Print each image as the network sees it.")
@click.option("--save-input", metavar="FILE.png", help="Write the images as the network sees them.")
def predict_command(**given: Any) -> None:
    """Print the class of each IMAGE, with all probabilities.

    An IMAGE is a photo or a drawing of a digit: .png, .jpg and others, of any size and in any
    colours, dark on light or light on dark. It becomes an image like MNIST's, and a line says what
    was done. A .npy or idx file has images of 28 x 28, light on dark, which are not changed.

    If the network was trained on images of another size, or in colour, a picture is cropped in the
    middle and resized to this size.

    If an image can't be read, all other images are read first. The package has the weights of the
    lessons 1.0, 3.1 and best.
    """
    from tinytensor.cli.predict_command import predict_images

    predict_images(**given)


@program.command("export")
@click.argument("name", metavar="FILE.onnx|LESSON", type=LESSON_OR_FILE)
@click.option(
    "--html", "html_file", metavar="FILE", type=FILE, help="Write a page that trains LESSON."
)
@lesson_of_weights_option
@click.option("--weights", metavar="FILE", type=FILE, help="Weights or checkpoint of train.")
@click.option(
    "--images",
    type=Count(1),
    help="Training images of the page, at least those of one step [those that fill 3 MB].",
)
@click.option("--steps", type=Count(1, 10**6), help="Steps after which the page stops [10,000].")
@click.option("--batch", type=Count(min=1), help="Images per step [the lesson's own].")
@click.option("--seed", type=Count(min=0), help="Seed of all random numbers [0].")
@data_option
@size_option
def export_command(**given: Any) -> None:
    """Write a network as an ONNX file, or LESSON as a page.

    FILE.onnx: a trained network, whose input are float32 images (batch, 28, 28, 1) with values from
    0 to 1, light on dark, or of the shape that the network was trained on. Its output are logits
    (batch, classes); the largest one is the prediction. The package has the weights of the lessons
    1.0, 3.1 and best.

    LESSON --html FILE: a page that trains LESSON in a browser, without Python and without a network
    connection. It starts from the first weights of the lesson, or from --weights. Needs the extra
    compiler: pip install 'tinytensor-engine[compiler]'.
    """
    from tinytensor.cli.export_command import export_network

    export_network(**given)


@program.command("replay")
@click.argument("file", type=FILE)
@click.option("--no-browser", is_flag=True, help="Only write the page and print its path.")
def replay_command(**given: Any) -> None:
    """Replay the run FILE in the browser.

    The page is written to the folder for temporary files. A slider moves through the run.
    """
    from tinytensor.cli.run_file_commands import replay_run

    replay_run(**given)


@program.command("report")
@click.argument("files", metavar="FILE [FILE]", nargs=-1, type=FILE, required=True)
@click.option(
    "-o", "--html", "html_file", metavar="FILE", type=FILE, help="Write a page that plays."
)
@click.option(
    "--movie", "movie_file", metavar="FILE", type=FILE, help="Write a .gif, or .mp4 with ffmpeg."
)
@click.option("--png", "png_file", metavar="FILE", type=FILE, help="Write an image of the panels.")
@click.option("--step", type=Count(0, 10**9), help="Step that --png shows [the last].")
@click.option("--dark", is_flag=True, help="Dark background in movies and images.")
def report_command(**given: Any) -> None:
    """Write a page, a movie or an image of the run FILE.

    The page is one HTML file that needs neither Python nor a network connection. With two FILEs,
    the page or the image compares the runs: it has the curves of both over each other.
    """
    from tinytensor.cli.run_file_commands import report_run

    report_run(**given)


@program.command("ladder", epilog=WITH_A_LADDER)
@click.argument("kernel", type=KERNEL)
@click.option(
    "--size",
    type=Count(1, 10_000),
    help="Rows of matmul [512] or softmax [4000], images of sparse_matmul or conv2d [100].",
)
@click.option(
    "--channels",
    type=Count(1, 512),
    help="Input and output channels of conv2d [6 and 12]. With 16 or more, C uses c.winograd.",
)
@threads_option
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 1000),
    default=1,
    show_default=True,
    help="Time to measure each rung.",
)
@json_option
def ladder_command(**given: Any) -> None:
    """Time KERNEL from its naive loop to the fast version.

    Each rung adds one idea to the rung before it. Only conv2d's c.winograd and c.lanes are
    alternatives: both come from c.direct, and c.threaded chooses one of the three by the sizes. The
    last rung of a backend is the kernel that it uses. Speeds are compared with the measured limit
    of this machine on all threads. The rungs take turns. If other programs used the CPU, the last
    line says NOISY.
    """
    from tinytensor.cli.ladder_command import time_ladder

    time_ladder(**given)


@program.command("explain", epilog=WITH_A_LADDER)
@click.argument("kernel", type=KERNEL)
@click.argument("rung", type=RUNG, required=False)
def explain_command(**given: Any) -> None:
    """Print the source of all rungs of KERNEL, or of one RUNG.

    RUNG is a name such as c.blocked.
    """
    from tinytensor.cli.ladder_command import explain_kernel

    explain_kernel(**given)


@program.command("learn")
@click.argument("names", nargs=-1, type=EXERCISE_OR_FILE)
@click.option("--check", is_flag=True, help="Judge your file, in at most 30 s.")
@click.option("--hint", is_flag=True, help="Print the next hint.")
@click.option("--solution", is_flag=True, help="Print our solution, after a right answer.")
@click.option("--train", is_flag=True, help="Train lesson 1.0 with your own matmul.")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    help="Language of your file [python if the exercise has it, else numba or c].",
)
@click.option("--report", metavar="FILE", help="Write your results, as .json or .html.")
@click.option("--student", metavar="NAME", help="Your name in the report.")
@click.option("--merge", is_flag=True, help="Print the table of a class from .json reports.")
def learn_command(**given: Any) -> None:
    """Write a kernel yourself, and have it judged.

    Without a name, list the exercises and your results. With the name or number of an exercise,
    write a file with an empty function into the current folder; an existing file stays as it is.

    --check runs your file in a separate process: more than 50 drawn shapes, also with 0, NaN and
    infinity, then its speed next to the ladder and to the limits of this machine. --merge takes the
    reports of a class instead of a name: tinytensor learn --merge *.json --report class.html
    """
    from tinytensor.cli.learn_command import learn

    learn(**given)


@program.command("bench")
@click.argument("part", required=False, type=click.Choice(["kernels", "steps", "train"]))
@backends_option
@click.option(
    "--lessons",
    metavar="NUMBERS",
    type=Several(LessonNumber()),
    help="Lessons, such as 1.0,2.1 [all nine; two for train].",
)
@click.option(
    "--threads",
    metavar="COUNTS",
    type=Several(Count(1)),
    help="Numbers of threads, such as 1,2 [1 and all cores; only all cores for train or --quick].",
)
@click.option(
    "--peers",
    metavar="NAMES",
    type=Several(click.STRING),
    is_flag=False,
    flag_value="all",
    help="Also time other libraries: torch,jax, or all installed.",
)
@click.option("--rounds", type=Count(1, 1000), help="Rounds to time [15; 5 for train or --quick].")
@click.option("--quick", is_flag=True, help="Measure steps and kernels for about 45 seconds.")
@click.option(
    "--json", "json_file", metavar="FILE", type=FILE, help="Write the results; - for stdout."
)
@click.option("--html", "html_file", metavar="FILE", type=FILE, help="Write a page with plots.")
@click.option("--readme", metavar="FILE", type=FILE, help="Replace the table of steps in FILE.")
def bench_command(**given: Any) -> None:
    """Time kernels, training steps or whole runs on each backend.

    Without an argument: the machine's limits, training steps, and a selection of kernels.

    Each backend runs in a separate process, bound to the given number of cores, and the processes
    take turns. Results are compared before anything is timed. Times exclude compilation and
    start-up, except for whole runs. If other programs used the CPU, the report says NOISY.
    """
    from tinytensor.cli.bench_command import run_benchmarks

    run_benchmarks(**given)


@program.command("info")
@click.option("--measure", is_flag=True, help="Also measure the machine's limits.")
@click.option("--verbose", is_flag=True, help="Also print a failed compiler's output.")
def info_command(**given: Any) -> None:
    """Print versions, the backends that work here, and the machine.

    The exit status is 2 if the backend in TINYTENSOR_BACKEND doesn't work here.
    """
    from tinytensor.cli.info_command import print_info

    print_info(**given)
