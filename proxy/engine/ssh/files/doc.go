// Package files says what file transfers over SSH are asked and record, whatever protocol
// they have: the operation a client wants, the guard that is asked before it reaches the
// target, and the log of what came of it. Its subpackages relay one protocol each and know
// neither policy nor recordings: an engine gives them a Guard and a Log.
//
//	client            relay                   server on the target
//	  │─request─────────▶│─what is the real path?────▶│
//	  │                  │ Guard.Operation            │
//	  │                  │─request, real path────────▶│
//	  │                  │◀───────────────────answer──│
//	  │                  │ Log.Done                   │
//	  │◀─answer──────────│                            │
//
// # Paths
//
// An operation has its paths twice: as the client wrote them, and as the target's own file
// system resolves them. The second is what is forwarded, so that what was judged is what is
// used. It is absolute, without "." and "..", and none of its elements was a symbolic link when
// it was looked at, but the last one where the operation is about the link itself.
//
// What no check of paths can see, and what remains:
//
//   - a race: another session of the same login, or any process on the target, that replaces
//     a directory by a symbolic link between the look and the use. Within a session names are
//     looked at, changed and used one after the other. A guard that denies symbolic links to what
//     it denies leaves the other sessions only links that are there already.
//   - names that exist already for the same file: hard links, bind mounts. To make a hard link
//     to a protected file is denied; one that is there is not recognised.
//   - file systems on which two spellings are one name (letter case, Unicode normalisation).
//     Protected folds case; a guard's own patterns may not.
//   - renames of directories: what lies below one moves with it. A guard that denies what is
//     below a directory must deny the rename of that directory and of those above it.
//   - the server's account of its file system, which is the target's own.
//   - whether a path exists is told before the guard is asked: what cannot be resolved has no
//     path that could be judged.
//
// Paths are bytes as SFTP version 3 has them, not always UTF-8: quote them before they are shown.
package files
