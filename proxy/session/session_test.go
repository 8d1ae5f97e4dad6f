package session

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// tape keeps events in memory, and fails from a given one on.
type tape struct {
	mu     sync.Mutex
	events []recording.Event
	failAt int
	after  func(n int) // called after the n-th event
}

func (t *tape) Record(e *recording.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failAt > 0 && len(t.events)+1 >= t.failAt {
		return errors.New("disk full")
	}
	kept := *e
	// Data are lent for the time of the call.
	if e.Input != nil {
		in := *e.Input
		in.Data = bytes.Clone(in.Data)
		kept.Input = &in
	}
	if e.Output != nil {
		out := *e.Output
		out.Data = bytes.Clone(out.Data)
		kept.Output = &out
	}
	t.events = append(t.events, kept)
	if t.after != nil {
		t.after(len(t.events))
	}
	return nil
}

func (t *tape) Close(string) error { return nil }

// rules decides what the test says.
type rules func(*policy.Command) policy.Decision

func (r rules) Decide(c *policy.Command) policy.Decision { return r(c) }

// answers is an approval.Gate.
type answers func(context.Context, approval.Question) (approval.Answer, error)

func (a answers) Await(ctx context.Context, q approval.Question) (approval.Answer, error) {
	return a(ctx, q)
}

var rule = v1alpha1.RuleReference{Kind: "CommandRule", Namespace: "shop-gate", Name: "destructive"}

func allow(*policy.Command) policy.Decision { return policy.Decision{Action: policy.Allow} }

func ask(required int32) rules {
	return func(*policy.Command) policy.Decision {
		return policy.Decision{Action: policy.RequireApproval, Rule: rule, Terms: &v1alpha1.ApprovalTerms{Required: required}}
	}
}

func approved(context.Context, approval.Question) (approval.Answer, error) {
	return approval.Answer{Request: "x7k2p", Approvers: []string{"dana"}}, nil
}

type bench struct {
	*Session
	tape     *tape
	counters Counters
	ended    error
}

func admission(r rules, generation int64) *policy.Admission {
	t := &v1alpha1.Target{}
	t.UID, t.Generation = "t", generation
	return &policy.Admission{Grant: &v1alpha1.AccessGrant{}, Target: t, Rules: r}
}

func newBench(r rules, a answers) *bench {
	b := &bench{tape: &tape{}}
	b.Session = New(Config{Name: "s", Connection: 2, Admission: admission(r, 1), Recorder: b.tape, Approvals: a,
		Counters: &b.counters, Commands: new(atomic.Uint64), RedactKey: make([]byte, 32),
		Dial:      func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("not in this test") },
		Reachable: func(*v1alpha1.Target, error) {}, End: func(cause error) { b.ended = cause }})
	return b
}

func known(text string) *policy.Command {
	return &policy.Command{Engine: "postgres", Text: []byte(text), SQL: &sql.Facts{Known: true}}
}

func codeOf(err error) policy.Code {
	if r := new(policy.Refusal); errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// G1, G4, G5: a permit exists only after decision, approval and record.
func TestAuthorize(t *testing.T) {
	refused := &policy.Refusal{Code: policy.CodeApprovalDenied, Message: "dana denied it", Request: "x7k2p"}
	for name, tc := range map[string]struct {
		rules    rules
		answers  answers
		command  *policy.Command
		refresh  func(context.Context) (*sql.Facts, error)
		want     string // decision in the record
		wantCode policy.Code
	}{
		"allowed": {rules: allow, want: "Allowed"},
		"denied": {rules: func(*policy.Command) policy.Decision {
			return policy.Decision{Refusal: &policy.Refusal{Code: policy.CodeDeniedByRule}}
		}, want: "Denied", wantCode: policy.CodeDeniedByRule},
		"zero decision":       {rules: func(*policy.Command) policy.Decision { return policy.Decision{} }, want: "Denied", wantCode: policy.CodeUnknownCommand},
		"action from nowhere": {rules: func(*policy.Command) policy.Decision { return policy.Decision{Action: 77} }, want: "Denied", wantCode: policy.CodeUnknownCommand},
		"approved":            {rules: ask(1), answers: approved, want: "Approved"},
		"approval denied":     {rules: ask(1), answers: func(context.Context, approval.Question) (approval.Answer, error) { return approval.Answer{}, refused }, want: "Denied", wantCode: policy.CodeApprovalDenied},
		"gone while waiting": {rules: ask(1), answers: func(context.Context, approval.Question) (approval.Answer, error) {
			return approval.Answer{}, context.Canceled
		}, want: "Denied"},
		"changed while held": {rules: ask(1), answers: approved, want: "Denied", wantCode: policy.CodeDefinitionChange,
			refresh: func(context.Context) (*sql.Facts, error) {
				return nil, &policy.Refusal{Code: policy.CodeDefinitionChange}
			}},
		"too long":            {rules: ask(1), answers: approved, command: known(strings.Repeat("x", MaxApprovable+1)), want: "Denied", wantCode: policy.CodeApprovalFailed},
		"not UTF-8":           {rules: ask(1), answers: approved, command: known("delete from a\xff"), want: "Denied", wantCode: policy.CodeApprovalFailed},
		"parameter too long":  {rules: ask(1), answers: approved, command: &policy.Command{SQL: &sql.Facts{Known: true}, Parameters: []policy.Parameter{{Text: strings.Repeat("x", 5000)}}}, want: "Denied", wantCode: policy.CodeApprovalFailed},
		"too many parameters": {rules: ask(1), answers: approved, command: &policy.Command{SQL: &sql.Facts{Known: true}, Parameters: make([]policy.Parameter, 257)}, want: "Denied", wantCode: policy.CodeApprovalFailed},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(tc.rules, tc.answers)
			c := tc.command
			if c == nil {
				c = known("delete from orders")
			}
			p, err := b.Authorize(t.Context(), c, Verdict{}, nil, tc.refresh)
			if (err == nil) != p.Valid() || p.Valid() != (tc.want != "Denied") {
				t.Fatalf("permit %t, error %v", p.Valid(), err)
			}
			if codeOf(err) != tc.wantCode {
				t.Errorf("code = %q, want %q", codeOf(err), tc.wantCode)
			}
			last := b.tape.events[len(b.tape.events)-1]
			if last.Command == nil || last.Command.Decision != tc.want || last.Connection != 2 {
				t.Errorf("recorded %+v, want decision %s", last.Command, tc.want)
			}
			if forwarded := b.counters.Forwarded.Load(); (forwarded == 1) != p.Valid() {
				t.Errorf("%d forwarded", forwarded)
			}
		})
	}
}

// G6: what cannot be recorded does not go on, and ends the session.
func TestAuthorizeWithoutRecorder(t *testing.T) {
	for name, r := range map[string]rules{"allowed": allow, "denied": func(*policy.Command) policy.Decision { return policy.Decision{} }, "held": ask(1)} {
		t.Run(name, func(t *testing.T) {
			b := newBench(r, func(_ context.Context, q approval.Question) (approval.Answer, error) {
				return approval.Answer{}, q.Pending("x7k2p", time.Time{})
			})
			b.tape.failAt = 1
			p, err := b.Authorize(t.Context(), known("select 1"), Verdict{}, nil, nil)
			if p.Valid() || !errors.Is(err, ErrRecorder) {
				t.Errorf("permit %t, error %v", p.Valid(), err)
			}
			if codeOf(b.ended) != policy.CodeRecorder {
				t.Errorf("the session ended with %v", b.ended)
			}
		})
	}
}

// G5: what changes while a command is held voids its approval.
func TestReleaseDecidesAgain(t *testing.T) {
	deny := rules(func(*policy.Command) policy.Decision {
		return policy.Decision{Refusal: &policy.Refusal{Code: policy.CodeDeniedByRule}}
	})
	for name, tc := range map[string]struct {
		change   func(*bench)
		wantCode policy.Code
		want     bool
	}{
		"nothing":             {func(*bench) {}, "", true},
		"now allowed":         {func(b *bench) { b.Update(admission(allow, 1)) }, "", true},
		"now denied":          {func(b *bench) { b.Update(admission(deny, 1)) }, policy.CodeDeniedByRule, false},
		"more approvers":      {func(b *bench) { b.Update(admission(ask(2), 1)) }, policy.CodeApprovalFailed, false},
		"another Target spec": {func(b *bench) { b.Update(admission(ask(1), 2)) }, policy.CodeApprovalFailed, false},
		"revoked":             {func(b *bench) { b.Stop(&policy.Refusal{Code: policy.CodeGrantRevoked}) }, policy.CodeGrantRevoked, false},
	} {
		t.Run(name, func(t *testing.T) {
			var b *bench
			b = newBench(ask(1), func(context.Context, approval.Question) (approval.Answer, error) {
				tc.change(b)
				return approval.Answer{Request: "x7k2p"}, nil
			})
			p, err := b.Authorize(t.Context(), known("delete from orders"), Verdict{}, nil, nil)
			if p.Valid() != tc.want || codeOf(err) != tc.wantCode {
				t.Errorf("permit %t, error %v", p.Valid(), err)
			}
			if last := b.tape.events[len(b.tape.events)-1]; last.Command.Request != "x7k2p" {
				t.Errorf("the record does not name the request: %+v", last.Command)
			}
		})
	}
}

// G2: after Stop nothing is permitted, not even what is between record and permit.
func TestStop(t *testing.T) {
	cause := &policy.Refusal{Code: policy.CodeGrantRevoked, Message: "revoked"}
	b := newBench(allow, nil)
	b.tape.after = func(n int) {
		if n == 1 {
			b.Stop(cause)
		}
	}
	if p, err := b.Authorize(t.Context(), known("select 1"), Verdict{}, nil, nil); p.Valid() || !errors.Is(err, cause) {
		t.Errorf("permit %t, error %v", p.Valid(), err)
	}
	if last := b.tape.events[len(b.tape.events)-1]; last.Response == nil || !strings.Contains(last.Response.Error, "not forwarded") {
		t.Errorf("the recording does not say that the command stayed: %+v", last)
	}
	b.Stop(errors.New("another"))
	if p, err := b.Authorize(t.Context(), known("select 1"), Verdict{}, nil, nil); p.Valid() || !errors.Is(err, cause) {
		t.Errorf("permit %t, error %v", p.Valid(), err)
	}
	if b.counters.Forwarded.Load() != 0 {
		t.Error("a command counts as forwarded")
	}
}

func TestRespondNeedsPermit(t *testing.T) {
	b := newBench(allow, nil)
	if err := b.Respond(Permit{}, &recording.Response{}); !errors.Is(err, ErrPermit) {
		t.Errorf("err = %v", err)
	}
	if len(b.tape.events) > 0 {
		t.Error("a response without a command was recorded")
	}
	p, err := b.Authorize(t.Context(), known("select 1"), Verdict{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Respond(p, &recording.Response{Final: true}); err != nil || b.tape.events[1].Response.ID != b.tape.events[0].Command.ID {
		t.Errorf("err = %v, events %+v", err, b.tape.events)
	}
}

// G8: what is sensitive is in no record and no question, and cannot be found by trying.
func TestRedaction(t *testing.T) {
	const planted = "123-45-6789"
	text := "select * from c where ssn = '" + planted + "'"
	at := strings.Index(text, "'")
	lexed := &sql.Facts{Known: true, Sensitive: true, Lexed: true, Literals: []sql.Span{{Start: at, End: len(text)}}}
	for name, facts := range map[string]*sql.Facts{"lexed": lexed, "not lexed": {Known: true, Sensitive: true}, "unknown": nil, "not known": {}} {
		t.Run(name, func(t *testing.T) {
			var asked approval.Question
			b := newBench(ask(1), func(_ context.Context, q approval.Question) (approval.Answer, error) {
				asked = q
				return approval.Answer{}, q.Pending("x7k2p", time.Time{})
			})
			c := &policy.Command{Engine: "postgres", Text: []byte(text), Parameters: []policy.Parameter{{Text: planted}, {Null: true}}, SQL: facts}
			if _, err := b.Authorize(t.Context(), c, Verdict{}, nil, nil); err != nil {
				t.Fatal(err)
			}
			for _, e := range b.tape.events {
				var shown []string
				if e.Command != nil {
					shown = append(shown, e.Command.Parameters...)
					shown = append(shown, e.Command.Text, e.Command.Digest)
				}
				if e.Held != nil {
					shown = append(shown, e.Held.Text)
				}
				for _, s := range append(shown, asked.Text, asked.Digest, strings.Join(asked.Parameters, "")) {
					if strings.Contains(s, planted) {
						t.Errorf("it is shown: %q", s)
					}
				}
			}
			if diff := cmp.Diff("NULL", b.tape.events[len(b.tape.events)-1].Command.Parameters[1]); diff != "" {
				t.Error(diff)
			}
			other := newBench(ask(1), nil)
			other.c.RedactKey = []byte(strings.Repeat("k", 32))
			if other.digest(c) == asked.Digest {
				t.Error("the digest does not depend on the key: a constant can be found by trying")
			}
		})
	}
}

// G5: no two different commands share a digest.
func TestDigest(t *testing.T) {
	b := newBench(allow, nil)
	seen := map[string]string{}
	for name, c := range map[string]*policy.Command{
		"plain":               {Engine: "postgres", Text: []byte("ab")},
		"engine":              {Engine: "postgresa", Text: []byte("b")},
		"empty parameter":     {Engine: "postgres", Text: []byte("ab"), Parameters: []policy.Parameter{{}}},
		"null":                {Engine: "postgres", Text: []byte("ab"), Parameters: []policy.Parameter{{Null: true}}},
		"binary":              {Engine: "postgres", Text: []byte("ab"), Parameters: []policy.Parameter{{Binary: true}}},
		"type":                {Engine: "postgres", Text: []byte("ab"), Parameters: []policy.Parameter{{Type: 25}}},
		"two parameters":      {Engine: "postgres", Text: []byte("ab"), Parameters: []policy.Parameter{{Text: "1"}, {Text: "2"}}},
		"one":                 {Engine: "postgres", Text: []byte("ab"), Parameters: []policy.Parameter{{Text: "12"}}},
		"context":             {Engine: "postgres", Text: []byte("ab"), Context: map[string]string{"database": "orders"}},
		"other context":       {Engine: "postgres", Text: []byte("ab"), Context: map[string]string{"database": "order", "s": ""}},
		"context as if bound": {Engine: "postgres", Text: []byte("ab"), Context: map[string]string{"0 false false": ""}},
	} {
		d := b.digest(c)
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s share a digest", name, other)
		}
		seen[d] = name
	}
}
