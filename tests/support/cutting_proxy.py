#!/usr/bin/env python3
"""Forwards a unix socket to another and cuts each connection after some random number of bytes.

    cutting_proxy.py LISTEN SERVER SEED

Prints "ready" once it listens. Each connection lives for 0 to 4 MiB of either direction.
"""
import random
import socket
import sys
import threading

LONGEST = 4 << 20


def connect(path):
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    return server


def forward(source, sink, left, both):
    try:
        while left > 0:
            data = source.recv(min(65536, left))
            if not data:
                break
            sink.sendall(data)
            left -= len(data)
    except OSError:
        pass
    for each in both:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    listen, server, seed = sys.argv[1:]
    random.seed(int(seed))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(listen)
    listener.listen(16)
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        try:
            other = connect(server)
        except OSError:
            client.close()
            continue
        both = (client, other)
        for source, sink in (both, both[::-1]):
            threading.Thread(target=forward, daemon=True,
                             args=(source, sink, random.randrange(LONGEST), both)).start()


main()
