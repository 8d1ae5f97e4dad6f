// Package scp recognises the commands that `scp -O` runs on a target, and relays the protocol that
// they speak, that of rcp: one side, the source, sends records of files and directories, the other,
// the sink, answers each of them.
//
//	source            relay                     sink
//	  │◀─0───────────────│◀─0───────────────────────│  ready
//	  │─T… (times)──────▶│ keeps them               │
//	  │◀─0───────────────│                          │
//	  │─C0644 12 name───▶│ Guard.Operation          │
//	  │                  │─T…, C0644 12 name───────▶│
//	  │◀─0───────────────│◀─0───────────────────────│
//	  │─12 bytes, 0─────▶│ count, digest ──────────▶│
//	  │                  │ Log.Done                 │
//	  │◀─0───────────────│◀─0───────────────────────│
//	  │─D0755 0 name, E─▶│ likewise ───────────────▶│
//
// The source is the client where files are copied to the target (scp -t), and the server where
// they are copied from it (scp -f). A record that the guard refuses is answered with an error line, as
// a sink that cannot make a file does: the source goes on with the next. Whatever is not the
// protocol ends the relay: names that are paths, records that the command's flags do not allow,
// lines that are too long, answers that are none.
//
// Unlike SFTP the protocol cannot ask the target what a path leads to. A files.Resolver can, one that has
// a session of SFTP with the same target beside it; without one the guard is given the names as they
// were written, and a symbolic link on the target can make them mean another file. In either case
// the target's own scp opens the path as it was written, later: see the race in package files.
package scp
