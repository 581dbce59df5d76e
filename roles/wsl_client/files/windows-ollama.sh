# Managed by Lamplighter (role wsl_client): the address of Ollama on Windows, as seen from this WSL2.
# Read by shells at their start (sh, bash, zsh), so it starts no program: /proc/net/route is all that it reads.
# A value that somebody else gave OLLAMA_HOST stays: ours is the one that LAMPLIGHTER_OLLAMA_HOST repeats.

# Sets lamplighter_way: loopback, gateway, given or none. /run has what wslinfo said when this system was started.
lamplighter_find_way() {
    lamplighter_way=$lamplighter_conf_way
    [ "$lamplighter_way" = auto ] || return 0
    if [ -r "${LAMPLIGHTER_ROOT-}/run/lamplighter/windows-ollama.way" ]; then
        read -r lamplighter_way <"${LAMPLIGHTER_ROOT-}/run/lamplighter/windows-ollama.way" || :
    elif [ -e "${LAMPLIGHTER_ROOT-}/sys/class/net/loopback0" ]; then
        lamplighter_way=loopback
    else
        lamplighter_way=gateway
    fi
}

# Sets lamplighter_gateway: the default route of the lowest metric through eth*; numbers of it are little-endian.
lamplighter_find_gateway() {
    lamplighter_gateway='' lamplighter_best=''
    while read -r lamplighter_if lamplighter_to lamplighter_hex lamplighter_flags _ _ lamplighter_metric lamplighter_mask _; do
        case $lamplighter_if in eth*) ;; *) continue ;; esac
        [ "$lamplighter_to$lamplighter_mask" = 0000000000000000 ] || continue
        case $lamplighter_flags in *[37bBfF]) ;; *) continue ;; esac
        [ -z "$lamplighter_best" ] || [ "$lamplighter_metric" -lt "$lamplighter_best" ] || continue
        lamplighter_best=$lamplighter_metric
        lamplighter_rest=${lamplighter_hex%??}
        lamplighter_gateway=$((0x${lamplighter_hex#??????})).$((0x${lamplighter_rest#????}))
        lamplighter_rest=${lamplighter_hex%????}
        lamplighter_gateway=$lamplighter_gateway.$((0x${lamplighter_rest#??})).$((0x${lamplighter_hex%??????}))
    done <"${LAMPLIGHTER_ROOT-}/proc/net/route"
}

# Sets lamplighter_host (for NO_PROXY) and lamplighter_url; both are empty while Windows cannot be named.
lamplighter_find_windows() {
    lamplighter_host='' lamplighter_url=''
    lamplighter_find_way
    case $lamplighter_way in
    loopback) lamplighter_host=127.0.0.1 ;;
    given) lamplighter_host=$lamplighter_conf_host ;;
    gateway)
        lamplighter_find_gateway 2>/dev/null
        lamplighter_host=$lamplighter_gateway
        ;;
    esac
    [ -n "$lamplighter_host" ] || return 0
    lamplighter_url=$lamplighter_conf_scheme://$lamplighter_host:$lamplighter_conf_port$lamplighter_conf_path
    lamplighter_host=${lamplighter_host#\[}
    lamplighter_host=${lamplighter_host%]}
}

# Sets lamplighter_list: $1, a list for NO_PROXY, with the address of Windows in it.
lamplighter_add_host() {
    case ,$1, in
    *,"$lamplighter_host",*) lamplighter_list=$1 ;;
    ,,) lamplighter_list=$lamplighter_host ;;
    *) lamplighter_list=$1,$lamplighter_host ;;
    esac
}

lamplighter_export() {
    if [ -n "${OLLAMA_HOST-}" ] && [ "$OLLAMA_HOST" != "${LAMPLIGHTER_OLLAMA_HOST-}" ] &&
        [ "$lamplighter_conf_replace" != yes ]; then
        return 0
    fi
    lamplighter_find_windows
    [ -n "$lamplighter_url" ] || return 0
    export OLLAMA_HOST="$lamplighter_url" LAMPLIGHTER_OLLAMA_HOST="$lamplighter_url"
    # A proxy does not reach an address that only this machine has.
    if [ -n "${http_proxy-}${HTTP_PROXY-}${https_proxy-}${HTTPS_PROXY-}${all_proxy-}${ALL_PROXY-}" ]; then
        lamplighter_add_host "${no_proxy:-${NO_PROXY-}}"
        export no_proxy="$lamplighter_list" NO_PROXY="$lamplighter_list"
    fi
}

if [ -r "${LAMPLIGHTER_ROOT-}/etc/lamplighter/windows-ollama.conf" ]; then
    . "${LAMPLIGHTER_ROOT-}/etc/lamplighter/windows-ollama.conf"
    [ -n "${LAMPLIGHTER_ONLY_FUNCTIONS-}" ] || lamplighter_export
fi
