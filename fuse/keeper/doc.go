// Package keeper keeps the view alive. A keeper is a process that holds what
// must not be lost, the /dev/fuse descriptor and the kept memory, and runs the
// view's server as a child:
//
//   - the server dies: a spare one, started and loaded before, serves at once,
//     and answers what the dead one was working at;
//   - it stands still (stopped, deadlocked): it is killed, and see above;
//   - none comes up: the keeper answers, by [fuse.Fallback], and tries on;
//   - it is to be replaced by another version: that one is started beside it,
//     and takes its place once it is ready;
//   - the keeper dies: the server, which has the same descriptors, starts
//     another keeper, which adopts it; where both died, the spare serves and
//     does the same;
//   - the keeper is to be replaced: the new one gets the descriptors over a
//     socket.
//
// Keeper and server are one binary and speak over a socket pair, one line at
// a time: "ready" from the server, "go" from the keeper. The end of the socket
// tells the server that its keeper has died.
package keeper

// Descriptors that a server or an adopting keeper inherits.
const (
	fdFuse   = 3
	fdMemory = 4
	fdLock   = 5
	fdLink   = 6
	fdServer = 7 // pidfd of the server, for an adopting keeper
)

// Arguments by which the binary is told which part to play.
const (
	ServerArg = "server" // inherits, serves
	AdoptArg  = "adopt"  // inherits, keeps
)
