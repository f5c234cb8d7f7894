#!/usr/bin/env bash
# The README's main job, and whether its report says what it must.
#   CI_STORM  arguments for it (a shorter storm)
source "$(dirname "$0")/lib.sh"

export STORM=${CI_STORM---sessions 50000 --overlaps 500}

main_job() {
    local words report=$TARGET/ci/main-job.json
    read -ra words <<<"$STORM"
    cargo run --release -- --json "${words[@]}" >"$report"
    has python3 || skip "there is no python3 to read the report with; the job itself passed"
    python3 - "$report" <<'PYTHON'
import json, sys

stores = {store["name"]: store for store in json.load(open(sys.argv[1]))["stores"]}
ours = stores["sessionwheel"]
assert "rustls" in stores, stores.keys()
for version in "tls12", "tls13":
    assert ours[version]["live_rate"] == 1.0, ours[version]
    assert ours[version]["resumed"] > 0, ours[version]
assert ours["expired_offered"] > 0
assert ours["expired_resumed"] == 0
assert ours["flushed"] == ours["background_expired"] > 0
print("ci: resumed", ours["tls12"]["resumed"], "with TLS 1.2,", ours["tls13"]["resumed"],
      "with TLS 1.3, live rate 1.0;", ours["expired_offered"], "expired offered, 0 resumed;",
      ours["flushed"], "flushed, all that expired")
PYTHON
}
export -f main_job

stage "main job" main_job
