# Print the state of a download.
#
# Values: cache (a directory), unit (that downloads). Functions: choose sets url and file, unless
# succeeds if the file is not needed, set_proxies exports the server's proxies.
choose
echo "machine $(uname -m)"
if unless; then echo 'state not needed'
elif [ -z "$url" ]; then echo 'state unsupported'
elif [ -f "$file" ]; then echo 'state there'
elif systemctl is-active -q "$unit"; then echo 'state under way'
else
    echo "url $url"
    folder=$cache
    until [ -d "$folder" ]; do
        folder=${folder%/*}
        folder=${folder:-/}
    done
    df -Pk "$folder" | awk 'END { print "free", $4 }'
    if command -v curl >/dev/null; then
        set_proxies
        curl -sIL --retry 1 --retry-all-errors --connect-timeout 4 --max-time 8 "$url" 2>/dev/null |
            tr -d '\r' |
            awk 'tolower($1) ~ /^http/ { size = "" }
                tolower($1) == "content-length:" { size = $2 }
                END { if (size) print "size", size }'
        echo 'state absent'
    else
        echo 'state without curl'
    fi
fi
