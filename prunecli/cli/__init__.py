"""The command line: options in, exit codes out. Only this package uses click and rich.

Importing it must stay quick, for `--help`: the commands import whatever needs torch themselves.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from prunecli.cli.call import Call
from prunecli.cli.commands.apply import apply
from prunecli.cli.commands.eval import evaluate
from prunecli.cli.commands.finetune import finetune
from prunecli.cli.commands.inspect import inspect
from prunecli.cli.commands.list import list_names
from prunecli.cli.commands.mask import mask
from prunecli.cli.commands.recipe import recipe
from prunecli.cli.commands.report import report
from prunecli.cli.commands.run import run
from prunecli.cli.commands.schema import schema
from prunecli.cli.commands.score import score
from prunecli.cli.commands.train import train
from prunecli.cli.commands.verify import verify
from prunecli.cli.debug import unforeseen
from prunecli.cli.failures import Interrupted, Killed, fail, failure
from prunecli.cli.groups import Group
from prunecli.cli.streams import open_streams
from prunecli.cli.version import version_option
from prunecli.errors import BadUsage, PruneError
from prunecli.plugins.trust import forget
from prunecli.runtime.interrupts import Terminated
from prunecli.runtime.shortage import raise_shortage


@click.group(cls=Group)
@version_option
def cli() -> None:
    """Prune neural networks over safetensors checkpoints.

    Every command reads and writes safetensors or JSON files and prints the path of its output, so
    commands combine into pipelines:

    \b
      prunecli train --model cnn --dataset digits -o dense.safetensors
      prunecli mask $(prunecli score --method lamp dense.safetensors) --density 0.1 -o m.safetensors
      prunecli finetune dense.safetensors --mask m.safetensors -o sparse.safetensors
      prunecli eval sparse.safetensors

    `prunecli run RECIPE` runs a whole study from a YAML file. The environment variables
    PRUNECLI_DATA_DIR, PRUNECLI_DOWNLOAD, PRUNECLI_DEVICE, PRUNECLI_PRECISION, PRUNECLI_QUIET,
    PRUNECLI_VERBOSE and PRUNECLI_TRUST set the options of the same names, for every job of a study
    too. PRUNECLI_CACHE sets the folder for decoded data, and PRUNECLI_DEBUG=1 shows tracebacks.
    """


SPINS = "1000"
"""OpenMP's own count when there are more threads than cores."""
COMPLETES = {"_PRUNECLI_COMPLETE"}
COMMANDS = (
    *(train, score, mask, apply, finetune, evaluate, report),
    *(run, recipe, list_names, inspect, verify, schema),
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command line, and end the process with its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    open_streams()
    _wait_briefly()
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader is gone, as in `| head -1`. Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # In a training on several processes, Gloo's threads can abort a process that shuts down.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _wait_briefly() -> None:
    """Make waiting OpenMP threads release their core soon, unless the environment sets it.

    By default they spin for milliseconds, many times a step. On a machine with other work, the
    thread that they wait for can need that very core: a training step then takes ten times as long.
    OpenMP reads this when torch is loaded.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def _run() -> int:
    stdout = sys.stdout
    forget()
    call = Call(sys.argv[1:])
    try:
        result = cli.main(standalone_mode=False, obj=call)
        return result if isinstance(result, int) else 0
    except PruneError as error:
        return fail(call, error)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        help = f"see '{error.ctx.command_path} --help'"
        call.answer(failure(BadUsage("no command is given"), help))
        return BadUsage.exit_code
    except click.UsageError as error:
        help = f"see '{error.ctx.command_path} --help'" if error.ctx else ""
        return fail(call, BadUsage(" ".join(error.format_message().split())), help)
    except click.ClickException as error:
        return fail(call, BadUsage(error.format_message()))
    except (KeyboardInterrupt, click.Abort):
        return fail(call, Interrupted("interrupted"))
    except BrokenPipeError:
        raise
    except Terminated:
        call.answer(failure(Killed("terminated")))
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and COMPLETES & os.environ.keys():
            return int(error.code or 0)  # a shell asked for completions, and click has answered
        # If the reader is gone, click replaces standard output and exits.
        if isinstance(error, SystemExit) and sys.stdout is not stdout:
            raise BrokenPipeError from None
        try:
            raise_shortage(error)
        except PruneError as shortage:
            return fail(call, shortage)
        return fail(call, PruneError(unforeseen(error)))


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(128 + number)
