package scp

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// Relay relays one run of a command. All fields but Resolver are required.
type Relay struct {
	Command Command
	Guard   files.Guard
	Log     files.Log
	// Resolver tells what paths lead to; nil if the target cannot be asked.
	Resolver files.Resolver
}

// side is the source or the sink.
type side struct {
	files.Channel
	from *bufio.Reader
}

func (s *side) send(p []byte) error {
	if _, err := s.Write(p); err != nil {
		return fmt.Errorf("pass on: %w", err)
	}
	return nil
}

type relay struct {
	Relay
	source, sink *side
	server       *side     // one of them
	into         *bool     // whether the target is a directory; nil if that is not known
	times        *record   // T without its C or D
	open         []entered // directories
	buffer       []byte
}

// entered is a directory by the names that it may have on the target.
type entered struct{ one, other string }

// Run relays until the source has sent all, one of the sides breaks the protocol, the guard or the log
// fails, or ctx ends. It closes both sides, and returns when nothing of them is used any more: an exit
// status for the client is to be sent by its Close.
func (s Relay) Run(ctx context.Context, client, server files.Channel) error {
	if s.Guard == nil || s.Log == nil || s.Command.Path == "" {
		_, _ = client.Close(), server.Close()
		return errors.New("a relay without a command, a guard or a log")
	}
	const chunk = 64 << 10
	near, far := &side{client, bufio.NewReaderSize(client, chunk)}, &side{server, bufio.NewReaderSize(server, chunk)}
	r := &relay{Relay: s, source: near, sink: far, server: far, buffer: make([]byte, chunk)}
	if !s.Command.Sink {
		r.source, r.sink = far, near
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_, _ = client.Close(), server.Close()
	})
	err := r.relay(ctx)
	if stop() {
		_, _ = client.Close(), server.Close()
	} else {
		<-closed
		err = context.Cause(ctx)
	}
	return err
}

func (r *relay) relay(ctx context.Context) error {
	if r.Resolver != nil && r.Command.Sink {
		at, err := r.Resolver.Resolve(ctx, r.Command.Path)
		var refusal *files.Refusal
		if err != nil && !errors.As(err, &refusal) {
			return fmt.Errorf("resolve the target: %w", err)
		}
		r.into = &at.Directory
	}
	ready, err := answer(r.sink.from)
	if err != nil {
		return fmt.Errorf("wait for the sink: %w", err)
	}
	if err := r.source.send(ready); err != nil {
		return err
	}
	for {
		rec, err := next(r.source.from)
		if errors.Is(err, io.EOF) {
			return r.finish()
		}
		if err != nil {
			return fmt.Errorf("read the source: %w", err)
		}
		if err := r.take(ctx, rec); err != nil {
			return err
		}
	}
}

// finish waits until a server that is the sink has ended too. It has nothing more to say but errors. A
// client may wait for the end itself.
func (r *relay) finish() error {
	if r.sink != r.server {
		return nil
	}
	if err := r.sink.CloseWrite(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("end what is sent: %w", err)
	}
	for {
		last, err := r.sink.from.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the sink: %w", err)
		}
		if last != 1 && last != 2 {
			return fmt.Errorf("%w: an answer to nothing", errProtocol)
		}
		message, err := line(r.sink.from, last)
		if err != nil {
			return fmt.Errorf("read the sink: %w", err)
		}
		if err := r.source.send(message); err != nil {
			return err
		}
	}
}

func (r *relay) take(ctx context.Context, rec *record) error {
	switch rec.kind {
	case 1, 2:
		return r.sink.send(rec.line)
	case 'T':
		if !r.Command.Times || r.times != nil {
			return fmt.Errorf("%w: times where none belong", errProtocol)
		}
		// The sink has them with the file that they are for, if it gets that.
		r.times = rec
		return r.source.send([]byte{0})
	case 'E':
		if len(r.open) == 0 || r.times != nil {
			return fmt.Errorf("%w: the end of a directory that did not begin", errProtocol)
		}
		r.open = r.open[:len(r.open)-1]
		said, err := r.pass(rec.line)
		if err != nil {
			return err
		}
		return r.source.send(said)
	}
	return r.entry(ctx, rec)
}

// pass sends to the sink and returns what it answers.
func (r *relay) pass(text []byte) (said []byte, err error) {
	if err := r.sink.send(text); err != nil {
		return nil, err
	}
	if said, err = answer(r.sink.from); err != nil {
		return nil, fmt.Errorf("wait for the sink: %w", err)
	}
	return said, nil
}

// entry takes a file or a directory.
func (r *relay) entry(ctx context.Context, rec *record) error {
	switch {
	case rec.kind == 'D' && !r.Command.Recursive:
		return fmt.Errorf("%w: a directory without -r", errProtocol)
	case len(r.open) == maxDepth:
		return fmt.Errorf("%w: directories too deep", errProtocol)
	case len(r.open) == 0 && !r.Command.expects(rec.name):
		return fmt.Errorf("%w: a name that was not asked for", errProtocol)
	}
	at, op := r.operation(rec)
	times := r.times
	r.times = nil
	done := files.Outcome{Operation: op, Result: files.Refused}
	if len(op.Asked) > maxPath || len(op.AskedTo) > maxPath {
		return r.refuse(done, "the path is too long")
	}
	var refusal *files.Refusal
	if r.Resolver != nil {
		place, err := r.Resolver.Resolve(ctx, op.Asked)
		if errors.As(err, &refusal) {
			done.Result = files.Unresolved
			return r.refuse(done, fmt.Sprintf("%q: %s", op.Asked, refusal.Message))
		}
		if err != nil {
			done.Reason = "the transfer ended first"
			return errors.Join(fmt.Errorf("resolve a path: %w", err), r.record(done))
		}
		op.Path = place.Path
		done.Operation = op
	}
	if err := r.Guard.Operation(ctx, op); err != nil {
		if errors.As(err, &refusal) {
			return r.refuse(done, refusal.Message)
		}
		done.Reason = "the transfer ended first"
		return errors.Join(fmt.Errorf("ask the guard: %w", err), r.record(done))
	}
	done.Result = files.Unknown
	said, err := r.carry(rec, times, &done)
	if err != nil {
		done.Reason = "the transfer ended first"
		return errors.Join(err, r.record(done))
	}
	if rec.kind == 'D' && done.Result == files.Succeeded {
		r.open = append(r.open, at)
	}
	if err := r.record(done); err != nil {
		return err
	}
	return r.source.send(said)
}

// operation is what a record means, and the place it is about.
func (r *relay) operation(rec *record) (entered, files.Operation) {
	var at entered
	if len(r.open) == 0 {
		at.one, at.other = r.Command.places(rec.name)
		if r.into != nil && at.other != "" {
			if !*r.into {
				at.one = at.other
			}
			at.other = ""
		}
	} else {
		in := r.open[len(r.open)-1]
		if at.one = in.one + "/" + rec.name; in.other != "" {
			at.other = in.other + "/" + rec.name
		}
	}
	op := files.Operation{Action: files.Open, Asked: at.one, AskedTo: at.other, Size: rec.size}
	switch {
	case rec.kind == 'C' && r.Command.Sink:
		op.Access = files.Write | files.Create | files.Truncate
	case rec.kind == 'C':
		op.Access = files.Read
	case r.Command.Sink:
		op.Action, op.Size = files.MakeDirectory, 0
	default:
		op.Action, op.Size = files.List, 0
	}
	if r.Command.Sink {
		op.Set = rec.set
		if r.times != nil {
			op.Set.HasTimes, op.Set.ModificationTime, op.Set.AccessTime = true, r.times.set.ModificationTime, r.times.set.AccessTime
		}
	}
	return at, op
}

// refuse answers a record as a sink that cannot take it, and tells the client if that is not who sent it.
func (r *relay) refuse(done files.Outcome, message string) error {
	done.Reason = message
	if err := r.record(done); err != nil {
		return err
	}
	if r.source == r.server {
		if err := r.sink.send(warning(message)); err != nil {
			return err
		}
	}
	return r.source.send(warning(message))
}

func (r *relay) record(o files.Outcome) error {
	if err := r.Log.Done(o); err != nil {
		return fmt.Errorf("log an operation: %w", err)
	}
	return nil
}

// carry sends a record that may pass, and the content behind it. It returns what the sink says last,
// which the source is to be told.
func (r *relay) carry(rec, times *record, done *files.Outcome) ([]byte, error) {
	if times != nil {
		said, err := r.pass(times.line)
		if err != nil {
			return nil, err
		}
		if said[0] != 0 {
			done.Result, done.Reason = files.Failed, "the times were not taken"
			return said, nil
		}
	}
	said, err := r.pass(rec.line)
	if err != nil {
		return nil, err
	}
	switch {
	case said[0] != 0:
		done.Result, done.Reason = files.Failed, "the sink did not take it"
		return said, nil
	case rec.kind == 'D':
		done.Result = files.Succeeded
		return said, nil
	}
	if err := r.source.send(said); err != nil {
		return nil, err
	}
	return r.content(rec.size, done)
}

// content passes the bytes of a file, the source's word on them and the sink's.
func (r *relay) content(size int64, done *files.Outcome) ([]byte, error) {
	done.Transfer = &files.Transfer{}
	passed := &done.Transfer.Read
	if r.Command.Sink {
		passed = &done.Transfer.Written
	}
	sum := sha256.New()
	for passed.Bytes < size {
		n, err := r.source.from.Read(r.buffer[:min(int64(len(r.buffer)), size-passed.Bytes)])
		if n > 0 {
			_, _ = sum.Write(r.buffer[:n])
			if err := r.sink.send(r.buffer[:n]); err != nil {
				return nil, err
			}
			passed.Bytes += int64(n)
		}
		if err != nil && passed.Bytes < size {
			return nil, fmt.Errorf("read the source: %w", cut(err))
		}
	}
	word, err := answer(r.source.from)
	if err != nil {
		return nil, fmt.Errorf("read the source: %w", err)
	}
	said, err := r.pass(word)
	if err != nil {
		return nil, err
	}
	done.Transfer.Closed = true
	switch {
	case word[0] != 0:
		// What stands for bytes that could not be read is not the file's.
		done.Result, done.Reason = files.Failed, "the source could not read all of it"
	case said[0] != 0:
		done.Result, done.Reason = files.Failed, "the sink could not write all of it"
	default:
		done.Result, passed.Sequential, passed.ToEnd = files.Succeeded, true, true
		sum.Sum(passed.SHA256[:0])
	}
	return said, nil
}
