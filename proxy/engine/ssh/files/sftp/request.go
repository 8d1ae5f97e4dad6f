package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// lookup is how a path of a request becomes a real one.
type lookup byte

const (
	none    lookup = iota
	follow         // the file that it leads to
	link           // the link itself, unless a slash behind it says what it leads to
	name           // a name in a directory, whatever is there
	content        // what a symbolic link to be made holds
	asked          // the server's own answer is all that is wanted
)

// form is what a request with paths consists of behind its number.
type form struct {
	action        files.Action
	first, second lookup
	attributes    bool
}

var forms = map[byte]form{
	typeOpen:     {action: files.Open, first: follow, attributes: true},
	typeLstat:    {action: files.Stat, first: link},
	typeSetstat:  {action: files.SetAttributes, first: follow, attributes: true},
	typeFsetstat: {action: files.SetAttributes, attributes: true},
	typeOpendir:  {action: files.List, first: follow},
	typeRemove:   {action: files.Remove, first: name},
	typeMkdir:    {action: files.MakeDirectory, first: name, attributes: true},
	typeRmdir:    {action: files.RemoveDirectory, first: name},
	typeRealpath: {action: files.RealPath, first: asked},
	typeStat:     {action: files.Stat, first: follow},
	typeRename:   {action: files.Rename, first: name, second: name},
	typeReadlink: {action: files.ReadLink, first: link},
	typeSymlink:  {action: files.SymbolicLink, first: name, second: content},
}

// Extensions of OpenSSH's PROTOCOL, section 4, of which the relay knows what they do.
const (
	extPosixRename = "posix-rename@openssh.com"
	extStatvfs     = "statvfs@openssh.com"
	extFstatvfs    = "fstatvfs@openssh.com"
	extHardlink    = "hardlink@openssh.com"
	extFsync       = "fsync@openssh.com"
	extLsetstat    = "lsetstat@openssh.com"
	extLimits      = "limits@openssh.com"
	extExpandPath  = "expand-path@openssh.com"
	extNames       = "users-groups-by-id@openssh.com"
)

// extensions are those that a server may offer to the client, in the version that is known.
var extensions = map[string]string{
	extPosixRename: "1", extStatvfs: "2", extFstatvfs: "2", extHardlink: "1", extFsync: "1",
	extLsetstat: "1", extLimits: "1", extExpandPath: "1", extNames: "1",
}

var extendedForms = map[string]form{
	extPosixRename: {action: files.Rename, first: name, second: name},
	extStatvfs:     {action: files.StatFileSystem, first: follow},
	extHardlink:    {action: files.HardLink, first: name, second: name},
	extLsetstat:    {action: files.SetAttributes, first: link, attributes: true},
	extExpandPath:  {action: files.RealPath, first: asked},
	extNames:       {action: files.LookUpNames},
}

// status is an answer of the relay's own.
type status struct {
	code    uint32
	message string
}

var errMalformed = errors.New("a request that is not well-formed")

// request is one about paths, or about attributes of an open file: what the guard is asked about.
type request struct {
	id   uint32 // the client's
	typ  byte
	ext  string // the name of an extension
	form form
	op   files.Operation

	flags      uint32
	attributes []byte  // as they were sent
	names      []byte  // of extNames
	handle     *handle // of FSETSTAT

	forwarded bool // for the goroutine that forwards it

	judged  chan struct{} // closed when the guard has spoken; its words are in verdict
	verdict error
	cancel  context.CancelFunc
	done    chan struct{} // closed when it is answered
}

// decode reads a request that has a form, but for FSETSTAT's handle, which is cut from c before. An
// error ends the relay; a status is told to the client.
func decode(typ byte, ext string, f form, id uint32, c *cursor) (*request, *status, error) {
	q := &request{id: id, typ: typ, ext: ext, form: f, op: files.Operation{Action: f.action}, judged: make(chan struct{}), done: make(chan struct{})}
	if ext == extNames {
		q.names = bytes.Clone(c.rest)
		if users, groups := c.bytes(), c.bytes(); !c.ended() || len(users)%4 != 0 || len(groups)%4 != 0 {
			return nil, nil, errMalformed
		}
		return q, nil, nil
	}
	if f.first != none {
		q.op.Asked = string(c.bytes())
	}
	if f.second != none {
		q.op.AskedTo = string(c.bytes())
	}
	if f.second == content {
		q.op.Asked, q.op.AskedTo = q.op.AskedTo, q.op.Asked
	}
	if typ == typeOpen {
		q.flags = c.uint32()
	}
	known := true
	if f.attributes {
		from := c.rest
		q.op.Set, known = c.attributes()
		q.attributes = bytes.Clone(from[:len(from)-len(c.rest)])
	}
	if !c.ended() {
		return nil, nil, errMalformed
	}
	q.op.Replace = ext == extPosixRename
	switch {
	case !known:
		return q, &status{codeUnsupported, "attributes that SFTP version 3 does not have are not passed on"}, nil
	case q.flags&^(flagRead|flagWrite|flagAppend|flagCreate|flagTrunc|flagExcl) != 0:
		return q, &status{codeUnsupported, fmt.Sprintf("flags %#x that SFTP version 3 does not have", q.flags)}, nil
	}
	if typ == typeOpen {
		q.op.Access = access(q.flags)
		if q.flags&flagExcl != 0 && q.flags&flagCreate != 0 {
			q.form.first = name // O_EXCL follows no link
		}
	}
	for _, path := range []*string{&q.op.Asked, &q.op.AskedTo} {
		if s := unusable(*path); s != nil {
			*path = (*path)[:min(len(*path), maxPath)]
			return q, s, nil
		}
	}
	return q, nil, nil
}

func unusable(path string) *status {
	switch {
	case len(path) > maxPath:
		return &status{codeFailure, fmt.Sprintf("a path of more than %d bytes", maxPath)}
	case bytes.IndexByte([]byte(path), 0) >= 0:
		return &status{codeFailure, "a path with a NUL"}
	}
	return nil
}

// access is what flags make of a file. Servers take flags without READ and WRITE as reading, which
// CREATE and TRUNCATE change the target by nevertheless.
func access(flags uint32) files.Access {
	var a files.Access
	for flag, means := range map[uint32]files.Access{flagRead: files.Read, flagWrite: files.Write, flagAppend: files.Append,
		flagCreate: files.Create, flagTrunc: files.Truncate, flagExcl: files.Exclusive} {
		if flags&flag != 0 {
			a |= means
		}
	}
	if a&files.Write == 0 {
		a |= files.Read
	}
	return a
}

// encode writes the request with its real paths.
func (q *request) encode(id uint32) packet {
	p := begin(make(packet, 0, 64+len(q.op.Path)+len(q.op.To)+len(q.attributes)+len(q.names)), q.typ, id)
	switch {
	case q.ext == extNames:
		return append(p.text(q.ext), q.names...).finish(0)
	case q.ext != "":
		p = p.text(q.ext)
	case q.handle != nil:
		p = p.text(q.handle.name)
	}
	switch q.form.second {
	case content:
		p = p.text(q.op.AskedTo).text(q.op.Path)
	case none:
		if q.form.first != none {
			p = p.text(q.op.Path)
		}
	default:
		p = p.text(q.op.Path).text(q.op.To)
	}
	if q.typ == typeOpen {
		p = p.uint32(q.flags)
	}
	return append(p, q.attributes...).finish(0)
}

// answer is the type of packet that answers success.
func (f form) answer() byte {
	switch f.action {
	case files.Open, files.List:
		return typeHandle
	case files.Stat:
		return typeAttrs
	case files.ReadLink:
		return typeName
	case files.StatFileSystem, files.LookUpNames:
		return typeExtendedReply
	default:
		return typeStatus
	}
}
