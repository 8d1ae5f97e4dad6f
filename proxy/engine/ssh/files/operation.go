package files

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Action is what an operation does. The zero value is no action and allowed by no guard.
type Action string

// The actions. Path and To of an Operation are what each says.
const (
	// Open opens the file Path; Access says for what.
	Open Action = "Open"
	// List reads the names in the directory Path.
	List Action = "List"
	// Stat reads the attributes of Path, or with lstat of the link that it is.
	Stat Action = "Stat"
	// StatFileSystem reads the sizes of the file system that Path is on.
	StatFileSystem Action = "StatFileSystem"
	// ReadLink reads what the symbolic link Path holds.
	ReadLink Action = "ReadLink"
	// RealPath asks for the absolute form Path of what was asked; nothing need be there.
	RealPath Action = "RealPath"
	// LookUpNames asks for the names of user and group numbers. It has no path.
	LookUpNames Action = "LookUpNames"
	// SetAttributes changes size, owner, mode or times of Path.
	SetAttributes Action = "SetAttributes"
	// MakeDirectory makes the directory Path.
	MakeDirectory Action = "MakeDirectory"
	// RemoveDirectory removes the empty directory Path.
	RemoveDirectory Action = "RemoveDirectory"
	// Remove removes the file, or the link itself, Path.
	Remove Action = "Remove"
	// Rename gives the file or directory Path the name To. With Replace one that is there is replaced.
	Rename Action = "Rename"
	// HardLink gives the file Path the further name To.
	HardLink Action = "HardLink"
	// SymbolicLink makes the link Path that leads to To.
	SymbolicLink Action = "SymbolicLink"
	// Unsupported is a request that the gate does not know and never forwards; Asked is its name.
	Unsupported Action = "Unsupported"
)

// Access is what a file is opened for.
type Access uint8

// What an Open may do. Create, Truncate and Append change the target even without Write.
const (
	Read Access = 1 << iota
	Write
	Create
	Truncate
	Append
	Exclusive
)

// Attributes are those that a request sets.
type Attributes struct {
	HasSize, HasOwner, HasMode, HasTimes bool

	Size                         uint64 // bytes
	UID, GID                     uint32
	Mode                         uint32 // with the bits of the file's type, where the client sends them
	AccessTime, ModificationTime time.Time
}

// Operation is one thing that a client asks for.
type Operation struct {
	Action Action
	// Asked and AskedTo are the paths as the client wrote them: at most 4096 bytes, without NUL.
	// Those of an operation on an open file are the ones that it was opened with.
	Asked, AskedTo string
	// Path and To are the real paths, see the package. That of a symbolic link's content names
	// the place it leads to; what is not there yet is taken as it is written. They are empty where
	// a relay could not ask for them, as that of scp without a Resolver. To and AskedTo of an Open or
	// MakeDirectory of such a relay are the other place that may be meant: whether scp puts a file in
	// the place of its target or into it, is known to the target alone.
	Path, To string
	Access   Access     // of Open
	Replace  bool       // of Rename
	Set      Attributes // of Open, MakeDirectory and SetAttributes
	// Tree: of an Open, all that is below a directory too, as rsync has it.
	Tree bool
	Size int64 // of an Open whose protocol announces the number of bytes; 0 otherwise
}

// Reads tells whether the operation reads content of a file.
func (o *Operation) Reads() bool { return o.Action == Open && o.Access&Read != 0 }

// Writes tells whether the operation may change anything on the target. What is not known does.
func (o *Operation) Writes() bool {
	switch o.Action {
	case List, Stat, StatFileSystem, ReadLink, RealPath, LookUpNames:
		return false
	case Open:
		return o.Access&^(Read|Exclusive) != 0 || o.Access&Read == 0
	default:
		return true
	}
}

// String says the operation in a line without control characters.
func (o *Operation) String() string {
	path, to := o.Path, o.To
	if path == "" {
		path = o.Asked
	}
	if to == "" {
		to = o.AskedTo
	}
	if to != "" {
		return fmt.Sprintf("%s %q to %q", o.Action, path, to)
	}
	return fmt.Sprintf("%s %q", o.Action, path)
}

// Channel is one side of a relay, an SSH channel say.
type Channel interface {
	io.ReadWriteCloser
	// CloseWrite ends what is sent; what comes is still read.
	CloseWrite() error
}

// Guard decides on operations.
type Guard interface {
	// Operation is asked before anything of the operation but questions for its paths reaches
	// the server. Nil lets it pass. A Refusal is told to the client and nothing is forwarded;
	// any other error ends the transfer. It may wait for as long as ctx lasts, for an approval
	// say: other requests go on meanwhile, so that it is called from several goroutines. The
	// paths are looked at again after a wait, and what has another path by then is refused.
	Operation(ctx context.Context, op Operation) error
}

// Place is where a path leads on the target.
type Place struct {
	// Path is the real path, see the package.
	Path string
	// Exists and Directory are what was there.
	Exists, Directory bool
}

// Resolver finds out where paths lead, for relays of protocols that cannot ask for it.
type Resolver interface {
	// Resolve follows a path, relative to the login's home if it is not absolute, to the file that
	// opening it would open or make. A Refusal says why it leads nowhere; any other error
	// ends the transfer.
	Resolve(ctx context.Context, path string) (Place, error)
}

// Refusal is the error of a Guard that refuses.
type Refusal struct {
	// Message is what the client is told: a sentence of at most 1024 bytes.
	Message string
}

func (r *Refusal) Error() string { return r.Message }
