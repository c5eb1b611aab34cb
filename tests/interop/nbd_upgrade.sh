#!/usr/bin/env bash
# Servers of an NBD export change while clients are connected: they notice nothing. Those whom the
# next server cannot have are disconnected; if an upgrade fails, the old server goes on with all.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

main() {
    local tool
    begin_plain
    for tool in nbdinfo nbdcopy qemu-img qemu-io fio openssl; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    run_case "fio" with_servers under_fio
    run_case "streams" with_servers under_streams
    run_case "copies" with_servers under_copies
    run_case "libnbd, new size" with_servers grows
    run_case "options" with_servers keeps_its_options
    run_case "handshakes" with_servers in_handshakes
    run_case "stuck client" with_servers stuck_client
    run_case "TLS" with_servers under_tls
    run_case "many idle connections" with_servers many_idle
    run_case "successor dies at each step" with_servers successor_dies
    run_case "old server dies at the end" with_servers old_dies
    run_case "both die" with_servers both_die
    finish
}

# serve [OPTION...]: image.raw on the socket `sock`. Sets URI, ID and SERVER.
serve() {
    [ -e image.raw ] || truncate -s 64M image.raw
    "$SLUICE" add --frontend nbd --listen unix:sock --export disk "$@" image.raw > add.txt
    URI="nbd+unix:///disk?socket=$CASE/sock"
    note_added
}

upgrade() {
    timeout 60 "$SLUICE" upgrade -n "$ID" > upgrade.txt
    SERVER=$(field pid)
}

upgrade_often() {
    local before
    for _ in {1..10}; do
        before=$SERVER
        upgrade
        [ "$SERVER" != "$before" ] || fail "the server is still $before"
        sleep 0.2
    done
}

# stream NAME WHAT [COUNT]: a client of tests/support/nbd_stream.py; `tell NAME` writes it a line.
stream() {
    mkfifo "$1.in"
    /usr/bin/python3 "$SLUICE_SOURCE_DIR/tests/support/nbd_stream.py" "$2" sock "${@:3}" \
        < "$1.in" > "$1.out" 2> "$1.log" &
    eval "$1_pid=$!"
    exec {STREAM}> "$1.in"
    eval "$1_in=$STREAM"
    says "$1" ready 1
}

tell() {
    local end=$1_in
    echo >&"${!end}"
}

# says NAME WORD COUNT: waits until it has said the word so often.
says() {
    for _ in {1..600}; do
        [ "$(grep -c "$2" "$1.out" || true)" -lt "$3" ] || return 0
        sleep 0.05
    done
    fail "$1 does not say $2: $(cat "$1.log")"
}

# ends_well NAME: it has come to its end without a complaint.
ends_well() {
    local pid=$1_pid end=$1_in
    exec {STREAM}>&- || true
    eval "exec ${!end}>&-" || true
    wait "${!pid}" || fail "$1: $(cat "$1.log")"
}

under_fio() {
    serve --queues 2
    fio --name=verify --ioengine=nbd --uri="$URI" --rw=randrw --bsrange=512-128k --size=16M \
        --numjobs=3 --offset_increment=20M --iodepth=16 --verify=crc32c --verify_fatal=1 \
        --rate=1m --group_reporting --output=fio.log &
    local load=$!
    upgrade_often
    kill -0 $load 2> /dev/null || fail "fio has ended early: $(cat fio.log)"
    wait $load || fail "$(cat fio.log)"
    stop_server
    [ ! -e sock ] || fail "the socket is still there"
}

# Every cut of a request, under load.
under_streams() {
    local i
    serve --queues 2
    stream load load 4
    stream half half
    for i in {1..27}; do
        says half ready "$i"
        upgrade
        tell half
    done
    ends_well half
    tell load
    ends_well load
    stop_server
}

under_copies() {
    serve
    head -c 64M /dev/urandom > data
    (while [ ! -e over ]; do upgrade && sleep 0.1; done) &
    local upgrades=$!
    for _ in {1..5}; do
        nbdcopy data "$URI"
        nbdcopy "$URI" back
        cmp data back
        qemu-img convert -n -f raw -O raw data "$URI"
        qemu-img compare -f raw -F raw data "$URI" > qemu-img.txt
        qemu-io -f raw -c 'write -P 7 1M 1M' -c 'read -P 7 1M 1M' "$URI" > qemu-io.txt
        head -c 64M /dev/urandom > data
    done
    touch over
    wait $upgrades
    SERVER=$(field pid)
    stop_server
}

grows() {
    serve
    cat > grow.py << 'END'
import nbd, subprocess, sys
uri, sluice, device = sys.argv[1:]
old = nbd.NBD()
old.connect_uri(uri)
old.pwrite(b"x" * 512, 512)
def run(*command):
    subprocess.run([sluice, *command], check=True, stdout=subprocess.DEVNULL)
run("upgrade", "-n", device)
assert old.pread(512, 512) == b"x" * 512
with open("image.raw", "r+b") as image:
    image.truncate(128 << 20)
run("resize", "-n", device)
run("upgrade", "-n", device)
new = nbd.NBD()
new.connect_uri(uri)
assert (old.get_size(), new.get_size()) == (64 << 20, 128 << 20), new.get_size()
new.pwrite(b"y" * 512, 100 << 20)
old.flush()
assert old.pread(512, 512) == b"x" * 512
END
    /usr/bin/python3 grow.py "$URI" "$SLUICE" "$ID"
    SERVER=$(field pid)
    stop_server
}

keeps_its_options() {
    local port
    truncate -s 64M image.raw
    "$SLUICE" add --frontend nbd --listen tcp:127.0.0.1:0 --listen unix:sock --export disk \
        --description 'of a guest' --shared 1 --allow 127.0.0.1 --read_only image.raw > add.txt
    note_added
    read -r URI < add.txt
    port=${URI#*127.0.0.1:}
    upgrade
    same URI "$(head -n 1 upgrade.txt)" "$URI"
    upgrade
    nbdinfo "nbd://127.0.0.1:${port%/*}/disk" > info.txt
    grep -q 'description: of a guest' info.txt || fail "$(cat info.txt)"
    grep -q 'is_read_only: true' info.txt || fail "$(cat info.txt)"
    same mode "$(stat -c %a sock)" 600
    stream idle idle 1
    upgrade
    refused 'disconnected' nbdinfo "$URI"
    tell idle
    says idle alive 1
    ends_well idle
    rm sock
    : > sock
    stop_server
    [ -f sock ] || fail "a file of another was removed"
}

# Clients that have only connected, or are between two options: nobody waits for them.
in_handshakes() {
    serve
    cat > check.py << 'PYTHON'
import nbd, socket, subprocess, sys, time

silent = socket.socket(socket.AF_UNIX)
silent.connect('sock')
negotiating = nbd.NBD()
negotiating.set_opt_mode(True)
negotiating.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
negotiating.connect_uri(sys.argv[1])
for _ in range(2):
    begun = time.monotonic()
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
    assert time.monotonic() - begun < 2.5, 'the upgrade has waited'
    assert negotiating.opt_list(lambda name, text: None) == 1
negotiating.opt_go()
assert negotiating.get_size() == 64 << 20
assert negotiating.get_structured_replies_negotiated()
assert negotiating.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
assert negotiating.pread(512, 0) == bytes(512)
assert silent.recv(100) == b'NBDMAGICIHAVEOPT\0\x03'
PYTHON
    /usr/bin/python3 check.py "$URI" "$SLUICE" upgrade -n "$ID" || fail 'a handshake did not go on'
    SERVER=$(field pid)
    stop_server
}

stuck_client() {
    serve
    stream idle idle 1
    stream stuck stuck
    upgrade
    ends_well stuck
    tell idle
    says idle alive 1
    ends_well idle
    stop_server
}

under_tls() {
    printf 'me:%s\n' "$(openssl rand -hex 32)" > keys
    truncate -s 64M image.raw
    "$SLUICE" add --frontend nbd --listen unix:sock --listen tcp:localhost:10931 --export disk \
        --tls on --tls-psk "$PWD/keys" image.raw > add.txt
    note_added
    cat > tls.py << 'END'
import nbd, subprocess, sys
sluice, device = sys.argv[1:]
def connect():
    one = nbd.NBD()
    one.set_export_name("disk")
    one.set_tls(nbd.TLS_REQUIRE)
    one.set_tls_username("me")
    one.set_tls_psk_file("keys")
    one.connect_tcp("localhost", "10931")
    return one
plain = nbd.NBD()
plain.connect_uri("nbd+unix:///disk?socket=sock")
one = connect()
one.pwrite(b"x" * 512, 0)
subprocess.run([sluice, "upgrade", "-n", device], check=True, stdout=subprocess.DEVNULL)
try:
    one.pread(512, 0)
    raise AssertionError("it is still connected")
except nbd.Error:
    pass
assert plain.pread(512, 0) == b"x" * 512
assert connect().pread(512, 0) == b"x" * 512
END
    /usr/bin/python3 tls.py "$SLUICE" "$ID"
    SERVER=$(field pid)
    stop_server
}

many_idle() {
    serve --queues 2
    stream idle idle 300
    upgrade
    tell idle
    says idle alive 1
    upgrade
    tell idle
    says idle alive 2
    ends_well idle
    stop_server
}

# The old server goes on with every connection; if it has ended already, a new one is added.
successor_dies() {
    local step
    serve
    SLUICE_TEST_STEP=log:$CASE/steps.txt upgrade
    awk '!seen[$0]++' steps.txt > steps
    [ -s steps ] || fail "no steps"
    stop_server
    serve
    stream load load 3
    while read -r step <&3; do
        case $step in "old server told"|"socket opened"|announced|keeper*) continue ;; esac
        rm -f once
        SLUICE_TEST_ONCE=$CASE/once SLUICE_TEST_STEP="kill:$step" timeout 60 \
            "$SLUICE" upgrade -n "$ID" > upgrade.txt 2>&1 && fail "it was not killed at $step"
        nbdinfo --size "$URI" > size.txt || fail "nobody serves after $step"
        # shellcheck disable=SC2154
        kill -0 "$load_pid" || fail "after $step: $(cat load.log)"
    done 3< steps
    tell load
    ends_well load
    stop_server
}

# It has told the next one that it has gone.
old_dies() {
    SLUICE_TEST_STEP=kill:committed serve
    stream load load 2
    upgrade
    sleep 1
    tell load
    ends_well load
    stop_server
    [ ! -e sock ] || fail "the socket is still there"
}

# processes: those of this case, by their state directory.
processes() {
    local each
    for each in /proc/[0-9]*; do
        [ "$(cat "$each/comm" 2> /dev/null)" = sluice ] || continue
        ! grep -qsz "^SLUICE_STATE_DIR=$CASE/state$" "$each/environ" || echo "${each#/proc/}"
    done
}

both_die() {
    serve
    SLUICE_TEST_STEP="hold:device received" timeout 20 "$SLUICE" upgrade -n "$ID" \
        > upgrade.txt 2>&1 &
    sleep 3
    local all each
    mapfile -t all < <(processes)
    kill -KILL "${all[@]}"
    wait $! 2> /dev/null || true
    for each in "${all[@]}"; do wait_for_end "$each"; done  # a dying one resets who connects
    [ -S sock ] || fail "there is no socket"
    refused 'onnection refused' nbdinfo "$URI"
    "$SLUICE" del -n "$ID"
    [ ! -e sock ] || fail "the socket is still there"
    serve
    nbdinfo --size "$URI" > size.txt
    stop_server
}

main
