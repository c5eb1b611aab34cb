#!/usr/bin/env bash
# NBD exports on sockets that another process passes (sd_listen_fds(3)): libnbd's tools, a service
# manager's, and what cannot be served; --exit-after-last; --ready-fd.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

main() {
    local tool
    begin_plain
    for tool in nbdinfo nbdcopy qemu-io; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    write_helper
    ADD=(-- "$SLUICE" add --foreground --frontend nbd)
    run_case "nbdinfo" with_servers started_by_nbdinfo
    run_case "nbdcopy" with_servers started_by_nbdcopy
    run_case "libnbd" with_servers started_by_libnbd
    run_case "a service manager" with_servers started_by_systemd
    run_case "several sockets" with_servers on_several_sockets
    run_case "nothing is inherited" with_servers inherits_nothing
    run_case "files beside sockets" with_servers takes_files_and_sockets
    run_case "the last client" with_servers ends_after_the_last_client
    run_case "killed and started again" with_servers starts_again
    run_case "bad sockets" with_servers refuses_bad_sockets
    run_case "ready" with_servers tells_that_it_is_ready
    run_case "nobody is told" with_servers refuses_bad_descriptors
    finish
}

# PASS WHAT... -- COMMAND...: becomes COMMAND, with these descriptors passed to it.
write_helper() {
    PASS=$WORK/pass.py
    cat > "$PASS" << 'PYTHON'
import os, socket, sys
def made(what):
    kind, _, name = what.partition(':')
    if kind == 'file':
        return os.open(name, os.O_RDWR)
    if kind == 'tcp':
        s = socket.socket()
        s.bind(('127.0.0.1', 0))
    else:
        of = socket.SOCK_DGRAM if kind == 'datagram' else socket.SOCK_STREAM
        s = socket.socket(socket.AF_UNIX, of)
        s.bind('\0' + name[1:] if name.startswith('@') else os.path.abspath(name))
    if kind in ('unix', 'tcp'):
        s.listen()
    s.setblocking(False)
    return s.detach()
mark = sys.argv.index('--')
files = [made(what) for what in sys.argv[1:mark]]
moved = [os.dup2(each, 100 + i) for i, each in enumerate(files)]
for i, each in enumerate(moved):
    os.dup2(each, 3 + i)
os.closerange(3 + len(moved), 1000)
os.environ.setdefault('LISTEN_FDS', str(len(moved)))
os.environ.setdefault('LISTEN_PID', str(os.getpid()))
os.environ['LISTEN_FDNAMES'] = 'disk'
os.execvp(sys.argv[mark + 1], sys.argv[mark + 1:])
PYTHON
}

# pass WHAT... -- OPTION...: serves image.raw on these sockets. Sets SERVER and ID.
pass() {
    [ -e image.raw ] || truncate -s 8M image.raw
    python3 "$PASS" "$@" --quiet image.raw < /dev/null > out.txt 2> server.log &
    SERVER=$!
    for _ in {1..400}; do
        if compgen -G "$SLUICE_STATE_DIR/device-*.json" > found.txt; then break; fi
        is_running "$SERVER" || fail "it has ended: $(cat server.log)"
        sleep 0.05
    done
    ID=$(id_of "$(cat found.txt)")
}

# Neither sockets nor records nor processes.
nothing_is_left() {
    same "state files" "$(ls "$SLUICE_STATE_DIR")" ""
}

started_by_nbdinfo() {
    truncate -s 8M image.raw
    same size "$(nbdinfo --size -- [ "$SLUICE" add --foreground --quiet image.raw ])" 8388608
    nbdinfo -- [ "$SLUICE" add --foreground --export disk image.raw --frontend nbd ] \
        > info.txt 2> server.log
    grep -qF 'export="disk"' info.txt
    grep -qF 'is live' server.log
    if grep -qF 'image.raw' info.txt; then fail "the output has more: $(cat info.txt)"; fi
    nothing_is_left
}

started_by_nbdcopy() {
    head -c 5M /dev/urandom > data
    nbdcopy -- [ "$SLUICE" add --foreground data ] - > back 2> server.log
    cmp data back
    truncate -s 5M copy
    nbdcopy -- data [ "$SLUICE" add --foreground --exit-after-last copy ] 2> server.log
    cmp data copy
    nothing_is_left
}

started_by_libnbd() {
    truncate -s 8M image.raw
    cat > check.py << 'PYTHON'
import nbd, sys
h = nbd.NBD()
h.connect_systemd_socket_activation(
    [sys.argv[1], 'add', '--foreground', '--quiet', '--frontend', 'nbd', '-q', '2', 'image.raw'])
h.pwrite(b'x' * 512, 0)
assert h.pread(512, 0) == b'x' * 512
assert h.can_multi_conn()
h.flush()
h.shutdown()
PYTHON
    /usr/bin/python3 check.py "$SLUICE"
    same written "$(head -c 3 image.raw)" xxx
    nothing_is_left
}

started_by_systemd() {
    local manager
    command -v systemd-socket-activate > /dev/null || return 0
    truncate -s 8M image.raw
    systemd-socket-activate --listen="$CASE/sock" -E "SLUICE_STATE_DIR=$SLUICE_STATE_DIR" -- \
        "$SLUICE" add --foreground --frontend nbd "$CASE/image.raw" > out.txt 2> server.log &
    manager=$!
    appears sock
    same size "$(nbdinfo --size "nbd+unix:///?socket=$CASE/sock")" 8388608
    kill -TERM "$manager"  # by then it is the server
    wait "$manager"
    nothing_is_left
}

on_several_sockets() {
    local uri
    pass unix:sock tcp: unix:@sluice-test-$$ "${ADD[@]}" --export disk
    uri=$(field path)
    same URI "$uri" "nbd+unix:///disk?socket=$CASE/sock"
    same size "$(nbdinfo --size "$uri")" 8388608
    /usr/bin/python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("\0" + sys.argv[1])
assert s.recv(8) == b"NBDMAGIC"' "sluice-test-$$"
    "$SLUICE" del -n "$ID"
    wait_for_end "$SERVER"
    [ -S sock ] || fail "the socket file, which is not the server's, has gone"
    same output "$(cat out.txt)" ""
    nothing_is_left
}

# T1.20
inherits_nothing() {
    local keeper listening
    pass unix:sock unix:other "${ADD[@]}"
    keeper=$(pgrep -P "$SERVER")
    if tr '\0' '\n' < "/proc/$keeper/environ" | grep LISTEN_; then fail "the keeper has these"; fi
    listening=$(readlink "/proc/$SERVER/fd/3" "/proc/$SERVER/fd/4")
    readlink "/proc/$keeper/fd/"* > files.txt || true
    if grep -xF "$listening" files.txt; then fail "the keeper has a socket"; fi
    stop_server
    nothing_is_left
}

takes_files_and_sockets() {
    truncate -s 4M other.raw
    printf 'hello' | dd of=other.raw conv=notrunc status=none
    python3 "$PASS" file:other.raw unix:sock -- "$SLUICE" add --foreground --quiet \
        --frontend nbd /dev/fd/3 < /dev/null > out.txt 2> server.log &
    SERVER=$!
    appears sock
    same size "$(nbdinfo --size "nbd+unix:///?socket=$CASE/sock")" 4194304
    stop_server
    nothing_is_left
}

ends_after_the_last_client() {
    pass unix:sock "${ADD[@]}" --exit-after-last -q 2
    cat > clients.py << 'PYTHON'
import nbd, socket, sys
# One that does not finish its handshake is no client.
s = socket.socket(socket.AF_UNIX)
s.connect('sock')
s.close()
clients = [nbd.NBD() for _ in range(5)]
for each in clients:
    each.connect_unix('sock')
while len(clients) > 1:
    clients.pop().shutdown()
    clients[0].pread(512, 0)
# The last one breaks off.
PYTHON
    /usr/bin/python3 clients.py
    wait_for_end "$SERVER"
    wait "$SERVER" || fail "its exit status is $?"
    nothing_is_left
    # And in the background, on a socket of its own.
    "$SLUICE" add --listen unix:own --exit-after-last image.raw > add.txt
    note_server
    nbdinfo --size "nbd+unix:///?socket=$CASE/own" > size.txt
    wait_for_end "$SERVER"
    [ ! -e own ] || fail "the socket was left behind"
    nothing_is_left
    "$SLUICE" events > events.txt
    grep -q 'its last client has gone' events.txt
}

# The record of a killed server does not claim the socket file, and the next server takes its place.
starts_again() {
    pass unix:sock "${ADD[@]}" --name disk
    qemu-io -f raw -c 'write -f -P 7 0 64k' "nbd+unix:///?socket=$CASE/sock" > /dev/null
    kill -KILL "$SERVER"
    wait "$SERVER" 2> /dev/null || true
    rm sock
    python3 "$PASS" unix:sock "${ADD[@]}" --name disk --resume --quiet image.raw \
        < /dev/null > out.txt 2> server.log &
    SERVER=$!
    appears sock
    same size "$(nbdinfo --size "nbd+unix:///?socket=$CASE/sock")" 8388608
    qemu-io -f raw -c 'read -P 7 0 64k' "nbd+unix:///?socket=$CASE/sock" > read.txt
    if grep -q 'failed' read.txt; then fail "$(cat read.txt)"; fi
    # The sockets go to the next server.
    "$SLUICE" upgrade disk > /dev/null
    wait "$SERVER" 2> /dev/null || true
    qemu-io -f raw -c 'read -P 7 0 64k' "nbd+unix:///?socket=$CASE/sock" > read.txt
    if grep -q 'failed' read.txt; then fail "$(cat read.txt)"; fi
    SERVER=$("$SLUICE" list -n disk --json | grep -o '"pid": *[0-9]*' | grep -o '[0-9]*$')
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    refused 'cannot be recovered' "$SLUICE" recover disk
    "$SLUICE" del disk
    [ -S sock ] || fail "the socket file, which was not the server's, has gone"
    nothing_is_left
}

refuses_bad_sockets() {
    truncate -s 8M image.raw
    local add=(-- "$SLUICE" add --foreground --quiet image.raw)
    refused 'leave one of them out' python3 "$PASS" unix:a "${add[@]}" --listen unix:b
    refused 'it serves them with --foreground' \
        python3 "$PASS" unix:c -- "$SLUICE" add --frontend nbd image.raw
    refused 'it is a socket that does not listen' \
        python3 "$PASS" unix:d idle:e "${add[@]}"
    refused 'it is no stream socket' python3 "$PASS" unix:f datagram:g "${add[@]}"
    refused 'it is no socket' python3 "$PASS" unix:h file:image.raw "${add[@]}"
    refused 'needs --listen ADDRESS' python3 "$PASS" "${add[@]}" --frontend nbd
    LISTEN_FDS=5 refused 'LISTEN_FDS is 5, but descriptor 4 is not open' \
        python3 "$PASS" unix:i "${add[@]}"
    LISTEN_FDS=1000 refused 'it must be a number up to 256' python3 "$PASS" unix:j "${add[@]}"
    LISTEN_FDS=-1 refused 'it must be a number up to 256' python3 "$PASS" unix:k "${add[@]}"
    LISTEN_PID=nobody refused 'LISTEN_PID is' python3 "$PASS" unix:l "${add[@]}"
    # Those of another process are not ours.
    LISTEN_PID=1 refused 'needs --listen ADDRESS' \
        python3 "$PASS" unix:m "${add[@]}" --frontend nbd
    nothing_is_left
}

tells_that_it_is_ready() {
    truncate -s 8M image.raw
    mkfifo ready
    # In the background. The reader sees the end although the server lives.
    "$SLUICE" add --listen unix:sock --ready-fd 7 image.raw > add.txt 7> ready &
    read -r URI < ready
    same URI "$URI" "nbd+unix:///?socket=$CASE/sock"
    wait $!
    nbdinfo --size "$URI" > /dev/null
    note_server
    stop_server
    # In the foreground.
    "$SLUICE" add --foreground --quiet --listen unix:sock --ready-fd 7 image.raw \
        > out.txt 2> server.log 7> ready &
    SERVER=$!
    same URI "$(timeout 20 cat ready)" "nbd+unix:///?socket=$CASE/sock"
    nbdinfo --size "$URI" > /dev/null
    stop_server
    # From a file of options, for any front end.
    echo '{"spec": "image.raw", "at": "disk", "frontend": "fuse", "ready_fd": 7}' > config.json
    "$SLUICE" add --config config.json > add.txt 7> path.txt
    same path "$(cat path.txt)" "$CASE/disk"
    note_server
    stop_server
    nothing_is_left
}

# A device that nobody learns of is deleted.
refuses_bad_descriptors() {
    truncate -s 8M image.raw
    local add=("$SLUICE" add --listen unix:sock image.raw)
    refused 'is not open for writing' "${add[@]}" --ready-fd 7
    refused 'is not open for writing' "${add[@]}" --ready-fd 7 7< image.raw
    refused '--ready_fd takes a whole number from 3' "${add[@]}" --ready-fd 1
    refused 'has another purpose' "$SLUICE" add --listen unix:sock --ready-fd 7 /dev/fd/7 \
        7<> image.raw
    refused 'cannot write to --ready_fd 7: No space left' "${add[@]}" --ready-fd 7 7> /dev/full
    refused 'cannot write to --ready_fd 7: No space left' \
        "${add[@]}" --foreground --ready-fd 7 7> /dev/full
    [ ! -e sock ] || fail "a socket was left behind"
    nothing_is_left
}

main
