package kubernetes

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/detect"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

const (
	cardNumber = "4111111111111111"
	quiet      = 50 * time.Millisecond
)

// allowing allows all.
type allowing struct{}

func (allowing) Decide(*policy.Command) policy.Decision { return policy.Decision{Action: policy.Allow} }

// reel is a recording.
type reel struct {
	streams map[string]string
	fails   bool
}

func (r *reel) Record(e *recording.Event) error {
	switch {
	case r.fails:
		return errors.New("the recording is full")
	case e.Output != nil:
		r.streams[e.Output.Stream] += string(e.Output.Data)
	case e.Input != nil:
		r.streams[e.Input.Stream] += string(e.Input.Data)
	}
	return nil
}

func (r *reel) Close(string) error { return nil }

// shown is what a client is shown.
type shown struct {
	terminal
	text strings.Builder
}

func (s *shown) write(_ string, p []byte) error { s.text.Write(p); return nil }

// tapeFor is the tape of a command in a terminal, whose session finds what the detectors do.
func tapeFor(t *testing.T, tty bool, list ...v1alpha1.Detector) (*tape, *shown, *reel, *clocktesting.FakeClock) {
	t.Helper()
	set, err := detect.New(list)
	if err != nil {
		t.Fatal(err)
	}
	r := &reel{streams: map[string]string{}}
	s := session.New(session.Config{Admission: &policy.Admission{Rules: allowing{}, Detectors: set}, Recorder: r,
		Counters: &session.Counters{}, Commands: new(atomic.Uint64), RedactKey: make([]byte, 32), End: func(error) {}})
	permit, err := s.Authorize(t.Context(), &policy.Command{Engine: Name, Kubernetes: &kubeapi.Facts{Known: true}}, session.Verdict{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, clock := &shown{}, clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0))
	tape := &tape{session: s, client: client, permit: permit, keep: 1 << 20, left: 1 << 20, asked: &kubeapi.Stream{TTY: tty, Stdout: true}, clock: clock}
	return tape, client, r, clock
}

// What may be the beginning of a value is shown once there is no more output, and no sooner.
func TestOutletShowsWhatIsHeld(t *testing.T) {
	type step struct {
		part  string
		later time.Duration
		shows string // of it all
	}
	for name, tc := range map[string]struct {
		tty      bool
		steps    []step
		recorded string // before the end
		end      string // of what is shown
		whole    string // of the recording
	}{
		"a prompt": {tty: true, steps: []step{{"login", 0, ""}, {"", quiet - 1, ""}, {"", 1, "login"}}, end: "login", whole: "login"},
		"output between": {tty: true, steps: []step{{"4111", quiet - 1, ""}, {"1111", quiet - 1, ""}, {"11111111", quiet - 1, ""}, {"\n", 0, "[card]\n"}, {"", time.Hour, "[card]\n"}},
			recorded: "[card]\n", end: "[card]\n", whole: "[card]\n"},
		"too slow":             {tty: true, steps: []step{{cardNumber[:8], quiet, cardNumber[:8]}, {cardNumber[8:] + "\n", 0, cardNumber + "\n"}}, recorded: "[card]\n", end: cardNumber + "\n", whole: "[card]\n"},
		"without a terminal":   {steps: []step{{"login", time.Hour, ""}}, end: "login", whole: "login"},
		"a value at the end":   {steps: []step{{cardNumber, time.Hour, ""}}, end: "[card]", whole: "[card]"},
		"a terminal that ends": {tty: true, steps: []step{{cardNumber, quiet - 1, ""}}, end: "[card]", whole: "[card]"},
	} {
		t.Run(name, func(t *testing.T) {
			tape, client, r, clock := tapeFor(t, tc.tty, v1alpha1.DetectCreditCard, v1alpha1.DetectEmail)
			tape.prepare(func(err error) { t.Errorf("the command is ended: %v", err) }, false, quiet)
			for _, s := range tc.steps {
				if s.part != "" {
					if err := tape.output(streamStdout, []byte(s.part)); err != nil {
						t.Fatal(err)
					}
				}
				clock.Step(s.later)
				if got := client.text.String(); got != s.shows {
					t.Errorf("behind %q it shows %q, want %q", s.part, got, s.shows)
				}
			}
			if got := r.streams[streamStdout]; got != tc.recorded {
				t.Errorf("recorded %q, want %q", got, tc.recorded)
			}
			if err := tape.outputEnded(); err != nil {
				t.Fatal(err)
			}
			clock.Step(time.Hour)
			if got := client.text.String(); got != tc.end || r.streams[streamStdout] != tc.whole {
				t.Errorf("in the end it shows %q, recorded %q", got, r.streams[streamStdout])
			}
		})
	}
}

// What cannot be recorded is not shown, also when the time has come to show it.
func TestOutletOfARecordingThatFails(t *testing.T) {
	tape, client, r, clock := tapeFor(t, true, v1alpha1.DetectEmail)
	ended := error(nil)
	tape.prepare(func(err error) { ended = err }, false, quiet)
	// Recorded as it is shown, so that the recorder is asked at once.
	tape.outlets[streamStdout].kept = nil
	if err := tape.output(streamStdout, []byte("login")); err != nil {
		t.Fatal(err)
	}
	r.fails = true
	clock.Step(quiet)
	if ended == nil || client.text.Len() > 0 {
		t.Errorf("the command is ended by %v, the client is shown %q", ended, client.text.String())
	}
}

// A part of input that may be the beginning of a value is forwarded before it is recorded, and
// recorded masked.
func TestInputIsRecordedMasked(t *testing.T) {
	for name, end := range map[string]func(*tape) error{"closed": (*tape).inputEnded, "cut": (*tape).seal} {
		t.Run(name, func(t *testing.T) {
			tape, _, r, _ := tapeFor(t, true, v1alpha1.DetectCreditCard)
			tape.prepare(func(error) {}, false, quiet)
			for _, key := range "pay " + cardNumber + "\rls -l " + cardNumber {
				if err := tape.input(streamStdin, []byte(string(key))); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.streams[streamStdin]; got != "pay [card]\rls -l " {
				t.Errorf("recorded %q", got)
			}
			if err := end(tape); err != nil {
				t.Fatal(err)
			}
			if got := r.streams[streamStdin]; got != "pay [card]\rls -l [card]" {
				t.Errorf("recorded %q", got)
			}
		})
	}
}

// An archive passes up to what would have to be masked.
func TestArchivesAreNotMasked(t *testing.T) {
	tape, client, _, _ := tapeFor(t, false, v1alpha1.DetectCreditCard)
	tape.prepare(func(error) {}, false, 0)
	from, to := io.Pipe()
	tape.files = &listing{stream: streamStdout, to: to, done: make(chan struct{})}
	go func() { defer close(tape.files.done); _, _ = io.Copy(io.Discard, from) }()
	defer tape.files.end()
	if err := tape.output(streamStdout, []byte("clean\n4111")); err != nil {
		t.Fatal(err)
	}
	err := tape.output(streamStdout, []byte(cardNumber[4:]+"\nmore"))
	if !errors.Is(err, errArchive) || client.text.String() != "clean\n" {
		t.Errorf("%v, %q", err, client.text.String())
	}
	if err := tape.outputEnded(); !errors.Is(err, errArchive) || client.text.String() != "clean\n" {
		t.Errorf("in the end %v, %q", err, client.text.String())
	}
}
