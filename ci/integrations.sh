#!/usr/bin/env bash
# rustls, quinn and OpenSSL, with other people's clients (openssl s_client, Python, gnutls-cli, curl, HAProxy, nginx;
# aioquic); Redis.
#   CI_REPLAYS    rounds of each kind in which early data is replayed (30)
#   CI_PROVIDERS  ring; all (ci/full): rustls' handshakes with aws-lc-rs too, which is long to build, release builds, and
#                 packages that are built by themselves, as the README has it
#   CI_RACES      tickets for which two servers on one Redis race (50; ci/full: 1000)
#   CI_VENDORED   if not empty (ci/full): sessionwheel-openssl's tests also with the OpenSSL that is built along, a newer one
#   CI_SOAK       seconds of random faults that befall Redis (3; ci/full: 600); if more, as often a slot of a Cluster moves, 100 times at most
source "$(dirname "$0")/lib.sh"

export SESSIONWHEEL_REPLAYS=${CI_REPLAYS:-30} SESSIONWHEEL_SOAK=${CI_SOAK:-3} SESSIONWHEEL_RACES=${CI_RACES:-50} PROVIDERS=${CI_PROVIDERS:-ring}

# All builds but that are the ones that `cargo test --workspace` has made, and their tests have been run there.
integrations() {
    cargo test --release --package sessionwheel-rustls --package handshake-storm
    # By the README's command: builds the package by itself.
    cargo test --package sessionwheel-rustls --test strangers -- --ignored --nocapture
}

# All is built by `cargo test --workspace`, which has run it as well, and shown nothing of what was seen.
strangers() {
    cargo test --workspace --exclude sessionwheel-openssl --test strangers -- --nocapture
}

# As above.
replays() {
    cargo test --workspace --exclude sessionwheel-openssl --test replay -- --nocapture
}

# By the README's command, which builds the package by itself; and once more for aioquic, if that is there.
quinn_alone() {
    local said
    said=$(cargo run --package sessionwheel-quinn --example zero_rtt)
    echo "$said"
    [[ $(grep -c "early data, accepted true" <<<"$said") == 3 ]]
    cargo test --package sessionwheel-quinn --test strangers -- --ignored --nocapture
}

aws_lc_rs() {
    cargo test --package sessionwheel-rustls --features _test-aws-lc-rs -- --nocapture
}

openssl_integration() {
    has pkg-config || skip "there is no pkg-config"
    pkg-config --exists openssl || skip "there is no libssl-dev"
    cargo test --package sessionwheel-openssl --features openssl -- --nocapture
    cargo test --package handshake-storm --features openssl --test command_line
    echo "ci: with libssl $(pkg-config --modversion openssl)"
}

# A build of minutes, in a directory of its own.
openssl_vendored() {
    has perl || skip "there is no perl"
    has make || skip "there is no make"
    CARGO_TARGET_DIR=$TARGET/vendored \
        cargo test --package sessionwheel-openssl --features vendored -- --nocapture
    echo "ci: with $(cargo tree --package sessionwheel-openssl --features vendored --prefix none --invert openssl-src --depth 0)"
}

# Its tests without a server print SKIPPED and pass.
redis() {
    has redis-server || skip "there is no redis-server"
    redis-server --version
    cargo test --package sessionwheel-redis --features tls --lib --test tls --test single_use --test rustls_servers --test soak
    # ci/test.sh has the short form.
    ((SESSIONWHEEL_SOAK <= 3)) || cargo test --package sessionwheel-redis --test cluster a_slot_moves
    cargo test --package handshake-storm --features redis --test fleet
}
export -f integrations strangers replays quinn_alone aws_lc_rs openssl_integration openssl_vendored redis

SUMMARY+='|^replays |^visit |^handshakes by |^[A-Za-z_0-9.-]+, TLSv1|^neither, one|^[0-9]+ children'
stage "integrations: rustls and six programs, quinn and aioquic" strangers
stage "integrations: quinn, replays" replays
if [[ $PROVIDERS != ring ]]; then
    stage "integrations: rustls, release builds" integrations
    stage "integrations: quinn by the README's command" quinn_alone
    stage "integrations: rustls with aws-lc-rs" aws_lc_rs
fi
stage "integrations: OpenSSL and six programs" openssl_integration
if [[ -n ${CI_VENDORED:-} ]]; then
    stage "integrations: OpenSSL that is built along" openssl_vendored
fi
stage "integrations: Redis, two hosts" redis
