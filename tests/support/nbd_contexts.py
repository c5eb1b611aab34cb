"""Asks an NBD export for several contexts of block status with extended headers, byte by byte.

  nbd_contexts.py SOCKET CONTEXT...     the export has all of these, and 1 MiB or more

libnbd knows extended headers only in versions that are newer than some distributions'.
"""
import socket
import struct
import sys

OPTION, REPLY = 0x49484156454F5054, 0x3E889045565A9
GO, SET_CONTEXT, EXTENDED = 7, 10, 11
ACK, META_CONTEXT = 1, 4
REQUEST, CHUNK = 0x21E41C71, 0x6E8A278C
BLOCK_STATUS, PAYLOAD_LENGTH, REQ_ONE = 7, 1 << 5, 1 << 3
STATUS_EXTENDED, ERROR = 6, 1 << 15
MIB = 1 << 20


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.receive(18)
        self.socket.sendall(struct.pack(">I", 3))

    def receive(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            assert part, "the server has closed the connection"
            data += part
        return data

    def option(self, number, data=b""):
        """The replies up to the last one: types and data."""
        self.socket.sendall(struct.pack(">QII", OPTION, number, len(data)) + data)
        replies = []
        while not replies or replies[-1][0] not in (ACK,):
            magic, _, kind, length = struct.unpack(">QIII", self.receive(20))
            assert magic == REPLY and not kind >> 31, (hex(magic), hex(kind))
            replies.append((kind, self.receive(length)))
        return replies

    def status(self, length, flags=0, wanted=None):
        """The runs of each context by its number, in the order of the chunks; or an error."""
        payload = b""
        if wanted is not None:
            payload = struct.pack(f">Q{len(wanted)}I", length, *wanted)
            flags |= PAYLOAD_LENGTH
        self.socket.sendall(struct.pack(">IHHQQQ", REQUEST, flags, BLOCK_STATUS, 99, 0,
                                        len(payload) or length) + payload)
        found = {}
        while True:
            magic, flags, kind, cookie, offset, length = struct.unpack(">IHHQQQ", self.receive(32))
            assert magic == CHUNK and cookie == 99 and offset == 0
            data = self.receive(length)
            if kind & ERROR:
                return struct.unpack_from(">I", data)[0]
            assert kind == STATUS_EXTENDED, kind
            number, count = struct.unpack_from(">II", data)
            assert length == 8 + 16 * count and number not in found
            found[number] = list(struct.iter_unpack(">QQ", data[8:]))
            if flags & 1:
                return found


def main(path, *contexts):
    client = Client(path)
    client.option(EXTENDED)
    queries = b"".join(struct.pack(">I", len(each)) + each.encode() for each in contexts)
    replies = client.option(SET_CONTEXT, struct.pack(">II", 0, len(contexts)) + queries)
    numbers = {data[4:].decode(): struct.unpack_from(">I", data)[0]
               for kind, data in replies if kind == META_CONTEXT}
    assert sorted(numbers) == sorted(contexts), numbers
    client.option(GO, struct.pack(">IH", 0, 0))
    both = client.status(MIB)
    assert sorted(both) == sorted(numbers.values()), both
    for runs in both.values():
        assert runs and all(length for length, _ in runs)
        assert sum(length for length, _ in runs[:-1]) < MIB
    for number in numbers.values():
        assert client.status(MIB, wanted=[number]) == {number: both[number]}
        one = client.status(MIB, REQ_ONE, [number])
        assert len(one[number]) == 1 and one[number][0][0] <= MIB, one
    assert client.status(MIB, wanted=list(numbers.values())) == both
    first = next(iter(numbers.values()))
    for bad in [[], [first, first], [0xABCDEF], [first, 0xABCDEF]]:
        assert client.status(MIB, wanted=bad) == 22, bad


if __name__ == "__main__":
    main(*sys.argv[1:])
