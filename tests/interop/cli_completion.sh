#!/usr/bin/env bash
# Completion in bash offers the words that `sluice complete` prints, with and without the
# bash-completion package.
set -u

main() {
    : "${SLUICE:?the program under test}" "${SLUICE_SOURCE_DIR:?the checkout}"
    local package=/usr/share/bash-completion/bash_completion
    folder=$(mktemp -d) || exit 1
    trap 'rm -rf "$folder"' EXIT
    mkdir "$folder/state" "$folder/images"
    touch "$folder/images/a.img" "$folder/images/b:c.img"
    export SLUICE_STATE_DIR=$folder/state
    failures=0
    if [ "${1-}" = package ]; then
        # shellcheck source=/dev/null
        . "$package"
    fi
    # shellcheck source=completions/sluice.bash
    . "$SLUICE_SOURCE_DIR/completions/sluice.bash"
    words_and_values
    [ "${1-}" = package ] && words_with_dividers
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
    if [ $# -eq 0 ] && [ -r "$package" ]; then
        bash "$0" package || exit 1
    fi
    echo "completion ${1:-alone}: as it should be"
}

words_and_values() {
    offers "add serve del list stat inspect events ctl resize recover quiesce upgrade set_affinity\
 features targets info check create convert map compare measure amend snapshot bitmap commit rebase\
 mirror crypt thin bench help --help --version" ''
    offers 'features' fe
    offers '' nonsense ''
    offers 'lend stack' bench ''
    offers '--help --seconds --runs --depths --cpu --file --ublk --json' bench lend --
    offers '--help --seconds --runs --pattern --block --depth --queues --overwrite --json' \
        bench stack --
    offers 'read write rw randread randwrite randrw' bench stack --pattern ''
    offers 'leaks all' check --repair ''
    offers 'raw qcow2' create -f ''
    offers 'none writeback' convert -t ''
    offers "$folder/images/a.img" convert x.img "$folder/images/a"
    offers '--size' create --s
    offers 'raw qcow2' compare -F ''
    offers 'human json' map --output ''
    offers "$folder/images/a.img" compare x.img "$folder/images/a"
    offers "$folder/images/a.img" check "$folder/images/a"
    offers "$folder/images/a.img" info x.img "$folder/images/a"
    offers '--max_io_buf_bytes' add --max
    offers '--help --number --all --async --force' del --
    offers 'loop linear' add -t l
    offers '--chunk' add -t stripe --ch
    offers '' add -t null --ch
    offers 'auto register user_copy get_data copy passthrough uring_zc uring splice' add --mode ''
    offers '0 1' add -r ''
    offers 'create examine forget promote discard' mirror ''
    offers 'start end' mirror create --metadata ''
    offers '--from --force' mirror create --f
    offers '--json' mirror examine --j
    offers '' mirror examine --f
    offers '--keep' mirror discard --k
    offers "$folder/images/a.img" mirror forget x.img y.img "$folder/images/a"
    offers 'dump delta delete' thin d
    offers '--force_share --from' thin delta --f
    offers "$folder/images/a.img" thin list "$folder/images/a"
    offers 'recover' help rec
    offers 'stripe' targets str
    offers "$folder/images/a.img" add -t loop -f "$folder/images/a"
    offers "$folder/images" add "$folder/i"
    # Completion would also offer the ublk devices of this machine.
    compgen -G '/sys/class/ublk-char/ublkc*' >/dev/null && return
    offers '' del -n ''
    record 3 && record 12
    offers '3 12 /dev/loop3 /dev/loop12' del -n ''
    offers '3 12 /dev/loop3 /dev/loop12' stat ''
    offers '12' recover --number 1
    offers '/dev/loop12' upgrade /dev/loop1
    offers "$folder/images/a.img" resize "$folder/images/a"
    offers 'metadata' resize --preallocation m
    offers '--watch' stat 3 5 --w
    rm "$SLUICE_STATE_DIR"/*
}

# bash splits words at = and :. For sluice they are one word; bash replaces the last piece only.
words_with_dividers() {
    offers 'copy' add --mode = co
    offers 'stripe' add --type = str
    offers 'no' add -t loop --buffered_io = n
    offers "$folder/images/a.img" add -t loop --file = "$folder/images/a"
    offers 'c.img' add -t loop -f "$folder/images/b" : c
}

# record NUMBER: writes a record as servers do.
record() {
    cat >"$SLUICE_STATE_DIR/device-$1.json" <<JSON
{"id": $1, "pid": 1, "pid_started": 0, "frontend": "loop", "path": "/dev/loop$1", "at": "",
 "size_bytes": 4096, "block_bytes": 512, "spec": {"target": "null"}, "read_only": false,
 "queues": 1, "depth": 1, "max_io_bytes": 4096, "mode": "copy", "mode_reason": "",
 "recovery": "wait", "unprivileged": false, "debug_mask": 0, "threads": [1]}
JSON
}

# offers WANTED WORD...: completion offers WANTED after these words, which are split as by bash.
offers() {
    local wanted=$1 word
    shift
    COMP_WORDS=("$SLUICE" "$@")
    COMP_CWORD=$#
    COMP_LINE=$SLUICE
    for word in "$@"; do
        case $COMP_LINE$word in
            *=|*[=:]"$word"|*:) COMP_LINE+=$word ;;
            *) COMP_LINE+=" $word" ;;
        esac
    done
    COMP_POINT=${#COMP_LINE}
    COMPREPLY=()
    _sluice
    [ "${COMPREPLY[*]}" = "$wanted" ] && return
    echo "sluice $*: offers '${COMPREPLY[*]}', not '$wanted'"
    failures=$((failures + 1))
}

# A stub: the real one works only during completion.
compopt() { :; }

main "$@"
