# shellcheck shell=bash
# Common code of the tests of target qcow2, on top of lib_nbd.sh. T4.x are the traps of qcow2.
# SLUICE_TEST_COUNT=N: batches of requests for each load (60). SLUICE_TEST_SEED=N.
# shellcheck source=tests/interop/lib_nbd.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_nbd.sh"

COUNT=${SLUICE_TEST_COUNT:-60}
SEED=${SLUICE_TEST_SEED:-$((EPOCHSECONDS % 32768))}
WRITER="$SLUICE_SOURCE_DIR/tests/support/disk_writer.py"

# begin_qcow2: before all cases.
begin_qcow2() {
    local tool
    # In memory, if possible: QEMU's programs flush a lot.
    [ ! -d /dev/shm ] || WORK_PLACE=/dev/shm
    begin_plain
    for tool in qemu-img qemu-io nbdinfo; do
        command -v "$tool" > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    echo "# SLUICE_TEST_SEED=$SEED"
}

# serve SPEC [OPTION...]: over NBD, on the socket `sock`. Sets URI.
serve() {
    rm -f sock
    "$SLUICE" add --frontend nbd --listen unix:sock "${@:2}" "$1" > add.txt
    note_added
    URI="nbd+unix:///?socket=$CASE/sock"
}

end() {
    "$SLUICE" del -n "$ID" > /dev/null
}

# await_release IMAGE: the ring of a killed server keeps its files, and their locks, a moment longer
# than its process.
await_release() {
    for _ in {1..100}; do
        qemu-img info "$1" > info.txt 2>&1 && return
        sleep 0.05
    done
    fail "it is still locked: $(cat info.txt)"
}

# write_randomly [OPTION...]: through URI, and to `oracle`.
write_randomly() {
    SEED=$((SEED + 1))
    /usr/bin/python3 "$WRITER" "$URI" oracle "$SEED" "$COUNT" "$@"
}

# check_image IMAGE: nothing is wrong with it, not even a leak, and it has the content of `oracle`.
check_image() {
    qemu-img check -q "$1" > check.txt || fail "check: $(cat check.txt) seed $SEED"
    qemu-img compare -q -f raw -F qcow2 oracle "$1" > compare.txt ||
        fail "compare: $(cat compare.txt) seed $SEED"
}

# in_turn IMAGE: we, QEMU, we again.
in_turn() {
    serve "qcow2:$1"
    write_randomly
    end
    check_image "$1"
    qemu-img convert -n -f qcow2 -O raw "$1" oracle
    by_qemu "$1"
    check_image "$1"
    serve "qcow2:$1"
    write_randomly
    end
    check_image "$1"
    serve "qcow2($1, read_only)"
    write_randomly --read-only
    end
    check_image "$1"
}

# choose_commands: random ones of qemu-io within the disk. Sets COMMANDS.
choose_commands() {
    local i size offset
    COMMANDS=()
    size=$(stat -c %s oracle)
    for i in {1..12}; do
        offset=$(((RANDOM * 32768 + RANDOM) % (size - 70000) / 512 * 512))
        COMMANDS+=(-c "write -P $((i + 16)) $offset $((RANDOM % 128 * 512 + 512))")
        offset=$(((RANDOM * 32768 + RANDOM) % (size - 300000) / 512 * 512))
        COMMANDS+=(-c "write -z -u $offset 200k")
    done
}

# by_qemu IMAGE: some requests of qemu-io, and the same to `oracle`.
by_qemu() {
    choose_commands
    qemu-io -f qcow2 "${COMMANDS[@]}" "$1" > qemu-io.txt
    qemu-io -f raw "${COMMANDS[@]}" oracle > qemu-io.txt
}
