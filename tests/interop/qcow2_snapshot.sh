#!/usr/bin/env bash
# Internal snapshots of qcow2 images: taken, deleted and applied by Sluice and QEMU in turn, offline
# and while the disk is in use, under load and with servers that are killed. QEMU is the judge.
# SLUICE_TEST_ROUNDS=N: kills (4).
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

main() {
    begin_qcow2
    run_case "in turn with QEMU" takes_turns
    full && run_case "in turn, version 2" takes_turns compat=0.10
    full && run_case "in turn, small clusters" takes_turns cluster_size=4k
    run_case "in turn, extended L2" takes_turns extended_l2=on,cluster_size=16k
    full && run_case "in turn, compressed" takes_turns_compressed
    run_case "sizes" brings_back_sizes
    run_case "list" lists_like_qemu
    run_case "under load" under_load
    run_case "killed" is_killed
    run_case "refused" is_refused
    finish
}

snapshot() {
    "$SLUICE" snapshot "$@"
}

ctl() {
    "$SLUICE" ctl -n "$ID" / "$@"
}

# content NAME [OPTION...]: of a snapshot, to the standard output.
content() {
    qemu-img convert -f qcow2 "${@:2}" -O raw -l "snapshot.name=$1" image.qcow2 content.raw
    cat content.raw
}

# keep NAME: the snapshot of this name has just been taken of the disk in `oracle`.
keep() {
    cp --sparse=always oracle "kept.$1"
}

# The image has no fault, not even a leak, the disk is `oracle`, and each snapshot is what was kept.
# QEMU shows a snapshot with the present size of the disk.
check_all() {
    local kept sizes
    check_image image.qcow2
    for kept in kept.*; do
        [ "$kept" != 'kept.*' ] || continue
        sizes=$(stat -c %s oracle "$kept" | sort -n)
        content "${kept#kept.}" > found.raw
        cmp -n "${sizes%%$'\n'*}" found.raw "$kept" || fail "$kept has changed"
    done
}

# takes_turns [OPTIONS]
takes_turns() {
    qemu-img create -q -f qcow2 ${1:+-o "$1"} image.qcow2 16M
    truncate -s 16M oracle
    by_qemu image.qcow2
    takes_turns_on_image
}

takes_turns_compressed() {
    seq 1 1700000 > oracle
    truncate -s 16M oracle
    qemu-img convert -c -f raw -O qcow2 oracle image.qcow2
    by_qemu image.qcow2
    takes_turns_on_image
}

takes_turns_on_image() {
    snapshot -c offline image.qcow2
    keep offline
    check_all
    serve qcow2:image.qcow2
    write_randomly
    ctl snapshot-create live > answer.txt
    keep live
    write_randomly
    ctl snapshot-create gone > answer.txt
    write_randomly
    end
    check_all
    qemu-img snapshot -c theirs image.qcow2
    keep theirs
    by_qemu image.qcow2
    check_all
    qemu-img snapshot -d gone image.qcow2
    check_all
    serve qcow2:image.qcow2
    write_randomly
    ctl snapshot-delete offline > answer.txt
    rm kept.offline
    write_randomly
    ctl snapshot-create again > answer.txt
    keep again
    end
    check_all
    snapshot -a theirs image.qcow2
    cp kept.theirs oracle
    check_all
    by_qemu image.qcow2
    qemu-img snapshot -a live image.qcow2
    cp kept.live oracle
    check_all
    serve qcow2:image.qcow2
    write_randomly
    end
    snapshot -a again image.qcow2
    cp kept.again oracle
    check_all
    for each in theirs live again; do
        snapshot -d "$each" image.qcow2
        rm "kept.$each"
        check_all
    done
    [ -z "$(qemu-img snapshot -l image.qcow2)" ]
    in_turn image.qcow2
}

brings_back_sizes() {
    qemu-img create -q -f qcow2 image.qcow2 9M
    truncate -s 9M oracle
    serve qcow2:image.qcow2
    write_randomly
    ctl snapshot-create small > answer.txt
    keep small
    "$SLUICE" resize -n "$ID" 200M > resize.txt
    truncate -s 200M oracle
    write_randomly
    ctl snapshot-create large > answer.txt
    keep large
    end
    check_all
    snapshot -a small image.qcow2
    cp kept.small oracle
    check_all
    snapshot -a large image.qcow2
    cp --sparse=always kept.large oracle
    check_all
    qemu-img snapshot -a small image.qcow2
    cp kept.small oracle
    check_all
}

lists_like_qemu() {
    qemu-img create -q -f qcow2 image.qcow2 9M
    snapshot image.qcow2 > ours
    [ ! -s ours ]
    qemu-img snapshot -c 'a b' image.qcow2
    snapshot -c 'x,(y)=z' image.qcow2
    snapshot -l image.qcow2 > ours
    qemu-img snapshot -l image.qcow2 > theirs
    diff ours theirs
    snapshot --json image.qcow2 > ours
    qemu-img info --output=json image.qcow2 > theirs
    /usr/bin/python3 - << 'END'
import json
ours, theirs = json.load(open("ours")), json.load(open("theirs"))["snapshots"]
for a, b in zip(ours, theirs, strict=True):
    for key in ("id", "name", "date-sec", "date-nsec", "vm-state-size", "vm-clock-sec"):
        assert a[key] == b[key], (key, a, b)
END
    serve qcow2:image.qcow2
    ctl snapshot-list --json > listed
    snapshot -l -U --json image.qcow2 > ours
    /usr/bin/python3 -c '
import json
assert json.load(open("listed"))["snapshots"] == json.load(open("ours"))'
    refused 'attached for writing elsewhere' snapshot -l image.qcow2
    refused 'detach it there' snapshot -c one image.qcow2
    end
}

# T4.9, T4.15. What a snapshot has when it is taken, it has at the end.
under_load() {
    local i writer
    qemu-img create -q -f qcow2 image.qcow2 64M
    truncate -s 64M oracle
    serve qcow2:image.qcow2
    COUNT=$((COUNT * 6)) write_randomly > writer.txt 2>&1 &
    writer=$!
    for i in {1..12}; do
        ctl snapshot-create "s$i" > answer.txt
        content "s$i" -U > "kept.s$i"
        [ $((i % 3)) -eq 0 ] || continue
        ctl snapshot-delete "s$((i - 1))" > answer.txt
        rm "kept.s$((i - 1))"
    done
    wait $writer || fail "$(cat writer.txt)"
    end
    check_all
}

# Nothing that was taken is lost or changes, whenever the server dies.
is_killed() {
    local round each changer writer
    qemu-img create -q -f qcow2 image.qcow2 64M
    qemu-io -f qcow2 -c 'write -P 1 0 40M' image.qcow2 > qemu-io.txt
    for ((round = 1; round <= ${SLUICE_TEST_ROUNDS:-4}; ++round)); do
        serve qcow2:image.qcow2
        changes "$round" > changes.txt 2>&1 &
        changer=$!
        overwrites > overwrites.txt 2>&1 &
        writer=$!
        sleep "$((RANDOM % 2)).$((RANDOM % 900 + 100))"
        kill -KILL "$SERVER"
        wait $changer $writer || true
        "$SLUICE" del -n "$ID" > /dev/null || true
        await_release image.qcow2
        qemu-img check -q image.qcow2 > check.txt 2>&1 || [ $? -eq 3 ] ||
            fail "check: $(cat check.txt)"
        for each in kept.*; do
            [ "$each" != 'kept.*' ] || continue
            content "${each#kept.}" | cmp - "$each" || fail "$each has changed"
        done
        qemu-img convert -f qcow2 -O raw image.qcow2 disk.raw
    done
}

# changes ROUND: of snapshots, as long as there is a server. Some that are taken are kept.
changes() {
    local i
    for ((i = 1; i < 100; ++i)); do
        ctl snapshot-create "r$1n$i" || return 0
        if [ $((i % 4)) -eq 0 ]; then
            content "r$1n$i" -U > new && mv new "kept.r$1n$i"
        else
            ctl snapshot-delete "r$1n$i" || return 0
        fi
    done
}

overwrites() {
    local i
    for ((i = 1; i < 100; ++i)); do
        qemu-io -f raw -c "write -P $i $((RANDOM % 500 * 64))k $((RANDOM % 200 + 1))k" -c flush \
            "$URI" || return 0
    done
}

is_refused() {
    qemu-img create -q -f qcow2 image.qcow2 9M
    snapshot -c one image.qcow2
    refused "there is a snapshot 'one' already" snapshot -c one image.qcow2
    refused "has no snapshot 'two'" snapshot -d two image.qcow2
    refused "has no snapshot 'two'" snapshot -a two image.qcow2
    qemu-img create -q -f qcow2 -o data_file=data.raw external.qcow2 9M
    refused 'external data file' snapshot -c one external.qcow2
    qemu-img create -q -f qcow2 -o refcount_bits=1 bit.qcow2 9M
    qemu-io -f qcow2 -c 'write 0 1M' bit.qcow2 > qemu-io.txt
    refused 'have 1 bits' snapshot -c one bit.qcow2
    qemu-img check -q bit.qcow2
    serve qcow2:image.qcow2
    refused 'not applied to a disk in use' ctl snapshot-apply one
    refused 'takes one argument' ctl snapshot-create
    end
    serve 'qcow2(image.qcow2, read_only)'
    refused 'is read-only' ctl snapshot-create two
    ctl snapshot-list > listed
    grep -q one listed
    end
    qemu-img bitmap --add image.qcow2 map
    refused 'has dirty bitmaps' snapshot -a one image.qcow2
    qemu-img info image.qcow2 > info.txt
    grep -q 'name: map' info.txt
}

main "$@"
