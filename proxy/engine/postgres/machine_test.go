package postgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/masking"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// everything allows every command, and masks if masked.
type everything struct{ masked bool }

func (everything) Decide(*policy.Command) policy.Decision {
	return policy.Decision{Action: policy.Allow}
}
func (e everything) Empty() bool           { return !e.masked }
func (everything) Names() []sql.ColumnName { return nil }

func (everything) Uses(sql.MaskRef) sql.Uses { return sql.Uses{} }

func (everything) Functions() []sql.PinnedFunction { return nil }

func (everything) Mask(string, string, string) sql.MaskRef { return 0 }
func (everything) Func(sql.MaskRef) (masking.Func, v1alpha1.RuleReference) {
	return stars{}, v1alpha1.RuleReference{}
}

type discarding struct{ responses int }

func (d *discarding) Record(e *recording.Event) error {
	if e.Kind == recording.KindResponse {
		d.responses++
	}
	return nil
}
func (*discarding) Close(string) error { return nil }

type nobody struct{}

func (nobody) Await(context.Context, approval.Question) (approval.Answer, error) {
	return approval.Answer{}, errors.New("nobody approves")
}

// bench returns a relay whose target says in and whose client's answers go to out.
func bench(t testing.TB, masked bool, in io.Reader, out io.Writer) (*relay, session.Permit) {
	t.Helper()
	s := session.New(session.Config{Name: "s", Admission: &policy.Admission{Rules: everything{}, Masks: everything{masked: masked}, Store: &v1alpha1.RecordingStore{}},
		Recorder: &discarding{}, Approvals: nobody{}, Counters: &session.Counters{}, Commands: new(atomic.Uint64), RedactKey: make([]byte, 32), End: func(error) {},
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }})
	p, err := s.Authorize(context.Background(), &policy.Command{Engine: Name, SQL: &sql.Facts{Known: true}}, session.Verdict{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{engine: &Engine{c: Config{Clock: clock.RealClock{}, Limits: Limits{}.withDefaults()}}, conn: &conn{}, s: s, up: &upstream{in: newFrames(in)}, out: newOutput(out),
		statements: map[string]*statement{}, portals: map[string]*portal{}, progress: make(chan struct{}, 1), status: idle}
	r.out.commit = r.commit
	return r, p
}

// expect fills the queue by one byte for each answer.
func (r *relay) expect(kinds []byte, p session.Permit, masked bool) {
	for _, k := range kinds[:min(len(kinds), 16)] {
		a := await{kind: awaitKind(k%10) + awaitNothing}
		switch a.kind {
		case awaitProof:
			r.expectProof(p)
			continue
		case awaitParse, awaitDescribe:
			a.statement = &statement{}
		case awaitBind:
			a.portal = &portal{statement: &statement{}}
		case awaitExecute, awaitQuery:
			c := newCommand(r.s, p)
			c.masked = masked
			a.command, a.portal = c, &portal{statement: &statement{}}
		default: // the others hold nothing
		}
		if k >= 128 && a.kind != awaitQuery && a.kind != awaitFailure && a.kind != awaitNothing {
			a.own, a.last = newInquiry(), true
		}
		r.queue.push(a)
	}
}

// expectProof adds a command that is proven after its execution to the queue.
func (r *relay) expectProof(p session.Permit) *inquiry {
	c, q := newCommand(r.s, p), newInquiry()
	c.held, c.planned, q.proves = true, &planned{small: true}, true
	r.proof = provenance{by: q, snapshot: "7:7:"}
	r.queue.push(await{kind: awaitExecute, command: c, portal: &portal{statement: &statement{}}})
	r.queue.push(await{kind: awaitProof, own: q, command: c})
	return q
}

// FuzzProof has a target answer to a command that is proven after its execution.
func FuzzProof(f *testing.F) {
	const row, end, ready = "D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01x", "C\x00\x00\x00\x0dSELECT 1\x00", "Z\x00\x00\x00\x05I"
	f.Add([]byte(row + end + "V\x00\x00\x00\x0c\x00\x00\x00\x047:7:" + ready))
	f.Add([]byte(row + end + "V\x00\x00\x00\x0c\x00\x00\x00\x047:8:" + ready))
	f.Add([]byte(row + "E\x00\x00\x00\x0eC22012\x00M1\x00\x00" + ready))
	f.Add([]byte(row + end + "E\x00\x00\x00\x0eC22012\x00M1\x00\x00" + ready))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		r, p := bench(t, false, bytes.NewReader(in), &out)
		q := r.expectProof(p)
		if err := r.serveTarget(context.Background()); err == nil {
			t.Fatal("the end of the target is no error")
		}
		_ = r.out.flush()
		shown := false
		for got := newFrames(&out); ; {
			kind, size, err := got.head()
			if err != nil {
				break
			}
			shown = shown || kind == msgDataRow || kind == msgCommandComplete
			if _, err := got.whole(size); err != nil {
				t.Fatal("a message is cut")
			}
		}
		if shown != (q.finished && q.err == nil) || shown && !bytes.Contains(in, []byte("\x00\x00\x00\x047:7:")) {
			t.Fatalf("shown: %v, finished: %v, err: %v", shown, q.finished, q.err)
		}
	})
}

func FuzzTarget(f *testing.F) {
	f.Add([]byte{2, 3, 6, 7}, []byte("1\x00\x00\x00\x042\x00\x00\x00\x04C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I"), true)
	f.Add([]byte{8}, []byte("T\x00\x00\x00\x06\x00\x00D\x00\x00\x00\x06\x00\x00C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I"), false)
	f.Add([]byte{130, 134, 135}, []byte("E\x00\x00\x00\x05\x00Z\x00\x00\x00\x05E"), true)
	f.Fuzz(func(t *testing.T, kinds, in []byte, masked bool) {
		var out bytes.Buffer
		r, p := bench(t, masked, bytes.NewReader(in), &out)
		r.expect(kinds, p, masked)
		if err := r.turn(); err != nil {
			t.Fatal(err)
		}
		if err := r.serveTarget(context.Background()); err == nil {
			t.Fatal("the end of the target is no error")
		}
		_ = r.out.flush()
		// What the client gets is whole messages, except where one was cut, and no row of a
		// command without a plan.
		got := newFrames(&out)
		for {
			kind, size, err := got.head()
			if err != nil {
				break
			}
			if masked && kind == msgDataRow {
				t.Fatal("a row without a plan went to the client")
			}
			if masked && kind == msgNotice || kind == msgAuthentication || kind == msgBackendKeyData {
				t.Fatalf("%c went to the client", kind)
			}
			if _, err := got.whole(size); err != nil {
				if !r.torn {
					t.Fatal("a message is cut")
				}
				break
			}
		}
	})
}

// BenchmarkRows is the way of rows that are neither masked nor recorded.
func BenchmarkRows(b *testing.B) {
	row := appendMessage(nil, msgDataRow, dataRow(b, []byte("12345"), []byte("some text of a usual length"), []byte("2026-11-22")))
	const rows = 1000
	var in []byte
	for range rows {
		in = append(in, row...)
	}
	src := &endless{b: in}
	r, p := bench(b, false, src, io.Discard)
	c := newCommand(r.s, p)
	c.rowsLeft = 0
	r.queue.push(await{kind: awaitQuery, command: c})
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	for b.Loop() {
		kind, size, err := r.up.in.head()
		if err == nil {
			err = r.answer(kind, size)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

type endless struct {
	b  []byte
	at int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.b[e.at:])
	if e.at += n; e.at == len(e.b) {
		e.at = 0
	}
	return n, nil
}

func TestCancelKeys(t *testing.T) {
	c := newCancels(counting{}, 0x1234)
	var first, second atomic.Int32
	pid, secret, err := c.add(secretSize30, func(context.Context) { first.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	long, longSecret, err := c.add(secretSize32, func(context.Context) { second.Add(1) })
	if err != nil || pid == long || pid>>nameShift != 0x1234 || long>>nameShift != 0x1234 || len(longSecret) != secretSize32 {
		t.Fatal(pid, long, err)
	}
	c.cancel(context.Background(), pid, longSecret)
	c.cancel(context.Background(), pid, secret[:3])
	c.cancel(context.Background(), pid, append(bytes.Clone(secret), 0))
	c.cancel(context.Background(), long, secret)
	c.cancel(context.Background(), pid+1, secret)
	c.cancel(context.Background(), 0, nil)
	if first.Load()+second.Load() != 0 {
		t.Error("a wrong key cancels")
	}
	c.cancel(context.Background(), pid, secret)
	c.cancel(context.Background(), long, longSecret)
	if first.Load() != 1 || second.Load() != 1 {
		t.Error("the right key does not")
	}
	c.remove(pid)
	c.cancel(context.Background(), pid, secret)
	if first.Load() != 1 {
		t.Error("a key outlives its session")
	}
}

// counting counts, so that two reads differ.
type counting struct{}

var counter atomic.Uint32

func (counting) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(counter.Add(1))
	}
	return len(b), nil
}

func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		when during
		want string
	}{
		"a refusal":             {&policy.Refusal{Code: policy.CodeDeniedByRule, Rule: "CommandRule/ns/x", Message: "no", Hint: "ask"}, duringSession, "42501|CDA-2001: no|Rule: CommandRule/ns/x.|ask"},
		"a pending request":     {&policy.Refusal{Code: policy.CodeApprovalPending, Request: "x7k2p", Message: "wait"}, duringSession, "42501|CDA-3001: wait|ApprovalRequest: x7k2p.|"},
		"revoked at sign-in":    {&policy.Refusal{Code: policy.CodeGrantRevoked, Message: "no"}, duringSignIn, "28000|CDA-1004: no||"},
		"revoked later":         {&policy.Refusal{Code: policy.CodeGrantRevoked, Message: "no"}, duringSession, "57P01|CDA-1004: no||"},
		"too many":              {&policy.Refusal{Code: policy.CodeLimit, Message: "no"}, duringSignIn, "53300|CDA-1012: no||"},
		"stale":                 {&policy.Refusal{Code: policy.CodeStale, Message: "no"}, duringSignIn, "57P03|CDA-1009: no||"},
		"a code of later times": {&policy.Refusal{Code: "CDA-9999", Message: "no"}, duringSession, "57P01|CDA-9999: no||"},
		"an inner error":        {errors.New("dial 10.0.0.1: password hunter2"), duringSession, "57P01|CDA-1014: the session was ended||connect again; an administrator finds the cause in the proxy's log"},
		"no error":              {nil, duringSession, "57P01|CDA-1014: the session was ended||connect again; an administrator finds the cause in the proxy's log"},
	} {
		t.Run(name, func(t *testing.T) {
			f := failureOf(test.err, test.when)
			if got := strings.Join([]string{f.state, f.message, f.detail, f.hint}, "|"); got != test.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestPatient reads ahead while a command is held and gives it all back.
func TestPatient(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	p := &patient{conn: server}
	gone := make(chan error, 1)
	stop := p.watch(func(err error) { gone <- err }, func() bool { return true })
	if _, err := client.Write([]byte("ahead")); err != nil {
		t.Fatal(err)
	}
	stop()
	go func() { _, _ = client.Write([]byte(" and after")); client.Close() }()
	b, err := io.ReadAll(p)
	if string(b) != "ahead and after" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	select {
	case err := <-gone:
		t.Errorf("a client that stays is gone: %v", err)
	default:
	}
	client, server = net.Pipe()
	p = &patient{conn: server}
	stop = p.watch(func(err error) { gone <- err }, func() bool { return true })
	client.Close()
	select {
	case err := <-gone:
		if err == nil {
			t.Error("a client that left is gone for no reason")
		}
	case <-time.After(time.Minute):
		t.Fatal("a client that left is not noticed")
	}
	stop()
}

// What the client sends after the target has failed the pipeline is never answered, even
// if the client's side did not know of the failure yet.
func TestOvertakenByFailure(t *testing.T) {
	r, p := bench(t, true, strings.NewReader(""), io.Discard)
	r.skipping = true
	st, po, c, q := &statement{}, &portal{statement: &statement{}}, newCommand(r.s, p), newInquiry()
	for _, a := range []await{{kind: awaitParse, statement: st}, {kind: awaitBind, portal: po}, {kind: awaitExecute, command: c}, {kind: awaitDescribe, own: q, last: true}} {
		r.push(a)
	}
	if r.queue.len() != 0 || st.outcome != notMade || po.outcome != notMade || !c.done {
		t.Errorf("%d answers are awaited; the statement is %d, the portal %d, the command done: %v", r.queue.len(), st.outcome, po.outcome, c.done)
	}
	select {
	case <-q.done:
	default:
		t.Error("the gate's own question waits forever")
	}
	r.skipping = false
	if r.push(await{kind: awaitSync}); r.queue.len() != 1 {
		t.Error("the Sync is not awaited")
	}
}

// A target may send any SQLSTATE.
func TestFailureFrom(t *testing.T) {
	r, _ := bench(t, true, strings.NewReader(""), io.Discard)
	r.strict = true
	for _, state := range []string{"", "X", "234567", "22012"} {
		m := (&failure{state: state, message: "secret"}).response(msgErrorResponse, "ERROR")
		if f := r.failureFrom(m); len(f.state) != 5 || strings.Contains(f.message, "secret") {
			t.Errorf("%q: %+v", state, f)
		}
	}
}
