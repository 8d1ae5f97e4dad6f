// Package peers holds the other sides of the gate for tests: clients and servers that do
// what they are told, also what no honest peer would do, and stores in memory.
package peers

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/cardea-dev/cardea/proxy/recording"
)

// Recorder keeps events in memory. It is safe for concurrent use.
type Recorder struct {
	mu     sync.Mutex
	events []recording.Event
	fail   error
}

// NewRecorder returns an empty Recorder.
func NewRecorder() *Recorder { return &Recorder{} }

// Fail makes every later Record fail.
func (r *Recorder) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Record implements recording.Recorder.
func (r *Recorder) Record(e *recording.Event) error {
	// The event is borrowed: what it says is kept, as a real recorder would write it.
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	var kept recording.Event
	if err := json.Unmarshal(b, &kept); err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	kept.Sequence = uint64(len(r.events) + 1)
	e.Sequence = kept.Sequence
	r.events = append(r.events, kept)
	return nil
}

// Close implements recording.Recorder.
func (r *Recorder) Close(string) error { return nil }

// Events returns what was recorded.
func (r *Recorder) Events() []recording.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]recording.Event(nil), r.events...)
}
