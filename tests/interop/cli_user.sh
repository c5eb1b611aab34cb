#!/usr/bin/env bash
# A user without privilege: the default place of state files (su, cron), directories that are not
# trusted, and messages of fusermount3, which must reach the user. In a mount namespace of its own,
# with an empty /tmp and /run.
set -u

main() {
    : "${SLUICE:?the program under test}"
    [ "$(id -u)" = 0 ] || { echo "skipped: these tests need root"; exit 77; }
    [ -e /dev/fuse ] || modprobe fuse 2>/dev/null
    [ -e /dev/fuse ] || { echo "skipped: this machine has no FUSE"; exit 77; }
    command -v fusermount3 >/dev/null || { echo "skipped: there is no fusermount3"; exit 77; }
    if [ "${1-}" != apart ]; then
        exec unshare --mount --propagation private bash "$0" apart
    fi
    prepare
    failures=0
    it_has_a_directory
    run_user_is_preferred
    what_is_not_safe_is_refused
    the_helper_is_heard
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
    echo "a user without privilege can do it"
}

prepare() {
    folder=$(mktemp -d /var/tmp/sluice-user.XXXXXX) || exit 1
    trap leave EXIT
    trap 'exit 130' HUP INT TERM
    cp "$SLUICE" "$folder/sluice"  # the original may be below /tmp
    mode=$(stat -c %a /dev/fuse)
    chmod 666 /dev/fuse
    mount -t tmpfs -o mode=1777 tmp /tmp
    mount -t tmpfs -o mode=755 run /run
    chmod 755 "$folder"
    mkdir "$folder/theirs" "$folder/mine"
    truncate -s 1M "$folder/theirs/a.img"
    chown -R nobody "$folder/theirs"
    cd "$folder/theirs" || exit 1
    uid=$(id -u nobody)
    directory=/tmp/sluice-$uid
    unset SLUICE_STATE_DIR XDG_RUNTIME_DIR
}

# user [NAME=VALUE]... COMMAND...: runs the command as the user, without variables of a session.
user() {
    timeout 60 setpriv --reuid nobody --regid nogroup --clear-groups env -i PATH="$PATH" "$@"
}

it_has_a_directory() {
    user ../sluice add --quiet a.img --at view >path 2>error || problem "add fails: $(cat error)"
    [ "$(cat path)" = "$folder/theirs/view" ] || problem "another path: $(cat path)"
    [ "$(stat -c '%A %u' "$directory")" = "drwx------ $uid" ] ||
        problem "the directory: $(stat -c '%A %u' "$directory")"
    [ -e "$directory/device-0.json" ] || problem "no state file: $(ls "$directory")"
    user ../sluice list >shown
    grep -q '^0 .*view ' shown || problem "list: $(cat shown)"
    # su leaves root's variable in the environment.
    mkdir -m 700 /run/root
    user XDG_RUNTIME_DIR=/run/root ../sluice list >shown 2>error
    grep -q '^0 .*view ' shown || problem "beside another's: $(cat shown error)"
    user ../sluice del view || problem "del fails"
    [ ! -e view ] || problem "the file is left"
}

run_user_is_preferred() {
    mkdir -p "/run/user/$uid" /run/given
    chown nobody "/run/user/$uid" /run/given
    user ../sluice add --quiet a.img --at view >path || problem "add fails"
    [ -e "/run/user/$uid/sluice/device-0.json" ] || problem "it is not in /run/user"
    user ../sluice del -a || problem "del fails"
    user XDG_RUNTIME_DIR=/run/given ../sluice add --quiet a.img --at view >path ||
        problem "add fails"
    [ -e /run/given/sluice/device-0.json ] || problem "it is not where XDG_RUNTIME_DIR says"
    user XDG_RUNTIME_DIR=/run/given ../sluice del view || problem "del fails"
    rm -r "/run/user/$uid"
}

what_is_not_safe_is_refused() {
    rm -rf "$directory"
    mkdir -m 700 "$directory"
    is_refused "root's"
    chown nobody "$directory"
    user ../sluice list 2>error || problem "its own is refused: $(cat error)"
    chmod 755 "$directory"
    is_refused "open to others"
    rmdir "$directory"
    ln -s "$folder/theirs" "$directory"
    is_refused "a link"
    rm "$directory"
    touch "$directory"
    chown nobody "$directory"
    is_refused "a file"
    rm "$directory"
}

is_refused() {
    local command
    for command in "list" "del -a" "add a.img --at view"; do
        # shellcheck disable=SC2086  # words
        user ../sluice $command >shown 2>error && problem "$1: 'sluice $command' uses it"
        grep -q "^sluice: $directory is not a directory that only user $uid can .*XDG_RUNTIME_DIR" \
            error || problem "$1: $(cat error)"
    done
    # Commands that need no state still work.
    user ../sluice targets >shown 2>error || problem "$1: targets fail: $(cat error)"
    user ../sluice add --help >shown 2>error || problem "$1: help fails: $(cat error)"
}

the_helper_is_heard() {
    touch "$folder/mine/view"
    user ../sluice add a.img --at ../mine/view >shown 2>error && problem "that is not theirs"
    [ "$(wc -l <error)" = 1 ] || problem "not one line: $(cat error)"
    grep -qE "^sluice: fusermount3 refused to .*view' \(.*(write access|denied).*\): " error ||
        problem "without fusermount's words: $(cat error)"
    user ../sluice add a.img --at view --allow_other >shown 2>error &&
        problem "--allow_other is allowed here"
    grep -q "^sluice: fusermount3 refused to mount .*user_allow_other.*): you must" error ||
        problem "without fusermount's words: $(cat error)"
}

problem() {
    printf '%s\n' "$@"
    failures=$((failures + 1))
}

leave() {
    local status=$?
    user "$folder/sluice" del -a --force >/dev/null 2>&1
    chmod "$mode" /dev/fuse
    cd /
    rm -rf "$folder"
    exit $status
}

main "$@"
