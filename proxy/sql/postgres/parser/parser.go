package parser

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"bytes"
)

// What a text can be refused for, beyond SyntaxError.
var (
	ErrTooLarge  = fmt.Errorf("the statement is larger than %d bytes", MaxText)
	ErrTooNested = fmt.Errorf("the statement nests deeper than %d brackets", MaxNesting)
	ErrEncoding  = errors.New("the statement holds a zero byte")
	ErrCrashed   = errors.New("the parser could not read the statement")
	ErrBusy      = errors.New("the parser is busy")
	ErrClosed    = errors.New("the parser is closed")
)

// Options configure a Parser. Zero values mean the defaults named at each field.
type Options struct {
	Workers int           // most worker processes; as many as Go uses processors
	Timeout time.Duration // for one text; 5 s
	Wait    time.Duration // for a free worker; 5 s
}

// Parser is a pool of worker processes, started as they are needed. It is safe for
// concurrent use.
type Parser struct {
	timeout, wait time.Duration
	slots         chan *worker // nil: a worker may be started

	mu     sync.Mutex
	closed bool
	live   sync.WaitGroup
}

// New returns a Parser.
func New(o Options) *Parser {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Wait <= 0 {
		o.Wait = 5 * time.Second
	}
	p := &Parser{timeout: o.Timeout, wait: o.Wait, slots: make(chan *worker, o.Workers)}
	for range o.Workers {
		p.slots <- nil
	}
	return p
}

// Close ends the workers and waits for them. Texts that are being read fail.
func (p *Parser) Close() {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return
	}
	for range cap(p.slots) {
		if w := <-p.slots; w != nil {
			w.end()
		}
	}
	p.live.Wait()
}

// Parse reads text. Its errors are a *SyntaxError, one of the package's errors or that of
// ctx, and name nothing of the text.
func (p *Parser) Parse(ctx context.Context, text []byte) (*Result, error) {
	switch {
	case len(text) > MaxText:
		return nil, ErrTooLarge
	case bytes.IndexByte(text, 0) >= 0:
		return nil, ErrEncoding
	case nesting(text) > MaxNesting:
		return nil, ErrTooNested
	}
	w, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if w == nil {
		if w, err = p.start(); err != nil {
			p.slots <- nil
			return nil, err
		}
	}
	res, err := w.parse(text, p.timeout)
	var syntax *SyntaxError
	if err != nil && !errors.As(err, &syntax) {
		w.end()
		w = nil
		err = fmt.Errorf("%w: %w", ErrCrashed, err)
	}
	p.slots <- w
	return res, err
}

func (p *Parser) acquire(ctx context.Context) (*worker, error) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	select {
	case w := <-p.slots:
		return w, nil
	default:
	}
	t := time.NewTimer(p.wait)
	defer t.Stop()
	select {
	case w := <-p.slots:
		return w, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-t.C:
		return nil, ErrBusy
	}
}

// worker is the proxy's side of one worker process.
type worker struct {
	cmd     *exec.Cmd
	in, out *os.File // to and from the worker
	gone    chan struct{}
	frame   []byte
}

// startTimeout bounds the start of a worker: it is the program itself, whose
// initialisation takes its time on a busy machine.
const startTimeout = 30 * time.Second

// start starts a worker and waits until it is confined.
func (p *Parser) start() (*worker, error) {
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the parser: %w", err)
	}
	defer theirIn.Close()
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		ourOut.Close()
		return nil, fmt.Errorf("start the parser: %w", err)
	}
	defer theirOut.Close()
	w := &worker{in: ourOut, out: ourIn, gone: make(chan struct{})}
	w.cmd = &exec.Cmd{Path: "/proc/self/exe", Args: []string{workerName}, Env: []string{}, Dir: "/", Stdin: theirIn, Stdout: theirOut,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	started := make(chan error, 1)
	p.live.Go(func() {
		// The death signal comes from the thread that started the process: this goroutine keeps
		// it for the worker's life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(w.gone)
		err := w.cmd.Start()
		started <- err
		if err == nil {
			_ = w.cmd.Wait()
		}
	})
	if err := <-started; err != nil {
		w.close()
		return nil, fmt.Errorf("start the parser: %w", err)
	}
	if err := w.ready(); err != nil {
		w.end()
		return nil, fmt.Errorf("start the parser: %w", err)
	}
	return w, nil
}

func (w *worker) ready() error {
	if err := w.out.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	status, body, err := readReply(w.out)
	switch {
	case err != nil:
		return err
	case status == statusFailed:
		return errors.New(string(body))
	case status != statusReady || len(body) != 0:
		return errProtocol
	}
	return nil
}

func (w *worker) parse(text []byte, timeout time.Duration) (*Result, error) {
	deadline := time.Now().Add(timeout)
	if err := errors.Join(w.in.SetWriteDeadline(deadline), w.out.SetReadDeadline(deadline)); err != nil {
		return nil, err
	}
	w.frame = append(binary.LittleEndian.AppendUint32(w.frame[:0], uint32(len(text))), text...)
	if _, err := w.in.Write(w.frame); err != nil {
		return nil, fmt.Errorf("write to the parser worker: %w", err)
	}
	if cap(w.frame) > 64<<10 {
		w.frame = nil
	}
	status, body, err := readReply(w.out)
	if err != nil {
		return nil, err
	}
	return decodeReply(status, body, len(text))
}

// end kills the worker and waits for it.
func (w *worker) end() {
	_ = w.cmd.Process.Kill()
	<-w.gone
	w.close()
}

func (w *worker) close() {
	_ = w.in.Close()
	_ = w.out.Close()
}
