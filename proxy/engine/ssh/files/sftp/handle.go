package sftp

import (
	"crypto/sha256"
	"hash"
	"sync/atomic"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// handle is a file or directory that is open.
type handle struct {
	name      string
	op        files.Operation
	directory bool

	// closing, underway and closed are kept under the relay's lock: a CLOSE was forwarded, the
	// number of READs and WRITEs without an answer, and a CLOSE was answered.
	closing  bool
	underway int
	closed   bool
	result   files.Result // of the CLOSE
	reason   string
	logged   bool

	// read, acknowledged, unwritten and entries are for the goroutine that reads the server, sent for
	// the one that reads the client.
	read         digest
	sent         digest
	acknowledged int64
	unwritten    bool // a WRITE failed
	entries      int64
	resized      atomic.Bool // its size was set

	// changing is closed when the last FSETSTAT is answered; nil without one. For the goroutine
	// that reads the client.
	changing chan struct{}
}

// outcome is what is logged of the handle when nothing more passes.
func (h *handle) outcome() files.Outcome {
	o := files.Outcome{Operation: h.op, Result: files.Succeeded, Transfer: &files.Transfer{Entries: h.entries, Closed: h.closed}}
	if h.closed {
		o.Result, o.Reason = h.result, h.reason
	}
	if h.directory {
		return o
	}
	o.Transfer.Read = h.read.content()
	o.Transfer.Read.ToEnd = h.read.toEnd
	w := h.sent.content()
	if w.Bytes != h.acknowledged || h.unwritten || h.resized.Load() || h.op.Access&files.Append != 0 {
		w = files.Content{Bytes: h.acknowledged}
	}
	o.Transfer.Written = w
	return o
}

// digest follows the bytes of one direction.
type digest struct {
	bytes  int64
	sum    hash.Hash
	broken bool // something passed out of order
	toEnd  bool
}

func (d *digest) pass(offset uint64, data []byte) {
	if offset != uint64(d.bytes) {
		d.broken = true
	}
	d.bytes += int64(len(data))
	if d.broken {
		return
	}
	if d.sum == nil {
		d.sum = sha256.New()
	}
	_, _ = d.sum.Write(data)
}

func (d *digest) content() files.Content {
	c := files.Content{Bytes: d.bytes, Sequential: !d.broken}
	switch {
	case d.broken:
	case d.sum == nil:
		c.SHA256 = sha256.Sum256(nil)
	default:
		d.sum.Sum(c.SHA256[:0])
	}
	return c
}
