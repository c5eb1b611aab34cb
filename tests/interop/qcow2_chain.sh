#!/usr/bin/env bash
# Chains of qcow2 images that change: `sluice ctl ... external-snapshot` and `stream` while requests
# run, `sluice commit` and `sluice rebase`.
# shellcheck source=tests/interop/lib_qcow2_chain.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_chain.sh"

ROUNDS=${SLUICE_TEST_ROUNDS:-2}

main() {
    begin_qcow2
    run_case "streams" streams compat=1.1 raw
    full && run_case "streams, small clusters" streams cluster_size=4k qcow2
    run_case "streams, version 2" streams compat=0.10 raw
    run_case "streams, extended L2" streams extended_l2=on qcow2
    run_case "streams, longer backing file" streams_cut
    run_case "streams, killed" streams_killed
    run_case "streams, upgraded and cancelled" streams_upgraded
    run_case "streams, refused" streams_refused
    run_case "snapshots" takes_snapshots
    run_case "snapshots, killed" takes_killed
    run_case "snapshots, upgraded" takes_upgraded
    run_case "snapshots, refused" takes_refused
    run_case "commits" commits qcow2 compat=1.1
    run_case "commits to a raw file" commits raw compat=1.1
    full && run_case "commits, version 2" commits qcow2 compat=0.10
    full && run_case "commits, extended L2" commits qcow2 extended_l2=on
    run_case "commits, refused" commits_refused
    run_case "rebases" rebases
    run_case "rebases, refused" rebases_refused
    finish
}

has_no_backing() {
    qemu-img info -U --output=json "$1" > info.json
    [ "$(jq 'has("backing-filename")' info.json)" = false ] || fail "$(cat info.json)"
}

# streams OPTIONS FORMAT
streams() {
    make_chain "$@"
    serve qcow2:image.qcow2
    load 40
    ctl stream > ctl.txt
    end_load
    job_ended
    has_no_backing image.qcow2
    sha256sum --quiet -c base.sum || fail 'the backing file has changed'
    # It is closed, and may be written, or removed.
    qemu-io -f "$2" -c 'write -P 3 0 16M' base > qemu-io.txt
    rm base
    write_randomly
    refused 'no backing file' ctl stream
    end
    check_image image.qcow2
    in_turn image.qcow2
}

# What is behind the end of the disk is not needed, and what is within its last cluster is.
streams_cut() {
    head -c 8M /dev/urandom > base
    qemu-img create -q -f qcow2 -b base -F raw image.qcow2 5100k
    head -c 5100k base > oracle
    serve qcow2:image.qcow2
    ctl stream > ctl.txt
    job_ended
    write_randomly
    end
    check_image image.qcow2
}

streams_killed() {
    local round spec DATA=60M DISK=64M
    make_chain compat=1.1 qcow2
    for ((round = 0; round < ROUNDS; round++)); do
        serve qcow2:image.qcow2
        write_randomly
        ctl stream > ctl.txt || [ "$round" != 0 ]
        sleep "0.0$((RANDOM % 10))"
        kill_server
        "$SLUICE" del -n "$ID" > /dev/null 2>&1 || true
        qemu-img compare -q -f raw -F qcow2 oracle image.qcow2 > compare.txt ||
            fail "what was flushed is lost: $(cat compare.txt) seed $SEED"
    done
    # A server with the recorded spec goes on.
    make_chain compat=1.1 qcow2
    serve qcow2:image.qcow2
    ctl stream > ctl.txt
    kill_server
    spec=$(spec_of_record)
    "$SLUICE" del -n "$ID" > /dev/null 2>&1 || true
    serve "$spec"
    write_randomly
    job_ended
    has_no_backing image.qcow2
    end
    for step in streamed 'backing file left'; do
        make_chain compat=1.1 qcow2
        SLUICE_TEST_STEP="kill:$step" serve qcow2:image.qcow2
        ctl stream > ctl.txt
        for _ in {1..200}; do kill -0 "$SERVER" 2> /dev/null || break; sleep 0.05; done
        kill_server
        "$SLUICE" del -n "$ID" > /dev/null 2>&1 || true
        qemu-img compare -q -f raw -F qcow2 oracle image.qcow2 > compare.txt ||
            fail "at $step: $(cat compare.txt)"
    done
    has_no_backing image.qcow2
    qemu-img check -q -r leaks image.qcow2 > check.txt 2>&1 || true
    in_turn image.qcow2
}

streams_upgraded() {
    local DATA=100M DISK=128M
    make_chain compat=1.1 qcow2
    serve qcow2:image.qcow2
    ctl stream > ctl.txt
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    write_randomly
    # The next server goes on, unless the job was over before, and so does the one after a cancel.
    refused $'already\nno backing file' ctl stream  # either
    if ctl stream cancel > ctl.txt 2>&1; then
        "$SLUICE" upgrade -n "$ID" > upgrade.txt
        refused 'not being streamed' ctl stream cancel
        ctl stream > ctl.txt
    fi
    job_ended
    has_no_backing image.qcow2
    end
    check_image image.qcow2
}

streams_refused() {
    qemu-img create -q -f qcow2 image.qcow2 16M
    serve qcow2:image.qcow2
    refused 'no backing file' ctl stream
    refused 'not being streamed' ctl stream cancel
    end
    make_chain compat=1.1 raw
    qemu-img snapshot -c first image.qcow2
    serve qcow2:image.qcow2
    refused 'internal snapshots' ctl stream
    end
    serve 'qcow2(image.qcow2, read_only)'
    refused 'added for writing' ctl stream
    end
    sha256sum --quiet -c base.sum
}

takes_snapshots() {
    make_chain compat=1.1 raw
    serve qcow2:image.qcow2
    load 60
    for each in one two; do
        sleep 0.1
        ctl external-snapshot "$each.qcow2" > ctl.txt
    done
    end_load
    # The former images are only read now.
    refused 'lock' qemu-io -f qcow2 -c 'write 0 64k' image.qcow2
    refused 'lock' qemu-io -f qcow2 -c 'write 0 64k' two.qcow2
    qemu-io -r -f qcow2 -c 'read 0 64k' one.qcow2 > qemu-io.txt
    sha256sum image.qcow2 one.qcow2 > former.sum
    write_randomly
    sha256sum --quiet -c former.sum || fail 'a former image has changed'
    ctl stream > ctl.txt
    load 20
    end_load
    job_ended
    sha256sum --quiet -c former.sum || fail 'a former image has changed'
    has_no_backing two.qcow2
    end
    check_image two.qcow2
    qemu-img check -q image.qcow2
    qemu-img check -q one.qcow2
    in_turn two.qcow2
}

# Whenever the server dies, the record names images that have everything.
takes_killed() {
    local step spec
    for step in 'snapshot begun' 'overlay put above' 'new spec recorded' 'overlay published' \
        'snapshot taken'; do
        rm -f ./*.qcow2
        make_chain compat=1.1 raw
        SLUICE_TEST_STEP="kill:$step" serve qcow2:image.qcow2
        write_randomly
        ctl external-snapshot new.qcow2 > ctl.txt 2>&1 || true
        if [ "$step" = 'snapshot taken' ]; then write_randomly; fi
        kill_server
        spec=$(spec_of_record)
        "$SLUICE" del -n "$ID" > /dev/null 2>&1 || true
        case $step in
            'snapshot begun' | 'overlay put above')
                [[ $spec == *image.qcow2* ]] || fail "at $step: $spec" ;;
            *) [[ $spec == *new.qcow2* ]] || fail "at $step: $spec" ;;
        esac
        serve "$spec"
        qemu-img compare -q -f raw -F raw oracle "$URI" || fail "at $step: data is lost"
        write_randomly
        end
    done
}

takes_upgraded() {
    make_chain compat=1.1 raw
    serve qcow2:image.qcow2
    ctl external-snapshot new.qcow2 > ctl.txt
    write_randomly
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    write_randomly
    ctl external-snapshot newer.qcow2 > ctl.txt
    write_randomly
    "$SLUICE" resize -n "$ID" 24M > resize.txt
    truncate -s 24M oracle
    write_randomly
    end
    check_image newer.qcow2
    qemu-img check -q new.qcow2
}

takes_refused() {
    mkdir elsewhere
    make_chain compat=1.1 raw
    touch there.qcow2
    serve qcow2:image.qcow2
    refused 'exists' ctl external-snapshot there.qcow2
    refused 'another directory' ctl external-snapshot elsewhere/new.qcow2
    [ ! -e elsewhere/new.qcow2 ] || fail 'the file was left behind'
    refused 'FILE' ctl external-snapshot 'null:16M'
    refused 'No such file' ctl external-snapshot nowhere/new.qcow2
    write_randomly
    end
    check_image image.qcow2
    serve 'qcow2(image.qcow2, backing=any)'
    ctl external-snapshot elsewhere/new.qcow2 > ctl.txt
    write_randomly
    end
    check_image elsewhere/new.qcow2
    serve 'qcow2(image.qcow2, read_only)'
    refused 'added for writing' ctl external-snapshot other.qcow2
    [ ! -e other.qcow2 ] || fail 'the file was left behind'
    end
}

# commits FORMAT OPTIONS
commits() {
    make_chain "$2" "$1"
    serve qcow2:image.qcow2
    write_randomly
    end
    cp image.qcow2 other.qcow2
    cp base base.copy
    "$SLUICE" commit -d image.qcow2
    cmp image.qcow2 other.qcow2 || fail 'the image has changed'
    qemu-img compare -q -f raw -F "$1" oracle base
    cp base.copy base
    "$SLUICE" commit image.qcow2
    qemu-img compare -q -f raw -F "$1" oracle base
    check_image image.qcow2
    qemu-img map --output=json image.qcow2 > map.json
    jq -e 'all(.depth > 0 or (.zero and .depth == 0 | not) and .present != true)' map.json \
        > map.txt || fail "it is not empty: $(cat map.json)"
    [ "$1" = raw ] || qemu-img check -q base
    # As QEMU does it.
    cp base.copy base
    qemu-img commit -q -d other.qcow2
    qemu-img compare -q -f raw -F "$1" oracle base
    # To a shorter one.
    : > oracle
    qemu-img create -q -f "$1" base 1M
    qemu-img create -q -f qcow2 -o "$2" -b base -F "$1" image.qcow2 5M
    truncate -s 5M oracle
    serve qcow2:image.qcow2
    write_randomly
    end
    "$SLUICE" commit image.qcow2
    qemu-img compare -q -f raw -F "$1" oracle base
    check_image image.qcow2
}

commits_refused() {
    make_chain compat=1.1 raw
    refused 'only a qcow2 image' "$SLUICE" commit base
    serve qcow2:image.qcow2
    refused 'in use' "$SLUICE" commit image.qcow2
    end
    serve 'qcow2(image.qcow2, read_only)'
    refused 'in use' "$SLUICE" commit image.qcow2
    end
    serve 'loop(base, read_only)'
    refused 'in use' "$SLUICE" commit image.qcow2
    end
    qemu-img create -q -f qcow2 alone.qcow2 1M
    refused 'no backing file' "$SLUICE" commit alone.qcow2
    mkdir elsewhere
    mv base elsewhere
    qemu-img rebase -q -u -b elsewhere/base -F raw image.qcow2
    refused 'another directory' "$SLUICE" commit image.qcow2
    "$SLUICE" commit --backing any image.qcow2
    (cd elsewhere && sha256sum --quiet -c ../base.sum)
    check_image image.qcow2
}

rebases() {
    make_chain compat=1.1 qcow2
    serve qcow2:image.qcow2
    write_randomly
    end
    head -c 9M /dev/urandom > other
    "$SLUICE" rebase -b other -F raw image.qcow2
    check_image image.qcow2
    qemu-img info --output=json image.qcow2 > info.json
    [ "$(jq -r '."backing-filename" + ."backing-filename-format"' info.json)" = otherraw ] ||
        fail "$(cat info.json)"
    "$SLUICE" rebase -p -b base -F qcow2 image.qcow2 > progress.txt
    check_image image.qcow2
    grep -q '100.00/100%' progress.txt || fail "$(cat progress.txt)"
    # The name only.
    cp other same
    "$SLUICE" rebase -b other -F raw image.qcow2
    "$SLUICE" rebase -u -b same -F raw image.qcow2
    check_image image.qcow2
    "$SLUICE" rebase -b '' image.qcow2
    has_no_backing image.qcow2
    check_image image.qcow2
    rm other same base
    in_turn image.qcow2
    # To a long name, and without a recorded format before.
    truncate -s 16M "$(printf 'long%.0s' {1..60})"
    "$SLUICE" rebase -b "$(printf 'long%.0s' {1..60})" -F raw image.qcow2
    check_image image.qcow2
}

rebases_refused() {
    make_chain compat=1.1 raw
    sha256sum image.qcow2 > image.sum
    refused 'needs -b' "$SLUICE" rebase image.qcow2
    refused 'never guessed' "$SLUICE" rebase -b base image.qcow2
    refused 'its own backing file' "$SLUICE" rebase -u -b image.qcow2 -F qcow2 image.qcow2
    refused 'nothing' "$SLUICE" rebase -b nothing -F raw image.qcow2
    refused 'protocol' "$SLUICE" rebase -b nbd://host/x -F raw image.qcow2
    refused 'raw image' "$SLUICE" rebase -b '' base
    sha256sum --quiet -c image.sum || fail 'the image has changed'
    serve qcow2:image.qcow2
    refused 'in use' "$SLUICE" rebase -b '' image.qcow2
    end
    qemu-img snapshot -c first image.qcow2
    refused 'internal snapshots' "$SLUICE" rebase -b '' image.qcow2
}

main "$@"
