# Bash completion for kvctl: commands, options, and keys as the server lists them.

_kvctl() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} word server= words=() i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            --server) server=${COMP_WORDS[++i]} ;;
            --if-version | --ack | --lose-writes-after) ((i++)) ;;
            -*) ;;
            *) words+=("$word") ;;
        esac
    done
    case $previous in
        --ack) mapfile -t COMPREPLY < <(compgen -W 'quorum all' -- "$current"); return ;;
        --server | --if-version | --lose-writes-after) return ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '--server --json --linearizable --raw --if-absent --if-version --ack
            --ready --watch --yes --lose-writes-after --help --version' -- "$current")
        return
    fi
    case "${words[*]}" in
        '') mapfile -t COMPREPLY < <(compgen -W 'put get version delete keys cluster health metrics log-level
            rejected directory' -- "$current") ;;
        cluster) mapfile -t COMPREPLY < <(compgen -W 'nodes slots status join leave transfer' -- "$current") ;;
        log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info notice warning error' -- "$current") ;;
        rejected) mapfile -t COMPREPLY < <(compgen -W 'list apply drop' -- "$current") ;;
        directory) mapfile -t COMPREPLY < <(compgen -W 'check mend' -- "$current") ;;
        'directory check' | 'directory mend') mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        'rejected apply' | 'rejected drop')
            mapfile -t COMPREPLY < <(compgen -W "all $(kvctl ${server:+--server "$server"} rejected list 2>/dev/null |
                sed 1d | cut -d ' ' -f 1)" -- "$current") ;;
        put | get | version | delete | 'cluster slots')
            mapfile -t COMPREPLY < <(kvctl ${server:+--server "$server"} keys -- "$current" 2>/dev/null | head -n 100) ;;
    esac
}

complete -F _kvctl kvctl
