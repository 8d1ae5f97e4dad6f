// Package gated is a shell of which the gate understands every line. The client's terminal
// talks to a line editor in the gate; a line that may run is given to a shell in the target,
// which lives as long as the session, so that the folder and variables stay. Kubernetes and
// SSH share it.
//
// The shell runs without a terminal, its commands without input. Its standard error is turned
// into a channel of its own before the first command, which commands do not inherit: over it
// the shell says that a line has ended, with which status, and in which folder. What a command
// prints can not forge that. Then a fence that was not known before is put into the output,
// so that all of it is shown before the next prompt.
package gated
