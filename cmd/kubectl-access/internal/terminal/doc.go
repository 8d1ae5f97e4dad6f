// Package terminal shows what a terminal showed, from the recording of a session: it finds the
// terminals of a session, plays them, writes them as asciicast, and makes lines of them.
//
// What a terminal was sent was chosen by those whom the gate keeps in check, and may be written
// for the terminal of the auditor: to set a clipboard, to ask a question whose answer is typed
// into the auditor's shell, to move windows, to print. Filter passes what draws characters
// (ECMA-48, and what xterm, the VT220 and Linux add to it) by a list of what is known to do no
// more, and leaves out the rest. It also leaves out what hides what comes after it: a string that does
// not end.
package terminal
