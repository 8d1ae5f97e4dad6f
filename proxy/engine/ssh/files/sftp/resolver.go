package sftp

import (
	"context"
	"fmt"
	"sync"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// Resolver is a files.Resolver that asks a server of SFTP, by a session of its own.
type Resolver struct {
	relay *relay
	end   context.CancelCauseFunc
	ended chan struct{}
	// within makes a context end with the session too.
	within func(context.Context) (context.Context, context.CancelFunc)

	mu sync.Mutex
}

// NewResolver begins a session with a server. It ends with Close, which the caller calls, or when ctx
// ends. The server is closed in any case.
func NewResolver(ctx context.Context, server files.Channel) (*Resolver, error) {
	s := &Resolver{relay: newRelay(nil, server), ended: make(chan struct{})}
	session, end := context.WithCancelCause(ctx)
	s.end = end
	s.within = func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(ctx)
		stop := context.AfterFunc(session, func() { cancel(context.Cause(session)) })
		return ctx, func() { stop(); cancel(nil) }
	}
	closed := make(chan struct{})
	context.AfterFunc(session, func() {
		defer close(closed)
		_ = server.Close()
	})
	if _, err := s.relay.greet(); err != nil {
		s.end(err)
		<-closed
		return nil, fmt.Errorf("ask the server for paths: %w", err)
	}
	go func() {
		defer close(s.ended)
		err := s.relay.readServer(session)
		if err == nil {
			err = errEnded
		}
		s.end(err)
		<-closed
	}()
	return s, nil
}

// Resolve implements files.Resolver.
func (s *Resolver) Resolve(ctx context.Context, path string) (files.Place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := s.within(ctx)
	defer cancel()
	found, refused, err := s.relay.resolve(ctx, path, follow)
	if err != nil {
		return files.Place{}, fmt.Errorf("ask the server for a path: %w", err)
	}
	if refused != nil {
		return files.Place{}, &files.Refusal{Message: refused.message}
	}
	return files.Place{Path: found.path, Exists: found.exists, Directory: found.directory}, nil
}

// Close ends the session.
func (s *Resolver) Close() error {
	s.end(errEnded)
	<-s.ended
	return nil
}
