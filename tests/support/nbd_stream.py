#!/usr/bin/python3
"""Clients of an NBD export that live on while its servers change.

  nbd_stream.py half SOCKET       sends half a request; the rest after a line from stdin
  nbd_stream.py stuck SOCKET      sends a part of a WRITE; ends when it is disconnected
  nbd_stream.py idle SOCKET N     N connections, each with a request before and after the line
  nbd_stream.py load SOCKET N     N connections, random reads and writes, compared with a model

Each prints "ready" once it is connected, and "done" at its end; `idle` and `load` go on until stdin
has a line or ends.
"""
import random
import select
import socket
import struct
import sys
import threading


class Client:
    """The simplest one: one export, `disk`, and simple replies."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        magic, option, _ = struct.unpack(">8s8sH", self.receive(18))
        assert (magic, option) == (b"NBDMAGIC", b"IHAVEOPT")
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 4) + b"disk")
        self.size, _ = struct.unpack(">QH", self.receive(10))
        self.cookie = 0

    def receive(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise EOFError("the server has closed the connection")
            data += more
        return data

    def request(self, command, offset, length, payload=b""):
        self.cookie += 1
        head = struct.pack(">IHHQQI", 0x25609513, 0, command, self.cookie, offset, length)
        return head + payload

    def reply(self, length=0):
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == 0x67446698, f"no reply: {magic:x}"
        assert error == 0, f"error {error}"
        assert cookie == self.cookie, f"reply to {cookie}, not {self.cookie}"
        return self.receive(length)

    def read(self, offset, length):
        self.socket.sendall(self.request(0, offset, length))
        return self.reply(length)

    def write(self, offset, data):
        self.socket.sendall(self.request(1, offset, len(data), data))
        self.reply()


def say(word):
    print(word, flush=True)


def half(path):
    client = Client(path)
    for cut in range(1, 28):
        request = client.request(0, 4096, 512)
        client.socket.sendall(request[:cut])
        say("ready")
        if not sys.stdin.readline():
            break
        client.socket.sendall(request[cut:])
        client.reply(512)


def stuck(path):
    client = Client(path)
    client.socket.sendall(client.request(1, 0, 65536, b"x" * 1000))
    say("ready")
    try:
        client.receive(1)
    except (EOFError, ConnectionError):
        return
    raise AssertionError("it was answered")


def idle(path, count):
    clients = [Client(path) for _ in range(count)]
    for client in clients:
        client.read(0, 512)
    say("ready")
    while sys.stdin.readline():
        for client in clients:
            client.read(client.size - 512, 512)
        say("alive")


def load(path, count):
    """Each connection has a part of the export."""
    over = threading.Event()
    failures = []

    def run(number):
        try:
            client = Client(path)
            part = client.size // count
            chance = random.Random(number)
            model = bytearray(client.read(number * part, part))
            while not over.is_set():
                length = chance.randrange(1, chance.choice((600, 9000, 200000)))
                offset = chance.randrange(0, part - length)
                if chance.randrange(2):
                    data = chance.randbytes(length)
                    client.write(number * part + offset, data)
                    model[offset:offset + length] = data
                else:
                    data = client.read(number * part + offset, length)
                    assert data == model[offset:offset + length], f"wrong bytes at {offset}"
            assert client.read(number * part, part) == model, "wrong bytes at the end"
        except BaseException as failure:  # pylint: disable=broad-except
            failures.append(failure)
            over.set()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    say("ready")
    while not over.is_set() and not select.select([sys.stdin], [], [], 0.1)[0]:
        pass
    over.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def main():
    what, path, *count = sys.argv[1:]
    {"half": half, "stuck": stuck, "idle": idle, "load": load}[what](path, *map(int, count))
    say("done")


main()
