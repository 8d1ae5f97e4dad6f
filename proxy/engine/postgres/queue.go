package postgres

// awaitKind says which answer of the target is awaited.
type awaitKind uint8

const (
	// awaitNothing is the gate's own answer, given when it is its turn.
	awaitNothing awaitKind = iota + 1
	awaitParse
	awaitBind
	awaitClose
	awaitDescribe
	awaitExecute
	awaitSync
	awaitQuery
	// awaitProof is a FunctionCall's, which ends a pipeline as a Sync does.
	awaitProof
	// awaitFailure is the error by which the gate makes an open transaction fail.
	awaitFailure
)

// await is one answer that is awaited, in the order of the messages that ask for them.
type await struct {
	kind awaitKind
	// failure and ready are the gate's own answer: an error, a ReadyForQuery, messages.
	failure *failure
	ready   bool
	raw     []byte
	// own is set where the answer is for the gate itself and not for the client.
	own *inquiry
	// last marks the last answer of an inquiry.
	last bool
	// quiet answers are dropped: the client did not ask.
	quiet bool
	// more is set where other statements of the same command follow.
	more      bool
	command   *command
	statement *statement
	portal    *portal
	// epoch is the number of the Sync.
	epoch uint64
}

// awaits is a queue. The zero value is empty.
type awaits struct {
	items []await
	first int
}

func (q *awaits) len() int { return len(q.items) - q.first }

func (q *awaits) push(a await) {
	if q.first == len(q.items) {
		q.items, q.first = q.items[:0], 0
	}
	if len(q.items) == cap(q.items) && q.first > 0 {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, a)
}

// head returns the answer that is due; nil if none is. It is valid until the next push or
// pop.
func (q *awaits) head() *await {
	if q.len() == 0 {
		return nil
	}
	return &q.items[q.first]
}

func (q *awaits) pop() {
	q.items[q.first] = await{}
	q.first++
}

// each calls f for every answer that is awaited.
func (q *awaits) each(f func(*await)) {
	for i := q.first; i < len(q.items); i++ {
		f(&q.items[i])
	}
}

// pending reports whether a command, or the end of a pipeline, is awaited.
func (q *awaits) pending() bool {
	for i := q.first; i < len(q.items); i++ {
		switch q.items[i].kind {
		case awaitExecute, awaitQuery, awaitSync, awaitProof, awaitFailure, awaitNothing:
			return true
		default: // what executes nothing
		}
	}
	return false
}
