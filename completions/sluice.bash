# Completion of sluice for bash. The words come from the program itself: `sluice complete WORD...`
# prints what can stand at the cursor (behind a tab: what it means), and ":files" for file names.

_sluice() {
    local cur words cword candidate _
    if declare -F _get_comp_words_by_ref >/dev/null; then
        # Of bash-completion. bash itself makes three words of --mode=copy.
        _get_comp_words_by_ref -n =: cur words cword
    else
        words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]}
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        if [[ $candidate == :files ]]; then
            _sluice_files
        else
            _sluice_reply "$cur" "$candidate"
        fi
    done < <("${words[0]}" complete "${words[@]:1:cword}" 2>/dev/null)
}

# File names that begin with $cur, or with what follows the = of an option in it.
_sluice_files() {
    local begin=$cur file
    if [[ $cur == --*=* ]]; then begin=${cur#*=}; fi
    compopt -o filenames
    while IFS= read -r file; do
        _sluice_reply "$begin" "$file"
    done < <(compgen -f -- "$begin")
}

# Adds $2 for $1, without what bash keeps: up to the last = or : where those divide words.
_sluice_reply() {
    local dividers='' kept=''
    if [[ $COMP_WORDBREAKS == *=* ]]; then dividers+='='; fi
    if [[ $COMP_WORDBREAKS == *:* ]]; then dividers+=':'; fi
    if [[ $dividers && $1 == *["$dividers"]* ]]; then kept=${1%"${1##*["$dividers"]}"}; fi
    COMPREPLY+=("${2#"$kept"}")
}

complete -F _sluice sluice
