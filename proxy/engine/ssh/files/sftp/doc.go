// Package sftp relays SFTP version 3 (draft-ietf-secsh-filexfer-02, and the extensions of
// OpenSSH's PROTOCOL) between a client and a server, asks a files.Guard about every operation
// and tells a files.Log what came of it.
//
//	client            relay                         server
//	  │─INIT────────────▶│─INIT 3──────────────────────▶│
//	  │◀─VERSION 3───────│◀─VERSION 3, extensions───────│  those that the relay knows
//	  │─OPEN p──────────▶│─REALPATH, LSTAT (READLINK)──▶│  numbers of its own
//	  │                  │ Guard.Operation              │
//	  │                  │─OPEN /real/p────────────────▶│
//	  │◀─HANDLE──────────│◀─────────────────────HANDLE──│
//	  │─WRITE, READ … ──▶│ count, digest ──────────────▶│  as many under way as the client likes
//	  │─CLOSE───────────▶│─────────────────────────────▶│
//	  │                  │ Log.Done                     │
//	  │◀─STATUS──────────│◀─────────────────────STATUS──│
//
// Every packet is decoded, and what goes on was decoded in full: requests with paths are written
// anew, all others have an exact form. Requests of an open file pass as they come. Requests with
// paths are taken one after the other, from the question what the path is until the server has
// answered, so that no rename or link of this session comes between look and use; one that waits
// for its guard steps aside, and its paths are looked at again when it goes on.
//
// It refuses, by an answer of its own: extensions that the server did not offer or the relay does
// not know, which it also leaves out of the VERSION it passes on (copy-data among them: its bytes
// would pass unseen), flags and attributes that version 3 does not have, handles that are not
// open, reading and writing that a handle was not opened for. It ends the relay for anything that
// is not the protocol: other versions, malformed and oversized packets, numbers in use twice,
// answers that were not asked for.
//
// The arguments of SYMLINK are in OpenSSH's order, the link's content first, in which all
// implementations in use send them.
package sftp
