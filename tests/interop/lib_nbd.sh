# shellcheck shell=bash
# Common code of the tests of target nbd and of NBD under TLS, on top of lib_fuse.sh.
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_fuse.sh"

# with_servers FUNCTION: ends what the case has left running.
with_servers() {
    # shellcheck disable=SC2046
    trap 'kill -KILL $(jobs -p) 2> /dev/null || true' EXIT
    "$@"
}

# Sets ID and SERVER to those of the device in add.txt: there may be another.
note_added() {
    ID=$(sed -n 's/^dev id \([0-9]*\):.*/\1/p' add.txt)
    SERVER=$(field pid)
}

# end_kit: kills the nbdkit whose process is KIT.
end_kit() {
    kill -KILL "$KIT"
    wait "$KIT" 2> /dev/null || true
}

# appears FILE: waits until there is a socket, or a file with something in it.
appears() {
    for _ in {1..200}; do
        if [ -S "$1" ] || [ -s "$1" ]; then return; fi
        sleep 0.05
    done
    fail "there is no $1: $(cat ./*.log)"
}

# listens PORT: waits until somebody does.
listens() {
    for _ in {1..200}; do
        if (: < "/dev/tcp/localhost/$1") 2> /dev/null; then return; fi
        sleep 0.05
    done
    fail "nobody listens on port $1: $(cat ./*.log)"
}
