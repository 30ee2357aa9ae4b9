#!/bin/sh
# Measures on a GPU what docs/benchmarks.md calls "not measured": at most 12 minutes on one H100 or H200.
#
#     benchmarks/gpu.sh gpu.json          # one JSON: device, date, commit, and the figures of every program
#     benchmarks/gpu.sh --toy gpu.json    # small networks on the CPU, to try it out
#
# $PYTHON (default: .venv/bin/python) has this project. A program that fails or is too slow is named in the JSON with the
# end of its output, the others go on; the exit status is then 1.
set -u
toy=false
[ "${1:-}" = --toy ] && toy=true && shift
[ $# = 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# measure SECONDS NAME PROGRAM ARGUMENTS...
measure() {
    seconds=$1 name=$2 program=$3
    shift 3
    echo "$name: $program $*" >&2
    timeout "$seconds" "$python" "$here/$program" "$@" --out "$work/$name.json" >"$work/$name.log" 2>&1 ||
        echo "$name failed or took more than $seconds s" >>"$work/$name.log"
}

if $toy; then
    small=$here/../options/demo/refstar.yml
    measure 300 training train_speed.py --small --rounds 1 --arms off refstar
    measure 300 references overhead.py --opt "$small" --rounds 1 --warm-up 0
    measure 300 memory memory.py --opt "$small" --refs 1 2 --cases guidance
else
    measure 390 training train_speed.py --device cuda --batch 4 --rounds 20 --warm-up 5
    measure 150 references overhead.py --device cuda --rounds 20 --warm-up 5
    measure 150 memory memory.py --device cuda
fi

"$python" - "$work" "$1" "$(cd "$here" && git rev-parse --short HEAD 2>/dev/null)" <<'EOF'
import datetime, json, pathlib, sys
work, out, commit = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
found, failed = {}, []
for log in sorted(work.glob('*.log')):
    figures = log.with_suffix('.json')
    if figures.exists():
        found[log.stem] = json.loads(figures.read_text())
    else:
        failed.append(log.stem)
        found[log.stem] = {'failed': log.read_text()[-2000:]}
devices = sorted({figures['device'] for figures in found.values() if 'device' in figures})
date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
out.write_text(json.dumps({'device': ', '.join(devices), 'date': date, 'commit': commit, **found}, indent=2) + '\n')
print(f'{out}: {", ".join(devices)}' + (f'; failed: {", ".join(failed)}' if failed else ''))
sys.exit(bool(failed))
EOF
