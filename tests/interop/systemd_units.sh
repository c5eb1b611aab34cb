#!/usr/bin/env bash
# The installed systemd units: systemd accepts them, and the server reports when it is ready, when
# it stops, and which process serves after an upgrade.
set -u

main() {
    : "${SLUICE:?the program under test}"
    [ "$(id -u)" = 0 ] || { echo "skipped: these tests need root"; exit 77; }
    [ -e /dev/fuse ] || modprobe fuse 2>/dev/null
    [ -e /dev/fuse ] || { echo "skipped: this machine has no FUSE"; exit 77; }
    folder=$(mktemp -d) || exit 1
    listener=''
    trap leave EXIT
    cd "$folder" || exit 1
    export SLUICE_STATE_DIR=$folder/state
    failures=0
    units_are_well_formed
    service_tells_its_manager
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
    echo "the units are as they should be"
}

units_are_well_formed() {
    DESTDIR=$folder/installed cmake --install "$(dirname "$SLUICE")" --prefix /usr >install.log ||
        problem "it cannot be installed" "$(tail -n 5 install.log)"
    local units=$folder/installed/usr/lib/systemd/system
    local command='/usr/bin/sluice add --foreground --resume --name %i --config /etc/sluice/%i.json'
    grep -qx "ExecStart=$command" "$units/sluice@.service" ||
        problem "another command: $(grep Exec "$units"/*)"
    # Enabling the unit is enough to start it at boot.
    grep -q '^WantedBy=multi-user.target' "$units/sluice@.service" ||
        problem "not wanted at boot: $(grep WantedBy "$units"/*)"
    grep -q '^[^#].*IMPORT{program}="/usr/bin/sluice udev $kernel"$' \
        "$folder/installed/usr/lib/udev/rules.d/60-sluice.rules" || problem "no rules for udev"
    # The program is not installed in /usr/bin here.
    sed -i "s:/usr/bin/sluice:$SLUICE:" "$units/sluice@.service"
    cp "$units/sluice@.service" "$units/sluice@test.service"
    systemd-analyze verify --man=no "$units/sluice@test.service" "$units/sluice.target" \
        >verify.log 2>&1 || problem "systemd-analyze verify fails"
    # It may fail because of other units of this machine.
    grep -i sluice verify.log && problem "systemd complains"
}

# Starts the server as systemd does, with this script as the service manager.
service_tells_its_manager() {
    truncate -s 16M disk.img
    printf '{"spec": "%s", "at": "%s", "mode": "copy"}' "$folder/disk.img" "$folder/view" \
        >config.json
    python3 -c '
import socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
manager.settimeout(60)
while True:
    print(manager.recv(4096).decode(), flush=True)' "$folder/manager" >told 2>/dev/null &
    listener=$!
    wait_for test -S manager
    NOTIFY_SOCKET=$folder/manager "$SLUICE" add --foreground --config "$folder/config.json" \
        >shown 2>log &
    local service=$!
    wait_for grep -q READY=1 told
    grep -qx "MAINPID=$service" told || problem "another main process: $(cat told)"
    cmp disk.img view || problem "the file is not what is in the image"
    "$SLUICE" upgrade -n 0 >upgraded || problem "upgrade fails"
    wait "$service" || problem "the first server failed: $(cat log)"
    local successor
    successor=$("$SLUICE" list -n 0 --json | sed -nE 's/^ *"pid": ([0-9]+),?$/\1/p')
    wait_for grep -qx "MAINPID=$successor" told
    kill -TERM "$successor"
    wait_for grep -q STOPPING=1 told
    wait_for test ! -e view
    kill "$listener"
}

# wait_for COMMAND...: waits until the command succeeds, ten seconds at most.
wait_for() {
    local attempt
    for attempt in {1..500}; do
        "$@" && return
        sleep 0.02
    done
    problem "waited in vain: $*"
}

problem() {
    printf '%s\n' "$@"
    failures=$((failures + 1))
}

leave() {
    [ -z "$listener" ] || kill "$listener" 2>/dev/null
    "$SLUICE" del -a --force >/dev/null 2>&1
    rm -rf "$folder"
}

main
