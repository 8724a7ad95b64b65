# Download a file, resume where an earlier download stopped, and check its SHA-256.
#
# Value: cache (a directory). Functions: choose sets url, sum and file, set_proxies exports the
# server's proxies.
umask 022
mkdir -p "$cache"
cd "$cache"
set_proxies
choose
[ ! -f "$file" ] || exit 0
for other in *; do [ "$PWD/$other" = "$file.part" ] || rm -f "$other"; done
part=$file.part
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
: >>"$part"
have() { stat -c %s "$part"; }
fail() { rm -f "$part"; echo "$*" >&2; exit 1; }
size=$(curl -sIL --connect-timeout 15 --max-time 30 "$url" 2>/dev/null | tr -d '\r' |
    awk 'tolower($1) ~ /^http/ { n = "" } tolower($1) == "content-length:" { n = $2 } END { print n }')
tries=0
again=''
while :; do
    from=$(have)
    began=$(date +%s)
    curl -fsSL --proto =http,https --connect-timeout 15 --speed-limit 1000 --speed-time 30 \
        -C - -w '%{http_code}' -o "$part" "$url" >"$said/code" 2>"$said/why" &
    curl=$!
    while kill -0 $curl 2>/dev/null; do
        sleep 0.5
        now=$(have)
        took=$(($(date +%s) - began))
        echo "dlstatus:$now:$size:$(((now - from) / (took > 0 ? took : 1)))"
    done
    s=0
    wait $curl || s=$?
    code=$(cat "$said/code")
    why=$(tail -n 1 "$said/why")
    if [ $s = 0 ] || [ "$code" = 416 ]; then
        got=$(sha256sum "$part" | cut -d' ' -f1)
        if [ "$got" = "$sum" ]; then
            sync "$part"
            mv "$part" "$file"
            exit 0
        fi
        if [ "$from" -gt 0 ] && [ -z "$again" ]; then
            echo 'the part that was kept does not fit; starting again'
            again=1
            rm -f "$part"
            : >"$part"
            continue
        fi
        what="another file ($(have) bytes, SHA-256 $got)"
        if [ ! -s "$part" ]; then what='an empty file'
        elif head -c 1000 "$part" | grep -aqi '<html\|<!doctype'; then what='an HTML page'; fi
        fail "$url gave $what instead of the file with SHA-256 $sum;" \
            "nothing of it was run, and it was removed"
    fi
    case $s,$code in
        22,408|22,425|22,429|22,5??) ;;
        22,*) fail "$url: the server answered $code; is the address right?" ;;
        23,*) fail "the disk is full: $from of ${size:-?} bytes fit into $PWD; make room there" ;;
        33,*|36,*)
            echo 'the server cannot resume; starting again'
            rm -f "$part"
            : >"$part"
            ;;
        1,*|3,*|60,*) fail "$url: $why" ;;
    esac
    [ "$(have)" -le "$from" ] || tries=0
    tries=$((tries + 1))
    if [ $tries -gt 5 ]; then
        echo "$url: $why; gave up after $tries tries; $(have) bytes are kept for the next run" >&2
        exit 1
    fi
    echo "$why; again in $((1 << (tries - 1))) s"
    sleep $((1 << (tries - 1)))
done
