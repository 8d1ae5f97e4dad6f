package scp_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
	"github.com/cardea-dev/cardea/proxy/engine/ssh/files/scp"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]*scp.Command{
		"scp -t d":              {Sink: true, Path: "d"},
		"scp -v -r -p -d -t d":  {Sink: true, Path: "d", Recursive: true, Times: true, Directory: true},
		"/usr/bin/scp -rf /a/b": {Path: "/a/b", Recursive: true},
		"scp -f -- -x":          {Path: "-x"},
		"scp -f d/*.log":        {Path: "d/*.log"},
		"scp -t .":              {Sink: true, Path: "."},
		"scp -f -":              {Path: "-"},
		"scp a b":               nil,
		"scp -t":                nil,
		"scp -t -f d":           nil,
		"scp -t a b":            nil,
		"scp -f a b":            nil,
		"scp -f */b":            nil,
		"scp -t *":              nil,
		"scp -t ~/d":            nil,
		"scp -S /tmp/x -t d":    nil,
		"scp -oProxyCommand -t": nil,
		"scp -3 -t d":           nil,
		"scp --to d":            nil,
		"/tmp/scp -t d":         nil,
		"./scp -t d":            nil,
		"env scp -t d":          nil,
		"":                      nil,
	} {
		got, ok := scp.Parse(strings.Fields(line))
		if want == nil {
			if ok {
				t.Errorf("%q is recognised", line)
			}
			continue
		}
		if diff := cmp.Diff(*want, got); diff != "" || !ok {
			t.Errorf("%q: %v %s", line, ok, diff)
		}
	}
	if _, ok := scp.Parse([]string{"scp", "-t", "a\x00b"}); ok {
		t.Error("a NUL")
	}
}

// memory is a channel that reads what a test has it and keeps what is written.
type memory struct {
	io.Reader
	strings.Builder
}

func (m *memory) Close() error      { return nil }
func (m *memory) CloseWrite() error { return nil }

func relay(c scp.Command, j *judge, n *notes, client, server string) (toClient, toServer string, err error) {
	near := &memory{Reader: iotest.OneByteReader(strings.NewReader(client))}
	far := &memory{Reader: iotest.OneByteReader(strings.NewReader(server))}
	err = scp.Relay{Command: c, Guard: j, Log: n}.Run(context.Background(), near, far)
	return near.String(), far.String(), err
}

func TestSources(t *testing.T) {
	const acks = "\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for name, tc := range map[string]struct {
		command  scp.Command
		client   string
		answers  string // of the server; acks if empty
		toServer string
		fails    bool
	}{
		"a file":                        {client: "C0644 4 f\ndata\x00", toServer: "C0644 4 f\ndata\x00"},
		"an error instead":              {client: "\x01scp: f: No such file\nC0644 1 g\nx\x00", toServer: "\x01scp: f: No such file\nC0644 1 g\nx\x00"},
		"refused":                       {client: "C0644 4 no\nC0644 1 g\nx\x00", toServer: "C0644 1 g\nx\x00"},
		"refused with times":            {client: "T1 0 1 0\nC0644 4 no\nC0644 1 g\nx\x00", toServer: "C0644 1 g\nx\x00"},
		"with times":                    {client: "T1 0 1 0\nC0644 1 g\nx\x00", toServer: "T1 0 1 0\nC0644 1 g\nx\x00"},
		"a directory":                   {client: "D0755 0 d\nC0644 1 g\nx\x00E\n", toServer: "D0755 0 d\nC0644 1 g\nx\x00E\n"},
		"the sink cannot":               {client: "C0644 4 f\nC0644 1 g\nx\x00", answers: "\x00\x01denied\n\x00\x00", toServer: "C0644 4 f\nC0644 1 g\nx\x00"},
		"a path":                        {client: "C0644 4 ../f\n", fails: true},
		"an absolute path":              {client: "C0644 4 /f\n", fails: true},
		"dots":                          {client: "D0755 0 ..\n", fails: true},
		"a dot":                         {client: "C0644 4 .\n", fails: true},
		"no name":                       {client: "C0644 4 \n", fails: true},
		"no name at all":                {client: "C0644 4\n", fails: true},
		"a NUL":                         {client: "C0644 4 f\x00g\n", fails: true},
		"a mode":                        {client: "C644 4 f\n", fails: true},
		"a mode with a sign":            {client: "C+644 4 f\n", fails: true},
		"a mode of more":                {client: "C10644 4 f\n", fails: true},
		"a size below zero":             {client: "C0644 -4 f\n", fails: true},
		"a size with a sign":            {client: "C0644 +4 f\n", fails: true},
		"a size beyond all":             {client: "C0644 99999999999999999999 f\n", fails: true},
		"no size":                       {client: "C0644  f\n", fails: true},
		"a long line":                   {client: "C0644 4 " + strings.Repeat("f", 9000) + "\n", fails: true},
		"a line without end":            {client: "C0644 4 f", fails: true},
		"a directory's end":             {client: "E\n", fails: true},
		"an end with a name":            {client: "D0755 0 d\nE0\n", toServer: "D0755 0 d\n", fails: true},
		"times twice":                   {client: "T1 0 1 0\nT1 0 1 0\n", fails: true},
		"times of nothing":              {client: "D0755 0 d\nT1 0 1 0\nE\n", toServer: "D0755 0 d\n", fails: true},
		"times that are none":           {client: "T1 0 -1 0\n", fails: true},
		"times that were not asked for": {command: scp.Command{Sink: true, Path: "d", Recursive: true}, client: "T1 0 1 0\n", fails: true},
		"a directory not asked for":     {command: scp.Command{Sink: true, Path: "d"}, client: "D0755 0 d\n", fails: true},
		"another record":                {client: "X\n", fails: true},
		"a zero":                        {client: "\x00", fails: true},
		"data cut short":                {client: "C0644 4 f\nda", toServer: "C0644 4 f\nda", fails: true},
		"no word on the data":           {client: "C0644 4 f\ndata", toServer: "C0644 4 f\ndata", fails: true},
		"more data":                     {client: "C0644 4 f\ndatamore", toServer: "C0644 4 f\ndata", fails: true},
		"an answer of a shell":          {client: "C0644 4 f\ndata\x00", answers: "Welcome\n", fails: true},
		"no answer":                     {client: "C0644 4 f\ndata\x00", answers: "\x00", toServer: "C0644 4 f\n", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.command.Path == "" {
				tc.command = scp.Command{Sink: true, Path: "d", Recursive: true, Times: true}
			}
			if tc.answers == "" {
				tc.answers = acks[:1+strings.Count(tc.toServer, "\n")+strings.Count(tc.toServer, "\x00")-strings.Count(tc.toServer, "\x01")]
			}
			j, n := &judge{refused: func(op files.Operation) bool { return strings.HasSuffix(op.Asked, "/no") }}, &notes{}
			toClient, toServer, err := relay(tc.command, j, n, tc.client, tc.answers)
			if (err != nil) != tc.fails {
				t.Error(err)
			}
			if diff := cmp.Diff(tc.toServer, toServer); diff != "" {
				t.Error(diff)
			}
			if len(n.outcomes) != len(j.asked) {
				t.Errorf("%d of %d are logged", len(n.outcomes), len(j.asked))
			}
			if strings.Contains(tc.client, " no\n") && !strings.Contains(toClient, "\x01no, by rule\n") {
				t.Errorf("the client is told %q", toClient)
			}
		})
	}
}

// TestServersAsSources: a target that sends what was not asked for does not reach the client.
func TestServersAsSources(t *testing.T) {
	for name, tc := range map[string]struct {
		command  scp.Command
		server   string
		toClient string
		fails    bool
	}{
		"what was asked for": {scp.Command{Path: "d/f"}, "C0644 1 f\nx\x00", "C0644 1 f\nx\x00", false},
		"another file":       {scp.Command{Path: "d/f"}, "C0644 1 .bashrc\nx\x00", "", true},
		"beyond a pattern":   {scp.Command{Path: "d/*.log"}, "C0644 1 a.log\nx\x00C0644 1 .bashrc\nx\x00", "C0644 1 a.log\nx\x00", true},
		"refused":            {scp.Command{Path: "d/no"}, "C0644 1 no\n", "\x01no, by rule\n", false},
		"a directory":        {scp.Command{Path: "d"}, "D0755 0 d\n", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			j, n := &judge{refused: func(op files.Operation) bool { return op.Asked == "d/no" }}, &notes{}
			acks := "\x00" + strings.Repeat("\x00", strings.Count(tc.toClient, "\n")*2)
			if strings.HasPrefix(tc.toClient, "\x01") {
				acks = "\x00"
			}
			toClient, _, err := relay(tc.command, j, n, acks, tc.server)
			if (err != nil) != tc.fails {
				t.Error(err)
			}
			if diff := cmp.Diff(tc.toClient, toClient); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatCannotBeLoggedEnds(t *testing.T) {
	failed := errors.New("the recorder failed")
	toClient, _, err := relay(scp.Command{Sink: true, Path: "d"}, &judge{}, &notes{err: failed}, "C0644 1 f\nx\x00", "\x00\x00\x00")
	if !errors.Is(err, failed) || toClient != "\x00\x00" {
		t.Errorf("%q, %v", toClient, err)
	}
}

func TestRevocationEnds(t *testing.T) {
	revoked := errors.New("the grant was revoked")
	ctx, cancel := context.WithCancelCause(context.Background())
	near, client := pair(t)
	server, far := pair(t)
	n := &notes{}
	done := make(chan error, 1)
	go func() {
		done <- scp.Relay{Command: scp.Command{Sink: true, Path: "d"}, Guard: &judge{}, Log: n}.Run(ctx, client, server)
	}()
	if _, err := far.Write([]byte{0, 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("C0644 9 f\nx")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("C0644 9 f\nx"))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	cancel(revoked)
	if err := <-done; !errors.Is(err, revoked) {
		t.Error(err)
	}
	if len(n.outcomes) != 1 || n.outcomes[0].Result != files.Unknown || n.outcomes[0].Transfer.Written.Bytes != 1 {
		t.Errorf("%+v", n.outcomes)
	}
}

// TestServersThatEndAreNotWaitedFor: a client that waits for the end before it closes its side.
func TestServersThatEndAreNotWaitedFor(t *testing.T) {
	near, client := pair(t)
	server, far := pair(t)
	done := make(chan error, 1)
	go func() {
		done <- scp.Relay{Command: scp.Command{Path: "f"}, Guard: &judge{}, Log: &notes{}}.Run(context.Background(), client, server)
	}()
	if _, err := near.Write([]byte{0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write([]byte("C0644 1 f\nx\x00")); err != nil {
		t.Fatal(err)
	}
	_ = far.CloseWrite()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(near); string(got) != "C0644 1 f\nx\x00" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzRelay: whatever both sides send, a sink has content of no file but those that the guard let pass,
// and all that it was asked about is logged.
func FuzzRelay(f *testing.F) {
	f.Add("T1 0 1 0\nD0755 0 d\nC0644 4 f\ndata\x00E\n", "\x00\x00\x00\x00\x00\x00\x00", true)
	f.Add("\x00\x00\x00\x00\x00\x00\x00", "D0755 0 d\nC0644 4 f\ndata\x00E\n", false)
	f.Add("C0644 4 no\nC0644 1 g\nx\x00", "\x00\x01denied\n\x00\x00", true)
	f.Fuzz(func(t *testing.T, client, server string, sink bool) {
		j, n := &judge{refused: func(op files.Operation) bool { return true }}, &notes{}
		_, toServer, _ := relay(scp.Command{Sink: sink, Path: "d", Recursive: true, Times: true}, j, n, client, server)
		if sink && strings.ContainsAny(toServer, "CDT") && !strings.Contains(toServer, "\x01") && !strings.Contains(toServer, "\x02") {
			t.Errorf("%q", toServer)
		}
		if len(n.outcomes) != len(j.asked) {
			t.Errorf("%d of %d are logged", len(n.outcomes), len(j.asked))
		}
		j.refused = nil
		if _, _, err := relay(scp.Command{Sink: sink, Path: "d", Recursive: true, Times: true}, j, n, client, server); err == nil && len(j.asked) != len(n.outcomes) {
			t.Errorf("%d of %d are logged", len(n.outcomes), len(j.asked))
		}
	})
}
