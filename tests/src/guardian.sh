trap '' INT TERM HUP
pids='' directories='' keep=''
while read -r word value; do
    case $word in
    watch) pids="$pids $value" ;;
    forget)
        others=''
        for pid in $pids; do
            [ "$pid" = "$value" ] || others="$others $pid"
        done
        pids=$others
        ;;
    remove) directories="$directories $value" ;;
    keep) keep=yes ;;
    esac
done
for pid in $pids; do
    kill -KILL "$pid"
done
[ -z "$keep" ] || exit 0
for directory in $directories; do
    for pid_file in "$directory"/postgres/postmaster.pid "$directory"/*/postgres/postmaster.pid; do
        read -r pid <"$pid_file" || continue
        kill -QUIT "$pid"
        tries=0
        while [ -e "$pid_file" ] && kill -0 "$pid" && [ "$tries" -lt 100 ]; do
            sleep 0.05
            tries=$((tries + 1))
        done
    done
    rm -rf -- "$directory"
done
