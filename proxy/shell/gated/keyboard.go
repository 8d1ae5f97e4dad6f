package gated

import (
	"io"
	"sync"
)

// maxAhead bounds what is typed while a command runs and kept for the next prompt.
const maxAhead = 4 << 10

// Keys that the gate takes for itself.
const (
	keyInterrupt = 0x03
	keyQuit      = 0x1c
)

// keyboard is what the client types. At the prompt it goes to the editor, with Ctrl-C turned
// into an empty line; while a line is decided on or runs, Ctrl-C interrupts, and the rest is
// kept for the next prompt.
type keyboard struct {
	from io.Reader

	mu      sync.Mutex
	more    *sync.Cond
	typed   []byte
	ended   bool
	cut     bool     // Ctrl-C was typed at the prompt
	on      chan int // the interrupts of the line that is decided on or runs; nil at the prompt
	started bool
	times   int
}

func newKeyboard(from io.Reader) *keyboard {
	k := &keyboard{from: from}
	k.more = sync.NewCond(&k.mu)
	return k
}

// read takes what the client types until it is gone.
func (k *keyboard) read() {
	defer k.close()
	buf := make([]byte, 1<<10)
	for {
		n, err := k.from.Read(buf)
		for _, b := range buf[:n] {
			k.key(b)
		}
		if err != nil {
			return
		}
	}
}

func (k *keyboard) key(b byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	interrupt := b == keyInterrupt || b == keyQuit
	switch {
	case interrupt && k.on != nil:
		k.typed = k.typed[:0]
		if k.started {
			k.times++
		}
		select {
		case k.on <- k.times:
		default: // there are enough
		}
		return
	case interrupt:
		// Ctrl-U and Ctrl-K delete the line, on both sides of the cursor.
		k.cut = true
		k.typed = append(k.typed[:0], 0x15, 0x0b, '\r')
	case k.on != nil && len(k.typed) >= maxAhead:
		return
	default:
		for k.on == nil && len(k.typed) >= maxAhead && !k.ended {
			k.more.Wait()
		}
		k.typed = append(k.typed, b)
	}
	k.more.Broadcast()
}

// Read gives the editor what was typed.
func (k *keyboard) Read(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.typed) == 0 {
		if k.ended {
			return 0, io.EOF
		}
		k.more.Wait()
	}
	n := copy(p, k.typed)
	k.typed = append(k.typed[:0], k.typed[n:]...)
	k.more.Broadcast()
	return n, nil
}

// interrupted reports whether Ctrl-C ended the line that was read, and forgets it.
func (k *keyboard) interrupted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	cut := k.cut
	k.cut = false
	return cut
}

// during has interrupts told to f, one after the other, until done is called: how many there
// were since the line began to run. None is told after that.
func (k *keyboard) during(f func(times int)) (done func()) {
	on, ended := make(chan int, 4), make(chan struct{})
	k.mu.Lock()
	k.on, k.started, k.times = on, false, 0
	k.mu.Unlock()
	go func() {
		defer close(ended)
		for times := range on {
			f(times)
		}
	}()
	return func() {
		k.mu.Lock()
		k.on = nil
		close(on)
		k.more.Broadcast()
		k.mu.Unlock()
		<-ended
	}
}

// running says that the line runs.
func (k *keyboard) running() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.started = true
}

// close ends the reading of the editor.
func (k *keyboard) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	k.more.Broadcast()
}
