package kubernetes

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/objects"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

// passage is an answer on its way to the client.
type passage struct {
	handler   *handler
	permit    session.Permit
	w         http.ResponseWriter
	facts     *kubeapi.Facts
	plan      *objects.Plan
	writes    bool
	sensitive bool

	left      int64 // bytes that may still be recorded
	bytes     int64
	truncated bool
	last      byte
	text      *session.Mask // of a log; nil for no text
	shown     []byte
	frames    frames // of a watch in protobuf
}

// copy records and passes on each part of an answer as it comes, and closes it. What flows,
// such as a watch, is sent at once where nothing more has come behind it.
func (p *passage) copy(from io.ReadCloser, flows bool) error {
	coming, stop := make(chan piece, 1), make(chan struct{})
	var reads sync.WaitGroup
	reads.Go(func() { readPieces(from, coming, stop) })
	defer func() {
		close(stop)
		_ = from.Close()
		reads.Wait()
	}()
	for {
		part := <-coming
		err := p.passPiece(part)
		if err == nil && flows && (len(coming) == 0 || part.err != nil) {
			err = p.flush()
		}
		switch {
		case err != nil:
			return err
		case errors.Is(part.err, io.EOF):
			return nil
		case part.err != nil:
			return fmt.Errorf("read answer: %w", part.err)
		}
	}
}

// piece is a part of an answer, and the error behind it.
type piece struct {
	buf *[readSize]byte // belongs to whoever has the piece
	n   int
	err error
}

// readPieces reads until an error, one piece ahead of who passes them on. A piece is full, or
// all that had come.
func readPieces(from io.Reader, to chan<- piece, stop <-chan struct{}) {
	for {
		buf, ok := parts.Get().(*[readSize]byte)
		if !ok {
			buf = new([readSize]byte)
		}
		n, err := from.Read(buf[:])
		select {
		case to <- piece{buf, n, err}:
		case <-stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// passPiece passes a piece on unless the rules have changed.
func (p *passage) passPiece(part piece) error {
	defer parts.Put(part.buf)
	if part.n > 0 && p.handler.planFor(p.facts) != nil {
		return errRules
	}
	return p.send(p.text.Of(&p.shown, part.buf[:part.n]))
}

// pass records a part and passes it on at once.
func (p *passage) pass(part []byte) error {
	if err := p.send(part); err != nil || len(part) == 0 {
		return err
	}
	return p.flush()
}

// send records a part and passes it on.
func (p *passage) send(part []byte) error {
	if len(part) == 0 {
		return nil
	}
	if err := p.record(part); err != nil {
		return err
	}
	if _, err := p.w.Write(part); err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	p.last = part[len(part)-1]
	p.frames.advance(part)
	return nil
}

func (p *passage) flush() error {
	if err := http.NewResponseController(p.w).Flush(); err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	return nil
}

// record records a part, as far as it is kept.
func (p *passage) record(part []byte) error {
	p.bytes += int64(len(part))
	keep := min(int64(len(part)), p.left)
	if p.sensitive {
		keep = 0
	}
	if keep < int64(len(part)) && p.truncated {
		return nil
	}
	p.truncated = keep < int64(len(part))
	p.left -= keep
	return p.handler.session.Output(p.permit, &recording.Output{Stream: "body", Data: part[:keep], Truncated: p.truncated})
}

// farewell ends a watch with an event that says why.
func (p *passage) farewell(contentType string, cause error) {
	event := p.lastEvent(contentType, cause)
	if event == nil {
		// The client must not take a part for the whole.
		panic(http.ErrAbortHandler)
	}
	_, _ = p.w.Write(event)
}
