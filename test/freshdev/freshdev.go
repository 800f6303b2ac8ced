// Package freshdev makes a /dev as a container has it, for tests and benchmarks
// of what is mounted there.
package freshdev

// Script are shell lines for a mount namespace of one's own: afterwards /dev is
// a tmpfs with the devices that programs need, and the shim's directory. /opt
// is used on the way.
const Script = `mount -t tmpfs tmpfs /opt
for d in null zero full random urandom tty; do touch /opt/$d; mount --bind /dev/$d /opt/$d; done
ln -s /proc/self/fd /opt/fd
mkdir /opt/shm /opt/truesize
chmod 1777 /opt/shm
mount --move /opt /dev
`
