# Shared by the scripts; sourced, not run. Changes to the top of the tree and defines a few helpers.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Debian's cargo is in /usr/bin, rustup's in ~/.cargo/bin.
case ":$PATH:" in
    *":$HOME/.cargo/bin:"*) ;;
    *) [ ! -d "$HOME/.cargo/bin" ] || PATH="$HOME/.cargo/bin:$PATH" ;;
esac
case ":$PATH:" in
    *:/usr/sbin:*) ;;
    *) PATH="$PATH:/usr/sbin:/sbin" ;;
esac
export PATH

TARGET_DIR="${CARGO_TARGET_DIR:-target}"
case "$TARGET_DIR" in
    /*) ;;
    *) TARGET_DIR="$PWD/$TARGET_DIR" ;;
esac

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Prints the comment at the head of the calling script, without its first line and the comment signs.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

need_root() { [ "$(id -u)" -eq 0 ] || die "needs root: network namespaces and packages cannot be made without it"; }

# The oldest Rust the workspace builds with.
rust_version_needed() { awk -F'"' '/^rust-version *=/ { print $2; exit }' Cargo.toml; }

# True when a version of Rust is that one or newer.
is_new_enough() { [ "$(printf '%s\n%s\n' "$(rust_version_needed)" "$1" | sort -V | head -n 1)" = "$(rust_version_needed)" ]; }

# True when cargo and rustc are there and new enough.
has_rust() {
    local found
    command -v cargo >/dev/null && found=$(rustc --version 2>/dev/null | awk '{ print $2 }') && [ -n "$found" ] && is_new_enough "$found"
}

# start_api DIRECTORY FLAG...: starts a leat-cp without a data plane on a free port, with its files in DIRECTORY and further flags; sets
# API_URL, LEAT_TOKEN (the first admin's), and API_PID, which the caller ends.
start_api() {
    local directory=$1 programs=${LEAT_BIN_DIR:-$TARGET_DIR/checked} port
    shift
    [ -n "${LEAT_BIN_DIR:-}" ] || cargo build --locked --profile checked -p leat-cp
    port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$programs/leat-cp" --without-data-plane --listen "127.0.0.1:$port" --segment "$directory/segment" --store "$directory/leat.redb" \
        --port-address p0=10.1.0.2/24 --port-address p0=2001:db8:1::2/64 "$@" >"$directory/log" 2>&1 &
    API_PID=$!
    API_URL="http://127.0.0.1:$port/v1"
    for _ in $(seq 100); do
        # Whoever answers is there.
        if curl --silent --output /dev/null "$API_URL/status"; then
            LEAT_TOKEN=$(awk -F= '$1 == "LEAT_TOKEN" { print $2 }' "$directory/leat.admin-credentials")
            export LEAT_TOKEN
            return
        fi
        kill -0 "$API_PID" 2>/dev/null || { cat "$directory/log" >&2; die "leat-cp has ended"; }
        sleep 0.1
    done
    die "leat-cp does not answer"
}
