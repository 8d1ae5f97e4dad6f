package postgres

import (
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// copyInput is what a client sends in COPY FROM STDIN, of which as much is recorded as of a
// response, before it is forwarded. It belongs to the client's side.
type copyInput struct {
	permit    session.Permit
	data      []byte // that is not recorded yet
	left      int    // bytes that may still be recorded
	bytes     int64
	truncated bool
	ended     bool // and that is not recorded yet
}

// begin is called with the command whose data come next. On a target whose values are
// masked data are counted and not recorded.
func (i *copyInput) begin(c *command, hidden bool) {
	if i.permit == c.permit {
		return
	}
	*i = copyInput{permit: c.permit, data: i.data[:0]}
	if !hidden && !c.masked {
		i.left = c.bytesLeft
	}
}

// take keeps a piece of data that is to be forwarded.
func (i *copyInput) take(piece []byte) {
	i.bytes += int64(len(piece))
	n := min(len(piece), i.left)
	i.data = append(i.data, piece[:n]...)
	i.left -= n
	i.truncated = i.truncated || n < len(piece)
}

// end is called when there are no more data.
func (i *copyInput) end() { i.ended = true }

// commitInput records what was collected of a client's data before it goes to the target.
func (r *relay) commitInput() error {
	i := &r.input
	if len(i.data) == 0 && !i.ended {
		return nil
	}
	in := &recording.Input{Data: i.data}
	if i.ended {
		in.Final, in.ByteCount, in.Truncated = true, i.bytes, i.truncated
		i.ended = false
	}
	if err := r.s.Input(i.permit, in); err != nil {
		return err
	}
	i.data = i.data[:0]
	return nil
}
