# shellcheck shell=bash
# Exports of the front end nbd, and the kernel's own NBD client, on top of lib.sh. Cases run as
#
#   run_case NAME with_clients FUNCTION [ARGUMENT...]
#
# so that connections and exports which a failed case leaves behind are removed.

need_kernel_client() {
    command -v nbd-client > /dev/null || { echo "skipped: there is no nbd-client"; exit 77; }
    [ -e /dev/nbd0 ] || modprobe nbd || true
    [ -e /dev/nbd0 ] || { echo "skipped: this kernel has no NBD client"; exit 77; }
}

with_clients() {
    : > nodes
    trap let_go EXIT
    "$@"
}

# The server goes first: nothing waits for it then.
let_go() {
    local status=$? mount node record
    trap - ERR
    set +e
    for mount in $(awk -v case="$CASE/" 'index($2, case) == 1 { print $2 }' /proc/mounts | tac); do
        umount -l "$mount"
    done
    for record in "$SLUICE_STATE_DIR"/device-*.json; do
        record=${record##*/device-} record=${record%.json}
        [ "$record" = '*' ] || [ -e "/dev/ublkc$record" ] || sluice del -n "$record" --force
    done
    while read -r node; do
        ! in_use "$node" || timeout 20 nbd-client -d "$node" > /dev/null
    done < nodes
    exit $status
}

# serve SPEC [OPTION...]: an export on the socket `sock`, unless there is another --listen. Sets
# URI, ID and SERVER.
serve() {
    local listen=(--listen "unix:$CASE/sock")
    [[ "$*" != *--listen* ]] || listen=()
    sluice add --frontend nbd "${listen[@]}" "${@:2}" "$1" > added || fail "this failed: add $*"
    # shellcheck disable=SC2034
    read -r URI < added
    ID=$(sed -n 's/^dev id \([0-9]*\):.*/\1/p' added)
    SERVER=$(server)
}

# unserve: deletes the export, as soon as the server has noticed that its clients have gone.
unserve() {
    wait_for 10 is_deleted
    wait_for 20 gone "$SERVER"
    [ ! -e sock ] || fail "the socket was left behind"
}

is_deleted() {
    sluice del -n "$ID" 2> del.log
}

in_use() {
    [ -e "/sys/block/${1#/dev/}/pid" ]
}

# connect [OPTION...]: connects a free node of the kernel's client, to the socket `sock` unless the
# options name another server. Sets DEV.
connect() {
    local server=(-unix "$CASE/sock")
    [[ ${1-} != [a-z]* ]] || server=()
    for DEV in /dev/nbd{0..15}; do
        in_use "$DEV" || break
    done
    ! in_use "$DEV" || fail "all nodes are in use"
    echo "$DEV" >> nodes
    timeout 30 nbd-client "${server[@]}" "$@" -b 512 "$DEV" < /dev/null > client.log 2>&1 ||
        fail "nbd-client: $(cat client.log)"
    wait_for 10 has_size
}

has_size() {
    [ "$(blockdev --getsize64 "$DEV")" != 0 ]
}

disconnect() {
    timeout 30 nbd-client -d "$DEV" > client.log 2>&1 || fail "nbd-client: $(cat client.log)"
    wait_for 10 is_free
}

is_free() {
    ! in_use "$DEV"
}

kill_export() {
    kill -KILL "$SERVER"
    wait_for 20 gone "$SERVER"
}

# verified [OPTION...]: random reads and writes of DEV with fio, which checks what it has written.
verified() {
    timeout 300 fio --name=verify --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw \
        --bsrange=512-128k --iodepth=16 --size=12M --verify=crc32c --verify_fatal=1 \
        --output=fio.log "$@" || fail "$(tail -n 20 fio.log)"
}
