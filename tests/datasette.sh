#!/usr/bin/env bash
# Starts datasette (from PyPI) on a ledger with config/datasette.yaml and asks each canned query for its rows.
# Usage: tests/datasette.sh LEDGER   (a file called ledger.db)
# As root it is another user who reads, in the ledger's group only, in a folder that it may not write: as operators do.
set -euo pipefail
cd "$(dirname "$0")/.."
ledger=$(realpath "$1")
tools=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi; rm -rf "$tools"' EXIT

python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet datasette
cp config/datasette.yaml "$tools/"
chmod 755 "$tools"
reader=()
if [ "$(id -u)" = 0 ]; then
    other=(setpriv --reuid 65534 --regid 65534 --groups 4321)
    if (cd / && "${other[@]}" env HOME=/ "$tools/venv/bin/python" -c 'import datasette') 2>/dev/null; then
        mkdir "$tools/state"
        cp "$ledger" "$ledger-wal" "$ledger-shm" "$tools/state/" # all three: makegood leaves them
        chown -R 4321:4321 "$tools/state"
        chmod 640 "$tools"/state/*
        chmod 750 "$tools/state"
        ledger=$tools/state/ledger.db
        reader=("${other[@]}")
    else
        echo "datasette: NOT TESTED as another user, who cannot run this python (or there is no setpriv)"
    fi
fi
mkfifo "$tools/log"
(cd / && exec "${reader[@]}" env HOME=/ "$tools/venv/bin/datasette" serve "$ledger" --metadata "$tools/datasette.yaml" --host 127.0.0.1 --port 0 --setting sql_time_limit_ms 10000) >"$tools/log" 2>&1 &
server=$!
# It says where it listens; no waiting for a fixed time.
url=
while IFS= read -r line; do
    case $line in *"Uvicorn running on "*) url=${line##*running on }; url=${url%% *}; break ;; esac
done <"$tools/log"
cat "$tools/log" >/dev/null &
drain=$!
[ -n "$url" ] || { echo "datasette did not start"; exit 1; }

"$tools/venv/bin/python" - "$url" config/datasette.yaml <<'PY'
import json, sys, urllib.request
import yaml
url, config = sys.argv[1:]
queries = yaml.safe_load(open(config))["databases"]["ledger"]["queries"]
assert "/ledger/needs_me" in urllib.request.urlopen(url + "/", timeout=30).read().decode(), "the first page leads nowhere"
arguments = {"one_person": "email=example", "one_commission": "commission_id=88904"}
for name in queries:
    answer = json.load(urllib.request.urlopen(f"{url}/ledger/{name}.json?_shape=objects&{arguments.get(name, '')}", timeout=30))
    assert answer["ok"] and answer["rows"], f"{name}: no rows: {answer}"
    print(f"datasette: {name}: {len(answer['rows'])} rows")
for table in ("rewards", "attempts", "journal", "passes", "attention"):
    answer = json.load(urllib.request.urlopen(f"{url}/ledger/{table}.json?_shape=objects", timeout=30))
    assert answer["rows"], table
PY
kill "$server" "$drain" 2>/dev/null || true
