# Create the files and directories of a login that are missing, without changing what a login does.
#
# Values: home. Arguments: the names below it; one that ends in / is a directory.
cd "$home"
umask 077
# Never write over a file that appeared meanwhile.
set -C
for name in "$@"; do
    [ ! -e "$name" ] && [ ! -L "${name%/}" ] || continue
    case $name in
        */) mkdir -p "$name" ;;
        .bash_profile)
            # Bash reads the first of .bash_profile, .bash_login and .profile.
            next=.profile
            [ ! -e .bash_login ] || next=.bash_login
            cat >.bash_profile <<END
# Made by remote-jupyter. This file keeps code in Jupyter from creating one that a login would run.
# Without it, bash would read the same file.
[ ! -r ~/$next ] || . ~/$next
END
            ;;
        *) : >"$name" ;;
    esac
done
