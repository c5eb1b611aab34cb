#!/usr/bin/env bash
# Wrong command lines are refused with one sentence: exit code 2 for errors in the line itself, 1
# for all other errors, nothing on the standard output, nothing left behind. And the manual page of
# a command has exactly its options.
set -u

main() {
    : "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
    folder=$(mktemp -d) || exit 1
    trap 'rm -rf "$folder"' EXIT
    cd "$folder" || exit 1
    export SLUICE_STATE_DIR=$folder/state
    truncate -s 1M a.img b.img
    truncate -s 100 small.img
    mkdir folder
    failures=0
    lines_that_are_wrong
    specs_that_are_wrong
    files_that_are_wrong
    devices_that_are_not_there
    front_ends_that_do_not_fit
    output_that_cannot_be_written
    the_input_can_be_a_spec
    help_and_manual_agree
    [ -z "$(ls -A "$SLUICE_STATE_DIR" 2>/dev/null)" ] ||
        problem "something was left in $SLUICE_STATE_DIR"
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
    echo "all refused as they should be"
}

lines_that_are_wrong() {
    refuse 2 "no command given"
    refuse 2 "did you mean 'list'" lsit
    refuse 2 "unknown command" frobnicate
    refuse 2 "unknown option" --frobnicate
    refuse 2 "unknown command ''" ''
    refuse 2 "unexpected argument" --version now
    refuse 2 "nothing to serve" add
    refuse 2 "-t needs its TYPE" add -t
    refuse 2 "-n needs its ID" add -t null -n
    refuse 2 "whole number" add -t null -n 10X
    refuse 2 "whole number" add -t null -n -1
    refuse 2 "whole number" add -t null -n ''
    refuse 2 "whole number" add -t null -n 1048576
    refuse 2 "whole number" add -t null -n 99999999999999999999
    refuse 2 "whole number" add -t null -q 0
    refuse 2 "whole number" add -t null -q 1.5
    refuse 2 "whole number" add -t null -d 0
    refuse 2 "from 1 to 4096" add -t null -d 4097
    refuse 2 "0 or 1" add -t null -r 2
    refuse 2 "0 or 1" add -t null -g yes
    refuse 2 "needs -r 1" add -t null -i 1
    refuse 2 "needs -r 1" add -t null -e 1
    refuse 2 "exclude each other" add -t null -r 1 -i 1 -e 1
    refuse 2 "goes with --foreground" add -t null -r 1 -n 0 --resume
    refuse 2 "exclude each other" add -t null --unprivileged -r 1
    refuse 2 "drop one" add -t null -z --usercopy
    refuse 2 "drop one" add -t null -z --mode copy
    refuse 2 "drop one" add -t null --usercopy --mode copy
    refuse 2 "drop one" add -t null -g 1 --usercopy
    refuse 2 "did you mean 'user_copy'" add -t null --mode user_cop
    refuse 2 "there are auto" add -t null --mode fastest
    refuse 2 "not a size" add -t null --max_io_buf_bytes 10X
    refuse 2 "from 4k to 32M" add -t null --max-io-buf-bytes 64M
    refuse 2 "multiple of 4096" add -t null --max_io_buf_bytes 5000
    refuse 2 "hexadecimal" add -t null --debug_mask lots
    refuse 2 "takes no value" add -t null --json=yes
    refuse 2 "empty value" add -t null --size= --json
    refuse 2 "did you mean '--queues'" add -t null --queue 2
    refuse 2 "unknown option" add -t null --frobnicate
    refuse 2 "unknown option" add -t null -x
    refuse 2 "not supported" add -t null --shmem_zc
    refuse 2 "not supported" add -t null --htlb /tmp/x
    refuse 2 "is an option of stripe" add -t null --chunk 64k
    refuse 2 "-t" add --size 1G
    refuse 2 "both say" add -t null null:1G
    refuse 2 "unexpected argument" add null:1G null:1G
    refuse 2 "into the SPEC" add null:1G -f a.img
    refuse 2 "cannot be the name" add -t null --name 7
    refuse 2 "exclude each other" add -t null --quiet --json
    refuse 2 "needs a DEVICE" del
    refuse 2 "exclude each other" del -n 0 -a
    refuse 2 "unexpected argument" del -n 0 1
    refuse 2 "unexpected argument" list 0 1
    refuse 2 "unexpected argument" features all
    refuse 2 "exclude each other" stat --json --prometheus
    for seconds in '' 0 -1 1.5 86401; do
        refuse 2 "" stat --watch "$seconds"
    done
    refuse 2 "needs a DEVICE" inspect
    refuse 2 "unexpected argument" inspect -n 0 1
    refuse 2 "unexpected argument" events -n 0 1
    refuse 2 "needs a DEVICE" ctl
    refuse 2 "" events --follow=1
    refuse 2 "nothing to measure" bench
    refuse 2 "measures 'lend' or 'stack'" bench disk
    refuse 2 "--seconds takes a number" bench lend --seconds 0
    refuse 2 "whole number" bench lend --runs 0
    refuse 2 "--depths takes numbers" bench lend --depths 1,,2
    refuse 1 "cannot run on processor" bench lend --cpu 1023
    refuse 1 "does not exist" bench lend --file nowhere
    refuse 2 "--depths does not go with --file" bench lend --file nowhere --depths 1
    refuse 2 "--ublk does not go with --file" bench lend --file nowhere --ublk
    refuse 2 "nothing to measure" bench stack
    refuse 2 "--pattern takes" bench stack --pattern sideways 'mem(1M)'
    refuse 2 "add --overwrite" bench stack --pattern write 'mem(1M)'
    refuse 2 "takes a size" bench stack --block 1 'mem(1M)'
    refuse 2 "unexpected argument" bench stack 'mem(1M)' 'mem(1M)'
    refuse 1 "does not exist" bench stack nowhere
    refuse 1 "do not fit the stack" bench stack --block 1000 'mem(1M)'
    refuse 1 "too small to measure" bench stack --block 512k 'mem(64k)'
    refuse 1 "failed: Input/output error" bench stack --runs 1 'fault(mem(1M), errors=1)'
    refuse 2 "needs a DEVICE" recover
    refuse 2 "needs a DEVICE" set_affinity -q 0 --cpuset 0
    refuse 2 "needs a DEVICE" resize
    refuse 2 "-q QUEUE" set_affinity -n 0 --cpuset 0
    refuse 2 "--cpuset LIST" set_affinity -n 0 -q 0
    for list in '' ',' '0,' ',0' '0,,1' 3-1 1- -1 a 0-1-2 1024 '[0' '0 1' 0-99999999999999999999; do
        refuse 2 "not a list of processors" set_affinity -n 0 -q 0 --cpuset "$list"
    done
    refuse 2 "did you mean 'add'" help ad
    refuse 2 "needs a FILE" info
    refuse 1 "needs a FILE" check
    refuse 1 "unexpected argument" check a.img b.img
    refuse 1 "did you mean '--repair'" check --repai all a.img
    refuse 1 "'leaks' or 'all'" check -r everything a.img
    refuse 2 "needs a SPEC" map
    refuse 2 "'raw' or 'qcow2'" map -f vmdk a.img
    refuse 2 "'human' or 'json'" map --output xml a.img
    refuse 2 "not a size" map -s 10X a.img
    refuse 1 "does not exist" map nowhere.img
    refuse 2 "two SPECs" compare a.img
    refuse 2 "-F takes 'raw' or 'qcow2'" compare -F vmdk a.img a.img
    refuse 2 "does not exist" compare a.img nowhere.img
    refuse 2 "one of them" measure
    refuse 2 "one of them" measure --size 1M a.img
    refuse 2 "add -f qcow2" measure -o cluster_size=4k --size 1M
    refuse 2 "cluster_size takes" measure -O qcow2 -o cluster_size=3k --size 1M
    refuse 1 "clusters of 512" measure -O qcow2 -o cluster_size=512 --size 1P
    refuse 2 "needs a FILE" create --size 1M
    refuse 2 "the size is missing" create new
    refuse 2 "not a size" create --size 10X new
    refuse 2 "'raw' or 'qcow2'" create -f vmdk --size 1M new
    refuse 2 "go together" create -f qcow2 --size 1M -b a.img new
    refuse 2 "go together" create -f qcow2 --size 1M -F raw new
    refuse 2 "'raw' or 'qcow2'" create -f qcow2 --size 1M -b a.img -F vmdk new
    refuse 2 "add -f qcow2" create --size 1M -b a.img -F raw new
    refuse 2 "a raw file has no cluster_size" create --size 1M -o cluster_size=4k new
    refuse 2 "found 'metadata'" create --size 1M -o preallocation=metadata new
    local option
    for option in cluster_size=3k cluster_size=256 cluster_size=4M cluster_size refcount_bits=3 \
        refcount_bits=128 compat=2 lazy_refcounts=yes compression_type=lzma preallocation=some \
        data_file= compat=0.10,refcount_bits=8 cluster_size=512,extended_l2=on data_file_raw=on; do
        refuse 2 "" create -f qcow2 --size 1M -o "$option" new
    done
    refuse 2 "did you mean 'cluster_size'" create -f qcow2 --size 1M -o cluster_siz=4k new
    refuse 2 "there are cluster_size, " create -f qcow2 --size 1M -o frobnicate=1 new
    refuse 2 "no multiple of 512" create -f qcow2 --size 1000 new
    [ ! -e new ] || problem "a malformed command line has made a file"
}

specs_that_are_wrong() {
    refuse 1 "did you mean 'null'" add -t nul
    refuse 1 "unknown target 'bcache': 'sluice targets' lists all" add -t bcache --peer localhost
    refuse 1 "give 9223372036854775296" add null:9223372036854775807
    refuse 1 "give 9223372036854775296" add -t null --size 9223372036854775807
    refuse 1 "1000000s is the longest" add 'fault(null:1M, delay=1000001s)'
    refuse 1 "unknown target" add -t frobnicate --size 1G
    refuse 1 "'10X' for --size is not a size" add -t null --size 10X
    refuse 1 "not a size" add -t null --size -1
    refuse 1 "8192P" add -t null --size 9000000P
    refuse 1 "512 or more" add -t null --size 0
    refuse 1 "given twice" add -t null --size 1G --size 2G
    refuse 1 "takes no -f" add -t null -f a.img
    refuse 1 "needs -f FILE" add -t loop
    refuse 1 "one -f FILE" add -t loop -f a.img -f b.img
    refuse 1 "at least 1 -f FILE" add -t stripe
    refuse 1 "yes or no" add -t loop -f a.img --buffered_io=maybe
    refuse 1 "did you mean 'stripe'" add 'strip(a.img, b.img)'
    refuse 1 "chunk" add 'stripe(a.img, b.img, chunks=64k)'
    refuse 1 "10X" add 'null(size=10X)'
    refuse 1 "" add 'stripe(a.img, b.img'
    refuse 1 "" add ''
    refuse 1 "" add '{"target":"null",}'
    refuse 1 "/file" add '{"target":"loop","file":7}'
    refuse 1 "file" add '{"target":"loop"}'
    refuse 1 "" add $'null(\n\e[2Jsize=\nbad)'
    refuse 1 "unknown target" targets nul
}

files_that_are_wrong() {
    refuse 1 "does not exist" add -t loop -f missing.img
    refuse 1 "does not exist" add missing.img
    refuse 1 "does not exist" add -- --missing.img
    refuse 1 "truncate -s SIZE '$folder/it'\\''s missing'" add -t loop -f "it's missing"
    refuse 1 "missing.img" add 'stripe(a.img, missing.img)'
    refuse 1 "folder" add -t loop -f folder
    refuse 1 "small.img" add -t loop -f small.img
    refuse 1 "offset" add -t loop -f a.img -o 1M
    refuse 1 "write 100s (that is 50k) or 100B" add -t loop -f a.img --offset 100
    refuse 1 "write 2048s (that is 1M) or 2k" add -t loop -f a.img -o 2048
    refuse 1 "no multiple of 512" add -t loop -f a.img --offset 100B
    refuse 1 "leaves nothing" add -t loop -f a.img -o 2048s
    ln -sf "$SLUICE" ublk
    SLUICE=./ublk refuse 1 "offset 1048576 leaves nothing" add -t loop -f a.img -o 2048
    SLUICE_STATE_DIR=state refuse 1 "absolute path" add -t null
    refuse 1 "does not exist" info missing.img
    refuse 1 "does not exist" check missing.img
    refuse 1 "is a directory" info folder
    refuse 1 "a.img' exists" create --size 1M a.img
    refuse 63 "nothing to check" check a.img
}

# With a ublk driver the last of these commands succeed; tests/device tests that.
devices_that_are_not_there() {
    local command device
    for command in "list" "del" "stat" "inspect" "events" "ctl" "recover" "upgrade" "quiesce" \
        "resize" "set_affinity -q 0 --cpuset 0"; do
        for device in 77 "-n 77"; do
            # shellcheck disable=SC2086  # words
            refuse 1 "there is no device 77: 'sluice list' shows all" $command $device
        done
        for device in first -nfirst 0x1 /dev/sluice/first /dev/null a.img ./a.img 1048576; do
            # shellcheck disable=SC2086  # words
            refuse 1 "there is no device '${device#-n}': 'sluice list' shows all" $command $device
        done
    done
    refuse 1 "the device is empty" del ''
    refuse 1 "no devices" stat --watch
    refuse 0 "no devices" list
    refuse 0 "no devices" del -a
    refuse 0 "no events" events
    [ ! -e /dev/ublk-control ] || return 0
    for command in "add -t null --frontend ublk" "add -t loop -f a.img --frontend ublk" \
        "features" "features --json" "add -t null --frontend ublk --foreground"; do
        # shellcheck disable=SC2086  # words
        refuse 1 "no ublk driver" $command
    done
}

front_ends_that_do_not_fit() {
    refuse 2 "did you mean 'fuse'" add -t null --frontend fus
    refuse 2 "there are ublk, loop, fuse, nbd" add -t null --frontend nvme
    refuse 2 "needs --at PATH" add -t null --frontend fuse
    refuse 2 "--at is for front end 'fuse'" add -t null --frontend loop --at x
    refuse 2 "--allow_other is for front end 'fuse'" add -t null --frontend ublk --allow_other
    refuse 2 "--loop_direct_io is for front end 'loop'" add -t null --at x --loop_direct_io 0
    refuse 2 "-z is for front end 'ublk'" add -t null --frontend loop -z
    refuse 2 "is for front end 'ublk'" add -t null --at x -r 1
    refuse 2 "add --frontend nbd" add -t null --privilege-drop nobody
    refuse 2 "whose server needs root's rights" add -t null --at x --privilege-drop nobody
    refuse 2 "does not go with --run" add -t null --frontend nbd --run true --privilege-drop nobody
    refuse 2 "does not have: it has" add -t null --frontend loop --mode auto
    refuse 2 "does not have: it has" add -t null --frontend ublk --mode passthrough
    refuse 1 "make its directory first" add a.img --at missing/folder
    refuse 1 "neither a regular file nor a directory" add a.img --at /dev/null
    echo '{"spec": "a.img", "quues": 2}' >config.json
    refuse 1 "'quues' is not the long name of an option: did you mean" add --config config.json
    echo '{"spec": "a.img", "number": 2, "number": 3}' >config.json
    refuse 1 "'number' occurs twice" add --config config.json
    printf '{"spec": "a.img",\n "number" 3}' >config.json
    refuse 1 "line 2, column 11" add --config config.json
    echo '["a.img"]' >config.json
    refuse 1 "it must be a JSON object" add --config config.json
    refuse 1 "this is not JSON" add --config a.img
    refuse 1 "No such file" add --config missing.json
    refuse 2 "write it into that file" add --config config.json -q 2
}

output_that_cannot_be_written() {
    local command
    for command in "targets" "list --json" "complete add --" "help add"; do
        # shellcheck disable=SC2086  # words
        "$SLUICE" $command >/dev/full 2>error && problem "a full output is no failure: $command"
        grep -q 'No space left' error || problem "a full output: $command" "$(cat error)"
    done
    # A closed pipe on the standard output causes no message.
    { "$SLUICE" targets 2>error; echo $? >code; } | true
    [ -s error ] && problem "a closed output: $(cat error)"
    [ "$(cat code)" -le 1 ] || problem "a closed output: exit code $(cat code)"
}

the_input_can_be_a_spec() {
    refuse 1 "missing.img" add - <<<'stripe(a.img, missing.img)'
    refuse 1 "missing.img" add - <<<'{"target":"loop","file":"missing.img"}'
    refuse 1 "" add - </dev/null
    refuse 1 "" add - < <(head -c 3000000 /dev/zero)
}

# Every command has a manual page, with all options of its help, and no others.
help_and_manual_agree() {
    local manual=$SLUICE_SOURCE_DIR/docs/man command option page
    for command in $("$SLUICE" complete '' | cut -f 1 | grep -v '^-'); do
        "$SLUICE" "$command" --help >help 2>error || problem "$command --help fails"
        [ -s error ] && problem "$command --help says on the error output: $(cat error)"
        [ "$command" = help ] && continue
        page=$manual/sluice-$command.8
        [ -r "$page" ] || { problem "no manual page for $command"; continue; }
        # Finds Fl Fl max_io_buf_bytes and Fl n after any macro.
        grep -E '^\.(It|Op|Oo|Fl|Ar)? ?.*Fl ' "$page" | grep -oE 'Fl (Fl )?[A-Za-z_]+' |
            sed 's/Fl Fl /--/; s/Fl /-/' | sort -u >documented
        grep -oE '^ +(-.|--[a-z_]+)(, --[a-z_]+)?' help | tr -d ' ' | tr , '\n' |
            sort -u >understood
        for option in $(comm -13 documented understood); do
            problem "option $option of $command is not in $page"
        done
        grep -E '^\.It .*Fl ' "$page" | grep -oE 'Fl (Fl )?[A-Za-z_]+' |
            sed 's/Fl Fl /--/; s/Fl /-/' | sort -u >items
        for option in $(comm -23 items understood); do
            problem "$page has $option, which $command does not know"
        done
    done
    [ -r "$manual/sluice.1" ] || problem "no manual page sluice.1"
}

# refuse CODE TEXT ARGUMENT...: the program ends with the code and one line that has the text.
refuse() {
    local wanted=$1 text=$2 code
    shift 2
    timeout 20 "$SLUICE" "$@" >output 2>error
    code=$?
    [ "$code" -eq "$wanted" ] || problem "exit code $code, not $wanted: $*" "$(cat error)"
    [ ! -s output ] || problem "output: $*" "$(cat output)"
    [ "$(wc -l <error)" -eq 1 ] || problem "not one line: $*" "$(cat error)"
    grep -qF -- "$text" error || problem "'$text' is not in the sentence: $*" "$(cat error)"
    grep -q '^sluice: ' error || problem "whose sentence? $*" "$(cat error)"
}

problem() {
    printf '%s\n' "$@"
    failures=$((failures + 1))
}

main
