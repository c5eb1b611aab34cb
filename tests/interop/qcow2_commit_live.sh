#!/usr/bin/env bash
# `sluice ctl ... commit`: the image of a device in use is moved to its backing file, in which the
# device may then go on.
# shellcheck source=tests/interop/lib_qcow2_chain.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_chain.sh"

ROUNDS=${SLUICE_TEST_ROUNDS:-2}
STEPS=('base made' 'base opened' 'some committed' 'pivot begun' 'image emptied' 'new spec recorded'
    'pivot published')

main() {
    begin_qcow2
    run_case "goes on below" goes_on_below compat=1.1 compat=1.1
    run_case "goes on below, extended L2" goes_on_below cluster_size=4k extended_l2=on
    full && run_case "goes on below, version 2" goes_on_below compat=0.10 compat=0.10
    run_case "goes on below, three images" goes_down_a_chain
    run_case "to a raw file" to_a_raw_file
    run_case "to a shorter file" to_a_shorter_file
    run_case "compressed" compressed
    run_case "killed" killed
    run_case "killed at each step" killed_at_steps
    run_case "upgraded and cancelled" upgraded
    run_case "without space" without_space
    run_case "refused" refuses
    finish
}

# make_pair FORMAT [OPTIONS [OPTIONS]]: image.qcow2 on base.FORMAT, and oracle.
make_pair() {
    rm -f ./*.qcow2 ./*.raw
    head -c "${DATA:-6M}" /dev/urandom > oracle
    truncate -s "${DISK:-16M}" oracle
    qemu-img convert -f raw -O "$1" ${2:+-o "$2"} oracle "base.$1"
    qemu-img create -q -f qcow2 ${3:+-o "$3"} -b "base.$1" -F "$1" image.qcow2 "${DISK:-16M}"
}

# pivots: as soon as it is possible.
pivots() {
    for _ in {1..300}; do
        ctl commit pivot > ctl.txt 2>&1 && return
        grep -q 'not yet moved' ctl.txt || fail "$(cat ctl.txt)"
        sleep 0.05
    done
    fail "the job does not come to its end: $(cat ctl.txt)"
}

# is_empty IMAGE: it has nothing itself, not even leaks, and shows oracle still.
is_empty() {
    check_image "$1"
    qemu-img map --output=json "$1" > map.json
    jq -e 'all(.depth != 0 or .present == false)' map.json > jq.txt ||
        fail "$1 has more: $(cat map.json)"
}

# goes_on_below OPTIONS OPTIONS: of the base, of the image.
goes_on_below() {
    local COUNT=25
    make_pair qcow2 "$1" "$2"
    [[ $1 = *0.10* ]] || qemu-img bitmap --add base.qcow2 kept
    cp oracle first
    qemu-img snapshot -c first base.qcow2
    serve qcow2:image.qcow2
    write_randomly
    load 30
    ctl commit > ctl.txt
    grep -q 'can_pivot: true' ctl.txt || fail "$(cat ctl.txt)"
    refused 'lock' qemu-io -r -f qcow2 -c 'read 0 64k' base.qcow2
    pivots
    end_load
    write_randomly
    # The image is closed, and the base is what the device has.
    [ "$(find /proc/"$SERVER"/fd -lname '*/image.qcow2' | wc -l)" = 0 ] || fail 'it is not closed'
    refused 'lock' qemu-io -f qcow2 -c 'write 0 64k' base.qcow2
    refused 'not being committed' ctl commit cancel
    refused 'no backing file' ctl commit
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    write_randomly
    end
    check_image base.qcow2
    is_empty image.qcow2
    qemu-img convert -l first -f qcow2 -O raw base.qcow2 now
    cmp first now || fail 'the snapshot of the base has changed'
    [[ $1 = *0.10* ]] || qemu-img info base.qcow2 | grep -q kept || fail 'the bitmap is lost'
    qemu-img snapshot -d first base.qcow2
    in_turn base.qcow2
}

goes_down_a_chain() {
    local COUNT=20
    make_pair raw
    serve qcow2:image.qcow2
    write_randomly
    ctl external-snapshot one.qcow2 > ctl.txt
    write_randomly
    ctl external-snapshot two.qcow2 > ctl.txt
    write_randomly
    for _ in one image; do
        ctl commit > ctl.txt
        load 10
        pivots
        end_load
        write_randomly
    done
    # The last one is raw.
    ctl commit > ctl.txt
    job_ended
    "$SLUICE" resize -n "$ID" 24M > resize.txt
    truncate -s 24M oracle
    write_randomly
    end
    check_image image.qcow2
    qemu-img check -q one.qcow2
    qemu-img check -q two.qcow2
    in_turn image.qcow2
}

to_a_raw_file() {
    make_pair raw
    serve qcow2:image.qcow2
    write_randomly
    load 40
    ctl commit > ctl.txt
    grep -q 'can_pivot: false' ctl.txt || fail "$(cat ctl.txt)"
    end_load
    job_ended
    ctl commit > ctl.txt
    job_ended
    # The device reads it, and so may others.
    qemu-img compare -q -f raw -F raw oracle base.raw || fail 'the base has other contents'
    refused 'lock' qemu-io -f raw -c 'write 0 64k' base.raw
    write_randomly
    end
    check_image image.qcow2
}

to_a_shorter_file() {
    local format COUNT=20
    for format in raw qcow2; do
        DATA=1M DISK=1M make_pair "$format"
        qemu-img create -q -f qcow2 -b "base.$format" -F "$format" image.qcow2 16M
        truncate -s 16M oracle
        serve qcow2:image.qcow2
        write_randomly
        ctl commit > ctl.txt
        write_randomly
        job_ended
        [ "$format" = raw ] || pivots
        write_randomly
        end
        check_image image.qcow2
        qemu-img info --output=json "base.$format" > info.json
        [ "$(jq '."virtual-size"' info.json)" = $((16 << 20)) ] || fail "$(cat info.json)"
    done
    check_image base.qcow2
}

compressed() {
    make_pair qcow2
    qemu-img convert -c -f raw -O qcow2 oracle base.qcow2
    serve 'qcow2(image.qcow2, compress)'
    write_randomly
    ctl commit > ctl.txt
    pivots
    write_randomly
    end
    check_image base.qcow2
    is_empty image.qcow2
}

# recovered: the record names an image with everything, and the other files are in order as well.
recovered() {
    local spec
    spec=$(spec_of_record)
    "$SLUICE" del -n "$ID" > /dev/null 2>&1 || true
    qemu-img compare -q -f raw -F qcow2 oracle image.qcow2 > compare.txt ||
        fail "$1: image.qcow2: $(cat compare.txt) seed $SEED"
    serve "$spec"
    qemu-img compare -q -f raw -F raw oracle "$URI" || fail "$1: data is lost: $spec seed $SEED"
    write_randomly
}

killed() {
    local round DATA=30M DISK=64M
    make_pair qcow2
    for ((round = 0; round < ROUNDS; round++)); do
        serve qcow2:image.qcow2
        write_randomly
        ctl commit > ctl.txt
        sleep "0.0$((RANDOM % 10))"
        kill_server
        recovered "round $round"
        end
    done
    serve qcow2:image.qcow2
    ctl commit > ctl.txt
    pivots
    end
    check_leaks base.qcow2
    check_leaks image.qcow2
    is_empty image.qcow2
}

# check_leaks IMAGE: of former servers that were killed.
check_leaks() {
    qemu-img check -q -r leaks "$1" > check.txt 2>&1 || true
    check_image "$1"
}

killed_at_steps() {
    local step COUNT=15
    for step in "${STEPS[@]}"; do
        make_pair qcow2
        SLUICE_TEST_STEP="kill:$step" serve qcow2:image.qcow2
        write_randomly
        ctl commit > ctl.txt 2>&1 || true
        for _ in {1..200}; do
            kill -0 "$SERVER" 2> /dev/null || break
            ctl commit pivot > ctl.txt 2>&1 || true
            sleep 0.05
        done
        ! kill -0 "$SERVER" 2> /dev/null || fail "it goes on after $step: $(cat ctl.txt)"
        kill_server
        case $step in
            'new spec recorded' | 'pivot published')
                [[ $(spec_of_record) == *base.qcow2* ]] || fail "at $step: $(spec_of_record)" ;;
            *) [[ $(spec_of_record) == *image.qcow2* ]] || fail "at $step: $(spec_of_record)" ;;
        esac
        recovered "at $step"
        if [[ $(spec_of_record) == *image.qcow2* ]]; then
            ctl commit > ctl.txt
            pivots
        fi
        write_randomly
        end
        check_leaks base.qcow2
        qemu-img compare -q -f raw -F qcow2 oracle image.qcow2 ||
            fail "at $step: the image is stale"
    done
}

upgraded() {
    local DATA=60M DISK=96M COUNT=30
    make_pair qcow2
    serve qcow2:image.qcow2
    COUNT=200 write_randomly
    ctl commit > ctl.txt
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    # The next server has it open for reading only.
    qemu-io -r -f qcow2 -c 'read 0 64k' base.qcow2 > qemu-io.txt
    refused 'lock' qemu-io -f qcow2 -c 'write 0 64k' base.qcow2
    write_randomly
    refused 'not being committed' ctl commit pivot
    ctl commit > ctl.txt
    ctl commit cancel > ctl.txt
    qemu-io -r -f qcow2 -c 'read 0 64k' base.qcow2 > qemu-io.txt
    write_randomly
    ctl commit > ctl.txt
    refused 'being committed' "$SLUICE" resize -n "$ID" 128M
    refused 'being committed' ctl external-snapshot new.qcow2
    refused 'being committed' ctl stream
    [ ! -e new.qcow2 ] || fail 'the file was left behind'
    pivots
    "$SLUICE" resize -n "$ID" 128M > resize.txt
    truncate -s 128M oracle
    write_randomly
    end
    check_image base.qcow2
}

# What does not fit into the base stays in the image.
without_space() {
    mkdir small
    if ! mount -t tmpfs -o size=4M tmpfs small 2> /dev/null; then
        echo '# without space: skipped, no small file system can be mounted'
        return
    fi
    truncate -s 16M oracle
    qemu-img create -q -f qcow2 small/base.qcow2 16M
    qemu-img create -q -f qcow2 -b small/base.qcow2 -F qcow2 image.qcow2
    serve 'qcow2(image.qcow2, backing=any)'
    COUNT=100 write_randomly
    qemu-io -f raw -c 'write -P 7 0 8M' "$URI" > qemu-io.txt
    qemu-io -f raw -c 'write -P 7 0 8M' oracle > qemu-io.txt
    ctl commit > ctl.txt
    for _ in {1..200}; do
        "$SLUICE" stat -n "$ID" > stat.txt
        grep -q 'commit has failed: No space' stat.txt && break
        sleep 0.05
    done
    grep -q 'commit has failed: No space' stat.txt || fail "$(cat stat.txt)"
    write_randomly
    qemu-img check -q small/base.qcow2 || [ $? = 3 ] || fail 'the base is damaged'
    mount -o remount,size=64M small
    ctl commit > ctl.txt
    pivots
    write_randomly
    end
    qemu-img check -q small/base.qcow2 || [ $? = 3 ] || fail 'the base is damaged'
    qemu-img compare -q -f raw -F qcow2 oracle small/base.qcow2 ||
        fail 'the base has other contents'
    umount small
}

refuses() {
    make_pair qcow2
    serve qcow2:image.qcow2
    refused 'not being committed' ctl commit cancel
    refused 'not being committed' ctl commit pivot
    refused 'takes no file' ctl commit base.qcow2
    serve_other 'qcow2(base.qcow2, read_only)'
    refused 'in use elsewhere' ctl commit
    end_other
    write_randomly
    ctl bitmap-add one
    refused 'dirty bitmaps' ctl commit
    ctl bitmap-remove one
    ctl snapshot-create one > ctl.txt
    refused 'internal snapshots' ctl commit
    ctl snapshot-delete one > ctl.txt
    mv base.qcow2 elsewhere
    refused 'No such file' ctl commit
    cp elsewhere base.qcow2
    refused 'not the backing file' ctl commit
    mv elsewhere base.qcow2
    ctl commit > ctl.txt
    pivots
    end
    check_image base.qcow2
    make_pair qcow2
    serve 'qcow2(image.qcow2, read_only)'
    refused 'added for writing' ctl commit
    end
    qemu-img resize -q base.qcow2 17M
    serve qcow2:image.qcow2
    refused '17825792 bytes' ctl commit
    end
}

# serve_other SPEC: one more device.
serve_other() {
    rm -f other.sock
    "$SLUICE" add --frontend nbd --listen unix:other.sock "$1" > other.txt
    OTHER=$(sed -n 's/^dev id \([0-9]*\):.*/\1/p' other.txt)
}
end_other() {
    "$SLUICE" del -n "$OTHER" > /dev/null
}

main "$@"
