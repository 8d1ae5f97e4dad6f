package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	restclient "k8s.io/client-go/tools/remotecommand"

	"github.com/cardea-dev/cardea/proxy/policy"
)

const (
	// maxStatus is the most bytes of what the API server says of a stream's end or failure.
	maxStatus = 64 << 10
	// maxSize is the most bytes of one size of a terminal.
	maxSize = 256
)

// carry has the API server run a permitted command and carries its streams. It returns nil
// where the command ended well, an *exit where the API server says otherwise.
func (u *upstream) carry(ctx context.Context, t *tape, what *understood) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := u.dial(ctx, what, remotecommand.StreamProtocolV4Name, func() { t.asking.Store(true) })
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	// Nothing else is asked while the command runs.
	u.transport.CloseIdleConnections()
	t.prepare(false, u.quiet)
	to, err := openUpstream(conn, t.asked)
	if err != nil {
		err = unreachable(errors.New("it opens no streams"))
	} else {
		err = (&carriage{tape: t, to: to, fail: cancel}).run()
	}
	_ = conn.Close()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// carriage are the streams of one command.
type carriage struct {
	tape *tape
	to   *upstreamStreams
	fail context.CancelCauseFunc
}

// run carries the streams until the command has ended and all of its output has passed.
func (c *carriage) run() error {
	var keeper sync.WaitGroup
	defer keeper.Wait()
	keeper.Go(c.to.keepAlive)
	for stream, copies := range map[string]func(){streamStdin: c.input, streamResize: c.sizes} {
		if slices.Contains(c.to.names, stream) {
			c.tape.runs.Go(copies)
		}
	}
	var said []byte
	var failed error
	_ = c.to.read(func(stream string, part []byte) error {
		if stream == streamError {
			said = append(said, part[:min(len(part), maxStatus-len(said))]...)
			return nil
		}
		failed = c.tape.output(stream, part)
		return failed
	})
	// Whoever still writes is let go.
	_ = c.to.conn.Close()
	oerr := c.tape.outputEnded()
	if failed != nil {
		// The client cannot be written to, or the recording has failed.
		c.fail(failed)
		return failed
	}
	if oerr != nil {
		return oerr
	}
	select {
	case <-c.to.ready:
	default:
		return unreachable(errors.New("it opens no streams"))
	}
	err := endOf(said, nil)
	if ended := new(exit); err == nil || errors.As(err, &ended) {
		if rerr := c.tape.output(streamError, said); rerr != nil {
			return rerr
		}
	}
	return err
}

// endOf is what the error stream said at its end.
func endOf(said []byte, err error) error {
	status := &metav1.Status{}
	switch {
	case err != nil || json.Unmarshal(said, status) != nil || !slices.Contains([]string{metav1.StatusSuccess, metav1.StatusFailure}, status.Status):
		// An end without a word is none: the connection was cut.
		return &policy.Refusal{Code: policy.CodeUpstream, Message: "the API server cut the stream before it said how the command ended", Hint: "find out what the command did"}
	case status.Status == metav1.StatusSuccess:
		return nil
	}
	return &exit{status}
}

// input carries stdin. Only an end that the client tells is one for the command. A command
// that reads no more still says how it ends.
func (c *carriage) input() {
	from, buf := c.tape.client.stdin(), make([]byte, readSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if rerr := c.tape.input(streamStdin, buf[:n]); rerr != nil {
				c.fail(rerr)
				return
			}
			if werr := c.to.write(streamStdin, buf[:n], false); werr != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if rerr := c.tape.streams.InputEnded(); rerr != nil {
				c.fail(rerr)
				return
			}
			_ = c.to.write(streamStdin, nil, true)
		}
		if err != nil {
			return
		}
	}
}

// sizes carries the sizes of the terminal, each as it is understood.
func (c *carriage) sizes() {
	from := &io.LimitedReader{R: c.tape.client.resize()}
	decoder := json.NewDecoder(from)
	for {
		from.N = maxSize
		size := restclient.TerminalSize{}
		if err := decoder.Decode(&size); err != nil {
			return
		}
		b, err := json.Marshal(size)
		if err != nil {
			return
		}
		if err := c.tape.input(streamResize, b); err != nil {
			c.fail(err)
			return
		}
		if err := c.to.write(streamResize, b, false); err != nil {
			return
		}
	}
}
