#!/bin/bash
# Clients of a control socket that send nothing or half a request, do not read, or are very many, do
# not delay other clients.
# shellcheck source=tests/interop/lib_fuse.sh
. "$SLUICE_SOURCE_DIR/tests/interop/lib_fuse.sh"

main() {
    begin_plain
    run_case "silent clients" beside 100 silent
    run_case "half a request each" beside 100 half
    run_case "clients that do not listen" beside 100 deaf
    run_case "1000 connections at once" beside 1000 silent
    run_case "10000 connections, one after the other" beside 10000 passing
    finish
}

# beside COUNT KIND: with COUNT clients of this kind `stat` is answered within two seconds.
beside() {
    serve_file copy
    python3 - "$SLUICE" "$SLUICE_STATE_DIR/device-$ID.sock" "$ID" "$1" "$2" <<'END'
import socket, subprocess, sys, threading, time

program, path, number, count, kind = sys.argv[1:]
SAYS = {"silent": b"", "passing": b"", "half": b'{"command":',
        "deaf": b'{"command":"stat"}\n' * 3000}
STAT = [program, "stat", "-n", number]
clients = []

def come(how_many):
    for _ in range(how_many):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        try:
            client.connect(path)
            client.setblocking(False)
            client.send(SAYS[kind])
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        if kind == "passing":
            client.close()
        else:
            clients.append(client)

threads = [threading.Thread(target=come, args=(int(count) // 20,)) for _ in range(20)]
for each in threads:
    each.start()
slowest = 0
while True:
    going_on = any(each.is_alive() for each in threads)
    begun = time.monotonic()
    subprocess.run(STAT, check=True, stdout=subprocess.DEVNULL, timeout=20)
    slowest = max(slowest, time.monotonic() - begun)
    if not going_on:
        break
print(f"# the slowest stat took {slowest:.3f} s")
assert slowest < 2, "stat was kept waiting"
END
    stop_serving
}

main
