"""`prunecli` and `python` for shell scripts that load torch once: each command is a fork.

`with warm(folder)` puts both into a folder for PATH. `python tests/warm.py SOCKET` is the process
that they ask to fork; a process for each command would spend its time on importing torch.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

TOOL = """#!{python} -IS
import json, os, signal, socket, sys

with socket.socket(socket.AF_UNIX) as link:
    link.connect({address!r})
    asked = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(link, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    link.sendall(asked)
    answers = link.makefile()
    process = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(process, number))
    sys.exit(int(answers.readline()))
"""


@contextmanager
def warm(folder: Path):
    """The folder to put into PATH."""
    address = str(folder / "socket")
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        for name in ("prunecli", "python"):
            tool = folder / name
            tool.write_text(TOOL.format(python=sys.executable, address=address, name=name))
            tool.chmod(0o755)
        assert server.stdout.readline() == b"ready\n"
        yield folder
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def serve(address: str) -> None:
    """Fork for each command. In the fork, this returns what it is to do."""
    for module in ("prunecli.api", "prunecli.cli", "prunecli.steps.train", "torch._dynamo"):
        import_module(module)  # torch.optim asks for the last one

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        listening.settimeout(1)
        print("ready", flush=True)
        parent = os.getppid()
        while os.getppid() == parent:
            try:
                link, _ = listening.accept()
            except TimeoutError:
                continue
            if not os.fork():
                break
            link.close()
        else:  # nobody is there who would end this
            sys.exit()
    link.setblocking(True)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(link, 8, 3)
    name, arguments, folder, environment = json.loads(
        link.makefile("rb").read(int.from_bytes(length, "big"))
    )
    if process := os.fork():
        link.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder if name == "python" else sys.path[0]
    sys.path[1:1] = environment.get("PYTHONPATH", "").split(":")
    sys.argv = [name, *arguments]


if __name__ == "__main__":
    serve(sys.argv[1])
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
    if sys.argv[0] == "prunecli":
        import prunecli.cli

        prunecli.cli.main()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
