package postgres

import (
	"context"
	"errors"
)

// maxInquiry bounds what the gate's own questions to the target may return.
const maxInquiry = 4 << 20

var (
	errSkipped = errors.New("an earlier message of the pipeline failed")
	errBig     = errors.New("the catalog's answer is too large")
)

// inquiry is what the gate asks the target for itself. The client's side makes it and
// reads it once done has said so, once; in between it belongs to the target's side.
type inquiry struct {
	rows     [][]*string
	ends     []int // how many rows there were at the end of each question
	columns  []column
	raw      []byte // the RowDescription message
	size     int
	err      error
	finished bool
	asserts  bool // it is an assertion, with a statement behind it
	proves   bool // it proves the command before it
	deferred bool // nobody waits for it: a failure interrupts the reading of the client
	// interrupts is set when it did.
	interrupts bool
	done       chan struct{}
}

func newInquiry() *inquiry { return &inquiry{done: make(chan struct{}, 1)} }

// again makes a finished inquiry, of which the outcome was taken, a new one.
func (q *inquiry) again() { *q = inquiry{done: q.done} }

// finish ends the inquiry; only the first call counts.
func (q *inquiry) finish(err error) {
	if q.finished {
		return
	}
	q.finished = true
	if q.err == nil {
		q.err = err
	}
	q.done <- struct{}{}
}

// add adds a row.
func (q *inquiry) add(b []byte) error {
	if q.size += len(b); q.size > maxInquiry {
		return errBig
	}
	var row []*string
	_, err := rowValues(b, func(_ int, value []byte) error {
		if value == nil {
			row = append(row, nil)
			return nil
		}
		text := string(value)
		row = append(row, &text)
		return nil
	})
	q.rows = append(q.rows, row)
	return err
}

// inquire waits for an inquiry whose messages were written.
func (r *relay) inquire(ctx context.Context, q *inquiry) error {
	if err := r.send(true); err != nil {
		return err
	}
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return errEnded
	}
}

// mayAsk fails where the target would not answer.
func (r *relay) mayAsk(ctx context.Context) error {
	if err := r.room(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.skipping:
		return errSkipped
	case r.status == failed:
		return errFailedTransaction
	}
	return nil
}

// inquireBy sends the messages of an inquiry, whose answers are of the given kinds, and
// waits for them. If a pipeline is open it becomes a part of it, else it is one of its own:
// a Sync would end the client's implicit transaction.
func (r *relay) inquireBy(ctx context.Context, m []byte, kinds []awaitKind) (*inquiry, error) {
	q := newInquiry()
	r.mu.Lock()
	for _, kind := range kinds {
		r.queue.push(await{kind: kind, own: q})
	}
	if r.pipeline == 0 {
		r.epoch++
		r.queue.push(await{kind: awaitSync, own: q, last: true, epoch: r.epoch})
		m = append(m, msgSync, 0, 0, 0, 4)
	} else {
		r.queue.items[len(r.queue.items)-1].last = true
		r.overtaken()
	}
	r.mu.Unlock()
	r.asking = m[:0]
	if err := r.toTarget.write(m); err != nil {
		return nil, err
	}
	return q, r.inquire(ctx, q)
}

// Query implements the analyser's Querier on the session's own backend.
func (r *relay) Query(ctx context.Context, text string) ([][]*string, error) {
	if err := r.mayAsk(ctx); err != nil {
		return nil, err
	}
	// The name is the gate's own: unnamed ones are the client's.
	q, err := r.inquireBy(ctx, r.question(text), []awaitKind{awaitParse, awaitBind, awaitExecute, awaitClose, awaitClose})
	if err != nil {
		return nil, err
	}
	return q.rows, nil
}

// question is the messages that run one query of the gate and leave nothing behind.
func (r *relay) question(text string) []byte {
	m := beginMessage(r.asking[:0], msgParse)
	m = appendString(appendString(m, r.secret), text)
	m = endMessage(append(m, 0, 0), 0)
	at := len(m)
	m = beginMessage(m, msgBind)
	m = appendString(appendString(m, r.secret), r.secret)
	m = endMessage(append(m, 0, 0, 0, 0, 0, 0), at)
	m = appendExecute(m, r.secret)
	return appendClose(appendClose(m, 'P', r.secret), 'S', r.secret)
}

func appendExecute(m []byte, portal string) []byte {
	at := len(m)
	m = appendString(beginMessage(m, msgExecute), portal)
	return endMessage(append(m, 0, 0, 0, 0), at)
}
