# shellcheck shell=bash
# Common code of the tests of two commands at once. The sourcing script defines make_device, which
# serves image.raw as number 0 and sets DEV and SERVER; ours; all_is_cleared; and ADD, the options
# of `add` for image.raw except its number. Every pair runs SLUICE_TEST_ROUNDS times; each command
# starts after a random delay, generated from SLUICE_TEST_SEED.

ROUNDS=${SLUICE_TEST_ROUNDS:-1}
SEED=${SLUICE_TEST_SEED:-$((EPOCHSECONDS % 32768))}

# two_at_once NAME: runs all pairs, with the front end NAME.
two_at_once() {
    local pair
    echo "# SLUICE_TEST_SEED=$SEED"
    run_case "two adds of one image, $1" rounds two_adds
    run_case "two adds with one number, $1" rounds two_numbers
    run_case "two resizes, $1" rounds two_resizes
    while read -r pair; do
        run_case "$pair, $1" rounds two_of "$pair"
    done <<- END
		del -n 0 and del -n 0
		del -n 0 --force and del -a --force
		del -n 0 and resize -n 0
		upgrade -n 0 and upgrade -n 0
		upgrade -n 0 and del -n 0
		upgrade -n 0 and resize -n 0
		upgrade -n 0 and TERM
		upgrade -n 0 and KILL
		resize -n 0 and KILL
		del -n 0 and TERM
		del -n 0 and KILL
	END
}

# rounds FUNCTION [ARGUMENT...]: each round begins and ends without devices.
rounds() {
    local round
    RANDOM=$SEED
    for round in $(seq "$ROUNDS"); do
        rm -f image.raw
        truncate -s 64M image.raw
        "$@"
        at_most_one_server "round $round of $*"
        all_is_cleared "round $round of $*"
    done
}

two_adds() {
    # shellcheck disable=SC2086
    at_once "add $ADD -n 0 image.raw" "add $ADD -n 1 image.raw"
    same "who succeeded" "$(cat first.status second.status | sort | tr '\n' ' ')" "0 1 "
}

two_numbers() {
    truncate -s 64M other.raw
    at_once "add $ADD -n 0 image.raw" "add $ADD -n 0 other.raw"
    same "who succeeded" "$(cat first.status second.status | sort | tr '\n' ' ')" "0 1 "
}

two_resizes() {
    local size
    served_with_text
    truncate -s 128M image.raw
    at_once "resize -n 0 96M" "resize -n 0 128M"
    size=$(blockdev --getsize64 "$DEV" 2> /dev/null || stat -c %s "$DEV")
    same "the larger one" "$(cat second.status)" 0
    same "size" "$size" $((128 << 20))
    is_intact
}

# two_of "COMMAND and COMMAND": in any case the bytes of the device are unchanged.
two_of() {
    served_with_text
    at_once "${1% and *}" "${1#* and }"
    case $1 in
        del*del* | upgrade*upgrade*)
            grep -qx 0 first.status second.status || fail "neither did it: $(cat ./*.err)" ;;
    esac
    is_gone_if_deleted first "${1% and *}"
    is_gone_if_deleted second "${1#* and }"
    is_intact
}

served_with_text() {
    make_device
    echo "text of $SERVER" | dd of="$DEV" conv=notrunc,fsync status=none
}

# at_once COMMAND COMMAND [MILLISECONDS]: starts both within this time; both end soon, with success
# or one sentence.
at_once() {
    local first moments=()
    # Some commands take 10 ms, some 100. (A subshell would have other random numbers.)
    for _ in 1 2; do
        moments+=("$((RANDOM % ${3:-$((RANDOM % 2 ? 20 : 120))}))")
    done
    soon first "${moments[0]}" "$1" &
    first=$!
    soon second "${moments[1]}" "$2"
    wait $first
    ends_well first "$1"
    ends_well second "$2"
}

# soon NAME MILLISECONDS COMMAND: runs COMMAND after this time, with its output in files NAME.*.
soon() {
    local status=0 words
    sleep "$(printf '0.%03d' "$2")"
    case $3 in
        TERM | KILL) kill "-$3" "$SERVER" 2> /dev/null || true ;;
        kill_next) kill_next ;;
        *)
            read -ra words <<< "$3"
            timeout --kill-after=1 30 "$SLUICE" "${words[@]}" > "$1.txt" 2> "$1.err" ||
                status=$?
            ;;
    esac
    echo $status > "$1.status"
}

ends_well() {
    case $(cat "$1.status") in
        0) ;;
        1) [[ $(cat "$1.err") =~ ^sluice:\ [^$'\n']+$ ]] || fail "$2 says $(cat "$1.err")" ;;
        *) fail "$2 hangs or fails: $(cat "$1.status" "$1.err")" ;;
    esac
}

is_gone_if_deleted() {
    [[ $2 != del* ]] || [ "$(cat "$1.status")" != 0 ] ||
        [ ! -e "$SLUICE_STATE_DIR/device-0.json" ] || fail "$2 succeeds, and it is there"
}

# The server, if any, serves the synced text, unless it is about to end; the image has the text in
# any case.
is_intact() {
    local text="text of $SERVER" found="" tries=100
    while timeout 5 "$SLUICE" stat -n 0 > stat.txt 2>&1; do
        found=$(timeout 5 head -n 1 "$DEV" 2> read.err | tr -d '\0') || true
        [ -z "$found" ] || break
        [ $((tries -= 1)) -gt 0 ] || fail "nothing is read: $(cat read.err)"
        sleep 0.05
    done
    same "what is read" "${found:-$text}" "$text"
    same "what the image has" "$(head -n 1 image.raw | tr -d '\0')" "$text"
}

# A second server may exist for a moment, if it is about to end.
at_most_one_server() {
    local left
    for _ in {1..100}; do
        left=$(servers)
        [ "$(wc -w <<< "$left")" -gt 1 ] || return 0
        sleep 0.05
    done
    # shellcheck disable=SC2086
    fail "several servers: $(ps -o pid,ppid,stat,args -p ${left//$'\n'/,}): $1"
}

# Prints the servers: the processes of `ours` that are no keepers of others.
servers() {
    local pid all
    all=$(ours)
    for pid in $all; do
        grep -qxF "$(ps -o ppid= -p "$pid" | tr -d ' ')" <<< "$all" || echo "$pid"
    done
}
