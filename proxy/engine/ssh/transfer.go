package ssh

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/rsync"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/scp"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/sftp"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/shell"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// relayed carries a transfer of files between the client's side and the server's, and closes both.
type relayed func(ctx context.Context, g *guard, client, server files.Channel) error

// literal returns the words of a command line that is one command with literal words, and opens
// no file; nil for any other.
func literal(f *shell.Facts) []string {
	if !f.Known || len(f.Commands) != 1 || len(f.Commands[0].Files) > 0 {
		return nil
	}
	words := make([]string, 0, len(f.Commands[0].Words))
	for _, w := range f.Commands[0].Words {
		if !w.Literal {
			return nil
		}
		words = append(words, w.Text)
	}
	return words
}

// copies returns how a command that copies files is carried; nil for one that does not. What is
// started to copy files in a way that is not known is none to be run otherwise.
func (c *channel) copies(f *shell.Facts, text string) (run func(context.Context), known bool) {
	words := literal(f)
	payload := ssh.Marshal(struct{ Command string }{text})
	if command, ok := scp.Parse(words); ok {
		return func(ctx context.Context) {
			c.transfer(ctx, "$ "+text, "exec", payload, func(ctx context.Context, g *guard, client, server files.Channel) error {
				r := scp.Relay{Command: command, Guard: g, Log: g}
				if paths := c.resolver(ctx); paths != nil {
					defer func() { _ = paths.Close() }()
					r.Resolver = paths
				}
				return r.Run(ctx, client, server)
			})
		}, true
	}
	if command, ok := rsync.Parse(words); ok {
		return func(ctx context.Context) { c.synchronise(ctx, text, &command) }, true
	}
	return nil, !serves(f)
}

// serves reports whether a command starts the remote side of a transfer.
func serves(f *shell.Facts) bool {
	for _, c := range f.Commands {
		name := c.Words[0].Text[strings.LastIndexByte(c.Words[0].Text, '/')+1:]
		switch name {
		case "sftp-server", "internal-sftp":
			return true
		case "scp", "rsync":
			for _, w := range c.Words[1:] {
				if !w.Literal || w.Text == "--server" || w.Text == "--daemon" || name == "scp" && isRemote(w.Text) {
					return true
				}
			}
		}
	}
	return false
}

// isRemote reports whether a word is an option by which scp is the remote side.
func isRemote(word string) bool {
	return strings.HasPrefix(word, "-") && strings.ContainsAny(word, "tf")
}

// sftp carries the subsystem of that name.
func (c *channel) sftp(ctx context.Context, payload []byte) {
	c.transfer(ctx, "subsystem sftp", "subsystem", payload, func(ctx context.Context, g *guard, client, server files.Channel) error {
		return sftp.Relay{Guard: g, Log: g}.Run(ctx, client, server)
	})
}

// transfer opens a channel for files, if that is permitted, and carries it: each operation is
// decided on, and recorded with what came of it.
func (c *channel) transfer(ctx context.Context, text, request string, payload []byte, relay relayed) {
	c.pty = nil
	command := c.command(text, &sshapi.Facts{Known: true, Channel: v1alpha1.SSHSFTP, File: &sshapi.File{}})
	permit, err := c.serving.authorize(ctx, command, c.pending)
	if err != nil {
		c.refuse(ctx, err)
		return
	}
	p := &process{channel: c, tape: c.serving.session.Counted(permit)}
	if err = p.start(ctx, request, payload); err != nil {
		p.end(ctx, err)
		return
	}
	var ends sync.WaitGroup
	stderr := p.tape.Output(session.StreamStderr, c.stderr, 0, false)
	over, ended := make(chan struct{}), make(chan struct{})
	ends.Go(func() { p.output(stderr, p.ssh.Stderr()) })
	ends.Go(func() { p.changes(over) })
	ends.Go(func() {
		defer close(ended)
		p.wait()
	})
	err = relay(ctx, &guard{channel: c, permits: map[files.Operation][]session.Permit{}}, &near{process: p, ctx: ctx, ended: ended}, p.ssh)
	if err != nil && ctx.Err() == nil {
		if errors.Is(err, session.ErrRecorder) {
			c.serving.cancel(err)
		}
		c.notice("the transfer was ended: " + policy.Printable(err.Error(), 200))
	}
	close(over)
	ends.Wait()
	p.end(ctx, nil)
}

// resolver asks the server where paths lead, by a session of SFTP of the gate's own; nil where
// the server has none.
func (c *channel) resolver(ctx context.Context) *sftp.Resolver {
	channel, requests, err := c.serving.server.open(ctx, "session", nil)
	if err != nil {
		return nil
	}
	go ssh.DiscardRequests(requests)
	go func() { _, _ = io.Copy(io.Discard, channel.Stderr()) }()
	if ok, err := channel.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); err != nil || !ok {
		_ = channel.Close()
		return nil
	}
	r, err := sftp.NewResolver(ctx, channel)
	if err != nil {
		_ = channel.Close()
		return nil
	}
	return r
}

// near is the client's side of a transfer. Its Close tells the client how the server's side has
// ended, which it waits for.
type near struct {
	process *process
	ctx     context.Context //nolint:containedctx // it lives as long as one call of a relay
	ended   <-chan struct{}
	once    sync.Once
}

// Read implements io.Reader.
func (n *near) Read(p []byte) (int, error) {
	count, err := n.process.channel.ssh.Read(p)
	n.process.channel.serving.touch()
	return count, err
}

// Write implements io.Writer.
func (n *near) Write(p []byte) (int, error) {
	n.process.channel.serving.touch()
	return n.process.channel.stdout.Write(p)
}

// CloseWrite implements files.Channel.
func (n *near) CloseWrite() error { return n.process.channel.ssh.CloseWrite() }

// Close implements io.Closer.
func (n *near) Close() error {
	n.once.Do(func() {
		p := n.process
		_ = p.ssh.CloseWrite()
		t := time.NewTimer(p.channel.serving.limits.Farewell)
		defer t.Stop()
		select {
		case <-n.ended:
			p.finish(n.ctx)
		case <-n.ctx.Done():
			p.finish(n.ctx)
		case <-t.C:
		}
		_ = p.ssh.Close()
		_ = p.channel.ssh.Close()
	})
	return nil
}

// guard decides on the operations of one transfer, and records what comes of them.
type guard struct {
	channel *channel

	mu      sync.Mutex
	permits map[files.Operation][]session.Permit // of operations that were let pass
}

// command makes the command of an operation.
func (g *guard) command(op *files.Operation) *policy.Command {
	return g.channel.command("files: "+op.String(), &sshapi.Facts{Known: true, Channel: v1alpha1.SSHSFTP, File: op.Facts()})
}

// Operation implements files.Guard.
func (g *guard) Operation(ctx context.Context, op files.Operation) error {
	permit, err := g.channel.serving.authorize(ctx, g.command(&op), g.channel.pending)
	if refusal := new(policy.Refusal); errors.As(err, &refusal) && ctx.Err() == nil {
		text := sentence(err)
		if op.Path == "" {
			text += "; what a path leads to cannot be told here: sftp, and scp without -O, may do"
		}
		// Clients show no more of it than that it was refused.
		g.channel.notice(text)
		return &files.Refusal{Message: text[:min(len(text), 1024)]}
	}
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.permits[op] = append(g.permits[op], permit)
	return nil
}

// take returns the permit of an operation, once.
func (g *guard) take(op files.Operation) session.Permit {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.permits[op]
	if len(all) == 0 {
		return session.Permit{}
	}
	if len(all) == 1 {
		delete(g.permits, op)
	} else {
		g.permits[op] = all[1:]
	}
	return all[0]
}

// Done implements files.Log.
func (g *guard) Done(o files.Outcome) error {
	permit := g.take(o.Operation)
	s := g.channel.serving.session
	if !permit.Valid() {
		switch o.Result {
		case files.Unresolved:
			return harmless(s.Refuse(g.command(&o.Operation), &policy.Refusal{Code: policy.CodeUnknownCommand, Message: "the server does not say what the path leads to"}))
		case files.Refused:
			if o.Operation.Action == files.Unsupported {
				return harmless(s.Refuse(g.command(&o.Operation), &policy.Refusal{Code: policy.CodeUnknownCommand, Message: "the gate does not carry the request"}))
			}
			// The decision is recorded.
			return nil
		case files.Succeeded, files.Failed, files.Unknown:
		}
		return session.ErrPermit
	}
	r := &recording.Response{Final: true}
	switch o.Result {
	case files.Succeeded:
		r.Tag = o.String()
	case files.Unknown:
		r.Unknown, r.Error = true, "the transfer ended before the answer came"
	case files.Refused, files.Unresolved:
		r.Error = "not forwarded: " + policy.Printable(o.Reason, 200)
	case files.Failed:
		r.Error = "the server did not do it: " + policy.Printable(o.Reason, 200)
	}
	if o.Transfer != nil {
		r.ByteCount = o.Transfer.Read.Bytes + o.Transfer.Written.Bytes
	}
	return s.Respond(permit, r)
}

// harmless is nil for the refusal that was to be recorded.
func harmless(err error) error {
	if refusal := new(policy.Refusal); errors.As(err, &refusal) {
		return nil
	}
	return err
}

// synchronise runs the remote side of rsync, whose stream is not understood: what it names is
// decided on before it starts, and what passes is counted.
func (c *channel) synchronise(ctx context.Context, text string, command *rsync.Command) {
	g := &guard{channel: c, permits: map[files.Operation][]session.Permit{}}
	operations := command.Operations()
	if paths := c.resolver(ctx); paths != nil {
		for i := range operations {
			locate(ctx, paths, &operations[i])
		}
		_ = paths.Close()
	}
	for _, op := range operations {
		if err := g.Operation(ctx, op); err != nil {
			if refusal := new(files.Refusal); errors.As(err, &refusal) {
				c.exit(refused)
				return
			}
			c.refuse(ctx, err)
			return
		}
	}
	c.pty = nil
	opening := c.command("$ "+text, &sshapi.Facts{Known: true, Channel: v1alpha1.SSHSFTP, File: &sshapi.File{}})
	permit, err := c.serving.authorize(ctx, opening, c.pending)
	if err != nil {
		c.refuse(ctx, err)
		return
	}
	p := &process{channel: c, tape: c.serving.session.Counted(permit)}
	if err = p.start(ctx, "exec", ssh.Marshal(struct{ Command string }{text})); err == nil {
		p.carry(ctx)
	}
	for _, op := range operations {
		if derr := g.Done(files.Outcome{Operation: op, Result: files.Succeeded}); derr != nil {
			c.serving.cancel(derr)
		}
	}
	p.end(ctx, err)
}

// locate finds out where a path of rsync leads. What is received into the home of an account may
// hold a folder .ssh: such an operation is about that too.
func locate(ctx context.Context, paths files.Resolver, op *files.Operation) {
	at, err := paths.Resolve(ctx, op.Asked)
	if err != nil {
		return
	}
	op.Path = at.Path
	if !op.Writes() {
		return
	}
	home, herr := paths.Resolve(ctx, ".")
	keys := path.Join(at.Path, ".ssh")
	there, terr := paths.Resolve(ctx, keys)
	below := strings.TrimSuffix(at.Path, "/") + "/"
	if herr != nil || strings.HasPrefix(home.Path+"/", below) || terr != nil || there.Exists || isHome(at.Path) {
		op.To, op.AskedTo = keys, keys
	}
}

// isHome reports whether a path is where homes usually are, or above.
func isHome(p string) bool {
	parent := path.Dir(p)
	return p == "/" || p == "/home" || p == "/Users" || p == "/root" || parent == "/home" || parent == "/Users"
}
