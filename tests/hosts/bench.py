"""`inv bench`: how long a run takes, compared with the least that any tool could take.

"probe" is one shell script that reads the whole state over one ``ssh``: the lower bound of a run
that changes nothing. "script" is the same job as one shell script over one ``ssh``: the lower bound
of a fresh host. Take the
ratios, not the seconds.
"""

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import websocket
from fabric import Connection

from fabfile.kit.plan import Plan, Section
from fabfile.kit.quote import sh
from fabfile.tasks.presets import full_setup

from . import lab
from .fixtures.acme import free_ports, wait_for
from .visitor import PASSWORD, Visitor

FAB = Path(sys.executable).with_name("fab")
ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
import contextlib, socket
listener = socket.create_server(("127.0.0.1", 9000))
while True:
    with contextlib.suppress(OSError), listener.accept()[0] as line:
        line.sendall(bytes(10**8))
"""


def main(rounds=7, many=(1, 4, 8), suite="bookworm"):
    """Measure a fresh host, a converged one (near and 100 ms away) and several; print tables."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            bench.fresh(suite)
            bench.no_op(rounds, suite)
            bench.side_by_side(rounds, many, suite)
            bench.tunnels(rounds, suite)
        finally:
            bench.close()


class Bench:
    """The hosts of one benchmark, and a fresh home of an operator."""

    def __init__(self, folder):
        self.home = folder
        self.env = os.environ | {
            "HOME": str(folder),
            "FABRIC_REMOTE_JUPYTER_PYTHON_DISTRIBUTION": "venv",
        }
        self.hosts = []
        self.layers = []

    def up(self, suite, lower=None):
        """Boot a host for the length of the benchmark."""
        self.hosts.append(
            lab.up(f"bench-{os.getpid()}-{len(self.hosts)}", suite, lower=lower, owner=lab.me())
        )
        return self.hosts[-1]

    def close(self):
        """Remove the booted hosts and the kept layers."""
        for host in self.hosts:
            host.down()
        for layer in self.layers:
            lab.drop(layer)

    def fresh(self, suite):
        """Time the script and full-setup, each on a fresh host with sshd only."""
        script = (Path(__file__).parent / "fresh.sh").read_text()
        seconds = {}
        for name in ("script", "full-setup"):
            host = self.up(suite)
            words = self.ssh(host, "sh -s") if name == "script" else self.fab(host)
            seconds[name] = clock(words, self.env, input=script if name == "script" else None)
            host.down()
            self.hosts.remove(host)
        table(
            "a fresh host",
            ["", "s", "x script"],
            [[name, s, s / seconds["script"]] for name, s in seconds.items()],
        )

    def converged(self, suite):
        """Return the name of a layer that holds a converged host."""
        if not self.layers:
            host = self.up(suite)
            clock(self.fab(host), self.env)
            self.layers.append(f"bench-{os.getpid()}")
            host.keep(self.layers[0])
            self.hosts.remove(host)
        return self.layers[0]

    def no_op(self, rounds, suite):
        """Time ssh alone, the probe and full-setup in turns on a converged host."""
        host = self.up(suite, self.converged(suite))
        probe = whole_probe(host)
        env = self.env | {"FABRIC_REMOTE_JUPYTER_TLS_DOMAINS": host.address}
        clock(self.fab(host), env)  # the clone has another address than the host it was made of
        for title, delay in (("near", 0), ("100 ms away", 0.05)):
            with Distance(host.address, delay) as port:
                runs = {
                    "ssh HOST true": (self.ssh(host, "true", port), None),
                    "probe": (self.ssh(host, "sh -s", port), probe),
                    "full-setup": (self.fab(host, port=port), None),
                }
                seconds = {name: [] for name in runs}
                for _ in range(rounds):
                    for name, (words, text) in runs.items():
                        seconds[name].append(clock(words, env, input=text))
            middle = {name: statistics.median(values) for name, values in seconds.items()}
            rows = [[name, value, value / middle["probe"]] for name, value in middle.items()]
            table(f"no change, one host, {title}", ["", "s", "x probe"], rows)

    def side_by_side(self, rounds, many, suite):
        """Time parallel probes and one full-setup on several converged hosts."""
        hosts = [self.up(suite, self.converged(suite)) for _ in range(max(many))]
        clock(self.fab(*hosts), self.env)
        probe = whole_probe(hosts[0])
        rows = []
        for number in many:
            some = hosts[:number]
            probes, runs, cpu = [], [], []
            for _ in range(rounds):
                probes.append(
                    clock_all([self.ssh(host, "sh -s") for host in some], self.env, probe)
                )
                before = os.times()
                runs.append(clock(self.fab(*some), self.env))
                after = os.times()
                cpu.append(
                    after.children_user
                    - before.children_user
                    + after.children_system
                    - before.children_system
                )
            rows.append([number, *(statistics.median(values) for values in (probes, runs, cpu))])
        table(
            "no change, several hosts",
            ["hosts", "parallel probes s", "full-setup s", "our CPU s"],
            rows,
        )

    def tunnels(self, rounds, suite):
        """Time 100 MB and 1,000 websocket messages through each engine of a tunnel."""
        host = self.up(suite, self.converged(suite))
        env = self.env | {
            "JUPYTER_PASSWORD": PASSWORD,
            "FABRIC_REMOTE_JUPYTER_JUPYTER_ACCESS": "tunnel",
        }
        clock([*self.fab(host)[:-1], "configure-jupyter"], env)
        host.ssh(sh("systemd-run -q --unit=bench-source -p Type=exec python3 -c {}", SOURCE))
        for title, delay in (("near", 0), ("100 ms away", 0.05)):
            rows = []
            with Distance(host.address, delay) as port:
                for name, engine in (
                    ("ssh -N -L", self.openssh),
                    ("Fabric's forward_local", self.fabric),
                ):
                    with engine(host, port, 9000) as local:
                        rates = [100 / download(local) for _ in range(1 if delay else rounds)]
                    with engine(host, port, 8888) as local:
                        seconds = exchange(local, 100 if delay else 1000)
                    rows.append([name, statistics.median(rates), seconds * (10 if delay else 1)])
            table(f"a tunnel, {title}", ["", "MB/s", "s for 1,000 messages"], rows)

    @contextlib.contextmanager
    def openssh(self, host, port, to):
        """Open a tunnel to port *to* of the host by OpenSSH; yield the local port."""
        words, [local] = self.ssh(host, "", port)[:-1], free_ports(1)
        words[1:1] = ["-N", "-L", f"127.0.0.1:{local}:127.0.0.1:{to}"]
        with ended(subprocess.Popen(words)):
            wait_for("127.0.0.1", local)
            yield local

    @contextlib.contextmanager
    def fabric(self, host, port, to):
        """Open a tunnel to port *to* of the host by Fabric; yield the local port."""
        [local] = free_ports(1)
        address = "127.0.0.1" if port != 22 else host.address
        program = """if True:
            import sys, time
            from fabric import Connection
            from fabfile.kit.connect import connect
            host, port, key, local, to = sys.argv[1:]
            c = Connection(host, user="root", port=int(port), connect_kwargs={"key_filename": key})
            connect(c)
            with c.forward_local(int(local), int(to), "127.0.0.1", "127.0.0.1"):
                time.sleep(3600)
        """
        words = [
            sys.executable,
            "-c",
            program,
            address,
            str(port),
            str(host.key),
            str(local),
            str(to),
        ]
        with ended(subprocess.Popen(words, env=self.env, cwd=ROOT)):
            wait_for("127.0.0.1", local)
            yield local

    def fab(self, *hosts, port=22):
        """Return the words of a command line that runs full-setup on *hosts*."""
        names = ",".join(
            f"root@127.0.0.1:{port}" if port != 22 else f"root@{host.address}" for host in hosts
        )
        return [FAB, "-r", ROOT, "-H", names, "-i", hosts[0].key, "full-setup"]

    def ssh(self, host, command, port=22):
        """Return the words that run *command* by OpenSSH."""
        options = [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            f"UserKnownHostsFile={self.home}/hosts",
            "-o",
            "LogLevel=ERROR",
        ]
        address = "127.0.0.1" if port != 22 else host.address
        return [
            "ssh",
            "-F",
            "none",
            *options,
            "-i",
            host.key,
            "-p",
            str(port),
            f"root@{address}",
            command,
        ]


def whole_probe(host):
    """Return one script of all probes of full-setup on *host*."""
    parts = full_setup.body(Connection(host.address, user="root"), distribution="venv")
    body = [part for part in parts if not isinstance(part, Section)]
    return "\n".join(f"({item.resource.probe()}\n)" for item in Plan(None, body, None).items)


@contextlib.contextmanager
def ended(process):
    """Kill *process* after the block."""
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def download(port):
    """Return the seconds that 100 MB take."""
    started, left = time.monotonic(), 10**8
    with socket.create_connection(("127.0.0.1", port)) as line:
        while left:
            got = len(line.recv(1 << 16))
            if not got:
                raise RuntimeError("the tunnel ends early")
            left -= got
    return time.monotonic() - started


def exchange(port, number):
    """Return the seconds that *number* messages to Jupyter take, one after another."""
    visitor = Visitor(f"localhost:{port}")
    assert visitor.log_in(PASSWORD) == 302
    with contextlib.closing(visitor.websocket("/api/events/subscribe")) as line:
        line.settimeout(30)
        started = time.monotonic()
        for _ in range(number):
            line.ping("x" * 100)
            while line.recv_data_frame(control_frame=True)[0] != websocket.ABNF.OPCODE_PONG:
                pass
        return time.monotonic() - started


def clock(words, env, input=None):
    """Return the seconds that a command takes; raise if it fails."""
    started = time.monotonic()
    done = subprocess.run(words, env=env, input=input, text=True, capture_output=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.monotonic() - started


def clock_all(commands, env, input):
    """Return the seconds that several commands take at once."""
    started = time.monotonic()
    threads = [threading.Thread(target=clock, args=(words, env, input)) for words in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - started


class Distance:
    """Forward a local port to port 22 of *address*, *delay* seconds later in each direction."""

    def __init__(self, address, delay):
        self.address, self.delay = address, delay
        self.loop = asyncio.new_event_loop()

    def __enter__(self):
        if not self.delay:
            return 22
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        serve = asyncio.start_server(self.connect, "127.0.0.1", 0)
        self.server = asyncio.run_coroutine_threadsafe(serve, self.loop).result()
        return self.server.sockets[0].getsockname()[1]

    def __exit__(self, *_):
        if self.delay:
            asyncio.run_coroutine_threadsafe(self.end(), self.loop).result()
            self.loop.call_soon_threadsafe(self.loop.stop)

    async def end(self):
        self.server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def connect(self, reader, writer):
        there, back = await asyncio.open_connection(self.address, 22)
        # A TCP connection of the real length would have taken one way there and back.
        await asyncio.sleep(2 * self.delay)
        with contextlib.suppress(ConnectionError):  # one end may go first
            await asyncio.gather(self.carry(reader, back), self.carry(there, writer))

    async def carry(self, reader, writer):
        while data := await reader.read(1 << 16):
            self.loop.call_later(self.delay, writer.write, data)
        self.loop.call_later(self.delay, writer.close)


def table(title, head, rows):
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(
            "| "
            + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row)
            + " |",
            flush=True,
        )
