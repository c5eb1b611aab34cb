#!/usr/bin/env bash
# The manual pages: mandoc accepts them, no line is wider than a terminal, and each page that the
# text refers to is under SEE ALSO. (cli_bad_input.sh compares them with the commands' help.)
set -u

main() {
    : "${SLUICE_SOURCE_DIR:?the checkout}"
    for program in mandoc man col; do
        command -v $program >/dev/null || { echo "skipped: there is no $program"; exit 77; }
    done
    cd "$SLUICE_SOURCE_DIR/docs/man" || exit 1
    failures=0
    export LC_ALL=C.UTF-8 MANWIDTH=80
    local page
    for page in *.[1-8]; do
        mandoc -T lint -W warning "$page" || problem "$page: mandoc complains"
        fits "$page" mandoc "$(mandoc -T utf8 "$page" | col -bx)"
        fits "$page" man "$(man -l "$page" 2>/dev/null | col -bx)"
        refers "$page"
    done
    # sluice(1) refers to all other pages.
    for page in *.[1-8]; do
        [ "$page" = sluice.1 ] || see_also sluice.1 | grep -qx "${page%.*} ${page##*.}" ||
            problem "sluice.1: $page is not under SEE ALSO"
    done
    [ "$failures" -eq 0 ] || { echo "$failures problems"; exit 1; }
    echo "the manual is as it should be"
}

fits() {
    local wide
    wide=$(grep -E '^.{81}' <<<"$3")
    [ -z "$wide" ] || problem "$1, by $2: wider than 80 columns" "$wide"
    [ "$(wc -l <<<"$3")" -gt 20 ] || problem "$1, by $2: not shown"
}

refers() {
    local missing
    missing=$(comm -23 <(references '/^.Sh SEE ALSO/q; ' "$1") <(see_also "$1"))
    [ -z "$missing" ] || problem "$1: not under SEE ALSO:" "$missing"
}

see_also() {
    references '1,/^.Sh SEE ALSO/d; ' "$1"
}

# references SCRIPT PAGE: prints the pages of Sluice that PAGE refers to, in the part that the sed
# script keeps.
references() {
    sed -nE "$1"'s/^\.Xr (sluice[a-z_-]*) ([1-8]).*/\1 \2/p' "$2" | sort -u
}

problem() {
    printf '%s\n' "$@"
    failures=$((failures + 1))
}

main
