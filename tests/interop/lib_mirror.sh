# shellcheck shell=bash
# For scripts about the target mirror: a mirror of a.img and b.img on FUSE, loads, and what its legs
# say.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

make_mirror() {
    truncate -s 48M a.img b.img
    "$SLUICE" mirror create --assume_clean a.img b.img > create.txt 2>&1
}

# serve SPEC [OPTION...]: as the file `disk`. Sets ID and SERVER.
serve() {
    "$SLUICE" add --frontend fuse --at disk "${@:2}" "$1" > add.txt
    note_added
}

ctl() {
    "$SLUICE" ctl -n "$ID" / "$@" > ctl.txt
}

number() {
    "$SLUICE" stat -n "$ID" > stat.txt
    sed -nE "s/.*\<$1 ([0-9]+).*/\1/p" stat.txt
}

# wait_until COMMAND...: for twenty seconds.
wait_until() {
    local i
    for ((i = 0; i < 200; ++i)); do
        if "$@"; then return; fi
        sleep 0.1
    done
    fail "never: $*: $(cat stat.txt)"
}

is_whole() {
    [ "$(number legs_in_sync)" = "$1" ] && [ "$(number resync_left_bytes)" = 0 ]
}

has_in_sync() {
    [ "$(number legs_in_sync)" = "$1" ]
}

# load SECONDS [FILE]: verified, in the background. No two writes that are in flight overlap: they
# might end in another order on each leg.
load() {
    fio --name=load --filename="${2:-disk}" --ioengine=libaio --direct=1 --rw=randrw \
        --bsrange=4k-64k --iodepth=16 --size=16M --time_based --runtime="$1" --verify=crc32c \
        --verify_backlog=64 --serialize_overlap=1 --verify_fatal=1 --output=fio.log &
    LOAD=$!
}

load_is_well() {
    wait "$LOAD" || fail "$(tail -n 20 fio.log)"
}

# same_legs [LEG...]: all are in sync, clean and equal.
same_legs() {
    [ $# -ne 0 ] || set -- a.img b.img
    "$SLUICE" mirror examine "$@" > examine.txt
    ! grep -qE 'not cleanly|: stale|: out' examine.txt || fail "$(cat examine.txt)"
    cmp -i 1048576 "$1" "$2"
}

# kit FILE: nbdkit on the socket `sock`. Sets KIT.
kit() {
    rm -f sock
    nbdkit -f -U sock file "$1" 2> kit.log &
    KIT=$!
    appears sock
}

uri() {
    echo "nbd+unix:///?socket=$CASE/sock"
}

# kill_server: that of the device; what it has left is removed.
kill_server() {
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    "$SLUICE" del -n "$ID" > del.txt
}
