# Sourced by the other scripts: the repository's root, and what every build needs.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
# shellcheck disable=SC2034  # the other scripts use it
target="${CARGO_TARGET_DIR:-target}"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@" >&2
    exit 1
}

# A compiler for Rust and one for the C in SQLite and the cryptography.
need_compilers() {
    command -v cargo >/dev/null || fail "cargo is missing. Install Rust, then open a new shell:" \
        "curl -sSf https://sh.rustup.rs | sh"
    command -v "${CC:-cc}" >/dev/null || fail "a C compiler is missing. Install one:" \
        "sudo apt-get install gcc libc6-dev"
}
