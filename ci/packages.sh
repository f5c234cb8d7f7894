#!/usr/bin/env bash
# System packages: a C compiler to build with, the programs that some tests talk to, and the library
# that the benches have among their peers.
source "$(dirname "$0")/lib.sh"

packages() {
    local wanted=()
    has cc || wanted+=(gcc libc6-dev)
    has openssl || wanted+=(openssl)
    has pkg-config || wanted+=(pkg-config)
    { has pkg-config && pkg-config --exists openssl; } || wanted+=(libssl-dev)
    [[ $(uname -m) != x86_64 ]] || links_32_bits || wanted+=(gcc-multilib)
    has cmake || wanted+=(cmake)
    has make || wanted+=(make)
    has perl || wanted+=(perl)
    has python3 || wanted+=(python3)
    { has python3 && python3 -c "import ensurepip"; } || wanted+=(python3-venv)
    has curl || wanted+=(curl)
    has gnutls-cli || wanted+=(gnutls-bin)
    # Servers are not in everybody's path.
    PATH+=:/usr/sbin
    has haproxy || wanted+=(haproxy)
    has nginx || wanted+=(nginx-light)
    has redis-server || wanted+=(redis-server)
    has shellcheck || wanted+=(shellcheck)
    [[ ${#wanted[@]} -gt 0 ]] || {
        echo "ci: nothing is missing"
        return
    }
    if [[ $(id -u) != 0 ]] || ! has apt-get; then
        skip "cannot install ${wanted[*]}; stages that need them are skipped"
    fi
    apt-get update
    apt-get install --yes --no-install-recommends "${wanted[@]}" ||
        skip "no ${wanted[*]}; stages that need them are skipped"
    echo "ci: installed ${wanted[*]}"
}

# From Python's package index, into a directory of its own.
aioquic() {
    local python=$TARGET/aioquic show='import aioquic; print("ci: aioquic", aioquic.__version__)'
    "$python/bin/python3" -c "$show" || {
        python3 -m venv "$python"
        "$python/bin/pip" install --quiet aioquic
        "$python/bin/python3" -c "$show"
    } || skip "aioquic cannot be had"
}
export -f packages aioquic

stage "system packages" packages
stage "Python's aioquic" aioquic
