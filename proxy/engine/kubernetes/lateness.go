package kubernetes

import (
	"io"
	"sync"
	"time"
)

// lateness closes a connection at a time. The zero lateness waits for being set.
type lateness struct {
	mu    sync.Mutex
	timer *time.Timer
}

// set closes c at a time. Only the first call counts.
func (l *lateness) set(at time.Time, c io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		l.timer = time.AfterFunc(time.Until(at), func() { _ = c.Close() })
	}
}

// stop lets the connection be.
func (l *lateness) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
}
